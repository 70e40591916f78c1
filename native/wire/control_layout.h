// Numbers of the control frames that their encoder and their decoder share.
#pragma once

#include <cstddef>
#include <cstdint>

namespace diaspora::wire {

inline constexpr size_t kTextBytesMax = 4096;  // host identity, provider names, error texts

// In place of a partition: all of them.
inline constexpr uint32_t kWholeSubscription = ~uint32_t{0};

// Flags of a subscription.
inline constexpr uint32_t kFullData = 1;
inline constexpr uint32_t kOldestIfDropped = 2;

}  // namespace diaspora::wire
