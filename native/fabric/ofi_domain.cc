#include "fabric/ofi_domain.h"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

#include "base/ids.h"
#include "fabric/ofi_endpoint.h"
#include "fabric/ofi_region.h"
#include "fabric/signal_guard.h"

namespace diaspora::fabric {

namespace {

constexpr size_t kEntriesAtOnce = 64;
// Bound of one drain: what the completion queue can hold.
constexpr size_t kReadsMax = 256;

ProviderInfo describe(const ProviderChoice& choice) {
  ProviderInfo info;
  info.name = choice.policy.name;
  info.family = choice.policy.family;
  info.fabric_version = choice.library->version_text();
  info.message_bytes_max = std::min<uint64_t>(choice.policy.message_bytes_max, choice.info->ep_attr->max_msg_size);
  info.same_host_only = choice.policy.same_host_only;
  info.domain_per_session = choice.policy.domain_per_session;
  info.registration_is_costly = choice.policy.registration_is_costly;
  info.preference = choice.policy.preference;
  return info;
}

// No more than is needed: some providers widen what they are given.
uint64_t access_flags(Access access, const ProviderPolicy& policy) {
  switch (access) {
    case Access::kMessages:
      if (!policy.exposes_messages) return FI_SEND | FI_RECV;
      break;
    case Access::kRemoteRead:
      return FI_REMOTE_READ;
    case Access::kRemoteWrite:
      return FI_REMOTE_WRITE;
    case Access::kLocal:
      break;
  }
  return FI_READ | FI_WRITE;
}

// What to do about a process that may not lock more memory, or nothing where it may. Adapters pin what is registered.
std::string locked_memory_remedy() {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return {};
  return "; this process may lock " + std::to_string(limit.rlim_cur / 1024) +
         " KiB of memory: raise it with `ulimit -l unlimited`, memlock in /etc/security/limits.conf, or "
         "LimitMEMLOCK=infinity in the systemd unit";
}

}  // namespace

OfiDomain::OfiDomain(ProviderChoice choice) : choice_(std::move(choice)), provider_(describe(choice_)) {}

OfiDomain::~OfiDomain() { DIASPORA_CHECK(endpoints_.empty() && regions_ == 0); }

Result<std::unique_ptr<OfiDomain>> OfiDomain::open(ProviderChoice choice) {
  std::unique_ptr<OfiDomain> domain(new OfiDomain(std::move(choice)));
  const SignalGuard guard;
  if (const Status opened = domain->open_objects(); !opened) return opened;
  return domain;
}

Status OfiDomain::failed(const std::string& what, int64_t code) const {
  std::string text = provider_.name + ": " + what + ": " + library().error_text(code);
  if (code != -FI_ENOMEM) return {ErrorCode::k_FABRIC, std::move(text)};
  return {ErrorCode::k_RESOURCE_EXHAUSTED, text + locked_memory_remedy()};
}

Status OfiDomain::open_objects() {
  fid_fabric* fabric = nullptr;
  int rc = library().open_fabric(info()->fabric_attr, &fabric, nullptr);
  if (rc != 0) return failed("fi_fabric", rc);
  fabric_.reset(fabric);
  fid_domain* domain = nullptr;
  rc = fi_domain(fabric, info(), &domain, nullptr);
  if (rc != 0) return failed("fi_domain", rc);
  domain_.reset(domain);
  if (policy().wait_object == WaitObject::kWaitSet) {
    if (const Status opened = open_wait_set(); !opened) return opened;
  }
  if (const Status opened = open_queue(); !opened) return opened;
  if (policy().own_address_table) return {};
  Result<FidPtr<fid_av>> addresses = open_addresses();
  if (!addresses) return addresses.status();
  addresses_ = addresses.take();
  return {};
}

Status OfiDomain::open_wait_set() {
  Padded<fi_wait_attr> attributes;
  attributes.value.wait_obj = FI_WAIT_FD;
  fid_wait* set = nullptr;
  const int rc = fi_wait_open(fabric_.get(), &attributes.value, &set);
  if (rc != 0) return failed("fi_wait_open", rc);
  wait_set_.reset(set);
  return {};
}

Status OfiDomain::open_queue() {
  Padded<fi_cq_attr> attributes;
  attributes.value.size = kQueueEntries;
  attributes.value.format = FI_CQ_FORMAT_MSG;
  attributes.value.wait_set = wait_set_.get();
  attributes.value.wait_obj = wait_set_ != nullptr                         ? FI_WAIT_SET
                              : policy().wait_object == WaitObject::kQueue ? FI_WAIT_FD
                                                                           : FI_WAIT_NONE;
  fid_cq* queue = nullptr;
  int rc = fi_cq_open(domain_.get(), &attributes.value, &queue, nullptr);
  if (rc != 0) return failed("fi_cq_open", rc);
  queue_.reset(queue);
  if (policy().wait_object != WaitObject::kNone) {
    fid* waited = wait_set_ != nullptr ? &wait_set_->fid : &queue->fid;
    rc = fi_control(waited, FI_GETWAIT, &wait_fd_);
    if (rc != 0) return failed("FI_GETWAIT", rc);
  }
  provider_.has_wait_fd = wait_fd_ >= 0;
  return {};
}

Result<FidPtr<fid_av>> OfiDomain::open_addresses() const {
  Padded<fi_av_attr> attributes;
  attributes.value.type = FI_AV_TABLE;
  fid_av* addresses = nullptr;
  const int rc = fi_av_open(domain_.get(), &attributes.value, &addresses, nullptr);
  if (rc != 0) return failed("fi_av_open", rc);
  return FidPtr<fid_av>(addresses);
}

Result<std::unique_ptr<Endpoint>> OfiDomain::create_endpoint() { return OfiEndpoint::create(this); }

void OfiDomain::add_endpoint(OfiEndpoint* endpoint) { endpoints_.push_back(endpoint); }

void OfiDomain::remove_endpoint(OfiEndpoint* endpoint) { std::erase(endpoints_, endpoint); }

Result<std::unique_ptr<MemoryRegion>> OfiDomain::register_memory(void* base, size_t bytes, Access access) {
  std::shared_ptr<Registration> registration;
  if (is_remote(access) || needs_local_registration()) {
    Result<FidPtr<fid_mr>> fid = register_fid(base, bytes, access_flags(access, choice_.policy));
    if (!fid) return fid.status();
    registration = std::make_shared<Registration>();
    registration->fid = fid.take();
    if (has_mr_mode(FI_MR_ENDPOINT)) {
      if (endpoints_.empty()) {
        return {ErrorCode::k_INVALID_STATE, provider_.name + " registers memory for an endpoint: create one first"};
      }
      if (const Status bound = endpoints_.back()->bind(registration); !bound) return bound;
    }
  }
  ++regions_;
  return std::unique_ptr<MemoryRegion>(std::make_unique<OfiRegion>(this, base, std::move(registration)));
}

Result<FidPtr<fid_mr>> OfiDomain::register_fid(void* base, size_t bytes, uint64_t access) {
  // A random key can be taken already; more than a few times in a row cannot happen.
  constexpr int kAttempts = 4;
  const size_t key_bytes = std::min<size_t>(info()->domain_attr->mr_key_size, sizeof(uint64_t));
  const uint64_t key_mask = key_bytes >= sizeof(uint64_t) ? ~uint64_t{0} : (uint64_t{1} << (8 * key_bytes)) - 1;
  int rc = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const uint64_t key = has_mr_mode(FI_MR_PROV_KEY) ? 0 : random_u64() & key_mask;
    fid_mr* registered = nullptr;
    rc = fi_mr_reg(domain_.get(), base, bytes, access, 0, key, 0, &registered, nullptr);
    if (rc == 0) return FidPtr<fid_mr>(registered);
    if (rc != -FI_ENOKEY) break;
  }
  return failed("fi_mr_reg of " + std::to_string(bytes) + " bytes", rc);
}

size_t OfiDomain::progress() {
  drain();
  return completions_.run();
}

bool OfiDomain::prepare_wait() {
  drain();
  if (!completions_.empty()) return false;
  if (wait_fd_ < 0) return active_ == 0;
  if (wait_set_ != nullptr) return fi_wait(wait_set_.get(), 0) == -FI_ETIMEDOUT;
  // Without an endpoint nothing can come.
  if (has_stale_waits_) return enabled_endpoints_ == 0;
  fid* waited = &queue_->fid;
  return fi_trywait(fabric_.get(), &waited, 1) == FI_SUCCESS;
}

void OfiDomain::drain() {
  for (size_t i = 0; i < kReadsMax && read_entries(); ++i) {
  }
}

// False when the queue is empty.
bool OfiDomain::read_entries() {
  fi_cq_msg_entry entries[kEntriesAtOnce];
  const ssize_t count = fi_cq_read(queue_.get(), entries, kEntriesAtOnce);
  if (count == -FI_EAGAIN) return false;
  if (count == -FI_EAVAIL) {
    read_error();
    return true;
  }
  if (count < 0) {
    ++nameless_errors_;
    last_nameless_error_ = "fi_cq_read: " + library().error_text(count);
    return false;
  }
  for (ssize_t i = 0; i < count; ++i) finish(entries[i].op_context, {ErrorCode::kOk, {}, entries[i].len});
  return count > 0;
}

void OfiDomain::read_error() {
  Padded<fi_cq_err_entry> entry;
  const ssize_t count = fi_cq_readerr(queue_.get(), &entry.value, 0);
  if (count != 1) return;
  char buffer[128] = {};
  // ofi_rxm asks an endpoint of the queue for the text, and crashes when there is none.
  const char* reason = enabled_endpoints_ == 0 ? nullptr
                                               : fi_cq_strerror(queue_.get(), entry.value.prov_errno,
                                                                entry.value.err_data, buffer, sizeof(buffer));
  std::string text = provider_.name + ": " + library().error_text(entry.value.err);  // err is negative at times (shm)
  if (reason != nullptr && *reason != 0) text += ": " + std::string(reason);
  if (entry.value.op_context == nullptr) {
    ++nameless_errors_;
    last_nameless_error_ = std::move(text);
    return;
  }
  finish(entry.value.op_context, {ErrorCode::k_FABRIC, std::move(text), 0});
}

void OfiDomain::finish(void* context, OperationResult result) {
  auto* slot = static_cast<OperationSlot*>(context);
  Operation* operation = slot->operation;
  if (operation == nullptr) return;  // its endpoint was closed
  operation->slot = nullptr;
  slots_.release(slot);
  --outstanding_;
  completions_.add(operation, std::move(result));
}

}  // namespace diaspora::fabric
