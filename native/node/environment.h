// One JS environment (main thread or worker): its gate, what it has open, and how it ends.
//
// What it is: the instance data of the addon. It owns the gate to native threads, hands completions to JS, knows every
// client and server that was opened here, and joins the threads that run blocking calls.
// What it is not: it is not shared between environments; the process-wide core (progress thread, fabric) is below it.
// Threads: the JS thread of the environment only, except gate() and sink(), which are for any.
//
// How it ends (facts measured on Node 20 to 26): the clean-up hook is registered after the ThreadSafeFunction, so it
// runs before the function's own. It closes every client (afterwards no native thread touches JS memory), joins the
// jobs, stops the servers, closes the gate. Finalizers of handles run after that: everything they do here is then a
// no-op. External ArrayBuffers are freed even before the hooks run; what to do about it is in memory_guard.h.
#pragma once

#include <node_api.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "client/client.h"
#include "node/completion_gate.h"
#include "node/memory_guard.h"
#include "node/server_handle.h"
#include "node/sink.h"

namespace diaspora::node {

class Environment : public std::enable_shared_from_this<Environment> {
 public:
  // Blocking calls under way at a time. Each is one user call (start or stop a server, look for providers).
  static constexpr size_t kJobsMax = 64;
  // JS is interrupted (a worker being terminated) only between native calls, so that no wait may be longer.
  static constexpr int64_t kWaitSliceMs = 100;

  // Makes the environment of `env` and its instance data. False when napi refuses.
  static bool create(napi_env env);
  // The environment of `env`; null only when it is being torn down.
  static Environment* from(napi_env env);

  const std::shared_ptr<CompletionGate>& gate() const { return gate_; }
  const std::shared_ptr<Sink>& sink() const { return sink_; }
  bool torn_down() const { return torn_down_; }

  // Keeps `on_drain` as the receiver of completions. False when napi refuses.
  bool set_on_drain(napi_value on_drain);
  // Hands everything that has completed to JS. Returns whether there was anything.
  bool drain();
  bool keep_alive(bool on);

  // Runs `job` on a thread of its own, which is joined at the end of the environment. The job must not touch this.
  Status run_job(std::function<void()> job);

  // A number for the next driver; what the sink's DriverOpened and DriverClosed carry.
  uint64_t next_driver() { return ++last_driver_; }
  uint32_t next_object() { return ++last_object_; }
  // `request` completes when the client is connected.
  void add_client(uint64_t driver, std::shared_ptr<client::Client> client, uint64_t request);
  // Closes it; `request` (0: none) completes when no memory of this environment is used by it any more.
  void close_client(uint64_t driver, uint64_t request);

  void add_server(std::shared_ptr<ServerHandle> server);
  // Nobody refers to it any more: stops it in the background.
  void abandon_server(const std::shared_ptr<ServerHandle>& server);

  // JS objects whose memory `request` writes into; referenced until it completes.
  bool pin(uint64_t request, napi_value object);
  // To be told before native threads get to know JS memory (a hold on it, or null when there is none).
  void expose_memory(const std::shared_ptr<void>& hold);

 private:
  struct ClientEntry {
    std::shared_ptr<client::Client> client;
    uint64_t open_request = 0;
    uint64_t close_request = 0;
  };
  struct Job {
    std::thread thread;
    std::shared_ptr<std::atomic<bool>> done;
  };

  explicit Environment(napi_env env);
  static void on_notified(napi_env env, napi_value function, void* context, void* data);
  static void on_cleanup(void* self);
  bool create_notifier();
  void tear_down();
  void close_clients();
  void finish_jobs(bool wait);
  // Acts on internal records, and turns those that JS waits for into requests; the others are taken out.
  void settle_drivers(CompletionList* list);
  // The request that `payload` completes, 0 for none; the payload becomes the request's.
  uint64_t settle_driver(Payload* payload);
  void unpin_completed(const CompletionList& list);
  void deliver(const CompletionList& list);
  napi_value make_records(const CompletionList& list);
  napi_value make_payloads(const CompletionList& list);

  napi_env env_;
  const std::shared_ptr<CompletionGate> gate_;
  const std::shared_ptr<Sink> sink_;
  napi_threadsafe_function notify_ = nullptr;
  bool torn_down_ = false;
  MemoryGuard memory_guard_;
  bool transfers_guarded_ = false;

  napi_ref on_drain_ = nullptr;
  // The Float64Array that is handed to JS, used again each time; only ever one drain uses it.
  napi_ref records_ = nullptr;
  double* records_memory_ = nullptr;
  size_t records_capacity_ = 0;
  int draining_depth_ = 0;
  CompletionList taken_;

  uint64_t last_driver_ = 0;
  uint32_t last_object_ = 0;
  std::unordered_map<uint64_t, ClientEntry> clients_;
  std::vector<std::shared_ptr<ServerHandle>> servers_;
  std::unordered_map<uint64_t, napi_ref> pins_;
  std::vector<Job> jobs_;
};

}  // namespace diaspora::node
