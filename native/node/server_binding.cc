// The server* functions and fabricInfo. What blocks in them (recovery, syncing, trying providers) runs on job threads
// of the environment, which touch nothing but the gate and the server handle. Functions: JS thread only.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "node/bindings.h"
#include "node/convert.h"
#include "node/handles.h"
#include "node/results.h"

namespace diaspora::node {

namespace {

constexpr uint64_t kRequestMax = uint64_t{1} << 53;

server::ServerOptions read_options(Reader& reader, napi_value from) {
  server::ServerOptions options;
  options.data_directory = reader.string(reader.property(from, "dataDirectory"), "dataDirectory");
  options.listen_host = reader.string(reader.property(from, "listenHost"), "listenHost");
  options.listen_port =
      static_cast<uint16_t>(reader.integer(reader.property(from, "listenPort"), "listenPort", UINT16_MAX));
  options.provider = reader.string(reader.property(from, "provider"), "provider");
  options.memory_bytes = reader.integer(reader.property(from, "memoryBytes"), "memoryBytes", kRequestMax);
  return options;
}

// On a job thread.
Payload start_server(ServerHandle& handle, server::ServerOptions options) {
  Result<ServerStarted> started = handle.start(std::move(options));
  return started.ok() ? Payload(started.take()) : Payload(started.error());
}

// On a job thread. What `provider` names must exist; "auto" is content with what there is, even if that is nothing.
Payload report_fabric(const std::string& provider) {
  FabricReport report{fabric::library_info(), {}};
  fabric::FabricOptions options;
  options.provider = provider;
  options.bind_address = "";
  Result<std::vector<fabric::ProviderInfo>> found = fabric::discover_providers(options);
  if (found.ok()) {
    report.providers = found.take();
  } else if (provider != "auto") {
    return found.error();
  }
  if (provider != "auto") return report;
  options.provider = "local";
  Result<std::vector<fabric::ProviderInfo>> local = fabric::discover_providers(options);
  if (local.ok()) report.providers.insert(report.providers.end(), local.value().begin(), local.value().end());
  return report;
}

}  // namespace

std::shared_ptr<ServerRef> server_argument(napi_env env, napi_value value) {
  return std::static_pointer_cast<ServerRef>(external_owner(env, value, kServerTag));
}

napi_value fabric_info(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  Environment* environment = Environment::from(env);
  if (environment == nullptr) return nullptr;
  Reader reader(env);
  const auto request = static_cast<double>(reader.integer(arguments[0], "requestId", kRequestMax));
  const std::string provider = reader.string(arguments[1], "provider");
  if (!reader.ok()) return reader.raise();
  const Status running = environment->run_job(
      [request, provider, gate = environment->gate()] { gate->push_request(request, report_fabric(provider)); });
  return running.ok() ? make_undefined(env) : throw_error(env, running.error());
}

napi_value server_start(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  Environment* environment = Environment::from(env);
  if (environment == nullptr) return nullptr;
  Reader reader(env);
  const auto request = static_cast<double>(reader.integer(arguments[0], "requestId", kRequestMax));
  server::ServerOptions options = read_options(reader, arguments[1]);
  if (!reader.ok()) return reader.raise();
  const uint32_t id = environment->next_object();
  const std::shared_ptr<CompletionGate>& gate = environment->gate();
  options.log = [gate, id](bool warn, const std::string& line) {
    gate->push({.kind = CompletionKind::kLog, .target = static_cast<double>(id)}, LogLine{warn, line});
  };
  const auto handle = std::make_shared<ServerHandle>();
  const Status running = environment->run_job([handle, options = std::move(options), request, gate]() mutable {
    gate->push_request(request, start_server(*handle, std::move(options)));
  });
  if (!running.ok()) return throw_error(env, running.error());
  environment->add_server(handle);
  return make_external(env, kServerTag, std::make_shared<ServerRef>(environment->shared_from_this(), handle, id));
}

napi_value server_stop(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  Environment* environment = Environment::from(env);
  if (environment == nullptr) return nullptr;
  Reader reader(env);
  const auto request = static_cast<double>(reader.integer(arguments[0], "requestId", kRequestMax));
  const std::shared_ptr<ServerRef> server = server_argument(env, arguments[1]);
  if (!server) reader.fail("server");
  if (!reader.ok()) return reader.raise();
  const Status running = environment->run_job([handle = server->server(), request, gate = environment->gate()] {
    const Status stopped = handle->stop();
    gate->push_request(request, stopped.ok() ? Payload() : Payload(stopped.error()));
  });
  return running.ok() ? make_undefined(env) : throw_error(env, running.error());
}

napi_value server_counters(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  const std::shared_ptr<ServerRef> server = server_argument(env, arguments[0]);
  if (!server) return throw_type_error(env, "native call: not a server");
  const std::optional<server::ServerCounters> counters = server->server()->counters();
  if (!counters) return throw_error(env, ErrorCode::k_INVALID_STATE, "the server is not running");
  return make_counters(env, *counters);
}

}  // namespace diaspora::node
