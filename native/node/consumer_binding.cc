// consumerOpen and the functions of a NativeConsumer: deliveries out, fetches and acknowledgements in.
//
// Deliveries reach JS as ArrayBuffers over the memory that the server has written: event data is never copied here.
// The functions keep the handle alive; the last one collected destroys it. JS thread only.
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "node/bindings.h"
#include "node/buffers.h"
#include "node/convert.h"
#include "node/handles.h"

namespace diaspora::node {

namespace {

// Smaller heads are copied: below it the finalizer of external memory costs more than the copy. (Never the data.)
constexpr size_t kCopiedHeadBytesMax = 16 * 1024;
// Ranges of one fetch; a strided view of an event may well have thousands.
constexpr size_t kRangesMax = size_t{1} << 20;
constexpr uint64_t kIdMax = uint64_t{1} << 53;
// Times below this are nanoseconds in 63 bits.
constexpr uint64_t kTimeMsMax = (uint64_t{1} << 43) - 1;

struct ConsumerHandle {
  std::shared_ptr<DriverRef> driver;
  std::shared_ptr<client::Consumer> consumer;

  ConsumerHandle() = default;
  ~ConsumerHandle() {
    if (consumer) consumer->destroy();
  }
  ConsumerHandle(const ConsumerHandle&) = delete;
  ConsumerHandle& operator=(const ConsumerHandle&) = delete;
};

template <size_t N>
struct Call : Arguments<N> {
  ConsumerHandle& handle;
  Call(napi_env env, napi_callback_info info)
      : Arguments<N>(env, info), handle(*static_cast<ConsumerHandle*>(this->data)) {}
};

napi_value make_head(napi_env env, const client::Delivery& delivery) {
  if (delivery.head.size() <= kCopiedHeadBytesMax) return make_copied_buffer(env, delivery.head);
  return make_external_buffer(env, delivery.head_owner, delivery.head);
}

napi_value make_delivery(napi_env env, const client::Delivery& delivery, bool full_data) {
  ObjectBuilder builder(env);
  builder.number("partition", delivery.partition.value)
      .number("firstId", static_cast<double>(delivery.first_id.value))
      .number("count", delivery.shape.event_count)
      .set("head", make_head(env, delivery))
      .number("metadataBytes", delivery.shape.metadata_bytes)
      .set("data", full_data ? make_external_buffer(env, delivery.data_owner, delivery.data) : make_undefined(env))
      .number("dataOffset", 0)
      .number("dataBytes", static_cast<double>(delivery.data.size()));
  return builder.result();
}

template <bool kFullData>
napi_value consumer_take(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  const std::optional<client::Delivery> delivery = call.handle.consumer->take();
  if (delivery) return make_delivery(env, *delivery, kFullData);
  return call.handle.consumer->held_back() ? make_null(env) : make_undefined(env);
}

// The fields of fetch(requestId, partition, eventId, ranges, destination).
struct Fetch {
  uint64_t request = 0;
  PartitionIndex partition;
  EventId event;
  std::vector<client::Consumer::Range> ranges;
  std::vector<std::span<uint8_t>> destination;
  std::vector<std::shared_ptr<void>> holds;
  uint64_t range_bytes = 0;
  uint64_t destination_bytes = 0;
};

void read_ranges(napi_env env, Reader& reader, napi_value from, Fetch* fetch) {
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* memory = nullptr;
  if (napi_get_typedarray_info(env, from, &type, &length, &memory, nullptr, nullptr) != napi_ok ||
      type != napi_float64_array || length % 2 != 0 || length / 2 > kRangesMax) {
    reader.fail("ranges");
    return;
  }
  const std::span<const double> numbers(static_cast<const double*>(memory), length);
  const auto is_length = [](double value) { return value >= 0 && value <= static_cast<double>(kIdMax); };
  for (size_t i = 0; i < length; i += 2) {
    if (!is_length(numbers[i]) || !is_length(numbers[i + 1])) {
      reader.fail("ranges");
      return;
    }
    fetch->ranges.push_back({static_cast<uint64_t>(numbers[i]), static_cast<uint64_t>(numbers[i + 1])});
    fetch->range_bytes += fetch->ranges.back().bytes;
  }
}

Status read_destination(napi_env env, Reader& reader, napi_value from, Fetch* fetch) {
  Status failed;
  reader.elements(from, "destination", [&](napi_value segment) {
    if (!failed.ok()) return;
    WritableSegment writable;
    failed = read_writable(env, segment, &writable);
    if (!failed.ok() || writable.bytes.empty()) return;
    fetch->destination_bytes += writable.bytes.size();
    fetch->destination.push_back(writable.bytes);
    fetch->holds.push_back(std::move(writable.hold));
  });
  return failed;
}

napi_value consumer_fetch(napi_env env, napi_callback_info info) {
  const Call<5> call(env, info);
  Reader reader(env);
  Fetch fetch;
  fetch.request = reader.integer(call[0], "requestId", kIdMax);
  fetch.partition = PartitionIndex(reader.u32(call[1], "partition"));
  fetch.event = EventId(reader.integer(call[2], "eventId", kIdMax));
  read_ranges(env, reader, call[3], &fetch);
  const Status destination = read_destination(env, reader, call[4], &fetch);
  if (!reader.ok()) return reader.raise();
  if (!destination.ok()) return throw_error(env, destination.error());
  if (fetch.range_bytes != fetch.destination_bytes) {
    return throw_error(env, ErrorCode::k_INVALID_DATA,
                       "the destination has " + std::to_string(fetch.destination_bytes) + " bytes for " +
                           std::to_string(fetch.range_bytes) + " selected ones");
  }
  Environment& environment = call.handle.driver->environment();
  for (const std::shared_ptr<void>& hold : fetch.holds) environment.expose_memory(hold);
  if (!environment.pin(fetch.request, call[4])) return nullptr;
  call.handle.consumer->fetch(fetch.request, fetch.partition, fetch.event, std::move(fetch.ranges),
                              std::move(fetch.destination),
                              std::make_shared<std::vector<std::shared_ptr<void>>>(std::move(fetch.holds)));
  return make_undefined(env);
}

napi_value consumer_acknowledge(napi_env env, napi_callback_info info) {
  const Call<3> call(env, info);
  Reader reader(env);
  const uint64_t request = reader.integer(call[0], "requestId", kIdMax);
  const PartitionIndex partition(reader.u32(call[1], "partition"));
  const EventId event(reader.integer(call[2], "eventId", kIdMax));
  if (!reader.ok()) return reader.raise();
  call.handle.consumer->acknowledge(request, partition, event);
  return make_undefined(env);
}

// A time goes before the position.
void read_time(Reader& reader, napi_value from, wire::SubscribeFrame::Start* start) {
  if (reader.number(from, "startTimeMs") < 0) return;
  start->kind = wire::StartKind::kTime;
  start->position = reader.integer(from, "startTimeMs", kTimeMsMax) * 1'000'000;
}

napi_value consumer_seek(napi_env env, napi_callback_info info) {
  const Call<3> call(env, info);
  Reader reader(env);
  wire::SubscribeFrame::Start to;
  to.partition = PartitionIndex(reader.u32(call[0], "partition"));
  to.position = reader.position(call[1], "start");
  read_time(reader, call[2], &to);
  if (!reader.ok()) return reader.raise();
  call.handle.consumer->seek(to);
  return make_undefined(env);
}

napi_value consumer_go_on(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  call.handle.consumer->go_on();
  return make_undefined(env);
}

napi_value consumer_release(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  Reader reader(env);
  const PartitionIndex partition(reader.u32(call[0], "partition"));
  if (!reader.ok()) return reader.raise();
  call.handle.consumer->release(partition);
  return make_undefined(env);
}

napi_value consumer_destroy(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  call.handle.consumer->destroy();
  return make_undefined(env);
}

client::Consumer::Options read_options(Reader& reader, napi_value from) {
  client::Consumer::Options options;
  options.topic = reader.uuid(reader.property(from, "topicUuid"), "topicUuid");
  options.name = reader.string(reader.property(from, "name"), "name");
  reader.elements(reader.property(from, "placement"), "placement",
                  [&](napi_value server) { options.server_of_partition.push_back(reader.u32(server, "placement")); });
  reader.elements(reader.property(from, "partitions"), "partitions", [&](napi_value partition) {
    options.starts.push_back({PartitionIndex(reader.u32(partition, "partitions"))});
  });
  size_t at = 0;
  reader.elements(reader.property(from, "start"), "start", [&](napi_value start) {
    const uint64_t position = reader.position(start, "start");
    if (at < options.starts.size()) options.starts[at].position = position;
    ++at;
  });
  if (at != options.starts.size()) reader.fail("start (one for each of partitions)");
  at = 0;
  reader.elements(reader.property(from, "startTimeMs"), "startTimeMs", [&](napi_value time) {
    if (at < options.starts.size()) read_time(reader, time, &options.starts[at]);
    ++at;
  });
  if (at != options.starts.size()) reader.fail("startTimeMs (one for each of partitions)");
  if (napi_value member = reader.optional(from, "member"); member != nullptr) {
    options.member = true;
    options.session_timeout_ms = reader.u32(reader.property(member, "sessionTimeoutMs"), "sessionTimeoutMs");
    options.rebalance_timeout_ms = reader.u32(reader.property(member, "rebalanceTimeoutMs"), "rebalanceTimeoutMs");
  }
  options.full_data = reader.boolean(reader.property(from, "fullData"), "fullData");
  options.oldest_if_dropped = reader.boolean(reader.property(from, "oldestIfDropped"), "oldestIfDropped");
  options.batch_events = reader.u32(reader.property(from, "batchEvents"), "batchEvents");
  options.window_bytes = reader.integer(reader.property(from, "windowBytes"), "windowBytes", kIdMax);
  options.deliveries_ahead = reader.u32(reader.property(from, "maxNumBatches"), "maxNumBatches");
  return options;
}

}  // namespace

napi_value consumer_open(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  const std::shared_ptr<DriverRef> driver = driver_argument(env, arguments[1]);
  if (!driver) return nullptr;
  Reader reader(env);
  const uint64_t request = reader.integer(arguments[0], "requestId", kIdMax);
  client::Consumer::Options options = read_options(reader, arguments[2]);
  if (!reader.ok()) return reader.raise();
  const uint32_t id = driver->environment().next_object();
  const napi_callback take = options.full_data ? consumer_take<true> : consumer_take<false>;
  options.id = id;
  const auto handle = std::make_shared<ConsumerHandle>();
  handle->driver = driver;
  handle->consumer = driver->client().open_consumer(request, std::move(options));
  return ObjectBuilder(env)
      .number("id", id)
      .set("take", make_function(env, "take", take, handle))
      .set("fetch", make_function(env, "fetch", consumer_fetch, handle))
      .set("acknowledge", make_function(env, "acknowledge", consumer_acknowledge, handle))
      .set("seek", make_function(env, "seek", consumer_seek, handle))
      .set("goOn", make_function(env, "goOn", consumer_go_on, handle))
      .set("release", make_function(env, "release", consumer_release, handle))
      .set("destroy", make_function(env, "destroy", consumer_destroy, handle))
      .result();
}

}  // namespace diaspora::node
