#include "partition/log_partition.h"

#include <algorithm>
#include <utility>

#include "partition/batch_search.h"

namespace diaspora::partition {

namespace {

static_assert(kRecordHeaderBytes == wire::kLogRecordHeaderBytes, "the log writes its header in front of the body");
static_assert(static_cast<int>(Durability::kMemory) == static_cast<int>(log::SyncPolicy::kMemory));
static_assert(static_cast<int>(Durability::kOs) == static_cast<int>(log::SyncPolicy::kOs));
static_assert(static_cast<int>(Durability::kSync) == static_cast<int>(log::SyncPolicy::kSync));

RecoveryReport make_report(const log::RecoveredLog& recovered, const std::string& cursor_detail) {
  RecoveryReport report;
  report.batches = recovered.batches;
  report.events = recovered.next_id.value - recovered.first_id.value;
  report.torn_bytes = recovered.torn_bytes;
  report.detail = recovered.detail;
  if (!report.detail.empty() && !cursor_detail.empty()) report.detail += "; ";
  report.detail += cursor_detail;
  return report;
}

Result<StoredBatch> to_stored_batch(const Result<log::StoredRecord>& read) {
  if (!read) return read.status();
  StoredBatch batch;
  batch.buffer = read.value().buffer;
  batch.shape = read.value().header.shape;
  batch.head_crc = read.value().header.head_crc;
  batch.base_id = read.value().header.base_id;
  batch.timestamp_ns = read.value().header.timestamp_ns;
  return batch;
}

}  // namespace

LogPartition::LogPartition(Executor* owner, const LogPartitionOptions& options)
    : owner_(owner),
      options_(options),
      read_back_(options.cache_bytes_max, [this](EventId id, ReadCallback done) { read_log(id, std::move(done)); }),
      answers_(owner) {}

Result<OpenedPartition> LogPartition::open(log::FileSystem& files, log::LogStore& store, Executor* owner,
                                           const LogPartitionOptions& options) {
  const log::LogIdentity identity{options.directory, options.uuid, options.label};
  const auto policy = static_cast<log::SyncPolicy>(options.durability);
  Result<log::PartitionLog::Opened> log = log::PartitionLog::open(
      files, store, identity, {policy, options.segment_bytes, options.retention, options.clock_ns, options.pool});
  if (!log) return log.status();
  const log::RecoveredLog& recovered = log.value().recovered;
  const bool synced = options.durability == Durability::kSync;
  Result<CursorStore::Opened> cursors =
      CursorStore::open(files, store, {options.directory, options.uuid, options.label, synced, recovered.next_id});
  if (!cursors) return cursors.status();

  std::unique_ptr<LogPartition> partition(new LogPartition(owner, options));
  partition->restore(recovered, *cursors.value().store);
  partition->log_ = std::move(log.value().log);
  partition->cursor_store_ = std::move(cursors.value().store);
  partition->connect();
  return OpenedPartition{std::move(partition), make_report(recovered, cursors.value().detail)};
}

void LogPartition::restore(const log::RecoveredLog& recovered, const CursorStore& cursors) {
  first_id_ = recovered.first_id;
  newest_ns_ = recovered.newest_ns;
  next_id_ = recovered.next_id;
  assign_id_ = recovered.next_id;
  settled_id_ = recovered.next_id;
  for (const log::ProducerEntry& producer : recovered.producers) {
    sequences_.restore(producer.session, producer.sequence, producer.base_id, producer.event_count);
  }
  for (const auto& [consumer, state] : cursors.recovered()) cursors_.restore(consumer, state);
}

// Reports come on a writer thread and are taken to the owner's; there they count only while the partition lives.
void LogPartition::connect() {
  log_->start(
      [this, owner = owner_, alive = answers_.alive()](const log::LogReport& report) {
        owner->post([this, alive, report] {
          if (*alive) on_report(report);
        });
      },
      [this, owner = owner_, alive = answers_.alive()](EventId first_id) {
        owner->post([this, alive, first_id] {
          if (*alive) on_first_id(first_id);
        });
      });
  cursor_store_->set_report(
      [this, owner = owner_, alive = answers_.alive()](std::vector<CursorUpdate> updates, const Status& status) {
        auto shared = std::make_shared<std::vector<CursorUpdate>>(std::move(updates));
        owner->post([this, alive, shared, status] {
          if (*alive) on_cursors_written(std::move(*shared), status);
        });
      });
}

void LogPartition::append(AppendRequest request, AppendCallback done) {
  Admission admission = sequences_.admit(request.producer);
  switch (admission.kind) {
    case Admission::Kind::kNew:
      submit(std::move(request), std::move(done));
      return;
    case Admission::Kind::kInFlight:
      await_answer(request.producer, std::move(done));
      return;
    case Admission::Kind::kDuplicate:
      answers_.add([done = std::move(done), outcome = admission.outcome] { done(outcome); });
      return;
    case Admission::Kind::kRefused:
      answers_.add([done = std::move(done), error = std::move(admission.error)] { done(error); });
      return;
  }
}

void LogPartition::submit(AppendRequest request, AppendCallback done) {
  DIASPORA_CHECK(request.shape.event_count > 0);
  StoredBatch batch;
  batch.buffer = std::move(request.buffer);
  batch.shape = request.shape;
  batch.head_crc = request.head_crc;
  batch.base_id = assign_id_;
  newest_ns_ = std::max(newest_ns_, options_.clock_ns());
  batch.timestamp_ns = newest_ns_;
  assign_id_.value += batch.shape.event_count;
  sequences_.begin(request.producer);

  const bool answer_now = options_.durability == Durability::kMemory && !degraded_ && outstanding_.empty();
  log_->append(to_log_batch(batch, request.producer, answer_now));
  if (!answer_now) {
    Outstanding& outstanding = outstanding_.emplace_back();
    outstanding.batch = std::move(batch);
    outstanding.producer = request.producer;
    outstanding.callbacks.push_back(std::move(done));
    return;
  }
  const AppendOutcome outcome{batch.base_id, batch.shape.event_count, false};
  commit(std::move(batch), request.producer);
  answers_.add([done = std::move(done), outcome] { done(outcome); });
}

void LogPartition::await_answer(const ProducerPosition& producer, AppendCallback done) {
  const auto found = std::find_if(outstanding_.rbegin(), outstanding_.rend(), [&](const Outstanding& outstanding) {
    return outstanding.producer.session == producer.session && outstanding.producer.sequence == producer.sequence;
  });
  DIASPORA_CHECK(found != outstanding_.rend());
  found->callbacks.push_back(std::move(done));
}

log::LogBatch LogPartition::to_log_batch(const StoredBatch& batch, const ProducerPosition& producer,
                                         bool answered) const {
  log::LogBatch log_batch;
  log_batch.buffer = batch.buffer;
  log_batch.shape = batch.shape;
  log_batch.head_crc = batch.head_crc;
  log_batch.base_id = batch.base_id;
  log_batch.timestamp_ns = batch.timestamp_ns;
  log_batch.session = producer.session;
  log_batch.sequence = producer.sequence;
  log_batch.epoch = epoch_;
  log_batch.answered = answered;
  return log_batch;
}

// The batch counts from now on and can be read.
void LogPartition::commit(StoredBatch batch, const ProducerPosition& producer) {
  DIASPORA_CHECK(batch.base_id == next_id_);
  sequences_.finish(producer, batch.base_id, batch.shape.event_count);
  next_id_.value += batch.shape.event_count;
  cache_bytes_ += batch.buffer->size();
  cache_.push_back(std::move(batch));
  answers_.note_commit();
}

void LogPartition::on_report(const log::LogReport& report) {
  settled_id_ = std::max(settled_id_, report.settled_id);
  degraded_ = !report.status.ok();
  if (report.committed > 0) {
    DIASPORA_CHECK(report.epoch == epoch_);
    commit_outstanding(report.committed);
  }
  // A failure of an older attempt has been answered already.
  if (!report.status && report.epoch == epoch_) fail_outstanding(report.status);
  trim_cache();
  answers_.drain();
}

// Comes before any read of what was dropped is refused: whoever is refused finds the new first id.
void LogPartition::on_first_id(EventId first_id) {
  first_id_ = std::max(first_id_, first_id);
  while (!cache_.empty() && cache_.front().base_id < first_id_ && drop_oldest_cached()) {
  }
}

void LogPartition::commit_outstanding(size_t count) {
  DIASPORA_CHECK(count <= outstanding_.size());
  for (size_t i = 0; i < count; ++i) {
    Outstanding outstanding = std::move(outstanding_.front());
    outstanding_.pop_front();
    const AppendOutcome outcome{outstanding.batch.base_id, outstanding.batch.shape.event_count, false};
    commit(std::move(outstanding.batch), outstanding.producer);
    for (AppendCallback& done : outstanding.callbacks) {
      answers_.add([done = std::move(done), outcome] { done(outcome); });
    }
  }
}

// Their ids were never told to anybody and are given again.
void LogPartition::fail_outstanding(const Status& status) {
  ++epoch_;
  assign_id_ = next_id_;
  std::deque<Outstanding> failed;
  failed.swap(outstanding_);
  answers_.note_commit();
  for (Outstanding& outstanding : failed) {
    sequences_.fail(outstanding.producer);
    for (AppendCallback& done : outstanding.callbacks) {
      answers_.add([done = std::move(done), error = status.error()] { done(error); });
    }
  }
}

void LogPartition::read(EventId id, ReadCallback done) {
  if (id < first_id_ || id >= next_id_) {
    done(id_out_of_range(id, first_id(), next_id_));
    return;
  }
  if (cached(id)) {
    done(*find_batch(cache_, id));
    return;
  }
  read_back_.read(id, std::move(done));
}

void LogPartition::read_ahead(EventId id) {
  if (id >= first_id_ && id < next_id_ && !cached(id)) read_back_.ahead(id);
}

void LogPartition::read_log(EventId id, ReadCallback done) {
  DIASPORA_CHECK(id < settled_id_);
  auto shared_done = std::make_shared<ReadCallback>(std::move(done));
  log_->read(id, [owner = owner_, alive = answers_.alive(), shared_done](Result<log::StoredRecord> read) {
    owner->post([alive, shared_done, read = std::move(read)] {
      if (*alive) (*shared_done)(to_stored_batch(read));
    });
  });
}

// What is in memory is the newest; the log is asked for what is older, which all is synced.
void LogPartition::find_time(int64_t timestamp_ns, IdCallback done) {
  const EventId memory_begin = cache_.empty() ? next_id_ : cache_.front().base_id;
  const bool in_memory = !cache_.empty() && cache_.front().timestamp_ns < timestamp_ns;
  if (in_memory || memory_begin <= first_id_) return done(find_batch_of_time(cache_, timestamp_ns, next_id_));
  DIASPORA_CHECK(memory_begin <= settled_id_);
  auto shared_done = std::make_shared<IdCallback>(std::move(done));
  log_->find_time(timestamp_ns, memory_begin,
                  [owner = owner_, alive = answers_.alive(), shared_done](const Result<EventId>& found) {
                    owner->post([alive, shared_done, found] {
                      if (*alive) (*shared_done)(found);
                    });
                  });
}

void LogPartition::acknowledge(const std::string& consumer, EventId id, StatusCallback done) {
  Status status = cursors_.check_name(consumer);
  if (status.ok() && id >= next_id_) status = id_out_of_range(id, first_id(), next_id_);
  const EventId next_id(id.value + 1);
  const std::optional<EventId> known = cursor(consumer);
  if (!status || (known && *known >= next_id)) {
    answers_.add([done = std::move(done), status = std::move(status)] { done(status); });
    return;
  }
  cursors_.admit(consumer);
  cursor_store_->change({consumer, {.next_id = next_id}, std::move(done)});
}

void LogPartition::change_consumer(const std::string& consumer, const ConsumerChange& change, StatusCallback done) {
  Status status = cursors_.check_name(consumer);
  if (status.ok() && change.next_id > next_id_) status = id_out_of_range(*change.next_id, first_id(), next_id_);
  if (!status) {
    answers_.add([done = std::move(done), status = std::move(status)] { done(status); });
    return;
  }
  cursors_.admit(consumer);
  cursor_store_->change({consumer, change, std::move(done)});
}

void LogPartition::on_cursors_written(std::vector<CursorUpdate> updates, const Status& status) {
  for (CursorUpdate& update : updates) {
    if (status) cursors_.apply(update.consumer, update.change);
    answers_.add([done = std::move(update.done), status] { done(status); });
  }
  answers_.drain();
}

size_t LogPartition::release_cache(size_t bytes) {
  const size_t read_back = read_back_.release();
  const size_t before = cache_bytes_;
  while (read_back + before - cache_bytes_ < bytes && drop_oldest_cached()) {
  }
  return read_back + before - cache_bytes_;
}

void LogPartition::trim_cache() {
  while (cache_bytes_ > options_.cache_bytes_max && drop_oldest_cached()) {
  }
}

// False when there is none, or the oldest is not surely on disk.
bool LogPartition::drop_oldest_cached() {
  if (cache_.empty()) return false;
  const StoredBatch& oldest = cache_.front();
  if (oldest.base_id.value + oldest.shape.event_count > settled_id_.value) return false;
  cache_bytes_ -= oldest.buffer->size();
  cache_.pop_front();
  return true;
}

void LogPartition::close(StatusCallback done) {
  // Log first, cursors after it: the owner hears both, and what they reported before.
  auto finish = [owner = owner_, alive = answers_.alive(), done = std::move(done)](const Status& status) {
    owner->post([alive, done, status] {
      if (*alive) done(status);
    });
  };
  log_->close([store = cursor_store_.get(), finish = std::move(finish)](const Status& log_status) {
    store->close([finish, log_status](const Status& status) { finish(log_status.ok() ? status : log_status); });
  });
}

}  // namespace diaspora::partition
