// How much of a partition is kept: what exceeds a bound is dropped from the oldest on.
#pragma once

#include <cstdint>

namespace diaspora {

struct Retention {
  uint64_t bytes = 0;   // of one partition, as it is stored; 0: any number
  uint64_t age_ms = 0;  // since an event was stored; 0: for ever

  friend bool operator==(const Retention&, const Retention&) = default;
};

// 278 years: as nanoseconds since 1970 an age fits into 63 bits.
inline constexpr uint64_t kRetentionAgeMsMax = (uint64_t{1} << 43) - 1;

}  // namespace diaspora
