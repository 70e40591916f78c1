#include "client/registration_cache.h"

#include <algorithm>
#include <cstdlib>
#include <set>

namespace diaspora::client {

namespace {

// Registering costs some 100 us a MiB; looking through so many some us.
constexpr size_t kEntriesMax = 1024;

// Of the progress thread; leaked like it.
std::set<RegistrationCache*>& caches() {
  static auto* const all = new std::set<RegistrationCache*>();
  return *all;
}

}  // namespace

uint64_t RegistrationCache::bytes_from_environment() {
  const char* text = std::getenv(kBytesVariable);
  if (text == nullptr || *text == 0) return kBytesDefault;
  char* end = nullptr;
  const uint64_t bytes = std::strtoull(text, &end, 10);
  return *end == 0 ? bytes : kBytesDefault;
}

RegistrationCache::RegistrationCache(Reactor* reactor, fabric::Domain* domain, uint64_t bytes_max)
    : reactor_(reactor), domain_(domain), bytes_max_(bytes_max) {
  caches().insert(this);
}

bool RegistrationCache::give_back_all() {
  uint64_t before = 0;
  uint64_t after = 0;
  for (RegistrationCache* cache : caches()) {
    before += cache->bytes_;
    cache->drop_unused(0);
    after += cache->bytes_;
  }
  return after < before;
}

RegistrationCache::~RegistrationCache() {
  caches().erase(this);
  if (timer_ != 0) reactor_->cancel(timer_);
}

Result<std::shared_ptr<fabric::MemoryRegion>> RegistrationCache::region_of(const uint8_t* bytes, size_t length,
                                                                           const std::shared_ptr<void>& owner) {
  const auto known = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.bytes == bytes && entry.length == length && !entry.owner.owner_before(owner) &&
           !owner.owner_before(entry.owner);
  });
  if (known != entries_.end()) {
    entries_.splice(entries_.begin(), entries_, known);
    return known->region;
  }
  drop_ownerless();
  // Only read by others: the memory does not change.
  const auto add = [&] {
    return domain_->register_memory(const_cast<uint8_t*>(bytes), length, fabric::Access::kRemoteRead);
  };
  auto made = add();
  if (!made && give_back_all()) made = add();
  if (!made) return made.error();
  std::shared_ptr<fabric::MemoryRegion> region = made.take();
  if (length > bytes_max_) return region;
  entries_.push_front({bytes, length, owner, region});
  bytes_ += length;
  drop_unused(bytes_max_);
  tidy_later();
  return region;
}

// The one used longest ago first.
void RegistrationCache::drop_unused(uint64_t bytes_max) {
  for (auto it = entries_.end(); it != entries_.begin() && (bytes_ > bytes_max || entries_.size() > kEntriesMax);) {
    --it;
    if (!it->unused()) continue;
    bytes_ -= it->length;
    it = entries_.erase(it);
  }
}

void RegistrationCache::drop_ownerless() {
  std::erase_if(entries_, [&](const Entry& entry) {
    if (!entry.owner.expired() || !entry.unused()) return false;
    bytes_ -= entry.length;
    return true;
  });
}

void RegistrationCache::tidy_later() {
  if (timer_ != 0 || entries_.empty()) return;
  timer_ = reactor_->call_after_ms(kTidyMs, [this] {
    timer_ = 0;
    drop_ownerless();
    drop_unused(bytes_max_);
    tidy_later();
  });
}

}  // namespace diaspora::client
