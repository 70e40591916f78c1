// Makes an environment stop its native threads before Node frees external memory.
//
// Why: when an environment ends, Node first frees what external ArrayBuffers point to (whoever holds the backing
// store), newest first, and only then runs clean-up hooks (measured on Node 20, 22 and 24). A batch in flight whose
// data is such a buffer would be read after that. So whenever native threads get to know JS memory, the guard is
// renewed: it is a tiny external ArrayBuffer of our own, newer than all memory it guards, and its finalizer ends native
// access. JS thread only.
#pragma once

#include <node_api.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace diaspora::node {

class MemoryGuard {
 public:
  // `end_access` returns when no native thread touches JS memory any more; it may run more than once.
  MemoryGuard(napi_env env, std::function<void()> end_access);

  // `memory` (a backing store; null: unknown memory) is about to be used by native threads.
  void cover(const std::shared_ptr<void>& memory);
  // The environment has ended access itself: later finalizers do nothing.
  void retire();

 private:
  struct State {
    uint64_t current = 0;  // number of the guard in force; older ones may be collected at any time
    std::function<void()> end_access;
  };
  struct Sentinel {
    std::shared_ptr<State> state;
    uint64_t number = 0;
  };
  // Memory that is covered already: buffers that are pushed again and again cost a comparison.
  static constexpr size_t kRemembered = 256;

  static void on_freed(napi_env env, void* data, void* hint);
  bool is_covered(const std::shared_ptr<void>& memory) const;
  std::weak_ptr<void>& slot_of(const void* memory);
  const std::weak_ptr<void>& slot_of(const void* memory) const;
  void renew();

  napi_env env_;
  const std::shared_ptr<State> state_;
  napi_ref sentinel_ = nullptr;
  std::array<std::weak_ptr<void>, kRemembered> covered_;
};

}  // namespace diaspora::node
