#include "fabric/ofi_discovery.h"

namespace diaspora::fabric {

Result<std::vector<ProviderInfo>> discover_ofi_providers(const FabricOptions&) {
  return {ErrorCode::k_LIBFABRIC_MISSING, "this build has the local provider only"};
}

Result<std::unique_ptr<Domain>> open_ofi_domain(const ProviderInfo&, const FabricOptions&) {
  return {ErrorCode::k_LIBFABRIC_MISSING, "this build has the local provider only"};
}

Result<LibraryInfo> ofi_library_info() {
  return {ErrorCode::k_LIBFABRIC_MISSING, "this build has the local provider only"};
}

}  // namespace diaspora::fabric
