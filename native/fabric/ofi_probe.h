// Does a provider really work here? Two endpoints of one domain send a message and read 1 MiB.
#pragma once

#include "base/error.h"
#include "fabric/fabric.h"

namespace diaspora::fabric {

// On a fresh domain; blocks for milliseconds, at most seconds when the provider is broken.
Status probe_provider(Domain* domain);

}  // namespace diaspora::fabric
