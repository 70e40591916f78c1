// One libfabric RDM endpoint, which talks to one peer.
//
// An endpoint of its own for each session is the kill switch: closing it is the only way to cancel what a hung peer
// does not answer. Thread: the domain's. States: open, closed.
#pragma once

#include <rdma/fi_rma.h>

#include <memory>
#include <string>
#include <vector>

#include "fabric/fabric.h"
#include "fabric/in_flight.h"
#include "fabric/ofi_domain.h"
#include "fabric/ofi_handles.h"
#include "fabric/ofi_region.h"

namespace diaspora::fabric {

class OfiEndpoint final : public Endpoint {
 public:
  static Result<std::unique_ptr<Endpoint>> create(OfiDomain* domain);
  ~OfiEndpoint() override;

  Result<std::vector<uint8_t>> address() override;
  Status connect(std::span<const uint8_t> peer_address) override;
  PostResult post_receive(Operation* operation, void* buffer, size_t bytes, MemoryRegion* region) override;
  PostResult post_send(Operation* operation, const void* buffer, size_t bytes, MemoryRegion* region) override;
  PostResult post_read(Operation* operation, void* local, size_t bytes, MemoryRegion* region, uint64_t remote_address,
                       uint64_t key) override;
  PostResult post_write(Operation* operation, const void* local, size_t bytes, MemoryRegion* region,
                        uint64_t remote_address, uint64_t key) override;
  void close() override;
  Error failure() const override { return failure_; }
  size_t in_flight() const override { return in_flight_->size(); }

  // Binds a registration under FI_MR_ENDPOINT. It is closed with this endpoint at the latest.
  Status bind(const std::shared_ptr<Registration>& registration);

 private:
  // A refused read or write that leaves a nameless error behind is tried this often before it counts as failed.
  static constexpr int kRefusalsMax = 3;

  explicit OfiEndpoint(OfiDomain* domain);
  Status open();
  PostResult inject(Operation* operation, const void* buffer, size_t bytes);
  PostResult complete_now(Operation* operation, OperationResult result);
  PostResult fail(const char* what, int64_t code);
  template <typename Call>
  PostResult post(Operation* operation, const char* what, bool is_receive, Call call);
  template <typename Call>
  PostResult post_rma(Operation* operation, const char* what, Call call);
  void give_up(Operation* operation);
  bool is_connected();

  OfiDomain* const domain_;
  const std::shared_ptr<InFlight> in_flight_;
  FidPtr<fid_av> own_addresses_;
  FidPtr<fid_ep> endpoint_;
  bool has_queue_ = false;
  fid_av* addresses_ = nullptr;  // own_addresses_ or the domain's
  fi_addr_t peer_ = FI_ADDR_UNSPEC;
  std::vector<std::weak_ptr<Registration>> bound_;
  std::string shm_name_;  // of the file to remove should the process end without closing
  int refusals_ = 0;
  Error failure_;
};

}  // namespace diaspora::fabric
