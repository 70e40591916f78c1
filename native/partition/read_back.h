// Reads of batches that have left memory: one read of the log at a time, each answering everybody who waits for that
// batch, and the batches read last kept for the next ones.
//
// So consumers that follow each other, or fetch the events of one batch singly, read the disk once, and a consumer that
// announces where it will go on (ahead) finds it read. Thread: the owner's. Owner: LogPartition.
#pragma once

#include <deque>
#include <functional>

#include "partition/partition.h"

namespace diaspora::partition {

class ReadBack {
 public:
  using Read = std::function<void(EventId, ReadCallback)>;
  // `read` reads one batch from the log; its callback runs later, on this thread. `bytes_max`: of what is kept besides
  // the two batches read last.
  ReadBack(size_t bytes_max, Read read) : bytes_max_(bytes_max), read_(std::move(read)) {}
  ReadBack(const ReadBack&) = delete;
  ReadBack& operator=(const ReadBack&) = delete;

  // From memory the callback runs before this returns.
  void read(EventId id, ReadCallback done);
  // Reads the batch with `id` unless it is here or on its way.
  void ahead(EventId id);
  // Forgets what was read; returns how many bytes that were.
  size_t release();

 private:
  struct Waiting {
    EventId id;
    ReadCallback done;  // null: read ahead
  };

  const StoredBatch* find(EventId id) const;
  void read_next();
  void arrived(Result<StoredBatch> batch);
  void keep(const StoredBatch& batch);

  const size_t bytes_max_;
  const Read read_;
  std::deque<Waiting> waiting_;  // the front one is being read
  bool reading_ = false;
  std::deque<StoredBatch> kept_;  // in the order in which they were read
  size_t kept_bytes_ = 0;
};

}  // namespace diaspora::partition
