// The memory windows of one subscription: the server writes event data into them, the consumer is handed their bytes.
//
// There are none until the server asks for them. A window is granted once, filled front to back, retired by the server,
// and replaced when every delivery in it was taken; its memory lives on for as long as anyone holds a delivery of it.
// So a paused consumer costs its windows and no more, and what a consumer holds on to is bounded by the process-wide
// pool. Thread: progress. Owner: Subscription.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/buffer_pool.h"
#include "client/client_counters.h"
#include "client/exposed_memory.h"

namespace diaspora::client {

class WindowSet {
 public:
  // All windows of the process: four consumers with 128 MiB each. When others hold it all, each
  // gets kWindowsMin of the smallest size all the same: what they hold may be for ever.
  static constexpr size_t kPoolBytesMax = size_t{512} << 20;
  // The head of an event with the largest metadata must fit.
  static constexpr uint64_t kWindowBytesMin = uint64_t{2} << 20;
  // A server gives a window back when it goes on to the next.
  static constexpr size_t kWindowsMin = 2;

  WindowSet(size_t count, uint64_t window_bytes, std::shared_ptr<ClientCounters> counters)
      : count_(count), window_bytes_(window_bytes), counters_(std::move(counters)) {}

  // Makes the windows that are missing, as far as the pool has memory, and returns what is to be granted.
  Result<std::vector<wire::Window>> refill(fabric::Domain* domain);
  bool complete() const { return windows_.size() >= count_; }

  // `bytes` at `offset` of window `id` and what keeps them; empty span when there is no such place.
  struct Place {
    std::span<const uint8_t> bytes;
    std::shared_ptr<void> owner;
  };
  Place find(uint32_t id, uint64_t offset, uint64_t bytes) const;

  // A delivery in window `id` waits to be taken / was taken.
  void note_delivery(uint32_t id);
  void note_taken(uint32_t id);
  // The server will not write there again.
  bool retire(uint32_t id);
  // The link is closed: all windows are gone.
  void reset() { windows_.clear(); }

 private:
  struct Entry {
    explicit Entry(ClientCounters* counters) : exposed(counters) {}
    std::shared_ptr<void> owner;  // keeps `memory`
    std::span<uint8_t> memory;
    ExposedMemory exposed;
    size_t untaken = 0;
    bool retired = false;
  };
  bool allocate(Entry* entry) const;
  void forget_if_done(uint32_t id);

  const size_t count_;
  const uint64_t window_bytes_;
  const std::shared_ptr<ClientCounters> counters_;  // windows may outlive their client for a moment
  std::unordered_map<uint32_t, std::unique_ptr<Entry>> windows_;
  uint32_t next_id_ = 1;
};

}  // namespace diaspora::client
