#include "log/partition_log.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"

namespace diaspora::log {

namespace {

// 16 MiB: some 8 ms of disk time, so that a batch waits no longer for the group before its own; larger gains nothing.
constexpr uint64_t kGroupBytesMax = uint64_t{16} << 20;
// Answered batches are held in memory until synced: 32 MiB bounds that memory and what a failing disk must repeat.
constexpr uint64_t kUnsyncedBytesMax = uint64_t{32} << 20;
// A second after the last batch the log is synced and its watermark written: late enough to cost busy logs nothing.
constexpr int64_t kIdleMs = 1000;
// Answered batches that could not be written are tried again this often.
constexpr int64_t kRetryMs = 200;
// Of what is kept, the smallest part that is dropped together: a segment ends when it spans so much of the retention.
constexpr uint64_t kRetentionParts = 4;
// Smaller segments would cost more than they let go.
constexpr uint64_t kRetainedSegmentBytesMin = uint64_t{64} << 10;

PartitionLogOptions fit_segments(PartitionLogOptions options) {
  if (options.retention.bytes == 0) return options;
  const uint64_t part = std::max(options.retention.bytes / kRetentionParts, kRetainedSegmentBytesMin);
  options.segment_bytes = std::min(options.segment_bytes, align_up(part, kRecordAlignment));
  return options;
}

}  // namespace

PartitionLog::PartitionLog(FileSystem& files, LogStore& store, const LogIdentity& identity,
                           const PartitionLogOptions& options)
    : files_(files),
      store_(store),
      writer_(store.writer_for(identity.partition)),
      identity_(identity),
      options_(fit_segments(options)),
      read_side_(std::make_shared<ReadSide>(files, identity, options.pool)),
      retention_(files, identity, options.retention, &read_side_->segments) {}

PartitionLog::~PartitionLog() { writer_.forget(this); }

Result<PartitionLog::Opened> PartitionLog::open(FileSystem& files, LogStore& store, const LogIdentity& identity,
                                                const PartitionLogOptions& options) {
  Result<RecoveredLog> recovered = recover_log(files, identity);
  if (!recovered) return recovered.status();
  std::unique_ptr<PartitionLog> log(new PartitionLog(files, store, identity, options));
  const Status begun = log->begin(recovered.value());
  if (!begun) return begun;
  return Opened{std::move(log), recovered.take()};
}

Status PartitionLog::begin(const RecoveredLog& recovered) {
  if (recovered.segments.empty()) return {};
  Result<std::unique_ptr<SegmentWriter>> segment = SegmentWriter::resume(files_, identity_, recovered);
  if (!segment) return segment.status();
  segment_ = segment.take();
  last_number_ = recovered.last_header.number;
  last_base_id_ = recovered.last_header.base_id;
  synced_id_ = recovered.next_id;
  written_id_ = recovered.next_id;
  marked_id_ = recovered.watermark;
  synced_event_crc_ = recovered.last_event_crc;
  segment_records_ = recovered.last_records;
  segment_began_ns_ = recovered.began_ns;
  newest_ns_ = recovered.newest_ns;
  retention_.restore(recovered);
  for (const ProducerEntry& producer : recovered.producers) {
    if (producer.base_id >= last_base_id_) segment_producers_.add(producer);
  }
  read_side_->segments.restore(recovered.segments, recovered.last_records);
  return {};
}

void PartitionLog::start(ReportCallback report, FirstIdCallback first_id_moved) {
  report_ = std::move(report);
  retention_.set_hooks({std::move(first_id_moved), [this](uint64_t number) {
                          store_.reader().post([side = read_side_, number] { side->reader.close_before(number); });
                        }});
  // What was just recovered is synced now; the next idle moment writes that down.
  if (marked_id_ < synced_id_) writer_.schedule(this);
}

void PartitionLog::append(LogBatch batch) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    inbox_.push_back(std::move(batch));
    if (inbox_.size() > 1) return;  // scheduled already
  }
  writer_.schedule(this);
}

void PartitionLog::read(EventId id, ReadCallback done) {
  store_.reader().post([side = read_side_, id, done = std::move(done)] { done(side->reader.read(id)); });
}

void PartitionLog::find_time(int64_t timestamp_ns, EventId end_id, FindCallback done) {
  store_.reader().post([side = read_side_, timestamp_ns, end_id, done = std::move(done)] {
    done(side->reader.find_time(timestamp_ns, end_id));
  });
}

void PartitionLog::retain() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (std::exchange(retain_asked_, true)) return;
  }
  writer_.schedule(this);
}

void PartitionLog::close(CloseCallback done) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    close_callback_ = std::move(done);
  }
  writer_.schedule(this);
}

std::optional<int64_t> PartitionLog::run() {
  std::vector<LogBatch> batches;
  CloseCallback close_callback;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    batches.swap(inbox_);
    close_callback = std::exchange(close_callback_, nullptr);
    if (std::exchange(retain_asked_, false)) retention_due_ = true;
  }
  accept(std::move(batches));
  write_backlog();
  if (std::exchange(retention_due_, false)) drop_expired();
  if (!close_callback) return next_idle_ms();
  const Status settled = settle();
  close_callback(settled);
  return std::nullopt;
}

std::optional<int64_t> PartitionLog::on_idle() {
  write_backlog();
  if (!backlog_.empty()) return next_idle_ms();
  // What fails here was answered already: it is in the backlog again, and nobody waits for it. A log whose mark alone
  // could not be written is left in peace until the next batch.
  static_cast<void>(settle());
  return backlog_.empty() ? std::nullopt : next_idle_ms();
}

std::optional<int64_t> PartitionLog::next_idle_ms() const {
  if (!backlog_.empty()) return monotonic_ms() + kRetryMs;
  if (!unsynced_.empty() || marked_id_ < synced_id_) return monotonic_ms() + kIdleMs;
  return std::nullopt;
}

// Drops the batches of attempts that the owner was already told have failed.
void PartitionLog::accept(std::vector<LogBatch> batches) {
  for (LogBatch& batch : batches) {
    latest_epoch_ = std::max(latest_epoch_, batch.epoch);
    if (!batch.answered && batch.epoch <= failed_epoch_) continue;
    DIASPORA_CHECK(batch.base_id == (backlog_.empty() ? written_id_ : backlog_.back().end_id()));
    backlog_.push_back(std::move(batch));
  }
}

void PartitionLog::write_backlog() {
  while (!backlog_.empty()) {
    const Status written = write_group();
    if (written) continue;
    fail(written);
    return;
  }
}

// Batches of the next group: bounded by bytes, by the pieces of one call, and by the end of the segment.
size_t PartitionLog::group_size() const {
  uint64_t bytes = 0;
  size_t count = 0;
  for (const LogBatch& batch : backlog_) {
    bytes += batch.record_bytes();
    const bool fits = bytes <= kGroupBytesMax && count < File::kWritePiecesMax &&
                      (segment_ == nullptr || segment_->end_offset() + bytes <= options_.segment_bytes);
    if (!fits && count > 0) break;
    ++count;
    if (!fits) break;  // larger than any bound: it goes alone
  }
  return count;
}

Status PartitionLog::write_group() {
  const Status prepared = prepare_segment();
  if (!prepared) return prepared;
  const size_t count = group_size();
  std::vector<LogBatch> group(backlog_.begin(), backlog_.begin() + static_cast<ptrdiff_t>(count));
  uint64_t bytes = 0;
  for (const LogBatch& batch : group) bytes += batch.record_bytes();
  const Status reserved = segment_->reserve(bytes, options_.segment_bytes, synced_policy());
  if (!reserved) return reserved;
  const Result<uint64_t> offset = segment_->write(group, synced_id_, synced_policy());
  if (!offset) {
    poison();
    return offset.status();
  }
  if (synced_policy()) {
    const Status synced = segment_->sync();
    if (!synced) {
      poison();
      return synced;
    }
  }
  marked_id_ = std::max(marked_id_, synced_id_);
  commit_group(count, offset.value());
  return unsynced_bytes_ > kUnsyncedBytesMax ? sync_segment() : Status();
}

// The group is written, and synced where the policy says so: moves it out of the backlog and reports it.
void PartitionLog::commit_group(size_t count, uint64_t offset) {
  LogReport report;
  report.epoch = latest_epoch_;
  for (size_t i = 0; i < count; ++i) {
    LogBatch batch = std::move(backlog_.front());
    backlog_.pop_front();
    const RecordEntry entry{batch.base_id, offset, static_cast<uint32_t>(batch.shape.body_bytes())};
    offset += batch.record_bytes();
    segment_records_.push_back(entry);
    const ProducerEntry producer{batch.session, batch.sequence, batch.base_id, batch.shape.event_count};
    segment_producers_.add(producer);
    retention_.note_producer(producer);
    if (segment_began_ns_ == 0) segment_began_ns_ = batch.timestamp_ns;
    newest_ns_ = std::max(newest_ns_, batch.timestamp_ns);
    read_side_->segments.add_record(entry);
    written_id_ = batch.end_id();
    if (!batch.answered) ++report.committed;
    if (synced_policy()) continue;
    batch.answered = true;
    unsynced_bytes_ += batch.record_bytes();
    unsynced_.push_back(std::move(batch));
  }
  if (synced_policy()) {
    synced_id_ = written_id_;
    synced_event_crc_ = segment_->last_event_crc();
  }
  report.settled_id = synced_id_;
  report_(report);
}

// Makes sure that a segment is open with room for the first batch of the backlog.
Status PartitionLog::prepare_segment() {
  if (segment_ == nullptr) return start_segment();
  const bool empty = segment_->end_offset() == kFirstRecordOffset;
  const bool full = segment_->end_offset() + backlog_.front().record_bytes() > options_.segment_bytes;
  return full && !empty ? roll_segment() : Status();
}

// A poisoned segment in which nothing lasted is replaced by one of the same number, so that a disk that keeps failing
// does not fill with empty segments.
Status PartitionLog::start_segment() {
  DIASPORA_CHECK(unsynced_.empty() && written_id_ == synced_id_);
  SegmentHeader header;
  header.partition = identity_.partition;
  header.number = last_number_ > 0 && last_base_id_ == synced_id_ ? last_number_ : last_number_ + 1;
  header.base_id = synced_id_;
  header.previous_header_crc = synced_event_crc_;
  header.created_ns = std::max(options_.clock_ns(), newest_ns_);
  Result<std::unique_ptr<SegmentWriter>> segment = SegmentWriter::create(files_, identity_, header);
  if (!segment) return segment.status();
  segment_ = segment.take();
  if (last_number_ > 0 && header.number != last_number_) retention_.note_sealed({last_number_, last_base_id_});
  last_number_ = header.number;
  last_base_id_ = header.base_id;
  segment_began_ns_ = 0;
  segment_records_.clear();
  segment_producers_.clear();
  read_side_->segments.begin_segment({header.number, header.base_id});
  return {};
}

Status PartitionLog::roll_segment() {
  const Status synced = sync_segment();
  if (!synced) return synced;
  SegmentIndex index;
  index.partition = identity_.partition;
  index.segment_number = last_number_;
  index.base_id = last_base_id_;
  index.end_id = synced_id_;
  index.segment_header_crc = segment_->header().header_crc;
  index.last_event_crc = synced_event_crc_;
  index.records = std::move(segment_records_);
  index.producers = segment_producers_.entries();
  std::unique_ptr<SegmentWriter> old = std::move(segment_);
  // After a failure the old segment is not used again: the new one may stand in the directory already, and would win
  // over what is appended to the old one.
  const Status started = start_segment();
  if (!started) return started;
  seal(std::move(old));
  retention_due_ = retention_.is_limited();
  // Only a saving of time at the next start: without it the segment is scanned.
  const std::string path = identity_.directory + "/" + index_file_name(index.segment_number);
  static_cast<void>(replace_file(files_, path, encode_segment_index(index)));
  return {};
}

// The seal says that a successor exists, so that a lost last segment is noticed. The successor is durable by now, and
// every record here is synced: should the seal fail, that one check is lost and nothing else.
void PartitionLog::seal(std::unique_ptr<SegmentWriter> old) {
  if (!old->mark(synced_id_, synced_id_, wire::kLogRecordSealed)) return;
  if (!old->trim(old->end_offset())) return;
  static_cast<void>(old->sync());
}

// Everything written so far is on the device, or the segment is poisoned.
Status PartitionLog::sync_segment() {
  if (unsynced_.empty()) return {};
  const Status synced = segment_->sync();
  if (!synced) {
    poison();
    return synced;
  }
  synced_id_ = written_id_;
  synced_event_crc_ = segment_->last_event_crc();
  unsynced_.clear();
  unsynced_bytes_ = 0;
  LogReport report;
  report.epoch = latest_epoch_;
  report.settled_id = synced_id_;
  report_(report);
  return {};
}

// Syncs what is written and puts the watermark after it, so that damage to the newest batches is known for what it is.
Status PartitionLog::settle() {
  if (!backlog_.empty()) return {ErrorCode::k_STORAGE_FAILED, identity_.label + ": batches could not be written"};
  if (segment_ == nullptr) return {};
  const Status synced = sync_segment();
  if (!synced) return synced;
  if (marked_id_ >= synced_id_) return {};
  // Without space for the mark the batches are as safe as before.
  if (!segment_->reserve(kRecordAlignment, options_.segment_bytes, synced_policy())) return {};
  const Status marked = segment_->mark(synced_id_, synced_id_, 0);
  const Status mark_synced = marked ? segment_->sync() : marked;
  if (!mark_synced) {
    poison();
    return mark_synced;
  }
  marked_id_ = synced_id_;
  return {};
}

// What an open segment holds cannot be dropped: one that spans a part of the age ends first. Whatever fails here is
// tried again with the next segment, or when the owner asks.
void PartitionLog::drop_expired() {
  const int64_t now_ns = options_.clock_ns();
  const auto age_ns = static_cast<int64_t>(options_.retention.age_ms) * 1'000'000;
  if (segment_ != nullptr && age_ns > 0 && segment_began_ns_ != 0 &&
      now_ns - segment_began_ns_ > age_ns / static_cast<int64_t>(kRetentionParts)) {
    static_cast<void>(roll_segment());
    retention_due_ = false;
  }
  const uint64_t open_bytes = segment_ != nullptr ? segment_->end_offset() : 0;
  if (last_number_ > 0) {
    static_cast<void>(retention_.drop_expired({last_number_, last_base_id_}, open_bytes, now_ns));
  }
}

// Nothing more is written to the open segment. What was answered but not synced goes back to be written elsewhere.
void PartitionLog::poison() {
  segment_ = nullptr;
  backlog_.insert(backlog_.begin(), std::make_move_iterator(unsynced_.begin()),
                  std::make_move_iterator(unsynced_.end()));
  unsynced_.clear();
  unsynced_bytes_ = 0;
  written_id_ = synced_id_;
}

void PartitionLog::fail(const Status& status) {
  failed_epoch_ = latest_epoch_;
  std::erase_if(backlog_, [](const LogBatch& batch) { return !batch.answered; });
  const bool known = status.code() == ErrorCode::k_NO_SPACE || status.code() == ErrorCode::k_STORAGE_FAILED;
  LogReport report;
  report.epoch = latest_epoch_;
  report.settled_id = synced_id_;
  report.status =
      Status(known ? status.code() : ErrorCode::k_STORAGE_FAILED, identity_.label + ": " + status.error().message);
  report_(report);
}

}  // namespace diaspora::log
