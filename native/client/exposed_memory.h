// Registrations of client memory that a server may reach, counted.
//
// Thread: progress. Owner: whatever operation exposes the memory; it withdraws when the server has answered, or after
// the endpoint was closed. Invariant: never outlives the domain, because owners withdraw when their connection goes
// down.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "client/client_counters.h"
#include "client/registration_cache.h"
#include "fabric/fabric.h"
#include "wire/message.h"

namespace diaspora::client {

class ExposedMemory {
 public:
  explicit ExposedMemory(ClientCounters* counters) : counters_(counters) {}
  ~ExposedMemory() { withdraw(); }
  ExposedMemory(const ExposedMemory&) = delete;
  ExposedMemory& operator=(const ExposedMemory&) = delete;

  bool empty() const { return regions_.empty(); }

  // Registers memory and says how a server names it.
  Result<wire::RemoteSegment> expose(fabric::Domain* domain, const uint8_t* bytes, size_t length,
                                     fabric::Access access) {
    // Only a remote write changes the memory, and then the caller gave it to be written.
    auto region = domain->register_memory(const_cast<uint8_t*>(bytes), length, access);
    if (!region && RegistrationCache::give_back_all()) {
      region = domain->register_memory(const_cast<uint8_t*>(bytes), length, access);
    }
    if (!region) return region.error();
    return add(region.take(), bytes, length);
  }
  // The same for memory that is read and may come again; `owner` keeps it.
  Result<wire::RemoteSegment> expose(RegistrationCache* cache, const uint8_t* bytes, size_t length,
                                     const std::shared_ptr<void>& owner) {
    auto region = cache->region_of(bytes, length, owner);
    if (!region) return region.error();
    return add(region.take(), bytes, length);
  }
  void withdraw() {
    decrease(&counters_->registrations, regions_.size());
    regions_.clear();
  }

 private:
  wire::RemoteSegment add(std::shared_ptr<fabric::MemoryRegion> region, const uint8_t* bytes, size_t length) {
    increase(&counters_->registrations, 1);
    regions_.push_back(std::move(region));
    wire::RemoteSegment segment;
    segment.address = regions_.back()->remote_address(bytes);
    segment.key = regions_.back()->key();
    segment.bytes = static_cast<uint32_t>(length);
    return segment;
  }

  ClientCounters* counters_;
  std::vector<std::shared_ptr<fabric::MemoryRegion>> regions_;
};

}  // namespace diaspora::client
