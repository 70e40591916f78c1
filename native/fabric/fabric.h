// The fabric: endpoints that send messages and move memory, over whichever provider both sides share.
//
// What it is: a small interface with two implementations: libfabric (ofi_*.cc, the only user of <rdma/*>) and `local`
// (local_*.cc), which joins endpoints of one process without any library: the embedded driver and the tests run on it.
// What it is not: it knows no sessions, batches, credits or retries; it never blocks and owns no thread.
// Threads: a Domain and everything made from it is used by one thread at a time (its reactor), except discovery and
// open_domain. Invariants: an Operation that was posted is completed exactly once; after Endpoint::close returns none
// of the memory of its operations is touched by the fabric again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"

namespace diaspora::fabric {

// One way to reach peers. Two sides can talk when `family` is equal.
struct ProviderInfo {
  std::string name;            // exact libfabric provider name ("net", "tcp", "shm", "verbs;ofi_rxm", ...) or "local"
  std::string family;          // wire compatibility: "xnet", "shm-1", "shm-2", "verbs;ofi_rxm", ..., "local"
  std::string domain;          // adapter or interface, where one was asked for by name; else the address decides
  std::string fabric_version;  // of libfabric, for example "1.17"; empty for local
  // Largest post_send that never exposes the sender's buffer, bytes (<= kMessageBytesMax).
  uint64_t message_bytes_max = 0;
  bool has_wait_fd = false;     // false: poll, and ring doorbells (shm)
  bool same_host_only = false;  // shm, local
  // The provider does not keep the sessions of one domain apart when a peer dies: each is to have a domain of its own,
  // closed with it.
  bool domain_per_session = false;
  // An adapter pins what is registered: some 100 us a MiB.
  bool registration_is_costly = false;
  int preference = 0;  // `auto` takes the highest one shared: cxi, efa, verbs, xnet, tcp;ofi_rxm, local (not shm)
};

enum class Access {
  kLocal,        // source or target of this side's own reads and writes; never reachable by a peer
  kMessages,     // sent from and received into; never reachable by a peer
  kRemoteRead,   // peers that know address and key may read
  kRemoteWrite,  // peers that know address and key may write
};

constexpr bool is_remote(Access access) { return access == Access::kRemoteRead || access == Access::kRemoteWrite; }

// Registered memory. Destroy only when no operation uses it and, for remote access, when the peer is done or the
// endpoint is closed. The memory must outlive it.
class MemoryRegion {
 public:
  virtual ~MemoryRegion() = default;
  // What a peer must name to reach `local`, a pointer into the region (an offset or the pointer: the provider's rule).
  virtual uint64_t remote_address(const void* local) const = 0;
  virtual uint64_t key() const = 0;
};

struct OperationResult {
  ErrorCode code = ErrorCode::kOk;  // k_FABRIC (failed), k_ABORTED (endpoint closed) or kOk
  std::string detail;               // the provider's text when not ok
  size_t bytes = 0;                 // received length for post_receive
};

// One operation in flight. The caller owns it and keeps it in place from a kPosted return until `on_complete`, which
// runs on the domain's thread inside Domain::progress or Endpoint::close, never inside the post call.
class Operation {
 public:
  Operation() = default;
  virtual ~Operation() = default;
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  virtual void on_complete(const OperationResult& result) = 0;

  // For the implementation, while in flight. (libfabric's own context lives in the domain: a stale completion of a
  // closed endpoint must never lead to this memory.)
  Operation* previous = nullptr;
  Operation* next = nullptr;
  void* owner = nullptr;  // the endpoint's list of operations; null = not in flight
  void* slot = nullptr;
  bool is_receive = false;
};

enum class PostResult {
  kPosted,
  kBusy,    // queues are full or the connection is coming up: call again after progress()
  kFailed,  // the endpoint is closed or broken; see Endpoint::failure()
};

class Endpoint {
 public:
  virtual ~Endpoint() = default;  // closes

  // This endpoint's address, to be carried to the peer over the control connection.
  virtual Result<std::vector<uint8_t>> address() = 0;
  // Sets the one peer of this endpoint, once. Never blocks; the connection comes up with the first operation.
  virtual Status connect(std::span<const uint8_t> peer_address) = 0;

  // `region` covers the memory where the provider asks for local registration; may be null otherwise (see
  // Domain::needs_local_registration).
  virtual PostResult post_receive(Operation* operation, void* buffer, size_t bytes, MemoryRegion* region) = 0;
  // At most ProviderInfo::message_bytes_max bytes. Complete = the buffer may be reused, not: it has arrived.
  virtual PostResult post_send(Operation* operation, const void* buffer, size_t bytes, MemoryRegion* region) = 0;
  // Fetches the peer's memory. Complete = the bytes are in `local`. Any length; callers cut at 1 MiB for fairness.
  virtual PostResult post_read(Operation* operation, void* local, size_t bytes, MemoryRegion* region,
                               uint64_t remote_address, uint64_t key) = 0;
  // Writes into the peer's memory. Complete = the bytes are visible there (FI_DELIVERY_COMPLETE): a notice may follow.
  virtual PostResult post_write(Operation* operation, const void* local, size_t bytes, MemoryRegion* region,
                                uint64_t remote_address, uint64_t key) = 0;

  // Cancels everything: each operation still in flight gets on_complete(k_ABORTED) before this returns. Idempotent, and
  // allowed inside any on_complete of the domain; so is the endpoint's destruction.
  virtual void close() = 0;
  // Why posts return kFailed.
  virtual Error failure() const = 0;
  virtual size_t in_flight() const = 0;
};

// What one reactor has of one provider: domain, completion queue, address table.
class Domain {
 public:
  virtual ~Domain() = default;  // all endpoints and regions must be gone

  virtual const ProviderInfo& provider() const = 0;
  virtual bool needs_local_registration() const = 0;
  virtual Result<std::unique_ptr<Endpoint>> create_endpoint() = 0;
  // Random 64-bit keys wherever the provider lets the application choose (ReDMArk, USENIX Security 2021).
  virtual Result<std::unique_ptr<MemoryRegion>> register_memory(void* base, size_t bytes, Access access) = 0;

  // Drains completions to a list, leaves the queue, then runs their on_complete. Returns how many ran.
  virtual size_t progress() = 0;
  // Descriptor for epoll, or -1 (poll instead).
  virtual int wait_fd() const = 0;
  // True: nothing is pending inside the provider and the caller may sleep on wait_fd. False: call progress() again.
  virtual bool prepare_wait() = 0;
  // Operations in flight on all endpoints, posted receives not counted: while above 0 a domain without wait_fd must be
  // polled.
  virtual size_t active_operations() const = 0;
};

struct FabricOptions {
  // "auto", "local", "tcp" (the native tcp provider, whatever its name in this libfabric), "shm", "verbs", "cxi",
  // "efa", or an exact libfabric provider string; with "@DOMAIN" behind it only on that libfabric domain: an adapter
  // ("verbs@mlx5_0") or an interface ("tcp@eth1"), whatever its address.
  std::string provider = "auto";
  // Numeric IP of the interface on which peers reach this process; empty, "0.0.0.0" or "::": any. A provider that has
  // no device there is not available: rdma adapters know nothing of 127.0.0.1, and must not open a way around it.
  std::string bind_address = "127.0.0.1";
};

// Everything `options.provider` allows that works on this machine (tried with a 1 MiB loopback read on first use, then
// remembered for the process), best first. Without libfabric: LIBFABRIC_MISSING, naming the package to install.
// "auto" leaves out `local`, which reaches nothing outside this process and needs no libfabric: ask for it by name.
Result<std::vector<ProviderInfo>> discover_providers(const FabricOptions& options);

// `provider` as discover_providers gave it.
Result<std::unique_ptr<Domain>> open_domain(const ProviderInfo& provider, const FabricOptions& options);

// Version and path of the libfabric in use, for `diaspora info`.
struct LibraryInfo {
  std::string path;
  std::string version;
};
Result<LibraryInfo> library_info();

// Same kernel, same process id and ipc name spaces: the precondition for shm. Compared for equality only.
std::string host_identity();

}  // namespace diaspora::fabric
