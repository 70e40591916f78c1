#include "fabric/ofi_region.h"

#include <utility>

namespace diaspora::fabric {

OfiRegion::OfiRegion(OfiDomain* domain, void* base, std::shared_ptr<Registration> registration)
    : domain_(domain), base_(static_cast<uint8_t*>(base)), registration_(std::move(registration)) {
  if (registration_ != nullptr) key_ = fi_mr_key(registration_->fid.get());
}

OfiRegion::~OfiRegion() { domain_->remove_region(); }

uint64_t OfiRegion::remote_address(const void* local) const {
  const auto address = reinterpret_cast<uintptr_t>(local);
  return domain_->has_mr_mode(FI_MR_VIRT_ADDR) ? address : address - reinterpret_cast<uintptr_t>(base_);
}

void* OfiRegion::descriptor(MemoryRegion* region) {
  if (region == nullptr) return nullptr;
  const Registration* registration = static_cast<OfiRegion*>(region)->registration_.get();
  return registration == nullptr || registration->fid == nullptr ? nullptr : fi_mr_desc(registration->fid.get());
}

}  // namespace diaspora::fabric
