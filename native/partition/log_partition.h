// A partition over a log on disk: gives ids, answers when a batch is as durable as promised, keeps the newest batches
// in memory, reads older ones back, and remembers producers and consumers across restarts.
//
// Threads: the owner's; the log and the cursors do their work on the LogStore's threads and report through the
// executor, once per group. Invariants: outstanding_ holds exactly the batches between next_id_ and assign_id_, in
// order; every committed batch at or past settled_id_ is in cache_. With Durability::kMemory a batch is answered at
// once, except after a storage failure: then, until a write has succeeded, answers wait for the write.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "log/partition_log.h"
#include "partition/answer_queue.h"
#include "partition/cursor_store.h"
#include "partition/partition.h"
#include "partition/read_back.h"
#include "partition/sequence_table.h"
#include "partition/storage.h"

namespace diaspora::partition {

struct LogPartitionOptions {
  std::string directory;  // must exist
  Uuid uuid;              // of this partition, not of its topic
  std::string label;      // what messages call it
  Durability durability = Durability::kSync;
  uint64_t segment_bytes = uint64_t{256} << 20;
  Retention retention;
  std::function<int64_t()> clock_ns = wall_clock_ns;
  size_t cache_bytes_max = size_t{64} << 20;  // of the newest batches, and again of those read back
  std::shared_ptr<BufferPool> pool;
};

class LogPartition final : public Partition {
 public:
  // Recovers what is in the directory. Blocks for file work.
  static Result<OpenedPartition> open(log::FileSystem& files, log::LogStore& store, Executor* owner,
                                      const LogPartitionOptions& options);
  // Without close(): what was appended but not answered may or may not be kept, and its callbacks are dropped unrun.
  ~LogPartition() override = default;

  Admission admit(const ProducerPosition& producer) override { return sequences_.admit(producer); }
  void append(AppendRequest request, AppendCallback done) override;
  void skip(const ProducerPosition& producer) override { sequences_.skip(producer); }
  EventId first_id() const override { return first_id_; }
  EventId next_id() const override { return next_id_; }
  bool has_pending() const override { return !outstanding_.empty(); }
  void read(EventId id, ReadCallback done) override;
  void read_ahead(EventId id) override;
  void find_time(int64_t timestamp_ns, IdCallback done) override;
  void add_observer(CommitObserver* observer) override { answers_.add_observer(observer); }
  void remove_observer(CommitObserver* observer) override { answers_.remove_observer(observer); }
  ConsumerState consumer(const std::string& consumer) const override { return cursors_.find(consumer); }
  const std::unordered_map<std::string, ConsumerState>& consumers() const override { return cursors_.all(); }
  void acknowledge(const std::string& consumer, EventId id, StatusCallback done) override;
  void change_consumer(const std::string& consumer, const ConsumerChange& change, StatusCallback done) override;
  size_t release_cache(size_t bytes) override;
  void retain() override { log_->retain(); }
  void close(StatusCallback done) override;

 private:
  struct Outstanding {
    StoredBatch batch;
    ProducerPosition producer;
    std::vector<AppendCallback> callbacks;  // more than one when the batch was sent again meanwhile
  };

  LogPartition(Executor* owner, const LogPartitionOptions& options);
  void restore(const log::RecoveredLog& recovered, const CursorStore& cursors);
  void connect();

  void submit(AppendRequest request, AppendCallback done);
  void await_answer(const ProducerPosition& producer, AppendCallback done);
  log::LogBatch to_log_batch(const StoredBatch& batch, const ProducerPosition& producer, bool answered) const;
  void commit(StoredBatch batch, const ProducerPosition& producer);
  void on_report(const log::LogReport& report);
  void on_first_id(EventId first_id);
  void commit_outstanding(size_t count);
  void fail_outstanding(const Status& status);
  void on_cursors_written(std::vector<CursorUpdate> updates, const Status& status);
  bool cached(EventId id) const { return !cache_.empty() && id >= cache_.front().base_id; }
  void read_log(EventId id, ReadCallback done);
  void trim_cache();
  bool drop_oldest_cached();

  Executor* const owner_;
  const LogPartitionOptions options_;
  SequenceTable sequences_;
  CursorTable cursors_;
  std::deque<StoredBatch> cache_;
  size_t cache_bytes_ = 0;
  ReadBack read_back_;
  std::deque<Outstanding> outstanding_;
  EventId first_id_;
  EventId next_id_;
  EventId assign_id_;
  EventId settled_id_;
  int64_t newest_ns_ = 0;  // of any batch
  uint64_t epoch_ = 1;
  bool degraded_ = false;  // the last thing heard of the log was a failure
  AnswerQueue answers_;
  // Last, so that their threads are done with them before anything above goes.
  std::unique_ptr<CursorStore> cursor_store_;
  std::unique_ptr<log::PartitionLog> log_;
};

}  // namespace diaspora::partition
