// producerOpen and the functions of a NativeProducer. The hot path of the package is producer_push.
//
// They are plain functions whose data pointer is the handle, in raw Node-API: a call costs 17 to 20 ns so, against 70
// to 100 ns for a method of a wrapped object. Each function keeps the handle alive; the last one collected destroys it.
// JS thread only.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "node/bindings.h"
#include "node/buffers.h"
#include "node/convert.h"
#include "node/handles.h"

namespace diaspora::node {

namespace {

// Room asked for metadata before its length is known: twice what the late events had. (Measured: three times and more
// makes V8 skip the fast copy of one-byte strings.)
constexpr size_t kRoomMin = 128;
constexpr size_t kRoomFactor = 2;
// napi writes whole characters and a terminator: with so few bytes left over the text may have been cut.
constexpr size_t kCutMargin = 4;
constexpr uint64_t kCompressionLevelMax = 19;  // of zstd, without its extreme ones

struct ProducerHandle {
  std::shared_ptr<DriverRef> driver;
  std::shared_ptr<client::Producer> producer;
  uint32_t partitions = 0;
  size_t typical_bytes = 0;                   // of the metadata of late events; falls slowly
  std::vector<client::DataSegment> segments;  // of the event that is being pushed; empty in between

  ProducerHandle() = default;
  ~ProducerHandle() {
    if (producer) producer->destroy();
  }
  ProducerHandle(const ProducerHandle&) = delete;
  ProducerHandle& operator=(const ProducerHandle&) = delete;

  size_t room() const { return std::max(kRoomMin, typical_bytes * kRoomFactor); }
  void learn(size_t bytes) { typical_bytes = std::max(bytes, typical_bytes - typical_bytes / 16); }
};

// Reads the function's arguments, and its handle into `handle`.
template <size_t N>
struct Call : Arguments<N> {
  ProducerHandle& handle;
  Call(napi_env env, napi_callback_info info)
      : Arguments<N>(env, info), handle(*static_cast<ProducerHandle*>(this->data)) {}
};

// Metadata that a serializer has written: bytes of a Uint8Array.
ErrorCode write_bytes(napi_env env, napi_value value, PartitionIndex partition, ProducerHandle& handle,
                      size_t* written) {
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* bytes = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &length, &bytes, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array) {
    return ErrorCode::k_INVALID_METADATA;
  }
  if (length > kEventMetadataBytesMax) return ErrorCode::k_EVENT_TOO_LARGE;
  ErrorCode error = ErrorCode::kOk;
  uint8_t* room = handle.producer->reserve(partition, length, &error);
  if (room == nullptr) return error;
  std::copy_n(static_cast<const uint8_t*>(bytes), length, room);
  *written = length;
  return ErrorCode::kOk;
}

// Text whose length must be asked for first. Only after write_metadata() found that it may be longer than the room.
ErrorCode write_measured(napi_env env, napi_value text, PartitionIndex partition, ProducerHandle& handle,
                         size_t* written) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, text, nullptr, 0, &length) != napi_ok) {
    return write_bytes(env, text, partition, handle, written);
  }
  if (length > kEventMetadataBytesMax) return ErrorCode::k_EVENT_TOO_LARGE;
  ErrorCode error = ErrorCode::kOk;
  uint8_t* room = handle.producer->reserve(partition, length + 1, &error);
  if (room == nullptr) return error;
  const napi_status status = napi_get_value_string_utf8(env, text, reinterpret_cast<char*>(room), length + 1, written);
  return status == napi_ok ? ErrorCode::kOk : ErrorCode::k_INVALID_METADATA;
}

// Writes the text straight into the open batch.
ErrorCode write_metadata(napi_env env, napi_value text, PartitionIndex partition, ProducerHandle& handle,
                         size_t* written) {
  const size_t room_bytes = handle.room();
  ErrorCode error = ErrorCode::kOk;
  uint8_t* room = handle.producer->reserve(partition, room_bytes, &error);
  // No room for that much may still be room enough.
  if (room == nullptr) return write_measured(env, text, partition, handle, written);
  if (napi_get_value_string_utf8(env, text, reinterpret_cast<char*>(room), room_bytes, written) != napi_ok) {
    return write_bytes(env, text, partition, handle, written);
  }
  if (*written + kCutMargin >= room_bytes) return write_measured(env, text, partition, handle, written);
  return ErrorCode::kOk;
}

napi_value throw_push_error(napi_env env, ErrorCode code) {
  if (code == ErrorCode::k_INVALID_METADATA)
    return throw_type_error(env, "push: metadata is neither a string nor a Uint8Array");
  return throw_error(env, code);
}

// Metadata is written afterwards, because reading segments may fail, and may even run JS.
Status read_data(napi_env env, napi_value data, ProducerHandle& handle) {
  const size_t threshold = handle.driver->zero_copy_threshold();
  Status read = read_segments(env, data, threshold, &handle.segments);
  if (!read.ok()) return read;
  for (const client::DataSegment& segment : handle.segments) {
    if (segment.length < threshold || segment.must_copy) continue;
    handle.driver->environment().expose_memory(segment.hold);
  }
  return {};
}

bool is_undefined(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  return napi_typeof(env, value, &type) != napi_ok || type == napi_undefined;
}

napi_value producer_push(napi_env env, napi_callback_info info) {
  const Call<3> call(env, info);
  ProducerHandle& handle = call.handle;
  uint32_t index = 0;
  if (napi_get_value_uint32(env, call[0], &index) != napi_ok) {
    return throw_type_error(env, "push: partition is not a number");
  }
  handle.segments.clear();
  if (call.count > 2 && !is_undefined(env, call[2])) {
    const Status read = read_data(env, call[2], handle);
    if (!read.ok()) {
      handle.segments.clear();
      return throw_error(env, read.error());
    }
  }
  const PartitionIndex partition(index);
  size_t written = 0;
  const ErrorCode error = write_metadata(env, call[1], partition, handle, &written);
  client::Producer::Pushed pushed{error, 0};
  if (error == ErrorCode::kOk) pushed = handle.producer->commit(partition, written, handle.segments);
  handle.segments.clear();
  if (pushed.code != ErrorCode::kOk) return throw_push_error(env, pushed.code);
  handle.learn(written);
  napi_value result = nullptr;
  return napi_create_uint32(env, pushed.index, &result) == napi_ok ? result : nullptr;
}

napi_value producer_seal(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  double partition = 0;
  if (napi_get_value_double(env, call[0], &partition) != napi_ok) {
    return throw_type_error(env, "seal: partition is not a number");
  }
  const auto all = call.handle.partitions;
  const uint32_t first = partition < 0 ? 0 : static_cast<uint32_t>(partition);
  const uint32_t end = partition < 0 ? all : std::min(first + 1, all);
  uint32_t sealed = 0;
  for (uint32_t i = first; i < end; ++i) sealed += call.handle.producer->seal(PartitionIndex(i)) ? 1 : 0;
  return make_number(env, sealed);
}

napi_value producer_pending(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  const client::Producer::Pending pending = call.handle.producer->pending();
  return make_array(env, std::vector<uint64_t>{pending.events, pending.batches, pending.bytes},
                    [](napi_env to, uint64_t value) { return make_number(to, static_cast<double>(value)); });
}

napi_value producer_in_flight(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  uint32_t partition = 0;
  if (napi_get_value_uint32(env, call[0], &partition) != napi_ok || partition >= call.handle.partitions) {
    return throw_error(env, ErrorCode::k_INVALID_PARTITION);
  }
  return make_number(env, call.handle.producer->in_flight(PartitionIndex(partition)));
}

napi_value producer_destroy(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  call.handle.producer->destroy();
  return make_undefined(env);
}

client::Producer::Options read_options(Reader& reader, napi_value from) {
  client::Producer::Options options;
  options.topic = reader.uuid(reader.property(from, "topicUuid"), "topicUuid");
  reader.elements(reader.property(from, "placement"), "placement",
                  [&](napi_value server) { options.server_of_partition.push_back(reader.u32(server, "placement")); });
  options.batch_events = reader.u32(reader.property(from, "batchEvents"), "batchEvents");
  options.max_num_batches = reader.u32(reader.property(from, "maxNumBatches"), "maxNumBatches");
  options.compression_level = static_cast<int>(
      reader.integer(reader.property(from, "compressionLevel"), "compressionLevel", kCompressionLevelMax));
  return options;
}

}  // namespace

napi_value producer_open(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  const std::shared_ptr<DriverRef> driver = driver_argument(env, arguments[0]);
  if (!driver) return nullptr;
  Reader reader(env);
  client::Producer::Options options = read_options(reader, arguments[1]);
  if (!reader.ok()) return reader.raise();
  const uint32_t id = driver->environment().next_object();
  options.id = id;
  const auto handle = std::make_shared<ProducerHandle>();
  handle->driver = driver;
  handle->partitions = static_cast<uint32_t>(options.server_of_partition.size());
  handle->producer = driver->client().open_producer(std::move(options));
  return ObjectBuilder(env)
      .number("id", id)
      .set("push", make_function(env, "push", producer_push, handle))
      .set("seal", make_function(env, "seal", producer_seal, handle))
      .set("pending", make_function(env, "pending", producer_pending, handle))
      .set("inFlight", make_function(env, "inFlight", producer_in_flight, handle))
      .set("destroy", make_function(env, "destroy", producer_destroy, handle))
      .result();
}

}  // namespace diaspora::node
