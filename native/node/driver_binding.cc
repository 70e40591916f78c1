// The driver* and topic* functions: connections to servers, and requests to their catalogues. JS thread only.
//
// None of them blocks: opening and closing are requests to the core like the others.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "node/bindings.h"
#include "node/convert.h"
#include "node/handles.h"
#include "node/results.h"

namespace diaspora::node {

namespace {

constexpr uint64_t kRequestMax = uint64_t{1} << 53;
constexpr int64_t kMillisecondsMax = int64_t{1} << 40;

client::ServerAddress read_address(Reader& reader, napi_value from) {
  client::ServerAddress address;
  address.host = reader.string(reader.property(from, "host"), "host");
  address.port = static_cast<uint16_t>(reader.integer(reader.property(from, "port"), "port", UINT16_MAX));
  const std::string uuid = reader.string(reader.property(from, "uuid"), "uuid");
  // Empty: whichever server answers there.
  if (!uuid.empty() && !Uuid::parse(uuid, &address.server)) reader.fail("uuid");
  return address;
}

int64_t read_milliseconds(Reader& reader, napi_value from, const char* name) {
  return static_cast<int64_t>(reader.integer(reader.property(from, name), name, kMillisecondsMax));
}

client::ClientOptions read_options(Reader& reader, napi_value from) {
  client::ClientOptions options;
  reader.elements(reader.property(from, "servers"), "servers",
                  [&](napi_value server) { options.servers.push_back(read_address(reader, server)); });
  options.rails.clear();
  reader.elements(reader.property(from, "rails"), "rails",
                  [&](napi_value rail) { options.rails.push_back(reader.string(rail, "rails")); });
  if (options.rails.empty()) reader.fail("rails");
  options.connect_timeout_ms = read_milliseconds(reader, from, "connectTimeoutMs");
  options.reconnect_timeout_ms = read_milliseconds(reader, from, "reconnectTimeoutMs");
  options.zero_copy_threshold = reader.u32(reader.property(from, "zeroCopyThreshold"), "zeroCopyThreshold");
  options.pending_bytes_max = reader.integer(reader.property(from, "pendingBytesMax"), "pendingBytesMax", kRequestMax);
  return options;
}

// Points `options` at a server of this process. Null when it does not run (any more).
bool use_embedded(const ServerRef& embedded, client::ClientOptions* options) {
  const std::optional<Uuid> uuid = embedded.server()->uuid();
  if (!uuid) return false;
  options->servers = {client::ServerAddress{"", 0, *uuid}};
  options->connect_local = [server = embedded.server()] { return server->connect_local(); };
  options->local_server = embedded.server().get();
  return true;
}

// Index of `text` in `names`, or the TypeError names `what`.
template <size_t N>
uint8_t read_choice(Reader& reader, napi_value from, const char* what, const std::string_view (&names)[N]) {
  const std::string text = reader.string(reader.property(from, what), what);
  for (size_t i = 0; i < N; ++i) {
    if (names[i] == text) return static_cast<uint8_t>(i);
  }
  reader.fail(what);
  return 0;
}

wire::TopicRecord read_entry(Reader& reader, napi_value from) {
  static constexpr std::string_view kStates[] = {"creating", "active", "deleting", "complete"};
  static constexpr std::string_view kDurabilities[] = {"memory", "os", "sync"};
  static constexpr std::string_view kManagers[] = {"memory", "log"};
  wire::TopicRecord record;
  record.name = reader.string(reader.property(from, "name"), "name");
  record.uuid = reader.uuid(reader.property(from, "uuid"), "uuid");
  record.state = static_cast<wire::TopicState>(read_choice(reader, from, "state", kStates));
  record.durability = read_choice(reader, from, "durability", kDurabilities);
  record.manager = static_cast<wire::ManagerKind>(read_choice(reader, from, "manager", kManagers));
  reader.elements(reader.property(from, "placement"), "placement",
                  [&](napi_value server) { record.placement.push_back(reader.uuid(server, "placement")); });
  record.config = reader.string(reader.property(from, "config"), "config");
  record.retention.bytes = reader.integer(reader.property(from, "retentionBytes"), "retentionBytes", kRequestMax);
  record.retention.age_ms =
      reader.integer(reader.property(from, "retentionAgeMs"), "retentionAgeMs", kRetentionAgeMsMax);
  if (reader.u32(reader.property(from, "partitions"), "partitions") != record.placement.size()) {
    reader.fail("partitions (as many as placement has)");
  }
  return record;
}

// The first three arguments of every topic request.
struct TopicCall {
  std::shared_ptr<DriverRef> driver;
  uint64_t request = 0;
  uint32_t server = 0;

  template <size_t N>
  TopicCall(napi_env env, Reader& reader, const Arguments<N>& arguments)
      : driver(driver_argument(env, arguments[1])),
        request(reader.integer(arguments[0], "requestId", kRequestMax)),
        server(reader.u32(arguments[2], "server")) {}
};

}  // namespace

std::shared_ptr<DriverRef> driver_argument(napi_env env, napi_value value) {
  const std::shared_ptr<DriverRef> driver = std::static_pointer_cast<DriverRef>(external_owner(env, value, kDriverTag));
  if (!driver) {
    throw_type_error(env, "native call: not a driver");
  } else if (driver->closed()) {
    throw_error(env, ErrorCode::k_INVALID_STATE, "the driver is closed");
    return nullptr;
  }
  return driver;
}

napi_value driver_open(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  Environment* environment = Environment::from(env);
  if (environment == nullptr) return nullptr;
  Reader reader(env);
  const uint64_t request = reader.integer(arguments[0], "requestId", kRequestMax);
  client::ClientOptions options = read_options(reader, arguments[1]);
  std::shared_ptr<ServerRef> embedded;
  if (napi_value server = reader.optional(arguments[1], "embedded"); server != nullptr) {
    embedded = server_argument(env, server);
    if (!embedded) reader.fail("embedded");
  }
  if (!reader.ok()) return reader.raise();
  if (embedded && !use_embedded(*embedded, &options)) {
    return throw_error(env, ErrorCode::k_INVALID_STATE, "the embedded server is not running");
  }
  const uint64_t driver = environment->next_driver();
  DriverRef::Parts parts;
  parts.environment = environment->shared_from_this();
  parts.embedded = std::move(embedded);
  parts.driver = driver;
  parts.zero_copy_threshold = options.zero_copy_threshold;
  parts.client =
      client::open_client(driver_request(DriverEvent::kOpened, driver), std::move(options), environment->sink());
  environment->add_client(driver, parts.client, request);
  return make_external(env, kDriverTag, std::make_shared<DriverRef>(std::move(parts)));
}

napi_value driver_id(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  const std::shared_ptr<DriverRef> driver = driver_argument(env, arguments[0]);
  return driver ? make_number(env, driver->client().id()) : nullptr;
}

napi_value driver_set_address(napi_env env, napi_callback_info info) {
  const Arguments<4> arguments(env, info);
  const std::shared_ptr<DriverRef> driver = driver_argument(env, arguments[0]);
  if (!driver) return nullptr;
  Reader reader(env);
  const uint32_t server = reader.u32(arguments[1], "server");
  std::string host = reader.string(arguments[2], "host");
  const auto port = static_cast<uint16_t>(reader.integer(arguments[3], "port", UINT16_MAX));
  if (!reader.ok()) return reader.raise();
  driver->client().set_address(server, std::move(host), port);
  return make_undefined(env);
}

napi_value driver_counters(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  // Also of a closed driver: its last figures.
  const auto driver = std::static_pointer_cast<DriverRef>(external_owner(env, arguments[0], kDriverTag));
  if (!driver) return throw_type_error(env, "native call: not a driver");
  return make_counters(env, driver->client().counters());
}

napi_value driver_close(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  const std::shared_ptr<DriverRef> driver = driver_argument(env, arguments[1]);
  if (!driver) return nullptr;
  Reader reader(env);
  const uint64_t request = reader.integer(arguments[0], "requestId", kRequestMax);
  if (!reader.ok()) return reader.raise();
  static_cast<void>(driver->close(request));  // not closed: driver_argument has looked
  return make_undefined(env);
}

napi_value topic_put(napi_env env, napi_callback_info info) {
  const Arguments<4> arguments(env, info);
  Reader reader(env);
  const TopicCall call(env, reader, arguments);
  if (!call.driver) return nullptr;
  const wire::TopicRecord record = read_entry(reader, arguments[3]);
  if (!reader.ok()) return reader.raise();
  call.driver->client().topic_put(call.request, call.server, record);
  return make_undefined(env);
}

napi_value topic_remove(napi_env env, napi_callback_info info) {
  const Arguments<4> arguments(env, info);
  Reader reader(env);
  const TopicCall call(env, reader, arguments);
  if (!call.driver) return nullptr;
  const Uuid topic = reader.uuid(arguments[3], "uuid");
  if (!reader.ok()) return reader.raise();
  call.driver->client().topic_remove(call.request, call.server, topic);
  return make_undefined(env);
}

napi_value topic_list(napi_env env, napi_callback_info info) {
  const Arguments<4> arguments(env, info);
  Reader reader(env);
  const TopicCall call(env, reader, arguments);
  if (!call.driver) return nullptr;
  const std::string name = reader.string(arguments[3], "name");
  if (!reader.ok()) return reader.raise();
  call.driver->client().topic_list(call.request, call.server, name);
  return make_undefined(env);
}

napi_value topic_status(napi_env env, napi_callback_info info) {
  const Arguments<4> arguments(env, info);
  Reader reader(env);
  const TopicCall call(env, reader, arguments);
  if (!call.driver) return nullptr;
  const Uuid topic = reader.uuid(arguments[3], "uuid");
  if (!reader.ok()) return reader.raise();
  call.driver->client().topic_status(call.request, call.server, topic);
  return make_undefined(env);
}

napi_value topic_cursors(napi_env env, napi_callback_info info) {
  const Arguments<5> arguments(env, info);
  Reader reader(env);
  const TopicCall call(env, reader, arguments);
  if (!call.driver) return nullptr;
  const Uuid topic = reader.uuid(arguments[3], "uuid");
  const std::string consumer = reader.string(arguments[4], "consumer");
  if (!reader.ok()) return reader.raise();
  call.driver->client().topic_cursors(call.request, call.server, topic, consumer);
  return make_undefined(env);
}

napi_value cursor_set(napi_env env, napi_callback_info info) {
  const Arguments<4> arguments(env, info);
  Reader reader(env);
  const TopicCall call(env, reader, arguments);
  if (!call.driver) return nullptr;
  wire::CursorSetFrame frame;
  frame.topic = reader.uuid(reader.property(arguments[3], "topicUuid"), "topicUuid");
  frame.partition = PartitionIndex(reader.u32(reader.property(arguments[3], "partition"), "partition"));
  frame.consumer = reader.string(reader.property(arguments[3], "consumer"), "consumer");
  frame.position = reader.position(reader.property(arguments[3], "start"), "start");
  if (!reader.ok()) return reader.raise();
  call.driver->client().cursor_set(call.request, call.server, frame);
  return make_undefined(env);
}

}  // namespace diaspora::node
