// The monotonic clock for all protocol decisions, and the wall clock for time stamps only.
#pragma once

#include <cstdint>
#include <ctime>

namespace diaspora {

inline int64_t clock_ns(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

inline int64_t monotonic_ns() { return clock_ns(CLOCK_MONOTONIC); }
inline int64_t monotonic_ms() { return monotonic_ns() / 1'000'000; }
inline int64_t wall_clock_ns() { return clock_ns(CLOCK_REALTIME); }

}  // namespace diaspora
