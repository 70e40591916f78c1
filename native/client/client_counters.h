// The counters of one client as its threads keep them. Monotonic, except `registrations` (how many there are now) and
// `pending_bytes` (sealed and not yet answered, over all producers).
#pragma once

#include <atomic>
#include <cstdint>

namespace diaspora::client {

struct ClientCounters {
  std::atomic<uint64_t> data_bytes_by_rma{0};
  std::atomic<uint64_t> data_bytes_copied{0};
  std::atomic<uint64_t> data_bytes{0};
  std::atomic<uint64_t> events_produced{0};
  std::atomic<uint64_t> events_consumed{0};
  std::atomic<uint64_t> batches{0};
  std::atomic<uint64_t> reconnects{0};
  std::atomic<uint64_t> registrations{0};
  std::atomic<uint64_t> pending_bytes{0};
};

// Statistics order nothing.
inline void increase(std::atomic<uint64_t>* counter, uint64_t amount) {
  counter->fetch_add(amount, std::memory_order_relaxed);
}
inline void decrease(std::atomic<uint64_t>* counter, uint64_t amount) {
  counter->fetch_sub(amount, std::memory_order_relaxed);
}

}  // namespace diaspora::client
