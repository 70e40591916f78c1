// A libfabric domain with its completion queue and memory registrations: what one reactor has of one provider.
//
// Owns every libfabric object made from it except endpoints. Thread: its reactor's (FI_THREAD_DOMAIN).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fabric/fabric.h"
#include "fabric/in_flight.h"
#include "fabric/ofi_handles.h"
#include "fabric/ofi_policy.h"
#include "fabric/ofi_slots.h"

namespace diaspora::fabric {

class OfiEndpoint;

// What is needed to open a domain: the provider's fi_info and our row for it.
struct ProviderChoice {
  const Library* library = nullptr;
  ProviderPolicy policy;
  InfoPtr info;
};

class OfiDomain final : public Domain {
 public:
  static Result<std::unique_ptr<OfiDomain>> open(ProviderChoice choice);
  ~OfiDomain() override;

  const ProviderInfo& provider() const override { return provider_; }
  bool needs_local_registration() const override { return has_mr_mode(FI_MR_LOCAL); }
  Result<std::unique_ptr<Endpoint>> create_endpoint() override;
  Result<std::unique_ptr<MemoryRegion>> register_memory(void* base, size_t bytes, Access access) override;
  size_t progress() override;
  int wait_fd() const override { return wait_fd_; }
  bool prepare_wait() override;
  size_t active_operations() const override { return active_; }

  // For endpoints.
  const Library& library() const { return *choice_.library; }
  const ProviderPolicy& policy() const { return choice_.policy; }
  fi_info* info() const { return choice_.info.get(); }
  fid_domain* domain() const { return domain_.get(); }
  fid_cq* queue() const { return queue_.get(); }
  // The domain's address table, or null when each endpoint has its own.
  fid_av* shared_addresses() const { return addresses_.get(); }
  Result<FidPtr<fid_av>> open_addresses() const;
  bool has_mr_mode(uint64_t bit) const { return (static_cast<uint64_t>(info()->domain_attr->mr_mode) & bit) != 0; }
  // The error of a call that returned `code`. RESOURCE_EXHAUSTED, with the remedy, where memory may not be pinned.
  Status failed(const std::string& what, int64_t code) const;
  SlotPool* slots() { return &slots_; }
  CompletionList* completions() { return &completions_; }
  size_t* active_counter() { return &active_; }
  // Moves what is in the completion queue to the list of completions.
  void drain();
  // True when the completion queue could not hold another operation's completion.
  bool is_full() const { return outstanding_ >= kQueueEntries; }
  void count_posted() { ++outstanding_; }
  void count_given_up() { --outstanding_; }
  // Errors that the provider reported without saying for what (shm of libfabric 2.x, for a post that it refused).
  uint64_t nameless_errors() const { return nameless_errors_; }
  const std::string& last_nameless_error() const { return last_nameless_error_; }

  // Called by endpoints and regions as they come and go. Under FI_MR_ENDPOINT a region is bound to the newest endpoint.
  void add_endpoint(OfiEndpoint* endpoint);
  void remove_endpoint(OfiEndpoint* endpoint);
  // libfabric endpoints on the queue.
  void count_enabled() { ++enabled_endpoints_; }
  void count_disabled() {
    --enabled_endpoints_;
    has_stale_waits_ = has_stale_waits_ || policy().forgets_no_endpoint;
  }
  void remove_region() { --regions_; }

 private:
  // Enough for hundreds of sessions with all their receives and reads; posts beyond it are busy.
  static constexpr size_t kQueueEntries = 16384;

  explicit OfiDomain(ProviderChoice choice);
  Status open_objects();
  Status open_queue();
  Status open_wait_set();
  bool read_entries();
  void read_error();
  void finish(void* context, OperationResult result);
  Result<FidPtr<fid_mr>> register_fid(void* base, size_t bytes, uint64_t access);

  ProviderChoice choice_;
  ProviderInfo provider_;
  FidPtr<fid_fabric> fabric_;
  FidPtr<fid_domain> domain_;
  FidPtr<fid_wait> wait_set_;  // only under WaitObject::kWaitSet
  FidPtr<fid_cq> queue_;
  FidPtr<fid_av> addresses_;
  int wait_fd_ = -1;  // owned by queue_ or wait_set_
  SlotPool slots_;
  CompletionList completions_;
  size_t active_ = 0;
  size_t outstanding_ = 0;  // operations whose completion has not come out of the queue
  uint64_t nameless_errors_ = 0;
  std::string last_nameless_error_;
  std::vector<OfiEndpoint*> endpoints_;
  size_t enabled_endpoints_ = 0;
  bool has_stale_waits_ = false;  // fi_trywait must not be called any more
  size_t regions_ = 0;
};

}  // namespace diaspora::fabric
