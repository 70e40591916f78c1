#include "node/environment.h"

#include <algorithm>
#include <cstring>
#include <system_error>
#include <utility>

#include "node/convert.h"
#include "node/results.h"
#include "node/transfer_guard.h"

namespace diaspora::node {

namespace {

// First size of the array of records: 256 completions, 12 KiB.
constexpr size_t kFirstRecords = 256 * kCompletionStride;

void delete_instance(napi_env /*env*/, void* data, void* /*hint*/) {
  delete static_cast<std::shared_ptr<Environment>*>(data);
}

void delete_ref(napi_env env, napi_ref* ref) {
  if (*ref == nullptr) return;
  // Fails only for a null argument.
  static_cast<void>(napi_delete_reference(env, *ref));
  *ref = nullptr;
}

napi_value ref_value(napi_env env, napi_ref ref) {
  napi_value value = nullptr;
  if (ref == nullptr || napi_get_reference_value(env, ref, &value) != napi_ok) return nullptr;
  return value;
}

}  // namespace

Environment::Environment(napi_env env)
    : env_(env),
      gate_(std::make_shared<CompletionGate>()),
      sink_(std::make_shared<Sink>(gate_)),
      memory_guard_(env, [this] { close_clients(); }) {}

bool Environment::create(napi_env env) {
  const std::shared_ptr<Environment> environment(new Environment(env));
  auto* instance = new std::shared_ptr<Environment>(environment);
  if (napi_set_instance_data(env, instance, delete_instance, nullptr) != napi_ok) {
    delete instance;
    return false;
  }
  return environment->create_notifier();
}

// The order is the protocol: first the function, then the hook.
bool Environment::create_notifier() {
  napi_value name = make_string(env_, "diaspora completions");
  if (name == nullptr || napi_create_threadsafe_function(env_, nullptr, nullptr, name, 0, 1, nullptr, nullptr, nullptr,
                                                         on_notified, &notify_) != napi_ok) {
    return false;
  }
  gate_->open(notify_);
  return napi_unref_threadsafe_function(env_, notify_) == napi_ok &&
         napi_add_env_cleanup_hook(env_, on_cleanup, this) == napi_ok;
}

Environment* Environment::from(napi_env env) {
  void* data = nullptr;
  if (napi_get_instance_data(env, &data) != napi_ok || data == nullptr) return nullptr;
  return static_cast<std::shared_ptr<Environment>*>(data)->get();
}

void Environment::on_notified(napi_env env, napi_value /*function*/, void* /*context*/, void* /*data*/) {
  if (env == nullptr) return;  // the environment ends
  Environment* environment = from(env);
  if (environment != nullptr && !environment->torn_down_) static_cast<void>(environment->drain());
}

void Environment::on_cleanup(void* self) { static_cast<Environment*>(self)->tear_down(); }

void Environment::close_clients() {
  for (auto& [driver, entry] : clients_) entry.client->close_and_wait();
  clients_.clear();
}

void Environment::tear_down() {
  torn_down_ = true;
  close_clients();
  memory_guard_.retire();
  finish_jobs(true);
  // What a stop says at this point has nobody to hear it; the log is recovered at the next start.
  for (const std::shared_ptr<ServerHandle>& server : servers_) static_cast<void>(server->stop());
  servers_.clear();
  gate_->close();
  for (auto& [request, ref] : pins_) delete_ref(env_, &ref);
  pins_.clear();
  delete_ref(env_, &on_drain_);
  delete_ref(env_, &records_);
}

bool Environment::set_on_drain(napi_value on_drain) {
  delete_ref(env_, &on_drain_);
  return napi_create_reference(env_, on_drain, 1, &on_drain_) == napi_ok;
}

bool Environment::keep_alive(bool on) {
  const napi_status status =
      on ? napi_ref_threadsafe_function(env_, notify_) : napi_unref_threadsafe_function(env_, notify_);
  return status == napi_ok;
}

bool Environment::drain() {
  if (torn_down_ || on_drain_ == nullptr || !gate_->pending()) return false;
  CompletionList list = std::move(taken_);
  taken_ = {};
  list.clear();
  gate_->take(&list);
  if (list.has_internal) settle_drivers(&list);
  if (!pins_.empty()) unpin_completed(list);
  const bool any = list.count() > 0;
  if (any) deliver(list);
  list.clear();
  taken_ = std::move(list);  // for its capacity
  return any;
}

void Environment::deliver(const CompletionList& list) {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  ++draining_depth_;
  napi_value arguments[3] = {make_records(list), make_number(env_, static_cast<double>(list.count())),
                             make_payloads(list)};
  napi_value on_drain = ref_value(env_, on_drain_);
  napi_value receiver = make_undefined(env_);
  if (on_drain != nullptr && receiver != nullptr && arguments[0] != nullptr && arguments[2] != nullptr &&
      napi_call_function(env_, receiver, on_drain, 3, arguments, nullptr) != napi_ok) {
    napi_value exception = take_exception(env_);
    // Fails only while the environment ends, and then nobody is left to be told.
    if (exception != nullptr) static_cast<void>(napi_fatal_exception(env_, exception));
  }
  --draining_depth_;
  static_cast<void>(napi_close_handle_scope(env_, scope));
}

// A nested drain (onDrain may ask for one) gets an array of its own, because the outer one still reads the shared one.
napi_value Environment::make_records(const CompletionList& list) {
  const size_t needed = list.records.size();
  napi_value array = draining_depth_ > 1 || needed > records_capacity_ ? nullptr : ref_value(env_, records_);
  double* memory = records_memory_;
  if (array == nullptr) {
    const size_t capacity = std::max({needed, kFirstRecords, records_capacity_ * 2});
    napi_value buffer = nullptr;
    void* raw = nullptr;
    if (napi_create_arraybuffer(env_, capacity * sizeof(double), &raw, &buffer) != napi_ok ||
        napi_create_typedarray(env_, napi_float64_array, capacity, buffer, 0, &array) != napi_ok) {
      return nullptr;
    }
    memory = static_cast<double*>(raw);
    if (draining_depth_ == 1) {
      delete_ref(env_, &records_);
      records_capacity_ = 0;
      if (napi_create_reference(env_, array, 1, &records_) == napi_ok) records_capacity_ = capacity;
      records_memory_ = memory;
    }
  }
  std::memcpy(memory, list.records.data(), needed * sizeof(double));
  return array;
}

napi_value Environment::make_payloads(const CompletionList& list) {
  return make_array(env_, list.payloads,
                    [](napi_env env, const Payload& payload) { return make_payload(env, payload); });
}

void Environment::add_client(uint64_t driver, std::shared_ptr<client::Client> client, uint64_t request) {
  clients_.emplace(driver, ClientEntry{std::move(client), request, 0});
}

void Environment::close_client(uint64_t driver, uint64_t request) {
  const auto found = clients_.find(driver);
  if (found == clients_.end()) return;
  found->second.close_request = request;
  found->second.client->close(driver_request(DriverEvent::kClosed, driver));
}

void Environment::settle_drivers(CompletionList* list) {
  std::vector<double>& records = list->records;
  size_t kept = 0;
  for (size_t at = 0; at < records.size(); at += kCompletionStride) {
    double* record = &records[at];
    if (record[0] == static_cast<double>(CompletionKind::kInternal)) {
      const uint64_t request = settle_driver(&list->payloads[static_cast<size_t>(record[5])]);
      if (request == 0) continue;
      record[0] = static_cast<double>(CompletionKind::kRequest);
      record[1] = static_cast<double>(request);
    }
    std::copy_n(record, kCompletionStride, &records[kept]);
    kept += kCompletionStride;
  }
  records.resize(kept);
}

uint64_t Environment::settle_driver(Payload* payload) {
  if (auto* opened = std::get_if<DriverOpened>(payload)) {
    const auto found = clients_.find(opened->driver);
    if (found == clients_.end()) return 0;
    ClientEntry& entry = found->second;
    opened->client = entry.client->id();
    opened->servers = entry.client->server_uuids();
    if (!opened->status.ok()) *payload = Error(opened->status.error());
    return std::exchange(entry.open_request, 0);
  }
  const auto found = clients_.find(std::get<DriverClosed>(*payload).driver);
  if (found == clients_.end()) return 0;
  const uint64_t request = found->second.close_request;
  clients_.erase(found);
  return request;
}

void Environment::add_server(std::shared_ptr<ServerHandle> server) { servers_.push_back(std::move(server)); }

void Environment::abandon_server(const std::shared_ptr<ServerHandle>& server) {
  if (torn_down_) return;
  std::erase(servers_, server);
  if (server->finished()) return;
  const Status started = run_job([server] { static_cast<void>(server->stop()); });
  // Not even a thread can be had: it goes on until the environment ends.
  if (!started.ok()) servers_.push_back(server);
}

void Environment::expose_memory(const std::shared_ptr<void>& hold) {
  if (!std::exchange(transfers_guarded_, true)) guard_transfers(env_);
  memory_guard_.cover(hold);
}

bool Environment::pin(uint64_t request, napi_value object) {
  napi_ref ref = nullptr;
  if (napi_create_reference(env_, object, 1, &ref) != napi_ok) return false;
  pins_.emplace(request, ref);
  return true;
}

void Environment::unpin_completed(const CompletionList& list) {
  for (size_t at = 0; at < list.records.size(); at += kCompletionStride) {
    if (list.records[at] != static_cast<double>(CompletionKind::kRequest)) continue;
    const auto found = pins_.find(static_cast<uint64_t>(list.records[at + 1]));
    if (found == pins_.end()) continue;
    delete_ref(env_, &found->second);
    pins_.erase(found);
  }
}

Status Environment::run_job(std::function<void()> job) {
  finish_jobs(false);
  if (torn_down_) return {ErrorCode::k_ABORTED, "the environment ends"};
  if (jobs_.size() >= kJobsMax) {
    return {ErrorCode::k_RESOURCE_EXHAUSTED, std::to_string(kJobsMax) + " blocking calls are under way"};
  }
  auto done = std::make_shared<std::atomic<bool>>(false);
  try {
    std::thread thread([job = std::move(job), done] {
      job();
      done->store(true, std::memory_order_release);
    });
    jobs_.push_back({std::move(thread), std::move(done)});
  } catch (const std::system_error& error) {
    return {ErrorCode::k_RESOURCE_EXHAUSTED, std::string("cannot start a thread: ") + error.what()};
  }
  return {};
}

void Environment::finish_jobs(bool wait) {
  std::erase_if(jobs_, [wait](Job& job) {
    if (!wait && !job.done->load(std::memory_order_acquire)) return false;
    job.thread.join();
    return true;
  });
}

}  // namespace diaspora::node
