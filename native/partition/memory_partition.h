// A partition in server memory only: the batches are kept as they came, nothing is written.
//
// Threads: the owner's. Answers are given through the executor, one post for all appends of a turn. Invariant: the
// bytes of the buffers held are at most options.bytes_max. Destroying it without close() drops unanswered callbacks
// unrun.
#pragma once

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "partition/cursor_table.h"
#include "partition/partition.h"
#include "partition/sequence_table.h"

namespace diaspora::partition {

class MemoryPartition final : public Partition {
 public:
  MemoryPartition(Executor* owner, const MemoryPartitionOptions& options);
  ~MemoryPartition() override;

  Admission admit(const ProducerPosition& producer) override { return sequences_.admit(producer); }
  void append(AppendRequest request, AppendCallback done) override;
  void skip(const ProducerPosition& producer) override { sequences_.skip(producer); }
  EventId first_id() const override { return first_id_; }
  EventId next_id() const override { return next_id_; }
  void read(EventId id, ReadCallback done) override;
  void add_observer(CommitObserver* observer) override;
  void remove_observer(CommitObserver* observer) override;
  std::optional<EventId> cursor(const std::string& consumer) const override { return cursors_.find(consumer); }
  void acknowledge(const std::string& consumer, EventId id, StatusCallback done) override;
  size_t release_cache(size_t) override { return 0; }  // nothing is anywhere else
  void close(StatusCallback done) override;

 private:
  Result<AppendOutcome> store(AppendRequest request);
  Status make_room(uint64_t bytes);
  void answer_later(std::function<void()> answer);
  void drain();

  Executor* const owner_;
  const MemoryPartitionOptions options_;
  SequenceTable sequences_;
  CursorTable cursors_;
  std::deque<StoredBatch> batches_;
  uint64_t bytes_held_ = 0;
  EventId first_id_;
  EventId next_id_;
  bool moved_ = false;  // next_id_ moved since the observers were told
  std::vector<std::function<void()>> answers_;
  std::vector<CommitObserver*> observers_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // false once destroyed; posted work looks at it
};

}  // namespace diaspora::partition
