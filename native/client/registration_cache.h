// Registrations of callers' memory that are kept after their batch, because the caller will push the same memory again:
// an adapter pins what is registered page by page, which takes as long as sending it does.
//
// Only memory that is read by the server, and only as long as its owner lives (and kTidyMs): it is held weakly. A
// server may so read a buffer that it was given, and no other, for as long as the session lasts; where that is too much
// the cache is turned off (kBytesVariable). Not used on fabrics that register for nothing (ProviderInfo).
// Thread: progress. Owner: SharedDomain; goes before the domain does. Invariants: a registration that a batch uses is
// never dropped; what no batch uses and exceeds the bound, or has lost its owner, is dropped within kTidyMs.
#pragma once

#include <cstdint>
#include <list>
#include <memory>

#include "base/reactor.h"
#include "fabric/fabric.h"

namespace diaspora::client {

class RegistrationCache {
 public:
  static constexpr uint64_t kBytesDefault = uint64_t{256} << 20;
  // Environment variable with the bound in bytes; 0: nothing is kept.
  static constexpr const char* kBytesVariable = "DIASPORA_REGISTRATION_CACHE";

  // Nothing announces that a buffer was collected.
  static constexpr int64_t kTidyMs = 1000;

  // What the environment says, or the default.
  static uint64_t bytes_from_environment();

  RegistrationCache(Reactor* reactor, fabric::Domain* domain, uint64_t bytes_max);
  ~RegistrationCache();
  RegistrationCache(const RegistrationCache&) = delete;
  RegistrationCache& operator=(const RegistrationCache&) = delete;

  // A registration of exactly this memory for remote reading, known or new. `owner` keeps the memory alive. Where the
  // limit on pinned memory is met, what is unused is given up for it.
  Result<std::shared_ptr<fabric::MemoryRegion>> region_of(const uint8_t* bytes, size_t length,
                                                          const std::shared_ptr<void>& owner);
  // Drops what no batch uses in all caches, for a registration that met the limit on pinned memory. Whether it was any.
  static bool give_back_all();
  uint64_t bytes() const { return bytes_; }
  size_t entries() const { return entries_.size(); }

 private:
  struct Entry {
    const uint8_t* bytes = nullptr;
    size_t length = 0;
    std::weak_ptr<void> owner;
    std::shared_ptr<fabric::MemoryRegion> region;
    bool unused() const { return region.use_count() == 1; }
  };
  void drop_ownerless();
  void drop_unused(uint64_t bytes_max);
  void tidy_later();

  Reactor* reactor_;
  fabric::Domain* domain_;
  const uint64_t bytes_max_;
  std::list<Entry> entries_;  // the one used last first
  uint64_t bytes_ = 0;
  Reactor::TimerId timer_ = 0;
};

}  // namespace diaspora::client
