// The addon: what require() of the .node file gives, NativeBinding of lib/native.ts. JS thread only.
//
// Each environment that loads it gets an Environment as instance data. Linked with -z nodelete: a native thread may be
// on its way out of our code when the last environment unloads it.
#include <cstddef>
#include <iterator>

#include "base/compression.h"
#include "node/bindings.h"
#include "node/buffers.h"
#include "node/convert.h"
#include "node/environment.h"

namespace diaspora::node {

namespace {

constexpr const char* kVersion = "0.1.0";
// V8's own limit on an ArrayBuffer is higher; this one keeps a typing mistake from reserving terabytes.
constexpr uint64_t kAllocateBytesMax = uint64_t{64} << 30;

napi_value initialize(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  Environment* environment = Environment::from(env);
  napi_valuetype type = napi_undefined;
  if (napi_typeof(env, arguments[0], &type) != napi_ok || type != napi_function) {
    return throw_type_error(env, "native call: onDrain is not a function");
  }
  return environment != nullptr && environment->set_on_drain(arguments[0]) ? make_undefined(env) : nullptr;
}

napi_value drain(napi_env env, napi_callback_info /*info*/) {
  Environment* environment = Environment::from(env);
  return make_boolean(env, environment != nullptr && environment->drain());
}

napi_value wait_for_completions(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  Environment* environment = Environment::from(env);
  double timeout_ms = 0;
  if (napi_get_value_double(env, arguments[0], &timeout_ms) != napi_ok) {
    return throw_type_error(env, "native call: ms is not a number");
  }
  if (environment == nullptr) return nullptr;
  constexpr int64_t kSlice = Environment::kWaitSliceMs;
  const bool is_long = !(timeout_ms >= 0 && timeout_ms < static_cast<double>(kSlice));
  return make_boolean(env, environment->gate()->wait(is_long ? kSlice : static_cast<int64_t>(timeout_ms)));
}

napi_value keep_alive(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  Environment* environment = Environment::from(env);
  Reader reader(env);
  const bool on = reader.boolean(arguments[0], "on");
  if (!reader.ok()) return reader.raise();
  return environment != nullptr && environment->keep_alive(on) ? make_undefined(env) : nullptr;
}

napi_value allocate(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  Reader reader(env);
  const uint64_t bytes = reader.integer(arguments[0], "bytes", kAllocateBytesMax);
  return reader.ok() ? allocate_buffer(env, bytes) : reader.raise();
}

napi_value check_compression(napi_env env, napi_callback_info /*info*/) {
  const Status available = compression_available();
  return available ? make_undefined(env) : throw_error(env, available.error());
}

struct Export {
  const char* name;
  napi_callback call;
};

constexpr Export kExports[] = {
    {"initialize", initialize},
    {"drain", drain},
    {"waitForCompletions", wait_for_completions},
    {"keepAlive", keep_alive},
    {"fabricInfo", fabric_info},
    {"serverStart", server_start},
    {"serverStop", server_stop},
    {"serverCounters", server_counters},
    {"driverOpen", driver_open},
    {"driverId", driver_id},
    {"driverSetAddress", driver_set_address},
    {"driverCounters", driver_counters},
    {"driverClose", driver_close},
    {"topicPut", topic_put},
    {"topicRemove", topic_remove},
    {"topicList", topic_list},
    {"topicStatus", topic_status},
    {"topicCursors", topic_cursors},
    {"cursorSet", cursor_set},
    {"producerOpen", producer_open},
    {"consumerOpen", consumer_open},
    {"allocate", allocate},
    {"checkCompression", check_compression},
};

napi_value initialize_addon(napi_env env, napi_value exports) {
  if (!Environment::create(env)) return nullptr;
  for (const Export& entry : kExports) {
    napi_value function = nullptr;
    if (napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.call, nullptr, &function) != napi_ok ||
        napi_set_named_property(env, exports, entry.name, function) != napi_ok) {
      return nullptr;
    }
  }
  napi_value version = make_string(env, kVersion);
  if (version == nullptr || napi_set_named_property(env, exports, "version", version) != napi_ok) return nullptr;
  return exports;
}

}  // namespace

}  // namespace diaspora::node

NAPI_MODULE_INIT() { return diaspora::node::initialize_addon(env, exports); }
