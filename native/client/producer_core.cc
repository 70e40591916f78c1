#include "client/producer_core.h"

#include <algorithm>
#include <utility>

#include "base/limits.h"

namespace diaspora::client {

namespace {

// Emptied batches kept for reuse: as many as a connection has in flight.
constexpr size_t kSparesMax = 16;

BatchBuilder::Limits limits_of(const Producer::Options& options, uint32_t zero_copy_threshold) {
  BatchBuilder::Limits limits;
  limits.zero_copy_threshold = std::max<uint32_t>(zero_copy_threshold, 1);
  if (options.batch_events == 0) {
    limits.events_max = kBatchEventsMax;
    limits.head_bytes_max = ProducerCore::kAdaptiveHeadBytesMax;
    limits.data_bytes_max = ProducerCore::kAdaptiveDataBytesMax;
    limits.gathered_bytes_max = ProducerCore::kAdaptiveGatheredBytes;
  } else {
    limits.events_max = std::min(options.batch_events, kBatchEventsMax);
    limits.head_bytes_max = ProducerCore::kFixedHeadBytes;
    limits.data_bytes_max = ProducerCore::kFixedDataBytes;
    limits.gathered_bytes_max = ProducerCore::kFixedDataBytes;
  }
  return limits;
}

const Error kAborted{ErrorCode::k_ABORTED, "the producer or its driver is closed"};

uint64_t load(const std::atomic<uint64_t>& value) { return value.load(std::memory_order_acquire); }

// Written by one thread only.
void advance(std::atomic<uint64_t>* value, uint64_t amount) {
  value->store(value->load(std::memory_order_relaxed) + amount, std::memory_order_release);
}

}  // namespace

ProducerCore::ProducerCore(Shared shared, Options options) : shared_(std::move(shared)), options_(std::move(options)) {
  const BatchBuilder::Limits limits = limits_of(options_, shared_.zero_copy_threshold);
  for (uint32_t i = 0; i < options_.server_of_partition.size(); ++i) {
    partitions_.push_back(std::make_unique<Partition>(limits, shared_.counters.get()));
    BatchLane& lane = partitions_.back()->lane;
    lane.owner = this;
    lane.counters = shared_.counters.get();
    lane.topic = options_.topic;
    lane.partition = PartitionIndex(i);
  }
}

// --- pushing thread ---

uint8_t* ProducerCore::reserve(PartitionIndex partition, size_t metadata_bytes_max, ErrorCode* error) {
  *error = ErrorCode::kOk;
  if (destroyed_) *error = ErrorCode::k_INVALID_STATE;
  if (partition.value >= partitions_.size()) *error = ErrorCode::k_INVALID_PARTITION;
  if (metadata_bytes_max > kReserveBytesMax) *error = ErrorCode::k_EVENT_TOO_LARGE;
  if (*error != ErrorCode::kOk) return nullptr;
  return partitions_[partition.value]->builder.reserve(metadata_bytes_max);
}

ErrorCode ProducerCore::check(PartitionIndex partition, const BatchBuilder::Event& event) const {
  if (destroyed_) return ErrorCode::k_INVALID_STATE;
  if (partition.value >= partitions_.size()) return ErrorCode::k_INVALID_PARTITION;
  if (event.metadata_bytes > kEventMetadataBytesMax || event.data_bytes > kBatchBytesMax) {
    return ErrorCode::k_EVENT_TOO_LARGE;
  }
  const wire::BodyShape alone{1, static_cast<uint32_t>(event.metadata_bytes), event.data_bytes};
  if (alone.body_bytes() > kBatchBytesMax) return ErrorCode::k_EVENT_TOO_LARGE;
  // One event alone is always let through: a limit below its size would otherwise refuse it for ever.
  const uint64_t pending = shared_.counters->pending_bytes.load(std::memory_order_relaxed) + open_bytes_;
  if (pending > 0 && pending + alone.head_bytes() + event.data_bytes > shared_.pending_bytes_max) {
    return ErrorCode::k_QUEUE_FULL;
  }
  return ErrorCode::kOk;
}

Producer::Pushed ProducerCore::commit(PartitionIndex index, size_t metadata_bytes, std::span<DataSegment> data) {
  BatchBuilder::Event event{metadata_bytes, data, 0};
  for (const DataSegment& segment : data) {
    // Checked one by one: the sum must not wrap around.
    if (segment.length > kBatchBytesMax) return {ErrorCode::k_EVENT_TOO_LARGE, 0};
    event.data_bytes += segment.length;
  }
  const ErrorCode refused = check(index, event);
  if (refused != ErrorCode::kOk) return {refused, 0};
  Partition& partition = *partitions_[index.value];
  BatchBuilder& builder = partition.builder;
  if (!builder.empty() && !builder.fits(event)) seal_open(&partition, index.value, metadata_bytes);
  if (builder.empty()) {
    ++partition.begun;
    ++batches_begun_;
  }
  const Pushed pushed{ErrorCode::kOk, builder.event_count()};
  builder.add(event);
  const uint64_t bytes = wire::kEventEntryBytes + metadata_bytes + event.data_bytes;
  ++events_pushed_;
  bytes_pushed_ += bytes;
  partition.open_pending_bytes += bytes;
  open_bytes_ += bytes;
  if (should_seal(partition)) seal_open(&partition, index.value, 0);
  return pushed;
}

bool ProducerCore::should_seal(const Partition& partition) const {
  if (partition.builder.full()) return true;
  if (options_.batch_events > 0) return false;
  const uint64_t in_flight = partition.sealed - load(partition.done);
  if (in_flight == 0) return true;
  const wire::BodyShape& shape = partition.builder.shape();
  const bool worth_it = shape.head_bytes() >= kAdaptiveHeadBytes || shape.data_bytes >= kAdaptiveDataBytes;
  return worth_it && in_flight < options_.max_num_batches;
}

bool ProducerCore::seal(PartitionIndex index) {
  if (destroyed_ || index.value >= partitions_.size()) return false;
  Partition& partition = *partitions_[index.value];
  if (partition.builder.empty()) return false;
  seal_open(&partition, index.value, 0);
  return true;
}

void ProducerCore::seal_open(Partition* partition, uint32_t index, size_t pending_metadata_bytes) {
  if (std::unique_ptr<Batch> spare = take_spare()) partition->builder.recycle(std::move(spare));
  std::unique_ptr<Batch> batch = partition->builder.take(pending_metadata_bytes);
  batch->partition = PartitionIndex(index);
  batch->compression_level = options_.compression_level;
  batch->number = partition->begun;
  batch->pending_bytes = std::exchange(partition->open_pending_bytes, 0);
  open_bytes_ -= batch->pending_bytes;
  increase(&shared_.counters->pending_bytes, batch->pending_bytes);
  ++partition->sealed;
  submit(std::move(batch));
}

std::unique_ptr<Batch> ProducerCore::take_spare() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (spares_.empty()) return nullptr;
  std::unique_ptr<Batch> spare = std::move(spares_.back());
  spares_.pop_back();
  return spare;
}

void ProducerCore::submit(std::unique_ptr<Batch> batch) {
  bool first = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    first = inbox_.empty();
    inbox_.push_back(std::move(batch));
  }
  if (first) shared_.reactor->post([self = shared_from_this()] { self->drain_inbox(); });
}

uint32_t ProducerCore::in_flight(PartitionIndex index) const {
  if (index.value >= partitions_.size()) return 0;
  const Partition& partition = *partitions_[index.value];
  return static_cast<uint32_t>(partition.sealed - load(partition.done));
}

Producer::Pending ProducerCore::pending() const {
  Pending pending;
  pending.events = events_pushed_ - load(events_done_);
  pending.batches = batches_begun_ - load(batches_done_);
  pending.bytes = bytes_pushed_ - load(bytes_done_);
  return pending;
}

void ProducerCore::destroy() {
  if (destroyed_) return;
  for (uint32_t i = 0; i < partitions_.size(); ++i) {
    if (!partitions_[i]->builder.empty()) seal_open(partitions_[i].get(), i, 0);
  }
  destroyed_ = true;
  shared_.reactor->post([self = shared_from_this()] { self->abort(); });
}

// --- progress thread ---

void ProducerCore::attach(const std::vector<BatchSender*>& senders, std::function<void()> released) {
  released_ = std::move(released);
  for (uint32_t i = 0; i < partitions_.size(); ++i) {
    partitions_[i]->sender = senders[options_.server_of_partition[i]];
    partitions_[i]->sender->add_lane(&partitions_[i]->lane);
  }
  attached_ = true;
  drain_inbox();
}

void ProducerCore::drain_inbox() {
  if (!attached_ && !detached_) return;  // attach() will do it
  std::vector<std::unique_ptr<Batch>> batches;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    batches.swap(inbox_);
  }
  for (std::unique_ptr<Batch>& batch : batches) {
    Partition& partition = *partitions_[batch->partition.value];
    if (!detached_) {
      partition.sender->enqueue(&partition.lane, std::move(batch));
      continue;
    }
    batch->status = kAborted;
    batch_finished(std::move(batch));
  }
}

void ProducerCore::batch_finished(std::unique_ptr<Batch> batch) {
  Partition& partition = *partitions_[batch->partition.value];
  const uint32_t events = batch->shape.event_count;
  if (batch->status) {
    increase(&shared_.counters->batches, 1);
    increase(&shared_.counters->events_produced, events);
    increase(&shared_.counters->data_bytes, batch->shape.data_bytes);
  }
  // The caller's memory first: it may be given back to the caller by what follows.
  batch->holds.clear();
  decrease(&shared_.counters->pending_bytes, batch->pending_bytes);
  advance(&events_done_, events);
  advance(&bytes_done_, batch->pending_bytes);
  advance(&batches_done_, 1);
  advance(&partition.done, 1);
  shared_.sink->batch_done(options_.id, batch->partition, batch->number, batch->first_id, batch->status);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (spares_.size() < kSparesMax) spares_.push_back(std::move(batch));
  }
  if (aborted_) release_if_drained();
}

// From a pass of its own: a sender may be at work on a lane.
void ProducerCore::release_if_drained() {
  const bool drained =
      std::all_of(partitions_.begin(), partitions_.end(), [](const auto& p) { return p->lane.queue.empty(); });
  if (!drained || released_ == nullptr) return;
  shared_.reactor->post([self = shared_from_this(), released = std::exchange(released_, nullptr)] {
    self->detach(kAborted);
    released();
  });
}

void ProducerCore::abort() {
  if (detached_ || std::exchange(aborted_, true)) return;
  drain_inbox();
  for (const std::unique_ptr<Partition>& partition : partitions_) partition->sender->abort(&partition->lane);
  release_if_drained();
}

bool ProducerCore::exposes_memory_to(const BatchSender& sender) const {
  return std::any_of(partitions_.begin(), partitions_.end(),
                     [&](const auto& p) { return p->sender == &sender && BatchSender::exposes_memory(p->lane); });
}

void ProducerCore::detach(const Error& error) {
  if (std::exchange(detached_, true)) return;
  for (const std::unique_ptr<Partition>& partition : partitions_) {
    if (partition->sender != nullptr) partition->sender->fail(&partition->lane, error);
  }
  for (const std::unique_ptr<Partition>& partition : partitions_) {
    if (partition->sender != nullptr) partition->sender->remove_lane(&partition->lane);
    partition->sender = nullptr;
  }
  released_ = nullptr;
  drain_inbox();
}

}  // namespace diaspora::client
