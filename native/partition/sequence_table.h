// What a partition remembers of producer sessions, so that a batch is stored at most once and never out of order.
//
// Per session: the last sequence seen and the answers of the newest kRingSize batches. Sessions beyond the bound are
// forgotten, least recently used first; a forgotten session that goes on is told UNKNOWN_SESSION, never taken for new.
// Threads: the partition's owner only. Invariants: a sequence is in flight, in the ring, or not known to be stored;
// a session with batches in flight is never forgotten. A batch without a session (nil) is not tracked at all.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <unordered_map>
#include <vector>

#include "partition/partition.h"

namespace diaspora::partition {

class SequenceTable {
 public:
  // 64 answers: a client has far fewer batches in flight on one partition, so each resend finds its answer.
  static constexpr size_t kRingSize = 64;
  // 4096 sessions: with full rings about 6 MiB.
  static constexpr size_t kSessionsMax = 4096;

  explicit SequenceTable(size_t sessions_max = kSessionsMax) : sessions_max_(sessions_max) {}

  Admission admit(const ProducerPosition& producer) const;
  // The batch (admitted as kNew) is being stored.
  void begin(const ProducerPosition& producer);
  // It is stored.
  void finish(const ProducerPosition& producer, EventId base_id, uint32_t event_count);
  // It was not stored, and neither was any later one of its session: the session goes on after its last stored batch.
  void fail(const ProducerPosition& producer);
  // Refused before storing: later ones may follow it.
  void skip(const ProducerPosition& producer);
  // A stored batch found in the log, in log order.
  void restore(const Uuid& session, BatchSequence sequence, EventId base_id, uint32_t event_count);

  size_t session_count() const { return sessions_.size(); }

 private:
  struct Stored {
    BatchSequence sequence;
    EventId base_id;
    uint32_t event_count = 0;
  };
  struct Session {
    BatchSequence last_seen;    // stored, in flight or skipped
    BatchSequence last_stored;  // in the log
    std::deque<Stored> ring;    // newest kRingSize stored, ascending
    std::vector<BatchSequence> in_flight;
    std::list<Uuid>::iterator use;  // its place in uses_
  };

  Session& touch(const Uuid& session);
  void drop_least_used();
  static void store(Session* session, const Stored& stored);

  const size_t sessions_max_;
  std::unordered_map<Uuid, Session> sessions_;
  std::list<Uuid> uses_;  // most recently used first
};

}  // namespace diaspora::partition
