#include "partition/memory_partition.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "partition/batch_search.h"

namespace diaspora::partition {

std::unique_ptr<Partition> make_memory_partition(Executor* owner, const MemoryPartitionOptions& options) {
  return std::make_unique<MemoryPartition>(owner, options);
}

MemoryPartition::MemoryPartition(Executor* owner, const MemoryPartitionOptions& options)
    : options_(options), answers_(owner) {}

void MemoryPartition::append(AppendRequest request, AppendCallback done) {
  answers_.add([done = std::move(done), outcome = store(std::move(request))] { done(outcome); });
}

Result<AppendOutcome> MemoryPartition::store(AppendRequest request) {
  const Admission admission = sequences_.admit(request.producer);
  if (admission.kind == Admission::Kind::kDuplicate) return admission.outcome;
  if (admission.kind == Admission::Kind::kRefused) return admission.error;
  DIASPORA_CHECK(request.shape.event_count > 0);
  DIASPORA_CHECK(request.buffer->size() >= kRecordHeaderBytes + request.shape.body_bytes());
  const Status room = make_room(request.buffer->size());
  if (!room) return room;

  StoredBatch batch;
  batch.buffer = std::move(request.buffer);
  batch.shape = request.shape;
  batch.head_crc = request.head_crc;
  batch.base_id = next_id_;
  newest_ns_ = std::max(newest_ns_, options_.clock_ns());
  batch.timestamp_ns = newest_ns_;
  sequences_.begin(request.producer);
  sequences_.finish(request.producer, batch.base_id, batch.shape.event_count);
  bytes_held_ += batch.buffer->size();
  next_id_.value += batch.shape.event_count;
  answers_.note_commit();
  const AppendOutcome outcome{batch.base_id, batch.shape.event_count, false};
  batches_.push_back(std::move(batch));
  return outcome;
}

// What a refused batch would have dropped stays.
Status MemoryPartition::make_room(uint64_t bytes) {
  const uint64_t retained_max =
      options_.retention.bytes > 0 ? options_.retention.bytes : std::numeric_limits<uint64_t>::max();
  const uint64_t kept_max = options_.drop_oldest ? std::min(retained_max, options_.bytes_max) : retained_max;
  const bool drops_enough = kept_max <= options_.bytes_max;
  if (bytes > options_.bytes_max || (!drops_enough && bytes_held_ + bytes > options_.bytes_max)) {
    return {ErrorCode::k_NO_SPACE,
            "the memory partition is at its bound of " + std::to_string(options_.bytes_max) + " bytes"};
  }
  while (!batches_.empty() && bytes_held_ + bytes > kept_max) drop_oldest();
  return {};
}

void MemoryPartition::drop_oldest() {
  bytes_held_ -= batches_.front().buffer->size();
  first_id_.value += batches_.front().shape.event_count;
  batches_.pop_front();
}

void MemoryPartition::retain() {
  if (options_.retention.age_ms == 0) return;
  const int64_t oldest_ns = options_.clock_ns() - static_cast<int64_t>(options_.retention.age_ms) * 1'000'000;
  while (!batches_.empty() && batches_.front().timestamp_ns < oldest_ns) drop_oldest();
}

void MemoryPartition::read(EventId id, ReadCallback done) {
  if (id < first_id_ || id >= next_id_) {
    done(id_out_of_range(id, first_id_, next_id_));
    return;
  }
  done(*find_batch(batches_, id));
}

void MemoryPartition::find_time(int64_t timestamp_ns, IdCallback done) {
  done(find_batch_of_time(batches_, timestamp_ns, next_id_));
}

void MemoryPartition::acknowledge(const std::string& consumer, EventId id, StatusCallback done) {
  Status status = cursors_.check_name(consumer);
  if (status.ok() && id >= next_id_) status = id_out_of_range(id, first_id_, next_id_);
  if (status.ok()) cursors_.apply(consumer, {.next_id = EventId(id.value + 1)});
  answers_.add([done = std::move(done), status = std::move(status)] { done(status); });
}

void MemoryPartition::change_consumer(const std::string& consumer, const ConsumerChange& change, StatusCallback done) {
  Status status = cursors_.check_name(consumer);
  if (status.ok() && change.next_id > next_id_) status = id_out_of_range(*change.next_id, first_id_, next_id_);
  if (status.ok()) cursors_.apply(consumer, change);
  answers_.add([done = std::move(done), status = std::move(status)] { done(status); });
}

void MemoryPartition::close(StatusCallback done) {
  answers_.add([done = std::move(done)] { done({}); });
}

}  // namespace diaspora::partition
