// The flat functions of NativeBinding (lib/native.ts), by the file that has them. Each is a napi callback: JS thread
// only.
#pragma once

#include <node_api.h>

namespace diaspora::node {

// server_binding.cc
napi_value fabric_info(napi_env env, napi_callback_info info);
napi_value server_start(napi_env env, napi_callback_info info);
napi_value server_stop(napi_env env, napi_callback_info info);
napi_value server_counters(napi_env env, napi_callback_info info);

// driver_binding.cc
napi_value driver_open(napi_env env, napi_callback_info info);
napi_value driver_id(napi_env env, napi_callback_info info);
napi_value driver_set_address(napi_env env, napi_callback_info info);
napi_value driver_counters(napi_env env, napi_callback_info info);
napi_value driver_close(napi_env env, napi_callback_info info);
napi_value topic_put(napi_env env, napi_callback_info info);
napi_value topic_remove(napi_env env, napi_callback_info info);
napi_value topic_list(napi_env env, napi_callback_info info);
napi_value topic_status(napi_env env, napi_callback_info info);
napi_value topic_cursors(napi_env env, napi_callback_info info);
napi_value cursor_set(napi_env env, napi_callback_info info);

// producer_binding.cc
napi_value producer_open(napi_env env, napi_callback_info info);

// consumer_binding.cc
napi_value consumer_open(napi_env env, napi_callback_info info);

}  // namespace diaspora::node
