// Which log it is, and what messages call it.
#pragma once

#include <string>

#include "base/ids.h"

namespace diaspora::log {

struct LogIdentity {
  std::string directory;
  Uuid partition;
  std::string label;  // for example: partition 3 of topic "collisions"
};

}  // namespace diaspora::log
