#include "server/subscription.h"

#include <algorithm>
#include <utility>

#include "base/crc32c.h"

namespace diaspora::server {

namespace {

// Data of one delivery, more than one event: its consumer checks it while the next is under way, and it is in the cache
// then.
constexpr uint64_t kSliceDataBytes = uint64_t{4} << 20;

// Room for header and fixed part of a delivery with its list of retired windows.
constexpr uint64_t kDeliveryFixedMax = 512;

// Bounds on what one subscription has under way, so that a fast consumer does not fill the link for the others.
constexpr size_t kOutgoingMax = 32;
constexpr uint64_t kRmaBytesMax = uint64_t{8} << 20;

Error out_of_range(const HostedPartition& hosted, EventId next) {
  return {ErrorCode::k_OFFSET_OUT_OF_RANGE,
          "event " + std::to_string(next.value) + " of topic '" + hosted.topic_name + "' partition " +
              std::to_string(hosted.index.value) + " is not kept: the oldest is " +
              std::to_string(hosted.partition->first_id().value) + ", the next will be " +
              std::to_string(hosted.partition->next_id().value)};
}

}  // namespace

// A partition of the subscription and how far it was sent.
struct Subscription::Cursor : partition::CommitObserver, PartitionReader {
  Cursor(Subscription* owner_in, std::shared_ptr<HostedPartition> hosted_in, uint64_t token_in, EventId next_in)
      : owner(owner_in), hosted(std::move(hosted_in)), group_token(token_in), next(next_in) {
    hosted->partition->add_observer(this);
    hosted->readers.push_back(this);
  }
  ~Cursor() override { detach(); }
  void on_commit() override { owner->pump(); }
  const std::string& consumer() const override { return owner->options_.consumer; }
  uint64_t token() const override { return group_token; }
  void fenced() override { owner->fail(this, hosted->check_token(consumer(), group_token).error()); }
  void detach() {
    if (!std::exchange(attached, false)) return;
    if (!hosted->closing) hosted->partition->remove_observer(this);
    std::erase(hosted->readers, this);
  }
  // A consumer that is paused holds no more of a batch that was sent.
  void let_go() {
    current.reset();
    expanded = {};
  }
  bool has_current() const { return current && next.value < current->base_id.value + current->shape.event_count; }

  Subscription* owner;
  std::shared_ptr<HostedPartition> hosted;
  const uint64_t group_token;
  EventId next;
  std::optional<partition::StoredBatch> current;
  std::vector<uint8_t> expanded;  // the head of `current`, where it is compressed and a part of it was sent
  bool reading = false;
  bool attached = true;  // false: failed or dropped
  bool ended = false;    // its consumer was told that nothing follows
};

// Consecutive events of a stored batch: [first, last).
struct Subscription::Slice {
  const partition::StoredBatch* batch = nullptr;
  uint32_t first = 0;
  uint32_t last = 0;
  uint32_t metadata_begin = 0;
  uint32_t metadata_end = 0;
  uint64_t data_begin = 0;
  uint64_t data_end = 0;
  uint64_t largest_data = 0;

  // As it is sent: a part of a compressed batch is expanded.
  uint64_t head_bytes() const {
    if (is_whole()) return batch->shape.head_bytes();
    return uint64_t{last - first} * wire::kEventEntryBytes + (metadata_end - metadata_begin);
  }
  uint64_t data_bytes() const { return data_end - data_begin; }
  bool is_whole() const { return first == 0 && last == batch->shape.event_count; }
  std::span<const uint8_t> stored_head() const { return {batch->body(), batch->shape.head_bytes()}; }
  std::span<const uint8_t> data() const { return {batch->data() + data_begin, data_bytes()}; }

  // Extends the slice by one event if the result still satisfies `allowed`.
  template <typename Allowed>
  bool extend(const Allowed& allowed) {
    const wire::EventExtent extent = wire::event_extent(stored_head(), last);
    Slice longer = *this;
    if (first == last) {
      longer.metadata_begin = extent.metadata_offset;
      longer.data_begin = extent.data_offset;
    }
    ++longer.last;
    longer.metadata_end = extent.metadata_offset + extent.metadata_bytes;
    longer.data_end = extent.data_offset + extent.data_bytes;
    longer.largest_data = std::max(largest_data, extent.data_bytes);
    if (!allowed(longer)) return false;
    *this = longer;
    return true;
  }

  // Table and metadata with ends re-based to this slice. `whole`: the batch's head, expanded.
  std::vector<uint8_t> rebased_head(std::span<const uint8_t> whole) const {
    std::vector<uint8_t> head(head_bytes());
    for (uint32_t i = first; i < last; ++i) {
      wire::EventEntry entry = wire::decode_event_entry(batch->body() + size_t{i} * wire::kEventEntryBytes);
      entry.metadata_end -= metadata_begin;
      entry.data_end -= data_begin;
      wire::encode_event_entry(entry, head.data() + size_t{i - first} * wire::kEventEntryBytes);
    }
    const uint8_t* metadata = whole.data() + batch->shape.table_bytes();
    std::copy(metadata + metadata_begin, metadata + metadata_end,
              head.begin() + static_cast<ptrdiff_t>(uint64_t{last - first} * wire::kEventEntryBytes));
    return head;
  }
};

// A delivery on its way: sent when its writes are complete and everything before it was sent.
struct Subscription::Outgoing {
  std::vector<uint8_t> message;
  std::vector<uint8_t> body;
  size_t writes_left = 0;
  std::vector<BufferRef> buffers;  // what the writes read from
  std::vector<std::shared_ptr<fabric::MemoryRegion>> regions;
};

Subscription::Subscription(Core* core, ServedDomain* domain, session::Link* link, Options options)
    : core_(core), domain_(domain), link_(link), options_(std::move(options)), alive_(std::make_shared<bool>(true)) {}

Subscription::~Subscription() { *alive_ = false; }

Result<EventId> Subscription::add(std::shared_ptr<HostedPartition> hosted, const wire::SubscribeFrame::Start& start) {
  const Status owned = hosted->check_token(options_.consumer, start.token);
  if (!owned) return owned.error();
  const partition::Partition& partition = *hosted->partition;
  const uint64_t position = start.position;
  EventId next(position);
  if (position == wire::kStartAtBeginning) next = partition.first_id();
  if (position == wire::kStartAtEnd) next = partition.next_id();
  if (position == wire::kStartAtCursor) {
    next = partition.cursor(options_.consumer).value_or(partition.first_id());
  }
  if (options_.oldest_if_dropped) next = std::max(next, partition.first_id());
  if (next < partition.first_id() || next > partition.next_id()) return out_of_range(*hosted, next);
  cursors_.push_back(std::make_unique<Cursor>(this, std::move(hosted), start.token, next));
  return next;
}

bool Subscription::remove(PartitionIndex partition) {
  bool any_left = false;
  for (const std::unique_ptr<Cursor>& cursor : cursors_) {
    if (cursor->hosted->index == partition) {
      cursor->detach();
      cursor->let_go();
    }
    any_left = any_left || cursor->attached;
  }
  return any_left;
}

void Subscription::grant(const wire::CreditMessage& credit) {
  granted_ = true;
  deliveries_ += credit.deliveries;
  windows_.insert(windows_.end(), credit.windows.begin(), credit.windows.end());
  pump();
}

void Subscription::drop(const HostedPartition* hosted) {
  for (const std::unique_ptr<Cursor>& cursor : cursors_) {
    if (cursor->hosted.get() != hosted || !cursor->attached) continue;
    fail(cursor.get(), {ErrorCode::k_TOPIC_DELETED, "topic '" + hosted->topic_name + "' was deleted"});
  }
}

void Subscription::fail(Cursor* cursor, const Error& error) {
  cursor->detach();
  cursor->let_go();
  refuse(cursor->hosted->index, error);
}

// Behind the deliveries that wait for their writes: the events in them may not be kept any more.
void Subscription::refuse(PartitionIndex partition, const Error& error) {
  wire::SubscriptionErrorMessage message;
  message.subscription = options_.id;
  message.partition = partition;
  message.code = error.code;
  message.detail = error.message.substr(0, wire::kDetailBytesMax);
  send_in_order(message);
}

// Needs no credit.
template <typename Message>
void Subscription::send_in_order(const Message& message) {
  auto outgoing = std::make_shared<Outgoing>();
  wire::encode(message, &outgoing->message);
  outgoing_.push_back(std::move(outgoing));
  flush_ready();
}

// Each subscription may always have one delivery on its way: only completions of its own make it pump again, so one
// that waited for the link's other traffic alone would wait for ever.
void Subscription::pump() {
  if (pumping_) return;
  pumping_ = true;
  size_t idle = 0;
  while (deliveries_ > 0 && idle < cursors_.size() && outgoing_.size() < kOutgoingMax &&
         (outgoing_.empty() || link_->rma_bytes_in_flight() < kRmaBytesMax)) {
    Cursor* cursor = cursors_[next_cursor_ % cursors_.size()].get();
    ++next_cursor_;
    idle = pump_cursor(cursor) ? 0 : idle + 1;
  }
  for (const std::unique_ptr<Cursor>& cursor : cursors_) end_if_complete(cursor.get());
  pumping_ = false;
}

// Sends one delivery of this partition. False: nothing to send now.
bool Subscription::pump_cursor(Cursor* cursor) {
  if (!cursor->attached || cursor->reading) return false;
  if (!cursor->has_current() && !load(cursor)) return false;
  Slice slice;
  slice.batch = &*cursor->current;
  slice.first = static_cast<uint32_t>(cursor->next.value - cursor->current->base_id.value);
  slice.last = slice.first;
  wire::DeliveryMessage message;
  if (!choose_placement(&slice, &message)) return false;
  return send(cursor, slice, std::move(message));
}

// Behind everything that was sent of the partition. Needs no credit, as there is one a partition; but it must not
// overtake the answer to the subscription, which goes another way.
void Subscription::end_if_complete(Cursor* cursor) {
  if (!cursor->hosted->complete || !granted_ || !cursor->attached || cursor->ended) return;
  const partition::Partition& partition = *cursor->hosted->partition;
  if (partition.has_pending() || cursor->next < partition.next_id()) return;
  cursor->ended = true;
  send_in_order(wire::PartitionEndMessage{options_.id, cursor->hosted->index, cursor->next});
}

// True: cursor->current covers cursor->next.
bool Subscription::load(Cursor* cursor) {
  cursor->let_go();
  if (cursor->next < cursor->hosted->partition->first_id()) skip_dropped(cursor);
  if (!cursor->attached || cursor->next >= cursor->hosted->partition->next_id()) return false;
  cursor->reading = true;
  core_->read(cursor->hosted->topic, cursor->hosted->index, cursor->next,
              [this, alive = alive_, cursor](Result<partition::StoredBatch> batch) {
                if (*alive) loaded(cursor, std::move(batch));
              });
  return cursor->has_current();
}

// The consumer was slower than the retention: it is told, or the partition has failed.
void Subscription::skip_dropped(Cursor* cursor) {
  const HostedPartition& hosted = *cursor->hosted;
  if (!options_.oldest_if_dropped) return fail(cursor, out_of_range(hosted, cursor->next));
  const wire::PartitionSkipMessage message{options_.id, hosted.index, cursor->next, hosted.partition->first_id()};
  cursor->next = message.to;
  send_in_order(message);
}

void Subscription::loaded(Cursor* cursor, Result<partition::StoredBatch> batch) {
  cursor->reading = false;
  if (!cursor->attached) return;
  if (!batch && batch.error().code == ErrorCode::k_RESOURCE_EXHAUSTED) return pump();  // it may wait, so tries again
  // Dropped while it was read: the next pass finds that out.
  if (!batch && cursor->next < cursor->hosted->partition->first_id()) return pump();
  if (!batch) return fail(cursor, batch.error());
  cursor->current = batch.take();
  cursor->hosted->partition->read_ahead(EventId(cursor->current->base_id.value + cursor->current->shape.event_count));
  pump();  // does nothing inside pump() itself
}

// As many events, up to `last`, as are allowed together. A compressed batch is sent whole if it may be: smaller, and
// without work.
template <typename Allowed>
void Subscription::fill(Slice* slice, uint32_t last, const Allowed& allowed) {
  const wire::BodyShape& shape = slice->batch->shape;
  if (shape.compressed && slice->first == 0 && last == shape.event_count) {
    Slice whole = *slice;
    while (whole.last < last) whole.extend([](const Slice&) { return true; });
    if (allowed(whole)) {
      *slice = whole;
      return;
    }
  }
  while (slice->last < last && slice->extend(allowed)) {
  }
}

// Decides how many events go and where. The rest of a batch that fits into a message goes inline; otherwise data goes
// to a window. False: it must wait for a window.
bool Subscription::choose_placement(Slice* slice, wire::DeliveryMessage* message) {
  const uint64_t inline_max = options_.message_bytes - kDeliveryFixedMax;
  uint32_t last = slice->batch->shape.event_count;
  if (options_.batch_events > 0) last = std::min(last, slice->first + options_.batch_events);
  const Slice empty = *slice;
  fill(slice, last, [&](const Slice& s) {
    if (!options_.full_data) return s.head_bytes() <= inline_max;
    return s.head_bytes() + s.data_bytes() <= inline_max && s.largest_data < options_.zero_copy_threshold;
  });
  const bool everything = slice->last == last || (!options_.full_data && slice->last > slice->first);
  if (everything) {
    message->head.kind = wire::Placement::Kind::kInline;
    const bool has_data = options_.full_data && slice->data_bytes() > 0;
    message->data.kind = has_data ? wire::Placement::Kind::kInline : wire::Placement::Kind::kNone;
    return true;
  }
  if (windows_.empty()) {
    want_windows();
    return false;
  }
  const uint64_t window_bytes = windows_.front().memory.bytes;
  const auto in_window = [&](const Slice& s) {
    const bool head_inline = s.head_bytes() <= inline_max;
    const uint64_t data = options_.full_data ? s.data_bytes() : 0;
    return (head_inline ? 0 : align_up(s.head_bytes(), wire::kDataAlignment)) + align_up(data, wire::kDataAlignment);
  };
  const auto fill_up_to = [&](uint64_t room) {
    *slice = empty;
    fill(slice, last, [&](const Slice& s) {
      const bool single = s.last - s.first == 1;
      const bool modest = s.head_bytes() <= inline_max && (!options_.full_data || s.data_bytes() <= kSliceDataBytes);
      return (single || modest) && in_window(s) <= room;
    });
    return slice->last > slice->first;
  };
  bool deferred = false;
  if (!fill_up_to(window_bytes - window_fill_)) {
    // The next one may be smaller. While there is none, whether to wait for it is decided by this one.
    const bool has_next = window_fill_ > 0 && windows_.size() > 1;
    if (!fill_up_to(has_next ? windows_[1].memory.bytes : window_bytes)) {
      // One event larger than a window: its data is left to the client to fetch.
      deferred = true;
      *slice = empty;
      slice->extend([](const Slice&) { return true; });
    }
    const bool head_inline = slice->head_bytes() <= inline_max;
    if ((!deferred || !head_inline) && window_fill_ > 0) {
      if (windows_.size() < 2) return false;
      retired_.push_back(windows_.front().id);
      windows_.pop_front();
      window_fill_ = 0;
    }
  }
  const auto take_window = [&](uint64_t bytes) {
    wire::Placement placement{wire::Placement::Kind::kWindow, windows_.front().id, window_fill_};
    window_fill_ += align_up(bytes, wire::kDataAlignment);
    return placement;
  };
  message->head.kind = wire::Placement::Kind::kInline;
  if (slice->head_bytes() > inline_max) message->head = take_window(slice->head_bytes());
  if (deferred) {
    message->data.kind = wire::Placement::Kind::kDeferred;
  } else if (options_.full_data && slice->data_bytes() > 0) {
    message->data = take_window(slice->data_bytes());
  }
  return true;
}

// False: there is no memory for its head now.
bool Subscription::send(Cursor* cursor, const Slice& slice, wire::DeliveryMessage message) {
  BufferRef head_room;
  if (message.head.kind == wire::Placement::Kind::kWindow && !slice.is_whole()) {
    // Rare (metadata near its limit): through a pool buffer, as a window is written from registered memory only.
    Result<BufferRef> buffer = core_->allocate(slice.head_bytes());
    if (!buffer) {
      window_fill_ = message.head.offset;
      pump_later();
      return false;
    }
    head_room = buffer.take();
  }
  auto outgoing = std::make_shared<Outgoing>();
  outgoing->writes_left = 1;  // this function itself
  const uint32_t count = slice.last - slice.first;
  message.subscription = options_.id;
  message.partition = cursor->hosted->index;
  message.first_id = cursor->next;
  const bool compressed = slice.is_whole() && slice.batch->shape.compressed;
  const uint64_t metadata_bytes = slice.head_bytes() - uint64_t{count} * wire::kEventEntryBytes;
  message.shape = {count, static_cast<uint32_t>(metadata_bytes), slice.data_bytes(), compressed};
  Status placed = place_head(cursor, slice, head_room, outgoing, &message);
  if (placed) placed = place_data(slice, outgoing, message);
  if (!placed) {
    fail(cursor, placed.error());
    return true;
  }
  message.retired_windows = std::exchange(retired_, {});
  if (options_.full_data) core_->counters.data_bytes += slice.data_bytes();
  core_->counters.events_consumed += count;
  wire::encode(message, static_cast<uint32_t>(outgoing->body.size()), &outgoing->message);
  outgoing_.push_back(outgoing);
  cursor->next = EventId(cursor->next.value + count);
  if (!cursor->has_current()) cursor->let_go();
  --deliveries_;
  --outgoing->writes_left;
  flush_ready();
  return true;
}

Status Subscription::place_head(Cursor* cursor, const Slice& slice, const BufferRef& room,
                                const std::shared_ptr<Outgoing>& outgoing, wire::DeliveryMessage* message) {
  const bool is_inline = message->head.kind == wire::Placement::Kind::kInline;
  if (slice.is_whole()) {
    const std::span<const uint8_t> stored = slice.stored_head();
    message->head_crc = slice.batch->head_crc;
    if (!is_inline) return write_to_window(outgoing, message->head, stored, slice.batch->buffer);
    outgoing->body.assign(stored.begin(), stored.end());
    return {};
  }
  const auto whole = expanded_head(cursor);
  if (!whole) return whole.status();
  std::vector<uint8_t> head = slice.rebased_head(whole.value());
  message->head_crc = crc32c(head);
  if (is_inline) {
    outgoing->body = std::move(head);
    return {};
  }
  std::copy(head.begin(), head.end(), room->data());
  return write_to_window(outgoing, message->head, {room->data(), head.size()}, room);
}

Status Subscription::place_data(const Slice& slice, const std::shared_ptr<Outgoing>& outgoing,
                                const wire::DeliveryMessage& message) {
  if (message.data.kind == wire::Placement::Kind::kInline) {
    outgoing->body.insert(outgoing->body.end(), slice.data().begin(), slice.data().end());
    core_->counters.data_bytes_copied += slice.data_bytes();
  } else if (message.data.kind == wire::Placement::Kind::kWindow) {
    const Status written = write_to_window(outgoing, message.data, slice.data(), slice.batch->buffer);
    if (!written) return written;
    core_->counters.data_bytes_by_rma += slice.data_bytes();
  }
  return {};
}

// Nothing announces that there is memory again.
void Subscription::pump_later() {
  if (std::exchange(pumps_later_, true)) return;
  core_->reactor.call_after_ms(kMemoryRetryMs, [this, alive = alive_] {
    if (!*alive) return;
    pumps_later_ = false;
    pump();
  });
}

Result<std::span<const uint8_t>> Subscription::expanded_head(Cursor* cursor) {
  const partition::StoredBatch& batch = *cursor->current;
  const std::span<const uint8_t> head(batch.body(), batch.shape.head_bytes());
  if (!batch.shape.compressed) return head;
  if (cursor->expanded.empty()) {
    cursor->expanded.resize(batch.shape.table_bytes() + wire::expanded_metadata_bytes(batch.shape, head));
    const Status expanded = wire::expand_head(batch.shape, head, cursor->expanded);
    if (!expanded) return expanded.error();
  }
  return std::span<const uint8_t>(cursor->expanded);
}

Status Subscription::write_to_window(const std::shared_ptr<Outgoing>& outgoing, const wire::Placement& placement,
                                     std::span<const uint8_t> bytes, const BufferRef& buffer) {
  const auto window = std::find_if(windows_.begin(), windows_.end(),
                                   [&](const wire::Window& w) { return w.id == placement.window_id; });
  DIASPORA_CHECK(window != windows_.end());
  std::shared_ptr<fabric::MemoryRegion> temporary;
  const auto region = domain_->regions.region_of(*buffer, &temporary);
  if (!region) return region.status();
  outgoing->buffers.push_back(buffer);
  if (temporary != nullptr) outgoing->regions.push_back(std::move(temporary));
  ++outgoing->writes_left;
  link_->write(region.value(), bytes, window->memory.address + placement.offset, window->memory.key,
               [this, alive = alive_, outgoing](const Error& error) {
                 if (!*alive || error.code != ErrorCode::kOk) return;  // the link has failed: the session ends
                 --outgoing->writes_left;
                 flush_ready();
                 pump();
               });
  return {};
}

void Subscription::want_windows() {
  if (std::exchange(windows_wanted_, true)) return;
  wire::encode(wire::WindowsWantedMessage{options_.id}, &encoded_);
  link_->send(encoded_);
}

void Subscription::flush_ready() {
  while (!outgoing_.empty() && outgoing_.front()->writes_left == 0) {
    const std::shared_ptr<Outgoing> outgoing = std::move(outgoing_.front());
    outgoing_.pop_front();
    link_->send(outgoing->message, outgoing->body);
  }
}

}  // namespace diaspora::server
