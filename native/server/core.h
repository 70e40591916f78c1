// What the parts of one server share: its reactor, memory, topics, fabric domains and counters.
//
// Thread: the server's reactor, except `counters` (atomic) and `reactor.post`. Owner: ServerImpl.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/buffer_pool.h"
#include "base/ids.h"
#include "base/reactor.h"
#include "fabric/fabric.h"
#include "partition/partition.h"
#include "partition/storage.h"
#include "server/server.h"
#include "session/link.h"

namespace diaspora::server {

class GroupTable;
class TopicTable;

// How often what found no memory is tried again, and after how long a client is told.
inline constexpr int64_t kMemoryRetryMs = 2;
inline constexpr int64_t kNoMemoryMs = 5000;

// Registrations of the pool's arenas in one domain: each arena once, for local access only. No server memory is ever
// registered with remote access (DESIGN: only servers initiate RMA).
class RegionCache {
 public:
  RegionCache(fabric::Domain* domain, std::atomic<uint64_t>* count) : domain_(domain), count_(count) {}
  ~RegionCache() { *count_ -= regions_.size(); }
  RegionCache(const RegionCache&) = delete;
  RegionCache& operator=(const RegionCache&) = delete;
  // The region that covers `buffer`; null when the provider needs none. Arenas made for one large batch are registered
  // anew each time and kept by `*temporary`, as they go away with the batch.
  Result<fabric::MemoryRegion*> region_of(const Buffer& buffer, std::shared_ptr<fabric::MemoryRegion>* temporary);

 private:
  fabric::Domain* domain_;
  std::atomic<uint64_t>* count_;  // of present registrations, for the server's counters
  std::unordered_map<uint64_t, std::unique_ptr<fabric::MemoryRegion>> regions_;  // by arena number
};

// One provider on one interface, polled by the server's reactor. Not to be destroyed inside a poll.
struct ServedDomain {
  ServedDomain(Reactor* reactor_in, std::unique_ptr<fabric::Domain> domain_in, std::atomic<uint64_t>* registrations);
  ~ServedDomain();
  Reactor* reactor;
  std::unique_ptr<fabric::Domain> domain;
  session::DomainPoller poller;
  RegionCache regions;
};

struct AtomicCounters {
  std::atomic<uint64_t> data_bytes_by_rma{0};
  std::atomic<uint64_t> data_bytes_copied{0};
  std::atomic<uint64_t> data_bytes{0};
  std::atomic<uint64_t> events_produced{0};
  std::atomic<uint64_t> events_consumed{0};
  std::atomic<uint64_t> batches{0};
  std::atomic<uint64_t> sessions{0};
  std::atomic<uint64_t> registrations{0};
};

struct Core {
  explicit Core(ServerOptions options_in);
  ~Core();
  void log(bool warn, const std::string& line) const {
    if (options.log) options.log(warn, line);
  }
  // Memory for a batch. When the pool is at its bound cached batches are given up for it.
  Result<BufferRef> allocate(size_t bytes);
  // Reads the batch with event `id`. Where there is no memory to read into, what others have in memory and on disk
  // gives way and it is tried again: RESOURCE_EXHAUSTED only after kNoMemoryMs. From memory `done` runs before this
  // returns.
  void read(const Uuid& topic, PartitionIndex index, EventId id, const partition::ReadCallback& done);
  // The domain of `provider` on the interface `bind_address`: shared by all sessions and opened on first use, or a new
  // one where the provider wants one for each session.
  Result<std::shared_ptr<ServedDomain>> domain(const fabric::ProviderInfo& provider, const std::string& bind_address);

  ServerOptions options;
  Reactor reactor;
  std::shared_ptr<BufferPool> pool;
  std::unique_ptr<partition::Storage> storage;
  std::unique_ptr<TopicTable> topics;
  std::unique_ptr<GroupTable> groups;
  std::vector<fabric::ProviderInfo> providers;  // best first
  // The shared ones, by provider, its domain and address.
  std::map<std::tuple<std::string, std::string, std::string>, std::shared_ptr<ServedDomain>> domains;
  AtomicCounters counters;

 private:
  void read_until(int64_t until_ms, const Uuid& topic, PartitionIndex index, EventId id,
                  const partition::ReadCallback& done);
};

}  // namespace diaspora::server
