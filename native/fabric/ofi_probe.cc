#include "fabric/ofi_probe.h"

#include <sys/mman.h>

#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/ids.h"

namespace diaspora::fabric {

namespace {

// A first connection takes up to 0.3 s; 5 s is broken.
constexpr int64_t kDeadlineMs = 5000;
constexpr size_t kReadBytes = size_t{1} << 20;
// Where memory is pinned, a process that may not pin this much is of no use: a server registers 64 MiB at a time, a
// consumer windows of many MiB.
constexpr size_t kPinnedBytesMin = size_t{128} << 20;

class ProbeOperation final : public Operation {
 public:
  void on_complete(const OperationResult& completed) override {
    done = true;
    result = completed;
  }
  bool done = false;
  OperationResult result;
};

class ProviderProbe {
 public:
  explicit ProviderProbe(Domain* domain) : domain_(domain), exposed_(kReadBytes), fetched_(kReadBytes) {}

  Status run();

 private:
  Status open();
  Status pin_enough();
  template <typename Post>
  Status perform(const char* what, Post post);

  Domain* const domain_;
  std::vector<uint8_t> exposed_;
  std::vector<uint8_t> fetched_;
  // Endpoints after the memory they use, regions after endpoints: destroyed in the reverse order.
  std::unique_ptr<Endpoint> target_;
  std::unique_ptr<Endpoint> initiator_;
  std::unique_ptr<MemoryRegion> exposed_region_;
  std::unique_ptr<MemoryRegion> fetched_region_;
};

Status ProviderProbe::open() {
  for (std::unique_ptr<Endpoint>* endpoint : {&initiator_, &target_}) {
    Result<std::unique_ptr<Endpoint>> created = domain_->create_endpoint();
    if (!created) return created.status();
    *endpoint = created.take();
  }
  Result<std::vector<uint8_t>> address = target_->address();
  if (!address) return address.status();
  if (const Status connected = initiator_->connect(address.value()); !connected) return connected;
  Result<std::unique_ptr<MemoryRegion>> exposed =
      domain_->register_memory(exposed_.data(), exposed_.size(), Access::kRemoteRead);
  if (!exposed) return exposed.status();
  exposed_region_ = exposed.take();
  Result<std::unique_ptr<MemoryRegion>> fetched =
      domain_->register_memory(fetched_.data(), fetched_.size(), Access::kLocal);
  if (!fetched) return fetched.status();
  fetched_region_ = fetched.take();
  return {};
}

// Room is only asked for where registering costs any.
Status ProviderProbe::pin_enough() {
  if (!domain_->needs_local_registration()) return {};
  void* const memory = mmap(nullptr, kPinnedBytesMin, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return {ErrorCode::k_RESOURCE_EXHAUSTED, "no memory for the self-test"};
  const Status registered = domain_->register_memory(memory, kPinnedBytesMin, Access::kLocal).status();
  DIASPORA_CHECK(munmap(memory, kPinnedBytesMin) == 0);
  return registered;
}

// Posts, and drives the domain until the operation is complete.
template <typename Post>
Status ProviderProbe::perform(const char* what, Post post) {
  const int64_t deadline_ms = monotonic_ms() + kDeadlineMs;
  ProbeOperation probe;
  PostResult posted = PostResult::kBusy;
  while (posted == PostResult::kBusy && monotonic_ms() < deadline_ms) {
    posted = post(&probe);
    domain_->progress();
  }
  if (posted == PostResult::kFailed) return initiator_->failure();
  while (posted == PostResult::kPosted && !probe.done && monotonic_ms() < deadline_ms) domain_->progress();
  if (probe.done && probe.result.code == ErrorCode::kOk) return {};
  const std::string detail = probe.done ? probe.result.detail : std::string("no answer in time");
  if (!probe.done) {
    initiator_->close();  // the probe goes out of scope
    target_->close();
  }
  return {ErrorCode::k_FABRIC, domain_->provider().name + ": the self-test's " + what + " failed: " + detail};
}

Status ProviderProbe::run() {
  if (const Status opened = open(); !opened) return opened;
  if (const Status pinned = pin_enough(); !pinned) return pinned;
  uint64_t state = random_u64();
  for (uint8_t& byte : exposed_) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<uint8_t>(state >> 56);
  }
  const Status read = perform("read of 1 MiB", [&](Operation* operation) {
    return initiator_->post_read(operation, fetched_.data(), kReadBytes, fetched_region_.get(),
                                 exposed_region_->remote_address(exposed_.data()), exposed_region_->key());
  });
  if (!read) return read;
  if (crc32c(fetched_) != crc32c(exposed_)) {
    return {ErrorCode::k_FABRIC, domain_->provider().name + ": the self-test read wrong bytes"};
  }
  initiator_->close();
  target_->close();
  return {};
}

}  // namespace

Status probe_provider(Domain* domain) { return ProviderProbe(domain).run(); }

}  // namespace diaspora::fabric
