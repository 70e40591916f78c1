// The provider `local`: endpoints within one process, which different threads may own. Same semantics as libfabric's
// providers, without any library: the embedded driver and the tests run on it.
//
// What it is not: it reaches no other process. Copies are made by the initiator inside the post call; on_complete still
// runs in progress() only. Thread: as fabric.h says; what crosses threads is in local_hub.
#pragma once

#include <memory>

#include "base/error.h"
#include "fabric/fabric.h"

namespace diaspora::fabric {

ProviderInfo local_provider();
Result<std::unique_ptr<Domain>> open_local_domain();

}  // namespace diaspora::fabric
