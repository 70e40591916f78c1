// A partition in server memory only: the batches are kept as they came, nothing is written.
//
// Threads: the owner's. Answers are given through the executor, one post for all appends of a turn. Invariant: the
// bytes of the buffers held are at most options.bytes_max. Destroying it without close() drops unanswered callbacks
// unrun.
#pragma once

#include <deque>
#include "partition/answer_queue.h"
#include "partition/cursor_table.h"
#include "partition/partition.h"
#include "partition/sequence_table.h"

namespace diaspora::partition {

class MemoryPartition final : public Partition {
 public:
  MemoryPartition(Executor* owner, const MemoryPartitionOptions& options);

  Admission admit(const ProducerPosition& producer) override { return sequences_.admit(producer); }
  void append(AppendRequest request, AppendCallback done) override;
  void skip(const ProducerPosition& producer) override { sequences_.skip(producer); }
  EventId first_id() const override { return first_id_; }
  EventId next_id() const override { return next_id_; }
  bool has_pending() const override { return false; }  // stored at once
  void read(EventId id, ReadCallback done) override;
  void read_ahead(EventId) override {}  // everything is in memory
  void find_time(int64_t timestamp_ns, IdCallback done) override;
  void add_observer(CommitObserver* observer) override { answers_.add_observer(observer); }
  void remove_observer(CommitObserver* observer) override { answers_.remove_observer(observer); }
  ConsumerState consumer(const std::string& consumer) const override { return cursors_.find(consumer); }
  const std::unordered_map<std::string, ConsumerState>& consumers() const override { return cursors_.all(); }
  void acknowledge(const std::string& consumer, EventId id, StatusCallback done) override;
  void change_consumer(const std::string& consumer, const ConsumerChange& change, StatusCallback done) override;
  size_t release_cache(size_t) override { return 0; }  // nothing is anywhere else
  void retain() override;
  void close(StatusCallback done) override;

 private:
  Result<AppendOutcome> store(AppendRequest request);
  Status make_room(uint64_t bytes);
  void drop_oldest();
  const MemoryPartitionOptions options_;
  SequenceTable sequences_;
  CursorTable cursors_;
  std::deque<StoredBatch> batches_;
  uint64_t bytes_held_ = 0;
  EventId first_id_;
  EventId next_id_;
  int64_t newest_ns_ = 0;  // of any batch
  AnswerQueue answers_;
};

}  // namespace diaspora::partition
