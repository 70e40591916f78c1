// The log of one partition: takes batches with their ids, makes them last, reports back; rolls, seals and recovers.
//
// Life of a failure: a write or sync that fails poisons the open segment. Batches nobody was told of are dropped and
// reported; batches that were answered (policies kMemory and kOs answer before a sync) stay in memory, in order, and
// are written to a new segment that begins at the first id not known to be synced. The old segment keeps what was
// synced; recovery lets the newer segment win. A full disk is found while reserving space, before anything is written,
// and poisons nothing. Threads: append, read and close from the owner's; the work on the writer and reader threads of
// the LogStore; reports come on the writer thread. Owner: LogPartition. Invariants: synced_id_ <= written_id_;
// unsynced_ covers exactly [synced_id_, written_id_) and backlog_ follows without a gap; a segment begins at
// synced_id_.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "log/log_writer.h"
#include "log/segment_reader.h"
#include "log/segment_retention.h"
#include "log/segment_set.h"
#include "log/segment_writer.h"

namespace diaspora::log {

// When the owner lets a batch count (partition::Durability; the values are the same).
enum class SyncPolicy : uint8_t { kMemory = 0, kOs = 1, kSync = 2 };

struct PartitionLogOptions {
  SyncPolicy policy = SyncPolicy::kSync;
  uint64_t segment_bytes = uint64_t{256} << 20;
  Retention retention;
  std::function<int64_t()> clock_ns = wall_clock_ns;
  std::shared_ptr<BufferPool> pool;
};

// What the owner is told after each group.
struct LogReport {
  uint64_t epoch = 0;
  size_t committed = 0;  // oldest batches not answered so far, of this epoch, that now may be
  EventId settled_id;    // all below is synced: it need not stay in memory
  Status status;         // a failure: no other batch of this epoch, or of an older one, will be committed
};

class PartitionLog final : public WriterTask {
 public:
  using ReportCallback = std::function<void(const LogReport&)>;
  using FirstIdCallback = std::function<void(EventId)>;
  using ReadCallback = std::function<void(Result<StoredRecord>)>;
  using FindCallback = std::function<void(const Result<EventId>&)>;
  using CloseCallback = std::function<void(Status)>;

  struct Opened {
    std::unique_ptr<PartitionLog> log;
    RecoveredLog recovered;
  };
  // Recovers or begins the log in an existing directory.
  static Result<Opened> open(FileSystem& files, LogStore& store, const LogIdentity& identity,
                             const PartitionLogOptions& options);
  ~PartitionLog() override;

  // Once, before the first append. Both are called on the writer thread; `first_id_moved` before reads of what is
  // dropped are refused.
  void start(ReportCallback report, FirstIdCallback first_id_moved);

  void append(LogBatch batch);
  // The callback runs on the reader thread. `id` must be below the last reported settled_id.
  void read(EventId id, ReadCallback done);
  // The first event below `end_id` of a batch stored at `timestamp_ns` or later, else `end_id`, which must not be above
  // the last reported settled_id. The callback runs on the reader thread.
  void find_time(int64_t timestamp_ns, EventId end_id, FindCallback done);
  // Drops segments that are past the retention, soon. The log does it by itself whenever a segment is full.
  void retain();
  // After everything appended; the callback runs on the writer thread. No call but the destructor may follow.
  void close(CloseCallback done);

  std::optional<int64_t> run() override;
  std::optional<int64_t> on_idle() override;

 private:
  struct ReadSide {
    SegmentSet segments;
    SegmentReader reader;
    ReadSide(FileSystem& files, const LogIdentity& identity, std::shared_ptr<BufferPool> pool)
        : segments(files, identity), reader(files, identity, &segments, std::move(pool)) {}
  };

  PartitionLog(FileSystem& files, LogStore& store, const LogIdentity& identity, const PartitionLogOptions& options);
  Status begin(const RecoveredLog& recovered);

  bool synced_policy() const { return options_.policy == SyncPolicy::kSync; }
  void accept(std::vector<LogBatch> batches);
  void write_backlog();
  Status write_group();
  size_t group_size() const;
  void commit_group(size_t count, uint64_t offset);
  Status prepare_segment();
  Status start_segment();
  Status roll_segment();
  void seal(std::unique_ptr<SegmentWriter> old);
  Status sync_segment();
  Status settle();
  void drop_expired();
  void poison();
  void fail(const Status& status);
  std::optional<int64_t> next_idle_ms() const;

  FileSystem& files_;
  LogStore& store_;
  WriterThread& writer_;
  const LogIdentity identity_;
  const PartitionLogOptions options_;
  const std::shared_ptr<ReadSide> read_side_;  // shared with reads under way
  ReportCallback report_;

  std::mutex mutex_;
  std::vector<LogBatch> inbox_;   // guarded by mutex_
  CloseCallback close_callback_;  // guarded by mutex_
  bool retain_asked_ = false;     // guarded by mutex_

  // Below: the writer thread only.
  std::unique_ptr<SegmentWriter> segment_;  // null: none yet, or poisoned
  std::deque<LogBatch> backlog_;            // to be written
  std::deque<LogBatch> unsynced_;           // written and answered, not synced
  uint64_t unsynced_bytes_ = 0;
  uint64_t last_number_ = 0;  // of the newest segment file
  EventId last_base_id_;      // where it begins
  EventId synced_id_;
  EventId written_id_;
  EventId marked_id_;  // the highest watermark on disk
  uint32_t synced_event_crc_ = 0;
  uint64_t latest_epoch_ = 0;
  uint64_t failed_epoch_ = 0;
  std::vector<RecordEntry> segment_records_;  // of segment_, for its index
  ProducerHistory segment_producers_;
  int64_t segment_began_ns_ = 0;  // when its first batch was stored; 0: it has none
  int64_t newest_ns_ = 0;         // of any batch
  SegmentRetention retention_;
  bool retention_due_ = false;
};

}  // namespace diaspora::log
