#include "partition/memory_partition.h"

#include <algorithm>

#include "base/clock.h"
#include "partition/batch_search.h"

namespace diaspora::partition {

std::unique_ptr<Partition> make_memory_partition(Executor* owner, const MemoryPartitionOptions& options) {
  return std::make_unique<MemoryPartition>(owner, options);
}

MemoryPartition::MemoryPartition(Executor* owner, const MemoryPartitionOptions& options)
    : owner_(owner), options_(options) {}

MemoryPartition::~MemoryPartition() { *alive_ = false; }

void MemoryPartition::append(AppendRequest request, AppendCallback done) {
  answer_later([done = std::move(done), outcome = store(std::move(request))] { done(outcome); });
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
  batch.timestamp_ns = wall_clock_ns();
  sequences_.begin(request.producer);
  sequences_.finish(request.producer, batch.base_id, batch.shape.event_count);
  bytes_held_ += batch.buffer->size();
  next_id_.value += batch.shape.event_count;
  moved_ = true;
  const AppendOutcome outcome{batch.base_id, batch.shape.event_count, false};
  batches_.push_back(std::move(batch));
  return outcome;
}

Status MemoryPartition::make_room(uint64_t bytes) {
  if (options_.drop_oldest && bytes <= options_.bytes_max) {
    while (bytes_held_ + bytes > options_.bytes_max) {
      bytes_held_ -= batches_.front().buffer->size();
      first_id_.value += batches_.front().shape.event_count;
      batches_.pop_front();
    }
  }
  if (bytes_held_ + bytes <= options_.bytes_max) return {};
  return {ErrorCode::k_NO_SPACE,
          "the memory partition is at its bound of " + std::to_string(options_.bytes_max) + " bytes"};
}

void MemoryPartition::read(EventId id, ReadCallback done) {
  if (id < first_id_ || id >= next_id_) {
    done(id_out_of_range(id, first_id_, next_id_));
    return;
  }
  done(*find_batch(batches_, id));
}

void MemoryPartition::add_observer(CommitObserver* observer) { observers_.push_back(observer); }

void MemoryPartition::remove_observer(CommitObserver* observer) { std::erase(observers_, observer); }

void MemoryPartition::acknowledge(const std::string& consumer, EventId id, StatusCallback done) {
  Status status = cursors_.check_name(consumer);
  if (status.ok() && id >= next_id_) status = id_out_of_range(id, first_id_, next_id_);
  if (status.ok()) cursors_.advance(consumer, EventId(id.value + 1));
  answer_later([done = std::move(done), status = std::move(status)] { done(status); });
}

void MemoryPartition::close(StatusCallback done) {
  answer_later([done = std::move(done)] { done({}); });
}

void MemoryPartition::answer_later(std::function<void()> answer) {
  answers_.push_back(std::move(answer));
  if (answers_.size() > 1) return;  // a drain is posted already
  owner_->post([this, alive = alive_] {
    if (*alive) drain();
  });
}

// An answer or an observer may append again, or destroy the partition: only locals are used after the first of them.
void MemoryPartition::drain() {
  const std::shared_ptr<bool> alive = alive_;
  std::vector<std::function<void()>> answers;
  answers.swap(answers_);
  const bool moved = std::exchange(moved_, false);
  for (const auto& answer : answers) {
    answer();
  }
  if (!moved || !*alive) return;
  const std::vector<CommitObserver*> observers = observers_;
  for (CommitObserver* observer : observers) {
    if (!*alive) return;
    if (std::find(observers_.begin(), observers_.end(), observer) != observers_.end()) observer->on_commit();
  }
}

}  // namespace diaspora::partition
