#include "server/core.h"

#include "base/clock.h"
#include "server/group_table.h"
#include "server/topic_table.h"

namespace diaspora::server {

Result<fabric::MemoryRegion*> RegionCache::region_of(const Buffer& buffer,
                                                     std::shared_ptr<fabric::MemoryRegion>* temporary) {
  if (!domain_->needs_local_registration()) return nullptr;
  const Arena& arena = buffer.arena();
  const auto known = regions_.find(arena.number);
  if (known != regions_.end()) return known->second.get();
  auto region = domain_->register_memory(arena.base, arena.bytes, fabric::Access::kLocal);
  if (!region) return region.error();
  fabric::MemoryRegion* raw = region.value().get();
  ++*count_;
  if (arena.bytes > BufferPool::kArenaBytes) {
    *temporary = {region.take().release(), [count = count_](fabric::MemoryRegion* gone) {
                    delete gone;
                    --*count;
                  }};
  } else {
    regions_.emplace(arena.number, region.take());
  }
  return raw;
}

ServedDomain::ServedDomain(Reactor* reactor_in, std::unique_ptr<fabric::Domain> domain_in,
                           std::atomic<uint64_t>* registrations)
    : reactor(reactor_in), domain(std::move(domain_in)), poller(domain.get()), regions(domain.get(), registrations) {
  reactor->add_poller(&poller);
}

ServedDomain::~ServedDomain() { reactor->remove_poller(&poller); }

Core::Core(ServerOptions options_in) : options(std::move(options_in)) {}

Core::~Core() = default;

Result<BufferRef> Core::allocate(size_t bytes) {
  Result<BufferRef> buffer = pool->allocate(bytes);
  if (buffer || buffer.error().code != ErrorCode::k_RESOURCE_EXHAUSTED) return buffer;
  // Twice the need: fewer calls, as evicting walks over all partitions.
  if (topics->release_cache(2 * bytes) == 0) return buffer;
  return pool->allocate(bytes);
}

void Core::read(const Uuid& topic, PartitionIndex index, EventId id, const partition::ReadCallback& done) {
  read_until(monotonic_ms() + kNoMemoryMs, topic, index, id, done);
}

void Core::read_until(int64_t until_ms, const Uuid& topic, PartitionIndex index, EventId id,
                      const partition::ReadCallback& done) {
  const auto hosted = topics->find(topic, index);
  if (!hosted) return done(hosted.error());
  hosted.value()->partition->read(id, [=, this](Result<partition::StoredBatch> batch) {
    const bool no_memory = !batch && batch.error().code == ErrorCode::k_RESOURCE_EXHAUSTED;
    if (!no_memory || monotonic_ms() >= until_ms) return done(std::move(batch));
    constexpr size_t kRoomBytes = size_t{64} << 20;  // several batches of the usual bound of 16 MiB
    topics->release_cache(kRoomBytes);
    reactor.call_after_ms(kMemoryRetryMs, [=, this] { read_until(until_ms, topic, index, id, done); });
  });
}

Result<std::shared_ptr<ServedDomain>> Core::domain(const fabric::ProviderInfo& provider,
                                                   const std::string& bind_address) {
  const auto key = std::make_tuple(provider.name, provider.domain, provider.same_host_only ? "" : bind_address);
  const auto known = domains.find(key);
  if (known != domains.end()) return known->second;
  fabric::FabricOptions fabric_options;
  fabric_options.provider = provider.name;
  fabric_options.bind_address = bind_address;
  auto opened = fabric::open_domain(provider, fabric_options);
  if (!opened) return opened.error();
  auto served = std::make_shared<ServedDomain>(&reactor, opened.take(), &counters.registrations);
  if (!provider.domain_per_session) domains.emplace(key, served);
  return served;
}

}  // namespace diaspora::server
