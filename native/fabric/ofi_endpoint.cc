#include "fabric/ofi_endpoint.h"

#include <rdma/fi_cm.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "fabric/shm_files.h"
#include "fabric/signal_guard.h"

namespace diaspora::fabric {

namespace {

constexpr size_t kAddressBytesMax = 256;

// The part of a textual address that says of which kind it is: "fi_shm://".
std::string_view scheme_of(std::string_view text) {
  const size_t end = text.find("://");
  return end == std::string_view::npos ? std::string_view() : text.substr(0, end + 3);
}

// A peer's address comes from the wire and the provider trusts its length and form: it must look like our own.
bool is_plausible(std::span<const uint8_t> peer, const std::vector<uint8_t>& own, uint32_t format) {
  if (peer.empty() || peer.size() > kAddressBytesMax) return false;
  if (format != FI_ADDR_STR) {
    if (peer.size() != own.size()) return false;
    const bool is_socket = format == FI_SOCKADDR || format == FI_SOCKADDR_IN || format == FI_SOCKADDR_IN6;
    return !is_socket || std::memcmp(peer.data(), own.data(), sizeof(sa_family_t)) == 0;
  }
  const std::string_view text(reinterpret_cast<const char*>(peer.data()), peer.size());
  const std::string_view own_text(reinterpret_cast<const char*>(own.data()), own.size());
  const std::string_view scheme = scheme_of(own_text);
  return text.find('\0') == text.size() - 1 && text.starts_with(scheme) &&
         text.substr(scheme.size()).find('/') == std::string_view::npos;
}

// shm of 2.x leaves the entry of a peer in the same process half filled, and the first message above its inject size
// then crashes. It finds such peers by name; a slash in front names the same file but matches nothing.
std::vector<uint8_t> disguised(std::span<const uint8_t> peer) {
  const std::string_view text(reinterpret_cast<const char*>(peer.data()), peer.size());
  const size_t scheme = scheme_of(text).size();
  std::vector<uint8_t> name(peer.begin(), peer.end());
  const std::string own = std::to_string(getpid()) + ":";
  if (text.substr(scheme).starts_with(own)) name.insert(name.begin() + static_cast<ptrdiff_t>(scheme), '/');
  return name;
}

}  // namespace

OfiEndpoint::OfiEndpoint(OfiDomain* domain)
    : domain_(domain), in_flight_(std::make_shared<InFlight>(domain->active_counter())) {
  domain_->add_endpoint(this);
}

OfiEndpoint::~OfiEndpoint() {
  close();
  domain_->remove_endpoint(this);
}

Result<std::unique_ptr<Endpoint>> OfiEndpoint::create(OfiDomain* domain) {
  std::unique_ptr<OfiEndpoint> endpoint(new OfiEndpoint(domain));
  const SignalGuard guard;
  if (const Status opened = endpoint->open(); !opened) return opened;
  return std::unique_ptr<Endpoint>(std::move(endpoint));
}

Status OfiEndpoint::open() {
  addresses_ = domain_->shared_addresses();
  if (addresses_ == nullptr) {
    Result<FidPtr<fid_av>> opened = domain_->open_addresses();
    if (!opened) return opened.status();
    own_addresses_ = opened.take();
    addresses_ = own_addresses_.get();
  }
  fid_ep* endpoint = nullptr;
  int rc = fi_endpoint(domain_->domain(), domain_->info(), &endpoint, nullptr);
  if (rc != 0) return domain_->failed("fi_endpoint", rc);
  endpoint_.reset(endpoint);
  rc = fi_ep_bind(endpoint, &addresses_->fid, 0);
  if (rc != 0) return domain_->failed("fi_ep_bind of the address table", rc);
  rc = fi_ep_bind(endpoint, &domain_->queue()->fid, FI_TRANSMIT | FI_RECV);
  if (rc != 0) return domain_->failed("fi_ep_bind of the completion queue", rc);
  domain_->count_enabled();
  has_queue_ = true;
  rc = fi_enable(endpoint);
  if (rc != 0) return domain_->failed("fi_enable", rc);
  if (domain_->policy().leaves_files) {
    const Result<std::vector<uint8_t>> own = address();
    if (!own) return own.status();
    const std::string_view text(reinterpret_cast<const char*>(own.value().data()));
    shm_name_ = text.substr(scheme_of(text).size());
    remember_shm_file(shm_name_);
  }
  return {};
}

Status OfiEndpoint::bind(const std::shared_ptr<Registration>& registration) {
  if (endpoint_ == nullptr) return {ErrorCode::k_INVALID_STATE, "the endpoint is closed"};
  int rc = fi_mr_bind(registration->fid.get(), &endpoint_->fid, 0);
  if (rc == 0) rc = fi_mr_enable(registration->fid.get());
  if (rc != 0) {
    return {ErrorCode::k_FABRIC, domain_->provider().name + ": fi_mr_enable: " + domain_->library().error_text(rc)};
  }
  std::erase_if(bound_, [](const std::weak_ptr<Registration>& old) { return old.expired(); });
  bound_.push_back(registration);
  return {};
}

Result<std::vector<uint8_t>> OfiEndpoint::address() {
  if (endpoint_ == nullptr) return failure_;
  std::vector<uint8_t> bytes(kAddressBytesMax);
  size_t length = bytes.size();
  const int rc = fi_getname(&endpoint_->fid, bytes.data(), &length);
  if (rc != 0 || length > bytes.size()) {
    return {ErrorCode::k_FABRIC, domain_->provider().name + ": fi_getname: " + domain_->library().error_text(rc)};
  }
  bytes.resize(length);
  return bytes;
}

Status OfiEndpoint::connect(std::span<const uint8_t> peer_address) {
  if (endpoint_ == nullptr) return failure_;
  if (peer_ != FI_ADDR_UNSPEC) return {ErrorCode::k_INVALID_STATE, "the endpoint has a peer already"};
  const Result<std::vector<uint8_t>> own = address();
  if (!own) return own.status();
  if (!is_plausible(peer_address, own.value(), domain_->info()->addr_format)) {
    return {ErrorCode::k_PROTOCOL, "not an address of the provider " + domain_->provider().name};
  }
  const std::vector<uint8_t> name = domain_->policy().disguises_own_process
                                        ? disguised(peer_address)
                                        : std::vector<uint8_t>(peer_address.begin(), peer_address.end());
  const int inserted = fi_av_insert(addresses_, name.data(), 1, &peer_, 0, nullptr);
  if (inserted == 1 && peer_ != FI_ADDR_NOTAVAIL) return {};
  peer_ = FI_ADDR_UNSPEC;
  return {ErrorCode::k_FABRIC, domain_->provider().name + ": fi_av_insert: " +
                                   (inserted < 0 ? domain_->library().error_text(inserted) : "the peer is unknown")};
}

// What every post has in common. `call` is given libfabric's context.
template <typename Call>
PostResult OfiEndpoint::post(Operation* operation, const char* what, bool is_receive, Call call) {
  DIASPORA_CHECK(operation->owner == nullptr);
  if (domain_->is_full()) {
    domain_->drain();
    return PostResult::kBusy;
  }
  OperationSlot* slot = domain_->slots()->take(operation);
  const ssize_t rc = call(&slot->context);
  if (rc == 0) {
    operation->slot = slot;
    domain_->count_posted();
    in_flight_->add(operation, is_receive);
    return PostResult::kPosted;
  }
  domain_->slots()->release(slot);
  return fail(what, rc);
}

PostResult OfiEndpoint::fail(const char* what, int64_t code) {
  if (code == -FI_EAGAIN) {
    // Reading the queue is what lets the provider work off what is in the way.
    domain_->drain();
    return PostResult::kBusy;
  }
  failure_ = {ErrorCode::k_FABRIC, domain_->provider().name + ": " + what + ": " + domain_->library().error_text(code)};
  return PostResult::kFailed;
}

PostResult OfiEndpoint::complete_now(Operation* operation, OperationResult result) {
  DIASPORA_CHECK(operation->owner == nullptr);
  in_flight_->add(operation, false);
  domain_->completions()->add(operation, std::move(result));
  return PostResult::kPosted;
}

// False, with failure_ set, when the endpoint is closed or has no peer.
bool OfiEndpoint::is_connected() {
  if (endpoint_ == nullptr) return false;
  if (peer_ != FI_ADDR_UNSPEC) return true;
  failure_ = {ErrorCode::k_INVALID_STATE, "the endpoint has no peer yet"};
  return false;
}

PostResult OfiEndpoint::post_receive(Operation* operation, void* buffer, size_t bytes, MemoryRegion* region) {
  if (endpoint_ == nullptr) return PostResult::kFailed;
  void* descriptor = OfiRegion::descriptor(region);
  return post(operation, "fi_recv", true, [&](void* context) {
    return fi_recv(endpoint_.get(), buffer, bytes, descriptor, FI_ADDR_UNSPEC, context);
  });
}

PostResult OfiEndpoint::post_send(Operation* operation, const void* buffer, size_t bytes, MemoryRegion* region) {
  if (!is_connected()) return PostResult::kFailed;
  DIASPORA_CHECK(bytes <= domain_->provider().message_bytes_max);
  if (bytes <= domain_->info()->tx_attr->inject_size) {
    // The provider has copied the message when this returns, and reports nothing afterwards.
    const ssize_t rc = fi_inject(endpoint_.get(), buffer, bytes, peer_);
    return rc == 0 ? complete_now(operation, {}) : fail("fi_inject", rc);
  }
  void* descriptor = OfiRegion::descriptor(region);
  return post(operation, "fi_send", false,
              [&](void* context) { return fi_send(endpoint_.get(), buffer, bytes, descriptor, peer_, context); });
}

// A read that shm can make at once and that fails (the peer is dead, the address is not mapped) leaves an error without
// a context. 1.x also says that it accepted the post; 2.x answers EAGAIN, for ever. The first drain takes older errors
// away, so that one found by the second is this operation's.
template <typename Call>
PostResult OfiEndpoint::post_rma(Operation* operation, const char* what, Call call) {
  if (!is_connected()) return PostResult::kFailed;
  if (!domain_->policy().nameless_rma_errors) return post(operation, what, false, call);
  domain_->drain();
  const uint64_t errors_before = domain_->nameless_errors();
  const PostResult posted = post(operation, what, false, call);
  domain_->drain();
  const bool has_error = domain_->nameless_errors() != errors_before;
  if (posted == PostResult::kPosted) {
    refusals_ = 0;
    if (has_error && operation->slot != nullptr) {
      give_up(operation);
      domain_->completions()->add(operation, {ErrorCode::k_FABRIC, domain_->last_nameless_error(), 0});
    }
    return posted;
  }
  if (!has_error || ++refusals_ < kRefusalsMax) return posted;
  refusals_ = 0;
  return complete_now(operation, {ErrorCode::k_FABRIC, domain_->last_nameless_error(), 0});
}

// From here on a completion of the operation is not expected, and ignored.
void OfiEndpoint::give_up(Operation* operation) {
  domain_->slots()->rest(static_cast<OperationSlot*>(std::exchange(operation->slot, nullptr)));
  domain_->count_given_up();
}

PostResult OfiEndpoint::post_read(Operation* operation, void* local, size_t bytes, MemoryRegion* region,
                                  uint64_t remote_address, uint64_t key) {
  void* descriptor = OfiRegion::descriptor(region);
  return post_rma(operation, "fi_read", [&](void* context) {
    return fi_read(endpoint_.get(), local, bytes, descriptor, peer_, remote_address, key, context);
  });
}

PostResult OfiEndpoint::post_write(Operation* operation, const void* local, size_t bytes, MemoryRegion* region,
                                   uint64_t remote_address, uint64_t key) {
  void* descriptor = OfiRegion::descriptor(region);
  return post_rma(operation, "fi_writemsg", [&](void* context) {
    iovec source{const_cast<void*>(local), bytes};
    fi_rma_iov target{remote_address, bytes, key};
    Padded<fi_msg_rma> message;
    message.value.msg_iov = &source;
    message.value.desc = &descriptor;
    message.value.iov_count = 1;
    message.value.addr = peer_;
    message.value.rma_iov = &target;
    message.value.rma_iov_count = 1;
    message.value.context = context;
    // Without it the completion says only that the source may be reused.
    return fi_writemsg(endpoint_.get(), &message.value, FI_DELIVERY_COMPLETE | FI_COMPLETION);
  });
}

void OfiEndpoint::close() {
  if (endpoint_ != nullptr) {
    failure_ = {ErrorCode::k_ABORTED, "the endpoint is closed"};
    for (const std::weak_ptr<Registration>& bound : bound_) {
      if (const std::shared_ptr<Registration> registration = bound.lock()) registration->fid.reset();
    }
    if (std::exchange(has_queue_, false)) domain_->count_disabled();
    endpoint_.reset();  // from here on the provider touches none of the operations' memory
    own_addresses_.reset();
    if (!shm_name_.empty()) forget_shm_file(shm_name_);
    // What the queue still holds for this endpoint leads to slots, never to operations: read now what is there, drop
    // it, and let the slots rest whose completion has not come.
    domain_->drain();
    domain_->completions()->forget(in_flight_.get());
    for (Operation* operation = in_flight_->first(); operation != nullptr; operation = operation->next) {
      if (operation->slot != nullptr) give_up(operation);
    }
  }
  abort_all(in_flight_);
}

}  // namespace diaspora::fabric
