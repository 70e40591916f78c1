// Memory registered with libfabric. Thread: the domain's.
#pragma once

#include <memory>

#include "fabric/fabric.h"
#include "fabric/ofi_domain.h"
#include "fabric/ofi_handles.h"

namespace diaspora::fabric {

// Shared, because a provider that binds registrations to endpoints wants them closed before the endpoint is.
struct Registration {
  FidPtr<fid_mr> fid;
};

class OfiRegion final : public MemoryRegion {
 public:
  // `registration` is null where neither a peer nor the provider needs one.
  OfiRegion(OfiDomain* domain, void* base, std::shared_ptr<Registration> registration);
  ~OfiRegion() override;

  uint64_t remote_address(const void* local) const override;
  uint64_t key() const override { return key_; }

  // What a post passes for `region`, which may be null.
  static void* descriptor(MemoryRegion* region);

 private:
  OfiDomain* const domain_;
  uint8_t* const base_;
  const std::shared_ptr<Registration> registration_;
  uint64_t key_ = 0;
};

}  // namespace diaspora::fabric
