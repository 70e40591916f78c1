#include "fabric/local_domain.h"

#include <cstring>
#include <mutex>
#include <shared_mutex>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/limits.h"
#include "fabric/in_flight.h"
#include "fabric/local_hub.h"

namespace diaspora::fabric {

namespace {

class LocalDomain;

class LocalRegion final : public MemoryRegion {
 public:
  LocalRegion(void* base, size_t bytes, Access access, size_t* domain_regions)
      : region_(std::make_shared<Region>()), domain_regions_(domain_regions) {
    region_->base = static_cast<uint8_t*>(base);
    region_->bytes = bytes;
    region_->allowed = access;
    if (is_remote(access)) key_ = publish_region(region_);
    ++*domain_regions_;
  }

  // Waits for a peer that is copying: after this the memory is nobody's but the caller's.
  ~LocalRegion() override {
    if (key_ != 0) withdraw_region(key_);
    region_->open = false;
    const std::unique_lock<std::shared_mutex> lock(region_->access);
    --*domain_regions_;
  }

  // An offset: a peer need not learn where this process keeps its memory.
  uint64_t remote_address(const void* local) const override {
    return static_cast<uint64_t>(static_cast<const uint8_t*>(local) - region_->base);
  }
  uint64_t key() const override { return key_; }

 private:
  const std::shared_ptr<Region> region_;
  uint64_t key_ = 0;
  size_t* const domain_regions_;
};

// One copy between the initiator's memory and a peer's region.
struct Transfer {
  Access needed;  // kRemoteRead: peer to local; kRemoteWrite: local to peer
  void* destination;
  const void* source;
  size_t bytes;
  uint64_t remote_address;
  uint64_t key;
};

// Empty when the bytes were copied, else what forbade it.
const char* copy_remote(Port* peer, const Transfer& transfer) {
  const std::shared_lock<std::shared_mutex> peer_lock(peer->access());
  if (!peer->accessible()) return "the peer's endpoint is closed";
  const std::shared_ptr<Region> region = find_region(transfer.key);
  if (region == nullptr) return "no memory region has this key";
  const std::shared_lock<std::shared_mutex> region_lock(region->access);
  if (!region->open) return "the memory region was closed";
  if (region->allowed != transfer.needed) return "the memory region does not allow this access";
  // In this order the check cannot wrap around.
  if (transfer.remote_address > region->bytes || transfer.bytes > region->bytes - transfer.remote_address) {
    return "out of the bounds of the memory region";
  }
  uint8_t* remote = region->base + transfer.remote_address;
  const bool is_read = transfer.needed == Access::kRemoteRead;
  if (transfer.bytes > 0) {
    std::memcpy(is_read ? transfer.destination : remote, is_read ? remote : transfer.source, transfer.bytes);
  }
  return "";
}

class LocalEndpoint final : public Endpoint {
 public:
  explicit LocalEndpoint(LocalDomain* domain);
  ~LocalEndpoint() override;

  Result<std::vector<uint8_t>> address() override;
  Status connect(std::span<const uint8_t> peer_address) override;
  PostResult post_receive(Operation* operation, void* buffer, size_t bytes, MemoryRegion* region) override;
  PostResult post_send(Operation* operation, const void* buffer, size_t bytes, MemoryRegion* region) override;
  PostResult post_read(Operation* operation, void* local, size_t bytes, MemoryRegion* region, uint64_t remote_address,
                       uint64_t key) override;
  PostResult post_write(Operation* operation, const void* local, size_t bytes, MemoryRegion* region,
                        uint64_t remote_address, uint64_t key) override;
  void close() override;
  Error failure() const override;
  size_t in_flight() const override { return in_flight_->size(); }

 private:
  PostResult post_transfer(Operation* operation, const Transfer& transfer);
  PostResult complete(Operation* operation, const char* failure);

  LocalDomain* const domain_;
  const std::shared_ptr<InFlight> in_flight_;
  const std::shared_ptr<Port> port_;
  const uint64_t id_;
  bool open_ = true;
  bool connected_ = false;
  std::shared_ptr<Port> peer_;  // null: it was gone when connect was called
};

class LocalDomain final : public Domain {
 public:
  explicit LocalDomain(std::shared_ptr<Hub> hub) : provider_(local_provider()), hub_(std::move(hub)) {}
  ~LocalDomain() override { DIASPORA_CHECK(endpoints_ == 0 && regions_ == 0); }

  const ProviderInfo& provider() const override { return provider_; }
  bool needs_local_registration() const override { return false; }
  Result<std::unique_ptr<Endpoint>> create_endpoint() override {
    return std::unique_ptr<Endpoint>(std::make_unique<LocalEndpoint>(this));
  }
  Result<std::unique_ptr<MemoryRegion>> register_memory(void* base, size_t bytes, Access access) override {
    return std::unique_ptr<MemoryRegion>(std::make_unique<LocalRegion>(base, bytes, access, &regions_));
  }

  size_t progress() override {
    if (asleep_ || hub_->signalled()) take_arrivals();
    return completions_.run();
  }
  int wait_fd() const override { return hub_->wait_fd(); }
  bool prepare_wait() override {
    if (!completions_.empty() || !hub_->fall_asleep()) return false;
    asleep_ = true;
    return true;
  }
  size_t active_operations() const override { return active_; }

 private:
  friend class LocalEndpoint;

  void take_arrivals() {
    asleep_ = false;
    hub_->take(&arrivals_);
    for (Arrival& arrival : arrivals_) completions_.add(arrival.operation, std::move(arrival.result));
    arrivals_.clear();
  }

  const ProviderInfo provider_;
  const std::shared_ptr<Hub> hub_;
  CompletionList completions_;
  std::vector<Arrival> arrivals_;  // kept for its capacity
  bool asleep_ = false;            // prepare_wait said true and progress has not run since
  size_t active_ = 0;
  size_t endpoints_ = 0;
  size_t regions_ = 0;
};

LocalEndpoint::LocalEndpoint(LocalDomain* domain)
    : domain_(domain),
      in_flight_(std::make_shared<InFlight>(&domain->active_)),
      port_(std::make_shared<Port>(domain->hub_)),
      id_(publish_port(port_)) {
  ++domain_->endpoints_;
}

LocalEndpoint::~LocalEndpoint() {
  close();
  --domain_->endpoints_;
}

Result<std::vector<uint8_t>> LocalEndpoint::address() {
  std::vector<uint8_t> bytes;
  ByteWriter(&bytes).u64(id_);
  return bytes;
}

Status LocalEndpoint::connect(std::span<const uint8_t> peer_address) {
  if (!open_) return failure();
  if (connected_) return {ErrorCode::k_INVALID_STATE, "the endpoint has a peer already"};
  ByteReader reader(peer_address);
  const uint64_t id = reader.u64();
  if (!reader.finished()) return {ErrorCode::k_PROTOCOL, "not an address of the local provider"};
  peer_ = find_port(id);
  connected_ = true;
  return {};
}

PostResult LocalEndpoint::post_receive(Operation* operation, void* buffer, size_t bytes, MemoryRegion*) {
  if (!open_) return PostResult::kFailed;
  in_flight_->add(operation, true);
  port_->post_receive(operation, buffer, bytes);
  return PostResult::kPosted;
}

PostResult LocalEndpoint::post_send(Operation* operation, const void* buffer, size_t bytes, MemoryRegion*) {
  if (!open_ || !connected_) return PostResult::kFailed;
  DIASPORA_CHECK(bytes <= domain_->provider_.message_bytes_max);
  const Delivery delivery = peer_ == nullptr ? Delivery::kClosed : peer_->deliver(buffer, bytes, domain_->hub_);
  if (delivery == Delivery::kNoReceive) return PostResult::kBusy;
  return complete(operation, delivery == Delivery::kDone ? "" : "the peer's endpoint is closed");
}

PostResult LocalEndpoint::post_read(Operation* operation, void* local, size_t bytes, MemoryRegion*,
                                    uint64_t remote_address, uint64_t key) {
  return post_transfer(operation, {Access::kRemoteRead, local, nullptr, bytes, remote_address, key});
}

PostResult LocalEndpoint::post_write(Operation* operation, const void* local, size_t bytes, MemoryRegion*,
                                     uint64_t remote_address, uint64_t key) {
  return post_transfer(operation, {Access::kRemoteWrite, nullptr, local, bytes, remote_address, key});
}

PostResult LocalEndpoint::post_transfer(Operation* operation, const Transfer& transfer) {
  if (!open_ || !connected_) return PostResult::kFailed;
  return complete(operation, peer_ == nullptr ? "the peer's endpoint is closed" : copy_remote(peer_.get(), transfer));
}

// The work is done already, but on_complete belongs to progress().
PostResult LocalEndpoint::complete(Operation* operation, const char* failure) {
  in_flight_->add(operation, false);
  const bool failed = *failure != 0;
  domain_->completions_.add(operation, {failed ? ErrorCode::k_FABRIC : ErrorCode::kOk, failure, 0});
  return PostResult::kPosted;
}

void LocalEndpoint::close() {
  if (open_) {
    open_ = false;
    withdraw_port(id_);
    port_->close();
    domain_->hub_->forget(in_flight_.get());
    domain_->completions_.forget(in_flight_.get());
    peer_.reset();
  }
  abort_all(in_flight_);
}

Error LocalEndpoint::failure() const {
  if (!open_) return {ErrorCode::k_ABORTED, "the endpoint is closed"};
  return {ErrorCode::k_FABRIC, connected_ ? "the endpoint works" : "the endpoint has no peer yet"};
}

}  // namespace

ProviderInfo local_provider() {
  ProviderInfo provider;
  provider.name = "local";
  provider.family = "local";
  provider.message_bytes_max = kMessageBytesMax;
  provider.has_wait_fd = true;
  provider.same_host_only = true;
  provider.preference = 0;
  return provider;
}

Result<std::unique_ptr<Domain>> open_local_domain() {
  Result<std::shared_ptr<Hub>> hub = Hub::create();
  if (!hub) return hub.status();
  return std::unique_ptr<Domain>(std::make_unique<LocalDomain>(hub.take()));
}

}  // namespace diaspora::fabric
