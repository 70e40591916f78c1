// The gate between native threads and one JS environment: completions go in on any thread, JS takes them out in one go.
//
// What it is: two vectors (fixed-stride records and payloads in plain C++), a pending flag, a condition variable for a
// blocked JS thread, and the one ThreadSafeFunction of the environment, called only when the flag goes up.
// What it is not: it touches no JS value. Owned by shared_ptr: the environment has one, every sink and job another, so
// a native thread may push at any time, also after the environment is gone. Invariant: after close() has returned no
// thread calls the ThreadSafeFunction; that is what keeps worker threads from crashing while they end (Node 20 and 22:
// nodejs/node#55706).
#pragma once

#include <node_api.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/error.h"
#include "fabric/fabric.h"
#include "wire/control.h"

namespace diaspora::node {

// CompletionKind of lib/native.ts. kInternal never reaches JS: the environment turns it into something else or drops
// it.
enum class CompletionKind : uint8_t {
  kInternal = 0,
  kRequest = 1,
  kBatch = 2,
  kDelivery = 3,
  kConsumerError = 4,
  kServerLost = 5,
  kServerUp = 6,
  kLog = 7,
  kPartitionEnd = 8,
  kAssignment = 9,
};

// COMPLETION_STRIDE of lib/native.ts: kind, target, a, b, c, index of the payload or -1.
inline constexpr size_t kCompletionStride = 6;

struct FabricReport {
  Result<fabric::LibraryInfo> library;
  std::vector<fabric::ProviderInfo> providers;
};
struct ServerStarted {
  std::string uuid;
  uint16_t port = 0;
  std::vector<fabric::ProviderInfo> providers;
};
struct LogLine {
  bool warn = false;
  std::string message;
};
// A driver's client is connected (or has failed to), or is closed and idle. `driver` is the environment's own number.
struct DriverOpened {
  uint64_t driver = 0;
  Status status;
  // Filled in by the environment:
  uint32_t client = 0;
  std::vector<Uuid> servers;
};
struct DriverClosed {
  uint64_t driver = 0;
};

// What a member of a consumer group was given, and what it is to give back.
struct Assignment {
  std::vector<PartitionIndex> granted;
  std::vector<PartitionIndex> revoked;
};

using Payload = std::variant<std::monostate, Error, std::vector<wire::TopicRecord>, std::vector<wire::PartitionStatus>,
                             std::vector<wire::CursorRow>, FabricReport, ServerStarted, LogLine, Assignment,
                             DriverOpened, DriverClosed>;

struct Completion {
  CompletionKind kind = CompletionKind::kInternal;
  double target = 0;
  double a = 0;
  double b = 0;
  double c = 0;
};

// What has completed since the last take().
struct CompletionList {
  std::vector<double> records;  // kCompletionStride each
  std::vector<Payload> payloads;
  bool has_internal = false;

  size_t count() const { return records.size() / kCompletionStride; }
  void clear();
};

class CompletionGate {
 public:
  // Lines for the operator that may wait for JS; more are dropped, because a blocked JS thread must not cost memory.
  static constexpr size_t kLogLinesMax = 1024;

  // JS thread, once, before anything is pushed.
  void open(napi_threadsafe_function notify) { notify_ = notify; }
  // JS thread: nothing is notified any more and later pushes are dropped. Idempotent.
  void close();

  // Any thread.
  void push(const Completion& completion, Payload payload = {});
  // The payload is the result, an Error when it failed.
  void push_request(double request, Payload result);

  bool pending() const { return pending_.load(std::memory_order_acquire); }
  // Takes everything; `out` must be clear, its capacity is used for what comes next.
  void take(CompletionList* out);
  // Blocks until something is pending or `timeout_ms` have passed. Returns whether something is.
  bool wait(int64_t timeout_ms);

 private:
  // Spinning this long first saves the wake-up of a condition variable (4 to 11 us) when an answer is near.
  static constexpr int64_t kSpinNs = 50'000;

  bool append(const Completion& completion, Payload payload);

  std::mutex list_mutex_;
  std::condition_variable list_filled_;
  CompletionList list_;               // guarded by list_mutex_
  size_t log_lines_ = 0;              // guarded by list_mutex_
  std::atomic<bool> pending_{false};  // written under list_mutex_

  // Apart from list_mutex_, so that a JS thread that spins on pending_ need not wait for the notification.
  std::mutex notify_mutex_;
  bool closed_ = false;                        // guarded by notify_mutex_
  napi_threadsafe_function notify_ = nullptr;  // guarded by notify_mutex_ once threads push
};

}  // namespace diaspora::node
