// Providers of libfabric: which of them work here, and opening one.
//
// What it is not: it does not choose between two sides; it lists. Threads: any; the answers of the self-test are
// remembered for the process. Loading libfabric takes up to 0.3 s: call off the JS thread.
#pragma once

#include <memory>
#include <vector>

#include "base/error.h"
#include "fabric/fabric.h"

namespace diaspora::fabric {

Result<std::vector<ProviderInfo>> discover_ofi_providers(const FabricOptions& options);
Result<std::unique_ptr<Domain>> open_ofi_domain(const ProviderInfo& provider, const FabricOptions& options);
Result<LibraryInfo> ofi_library_info();

}  // namespace diaspora::fabric
