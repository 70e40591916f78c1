#include "client/subscription.h"

#include <algorithm>
#include <utility>

#include "base/crc32c.h"

namespace diaspora::client {

namespace {

using Kind = wire::Placement::Kind;

// Four, so that the server always has one to go on with while the consumer empties others; metadata alone rarely needs
// any.
constexpr size_t kWindows = 4;
constexpr size_t kMetadataWindows = 2;

// How often the same events may fail their checksums before they count as corrupt.
constexpr uint32_t kCorruptMax = 3;

std::unique_ptr<WindowSet> make_windows(const Subscription::Options& options,
                                        const std::shared_ptr<ClientCounters>& counters) {
  if (!options.full_data) {
    return std::make_unique<WindowSet>(kMetadataWindows, WindowSet::kWindowBytesMin, counters);
  }
  const uint64_t bytes = std::clamp<uint64_t>(options.window_bytes / kWindows, WindowSet::kWindowBytesMin,
                                              WindowSet::kPoolBytesMax / (2 * kWindows));
  return std::make_unique<WindowSet>(kWindows, align_up(bytes, BufferPool::kPageBytes), counters);
}

Error gap(PartitionIndex partition, EventId expected, EventId got) {
  return {ErrorCode::k_PROTOCOL, "partition " + std::to_string(partition.value) + " skipped from event " +
                                     std::to_string(expected.value) + " to " + std::to_string(got.value)};
}

}  // namespace

Subscription::Subscription(const SubscriptionLine& line, Options options, Owner* owner)
    : line_(line),
      options_(std::move(options)),
      owner_(owner),
      windows_(make_windows(options_, line.counters)),
      alive_(std::make_shared<bool>(true)) {
  for (const wire::SubscribeFrame::Start& start : options_.starts) {
    partitions_[start.partition.value].start = start.position;
    partitions_[start.partition.value].token = start.token;
    partitions_[start.partition.value].start_kind = start.kind;
  }
}

Subscription::~Subscription() {
  *alive_ = false;
  if (refill_timer_ != 0) line_.reactor->cancel(refill_timer_);
  line_.fetches->cancel(this);
}

void Subscription::on_up() {
  if (over_) return;
  wire::SubscribeFrame frame;
  frame.subscription = options_.id;
  frame.topic = options_.topic;
  frame.consumer = options_.consumer;
  frame.full_data = options_.full_data;
  frame.oldest_if_dropped = options_.oldest_if_dropped;
  frame.batch_events = options_.batch_events;
  frame.starts = wanted();
  if (frame.starts.empty()) return;
  for (auto& [index, progress] : partitions_) progress.next_arrival = progress.next_handed_over;
  asked_ = true;
  line_.requests->add_for_session([&](uint64_t id) { return wire::make_subscribe(id, frame); },
                                  [this, alive = alive_](const Result<std::span<const uint8_t>>& reply) {
                                    if (*alive && !over_) accepted(reply);
                                  });
}

// Where it begins is asked for once: 'the end' would be another place after a reconnection.
void Subscription::accepted(const Result<std::span<const uint8_t>>& reply) {
  if (!reply) {
    over_ = true;
    return owner_->subscribed(this, reply.status());
  }
  const auto starts = wire::decode_subscribe_reply(reply.value());
  if (!starts) return line_.connection->drop(starts.error());
  for (const wire::SubscribeFrame::Start& start : starts.value()) {
    const auto found = partitions_.find(start.partition.value);
    if (found == partitions_.end()) continue;
    Progress& progress = found->second;
    const EventId position(start.position);
    const EventId expected = progress.next_arrival.value_or(position);
    // What came next was dropped while the connection was down.
    const bool skipped = options_.oldest_if_dropped && position > expected;
    if (position != expected && !skipped) return line_.connection->drop(gap(start.partition, expected, position));
    progress.start = start.position;
    progress.start_kind = wire::StartKind::kPosition;
    if (skipped) progress.next_arrival = position;
  }
  active_ = true;
  send_credit();
  owner_->subscribed(this, {});
}

void Subscription::on_down() {
  asked_ = false;
  active_ = false;
  windows_wanted_ = false;
  granted_ = 0;
  arrived_.clear();
  windows_->reset();
  line_.fetches->cancel(this);
}

void Subscription::fail_all(const Error& error) {
  if (std::exchange(over_, true)) return;
  owner_->subscribed(this, error);
}

std::unique_ptr<WindowSet> Subscription::end(std::function<void()> stopped) {
  over_ = true;
  if (asked_) {
    line_.requests->add_for_session(
        [&](uint64_t id) { return wire::make_unsubscribe(id, {options_.id, std::nullopt}); },
        [stopped = std::move(stopped)](const Result<std::span<const uint8_t>>& /*reply*/) { stopped(); });
  } else {
    windows_.reset();  // none was granted
  }
  return std::move(windows_);
}

bool Subscription::remove(PartitionIndex partition) {
  const auto found = partitions_.find(partition.value);
  if (found != partitions_.end() && !std::exchange(found->second.failed, true) && asked_ && !over_) {
    line_.requests->add_for_session([&](uint64_t id) { return wire::make_unsubscribe(id, {options_.id, partition}); },
                                    [](const Result<std::span<const uint8_t>>& /*reply*/) {});
  }
  return std::any_of(partitions_.begin(), partitions_.end(), [](const auto& entry) { return !entry.second.failed; });
}

std::vector<wire::SubscribeFrame::Start> Subscription::wanted() const {
  std::vector<wire::SubscribeFrame::Start> starts;
  for (const auto& [index, progress] : partitions_) {
    if (progress.failed || progress.ended) continue;
    const bool is_start = !progress.next_handed_over;
    starts.push_back({PartitionIndex(index), is_start ? progress.start : progress.next_handed_over->value,
                      progress.token, is_start ? progress.start_kind : wire::StartKind::kPosition});
  }
  return starts;
}

void Subscription::note_taken(uint32_t window) {
  --untaken_;
  if (window != 0 && windows_ != nullptr) windows_->note_taken(window);
}

// Tells the server what it may send: as many deliveries as are not waiting here, and new windows.
void Subscription::send_credit() {
  if (!active_ || over_ || !line_.connection->is_up()) return;
  wire::CreditMessage credit;
  credit.subscription = options_.id;
  const auto waiting = static_cast<uint32_t>(arrived_.size()) + untaken_ + granted_;
  credit.deliveries = options_.deliveries_ahead > waiting ? options_.deliveries_ahead - waiting : 0;
  if (windows_wanted_) {
    auto windows = windows_->refill(line_.connection->domain());
    // A limit on memory is met again after a new connection: the consumer is to hear of it.
    if (!windows && windows.error().code == ErrorCode::k_RESOURCE_EXHAUSTED) return fail_all(windows.error());
    if (!windows) return line_.connection->drop({ErrorCode::k_FABRIC, windows.error().message});
    credit.windows = windows.take();
    if (windows_->complete()) {
      refill_ms_ = kRefillMsMin;
    } else {
      refill_later();
    }
  }
  if (credit.deliveries == 0 && credit.windows.empty()) return;
  granted_ += credit.deliveries;
  std::vector<uint8_t> encoded;
  wire::encode(credit, &encoded);
  line_.connection->send(encoded);
}

// The pool is empty: its memory comes back when other consumers let go, which nothing announces.
void Subscription::refill_later() {
  if (refill_timer_ != 0) return;
  refill_timer_ = line_.reactor->call_after_ms(refill_ms_, [this] {
    refill_timer_ = 0;
    refill_ms_ = std::min(2 * refill_ms_, kRefillMsMax);
    send_credit();
  });
}

Status Subscription::on_delivery(const wire::DeliveryMessage& message, std::span<const uint8_t> body) {
  if (over_) return {};
  const auto found = partitions_.find(message.partition.value);
  if (!active_ || found == partitions_.end() || granted_ == 0) {
    return {ErrorCode::k_PROTOCOL, "a delivery that was not asked for"};
  }
  --granted_;
  for (const uint32_t window : message.retired_windows) {
    if (!windows_->retire(window)) return {ErrorCode::k_PROTOCOL, "a delivery retires a window that does not exist"};
  }
  Progress& progress = found->second;
  if (progress.failed) {
    send_credit();
    return {};
  }
  if (progress.next_arrival && *progress.next_arrival != message.first_id) {
    return gap(message.partition, *progress.next_arrival, message.first_id);
  }
  Arrived arrived;
  arrived.serial = next_serial_++;
  arrived.delivery.partition = message.partition;
  arrived.delivery.first_id = message.first_id;
  arrived.delivery.shape = message.shape;
  Status status = place_head(message, body, &arrived);
  if (status) status = place_data(message, body, &arrived);
  if (status) status = verify(message, arrived);
  if (status && message.shape.compressed) status = expand(&arrived);
  if (!status) return status;
  if (arrived.window != 0) windows_->note_delivery(arrived.window);
  progress.next_arrival = EventId(message.first_id.value + message.shape.event_count);
  arrived_.push_back(std::move(arrived));
  if (!arrived_.back().ready) fetch_data(&arrived_.back());
  hand_over();
  if (!message.retired_windows.empty()) send_credit();
  return {};
}

Status Subscription::place(const wire::Placement& placement, uint64_t bytes, Arrived* arrived,
                           std::span<const uint8_t>* view, std::shared_ptr<void>* owner) {
  const WindowSet::Place place = windows_->find(placement.window_id, placement.offset, bytes);
  if (place.owner == nullptr) return {ErrorCode::k_PROTOCOL, "a delivery lies outside its window"};
  // Head and data of one delivery go to one window (the server fills the front one).
  if (arrived->window != 0 && arrived->window != placement.window_id) {
    return {ErrorCode::k_PROTOCOL, "a delivery lies in two windows"};
  }
  arrived->window = placement.window_id;
  *view = place.bytes;
  *owner = place.owner;
  return {};
}

// Inline bytes are copied out of the receive buffer, head and data in one piece of memory.
Status Subscription::place_head(const wire::DeliveryMessage& message, std::span<const uint8_t> body, Arrived* arrived) {
  Delivery& delivery = arrived->delivery;
  const uint64_t head_bytes = message.shape.head_bytes();
  if (message.head.kind == Kind::kWindow) {
    return place(message.head, head_bytes, arrived, &delivery.head, &delivery.head_owner);
  }
  const bool data_inline = message.data.kind == Kind::kInline;
  const uint64_t bytes = data_inline ? message.shape.data_offset() + message.shape.data_bytes : head_bytes;
  const std::shared_ptr<uint8_t[]> memory(new uint8_t[bytes]);
  std::memcpy(memory.get(), body.data(), head_bytes);
  delivery.head = {memory.get(), head_bytes};
  delivery.head_owner = memory;
  if (!data_inline) return {};
  uint8_t* const data = memory.get() + message.shape.data_offset();
  std::memcpy(data, body.data() + head_bytes, message.shape.data_bytes);
  increase(&line_.counters->data_bytes_copied, message.shape.data_bytes);
  delivery.data = {data, message.shape.data_bytes};
  delivery.data_owner = memory;
  return {};
}

Status Subscription::place_data(const wire::DeliveryMessage& message, std::span<const uint8_t> body, Arrived* arrived) {
  Delivery& delivery = arrived->delivery;
  const uint64_t bytes = message.shape.data_bytes;
  if (options_.full_data != (message.data.kind != Kind::kNone) && bytes > 0) {
    return {ErrorCode::k_PROTOCOL, options_.full_data ? "a delivery without its data" : "data that was not asked for"};
  }
  switch (message.data.kind) {
    case Kind::kNone:
      return {};
    case Kind::kWindow:
      increase(&line_.counters->data_bytes_by_rma, bytes);
      return place(message.data, bytes, arrived, &delivery.data, &delivery.data_owner);
    case Kind::kInline: {
      if (delivery.data_owner != nullptr) return {};  // beside the inline head
      const std::shared_ptr<uint8_t[]> memory(new uint8_t[bytes]);
      std::memcpy(memory.get(), body.data(), bytes);
      increase(&line_.counters->data_bytes_copied, bytes);
      delivery.data = {memory.get(), bytes};
      delivery.data_owner = memory;
      return {};
    }
    case Kind::kDeferred:
      arrived->ready = false;
      return {};
  }
  return {ErrorCode::k_PROTOCOL, "unknown placement"};
}

Status Subscription::verify(const wire::DeliveryMessage& message, const Arrived& arrived) {
  const Delivery& delivery = arrived.delivery;
  const Status head = wire::validate_head(message.shape, delivery.head, message.head_crc);
  if (!head) return corrupt(message.partition, message.first_id, head.error());
  if (delivery.data.empty()) return {};
  for (uint32_t i = 0; i < message.shape.event_count; ++i) {
    const wire::EventExtent extent = wire::event_extent(delivery.head, i);
    if (extent.data_bytes == 0) continue;
    if (crc32c(delivery.data.subspan(extent.data_offset, extent.data_bytes)) == extent.data_crc) continue;
    return corrupt(message.partition, message.first_id,
                   {ErrorCode::k_CORRUPT_DATA, "the data of event " + std::to_string(message.first_id.value + i) +
                                                   " of partition " + std::to_string(message.partition.value) +
                                                   " does not match its checksum"});
  }
  return {};
}

// The connection is dropped and the events asked for again; when that does not help, the partition has failed.
Status Subscription::corrupt(PartitionIndex partition, EventId first_id, const Error& error) {
  const std::pair<uint32_t, uint64_t> here{partition.value, first_id.value};
  corrupt_count_ = here == corrupt_place_ ? corrupt_count_ + 1 : 1;
  corrupt_place_ = here;
  if (corrupt_count_ >= kCorruptMax) fail_partition(partition, {ErrorCode::k_CORRUPT_DATA, error.message});
  return {ErrorCode::k_CONNECTION_LOST, error.message};
}

// The metadata as it was before it was compressed.
Status Subscription::expand(Arrived* arrived) {
  Delivery& delivery = arrived->delivery;
  const uint32_t metadata_bytes = wire::expanded_metadata_bytes(delivery.shape, delivery.head);
  const uint64_t bytes = delivery.shape.table_bytes() + metadata_bytes;
  const std::shared_ptr<uint8_t[]> memory(new uint8_t[bytes]);
  const Status expanded = wire::expand_head(delivery.shape, delivery.head, {memory.get(), bytes});
  if (!expanded) {
    fail_partition(delivery.partition, expanded.error());
    return {};
  }
  delivery.head = {memory.get(), bytes};
  delivery.head_owner = memory;
  delivery.shape.metadata_bytes = metadata_bytes;
  delivery.shape.compressed = false;
  return {};
}

void Subscription::fetch_data(Arrived* arrived) {
  const uint64_t bytes = arrived->delivery.shape.data_bytes;
  const std::shared_ptr<uint8_t[]> memory(new uint8_t[bytes]);
  arrived->delivery.data = {memory.get(), bytes};
  arrived->delivery.data_owner = memory;
  auto job = std::make_unique<FetchJob>(line_.counters.get());
  job->owner = this;
  job->topic = options_.topic;
  job->partition = arrived->delivery.partition;
  job->event = arrived->delivery.first_id;
  job->pieces.push_back({0, {memory.get(), bytes}});
  job->hold = memory;
  job->done = [this, alive = alive_, serial = arrived->serial](const Status& status) {
    if (*alive) data_fetched(serial, status);
  };
  line_.fetches->add(std::move(job));
}

void Subscription::data_fetched(uint64_t serial, const Status& status) {
  const auto found =
      std::find_if(arrived_.begin(), arrived_.end(), [&](const Arrived& arrived) { return arrived.serial == serial; });
  if (found == arrived_.end()) return;  // of a connection that was lost
  found->ready = true;
  if (!status) {
    fail_partition(found->delivery.partition, status.error());
  } else if (crc32c(found->delivery.data) != wire::event_extent(found->delivery.head, 0).data_crc) {
    const Status dropped = corrupt(found->delivery.partition, found->delivery.first_id,
                                   {ErrorCode::k_CORRUPT_DATA, "fetched data does not match its checksum"});
    return line_.connection->drop(dropped.error());
  }
  hand_over();
}

void Subscription::hand_over() {
  while (!arrived_.empty() && arrived_.front().ready && !over_) {
    Arrived arrived = std::move(arrived_.front());
    arrived_.pop_front();
    Progress& progress = partitions_[arrived.delivery.partition.value];
    if (arrived.is_end) {
      if (!progress.failed && !std::exchange(progress.ended, true)) owner_->partition_ended(arrived.delivery.partition);
      continue;
    }
    if (arrived.failure.code != ErrorCode::kOk) {
      fail_partition(arrived.delivery.partition, arrived.failure);
      continue;
    }
    ++untaken_;
    if (progress.failed) {
      note_taken(arrived.window);
      continue;
    }
    progress.next_handed_over = EventId(arrived.delivery.first_id.value + arrived.delivery.shape.event_count);
    increase(&line_.counters->events_consumed, arrived.delivery.shape.event_count);
    if (arrived.delivery.data_owner != nullptr) increase(&line_.counters->data_bytes, arrived.delivery.data.size());
    owner_->delivered(this, std::move(arrived.delivery), arrived.window);
  }
}

// Waits like the end of a partition.
void Subscription::on_error(const wire::SubscriptionErrorMessage& message) {
  if (over_ || partitions_.find(message.partition.value) == partitions_.end()) return;
  Arrived error;
  error.delivery.partition = message.partition;
  error.failure = {message.code, message.detail};
  arrived_.push_back(std::move(error));
  hand_over();
}

void Subscription::on_windows_wanted() {
  windows_wanted_ = true;
  send_credit();
}

// Waits for the deliveries before it, whose data may still be on its way.
Status Subscription::on_partition_end(const wire::PartitionEndMessage& message) {
  if (over_) return {};
  const auto found = partitions_.find(message.partition.value);
  if (!active_ || found == partitions_.end()) return {ErrorCode::k_PROTOCOL, "the end of what was not asked for"};
  const Progress& progress = found->second;
  const EventId expected = progress.next_arrival.value_or(EventId(progress.start));
  if (!progress.failed && message.next_id != expected) return gap(message.partition, expected, message.next_id);
  Arrived end;
  end.delivery.partition = message.partition;
  end.is_end = true;
  arrived_.push_back(std::move(end));
  hand_over();
  return {};
}

Status Subscription::on_partition_skip(const wire::PartitionSkipMessage& message) {
  if (over_) return {};
  const auto found = partitions_.find(message.partition.value);
  if (!active_ || found == partitions_.end() || !options_.oldest_if_dropped) {
    return {ErrorCode::k_PROTOCOL, "a skip that was not allowed"};
  }
  Progress& progress = found->second;
  const EventId expected = progress.next_arrival.value_or(EventId(progress.start));
  if (!progress.failed && message.from != expected) return gap(message.partition, expected, message.from);
  progress.next_arrival = message.to;
  return {};
}

void Subscription::fail_partition(PartitionIndex partition, const Error& error) {
  Progress& progress = partitions_[partition.value];
  // What becomes of a partition behind its end is nobody's concern.
  if (progress.ended || std::exchange(progress.failed, true)) return;
  owner_->partition_failed(partition, error);
}

}  // namespace diaspora::client
