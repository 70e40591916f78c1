// Payloads of completions and other results as the JS objects that lib/native.ts names. JS thread only; null on
// failure.
#pragma once

#include <node_api.h>

#include "client/client.h"
#include "node/completion_gate.h"
#include "server/server.h"

namespace diaspora::node {

napi_value make_payload(napi_env env, const Payload& payload);
napi_value make_counters(napi_env env, const client::Counters& counters);
napi_value make_counters(napi_env env, const server::ServerCounters& counters);

}  // namespace diaspora::node
