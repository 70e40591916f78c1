// Drops the oldest segments of a log that are past its retention; the open segment always stays.
//
// Order: the log's start is made durable, its owner is told the first id kept, reads of what goes are refused, then the
// files go, oldest first. A crash anywhere leaves either the old start or the new one, and recovery removes what is
// before it. A file that can't be removed is tried again with the next drop, and at the next start. Threads: the log's
// writer thread. Owner: PartitionLog. Invariant: of the sealed segments none but a run from the oldest on is dropped.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <unordered_map>

#include "base/retention.h"
#include "log/log_start.h"
#include "log/segment_set.h"

namespace diaspora::log {

class SegmentRetention {
 public:
  struct Hooks {
    std::function<void(EventId first_id)> on_first_id;       // before reads below it are refused
    std::function<void(uint64_t segment_number)> on_closed;  // files of older segments need not stay open
  };
  SegmentRetention(FileSystem& files, const LogIdentity& identity, const Retention& retention, SegmentSet* segments)
      : files_(files), identity_(identity), retention_(retention), segments_(segments) {}

  bool is_limited() const { return retention_ != Retention{}; }
  void restore(const RecoveredLog& recovered);
  void set_hooks(Hooks hooks) { hooks_ = std::move(hooks); }

  // The open segment got a successor.
  void note_sealed(const SegmentSummary& segment) { sealed_.push_back({segment.number, segment.base_id, 0, 0}); }
  void note_producer(const ProducerEntry& entry);

  // `open`: the open segment and its length.
  Status drop_expired(const SegmentSummary& open, uint64_t open_bytes, int64_t now_ns);

 private:
  struct Sealed {
    uint64_t number = 0;
    EventId base_id;
    uint64_t bytes = 0;     // 0: not looked at
    int64_t newest_ns = 0;  // of its newest batch; 0: not looked at
  };

  EventId end_of(size_t at, const SegmentSummary& open) const;
  int64_t newest_ns(size_t at, const SegmentSummary& open, int64_t now_ns);
  size_t count_expired(const SegmentSummary& open, uint64_t open_bytes, int64_t now_ns);
  LogStart start_behind(size_t count, const SegmentSummary& open) const;
  void remove_files();

  FileSystem& files_;
  const LogIdentity identity_;
  const Retention retention_;
  SegmentSet* const segments_;
  Hooks hooks_;
  std::deque<Sealed> sealed_;     // oldest first
  std::deque<uint64_t> removed_;  // dropped, and their files may still be there
  // The newest batch of each session: as many as duplicate detection remembers.
  std::unordered_map<Uuid, ProducerEntry> producers_;
};

}  // namespace diaspora::log
