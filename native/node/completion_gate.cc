#include "node/completion_gate.h"

#include <chrono>
#include <utility>

#include "base/clock.h"

namespace diaspora::node {

void CompletionList::clear() {
  records.clear();
  payloads.clear();
  has_internal = false;
}

void CompletionGate::close() {
  const std::lock_guard<std::mutex> lock(notify_mutex_);
  if (closed_) return;
  closed_ = true;
  // Fails only when the function is closing already, which is what is wanted.
  static_cast<void>(napi_release_threadsafe_function(notify_, napi_tsfn_abort));
}

bool CompletionGate::append(const Completion& completion, Payload payload) {
  const std::lock_guard<std::mutex> lock(list_mutex_);
  if (completion.kind == CompletionKind::kLog) {
    if (log_lines_ == kLogLinesMax) return false;
    ++log_lines_;
  }
  double payload_index = -1;
  if (!std::holds_alternative<std::monostate>(payload)) {
    payload_index = static_cast<double>(list_.payloads.size());
    list_.payloads.push_back(std::move(payload));
  }
  list_.records.insert(list_.records.end(), {static_cast<double>(completion.kind), completion.target, completion.a,
                                             completion.b, completion.c, payload_index});
  if (completion.kind == CompletionKind::kInternal) list_.has_internal = true;
  return !pending_.exchange(true, std::memory_order_acq_rel);
}

void CompletionGate::push(const Completion& completion, Payload payload) {
  if (!append(completion, std::move(payload))) return;
  list_filled_.notify_one();
  const std::lock_guard<std::mutex> lock(notify_mutex_);
  if (closed_) return;
  // Cannot be full (no limit). It can be closing only while the environment ends, and then nobody listens any more.
  static_cast<void>(napi_call_threadsafe_function(notify_, nullptr, napi_tsfn_nonblocking));
}

void CompletionGate::push_request(double request, Payload result) {
  push({.kind = CompletionKind::kRequest, .target = request}, std::move(result));
}

void CompletionGate::take(CompletionList* out) {
  const std::lock_guard<std::mutex> lock(list_mutex_);
  std::swap(*out, list_);
  log_lines_ = 0;
  pending_.store(false, std::memory_order_release);
}

bool CompletionGate::wait(int64_t timeout_ms) {
  const int64_t spin_end = monotonic_ns() + (timeout_ms == 0 ? 0 : kSpinNs);
  do {
    if (pending()) return true;
  } while (monotonic_ns() < spin_end);
  std::unique_lock<std::mutex> lock(list_mutex_);
  return list_filled_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [this] { return pending(); });
}

}  // namespace diaspora::node
