#include "node/memory_guard.h"

#include <utility>

namespace diaspora::node {

MemoryGuard::MemoryGuard(napi_env env, std::function<void()> end_access)
    : env_(env), state_(std::make_shared<State>()) {
  state_->end_access = std::move(end_access);
}

void MemoryGuard::on_freed(napi_env /*env*/, void* /*data*/, void* hint) {
  const std::unique_ptr<Sentinel> sentinel(static_cast<Sentinel*>(hint));
  const State& state = *sentinel->state;
  // The guard in force is referenced, so this is not the garbage collector but the end.
  if (sentinel->number == state.current && state.end_access) state.end_access();
}

const std::weak_ptr<void>& MemoryGuard::slot_of(const void* memory) const {
  // Multiplied by 2^64 / golden ratio: neighbours on the heap spread over all slots.
  const uint64_t mixed = reinterpret_cast<uintptr_t>(memory) * 0x9e3779b97f4a7c15u;
  return covered_[(mixed >> 32) % kRemembered];
}

std::weak_ptr<void>& MemoryGuard::slot_of(const void* memory) {
  return const_cast<std::weak_ptr<void>&>(std::as_const(*this).slot_of(memory));
}

bool MemoryGuard::is_covered(const std::shared_ptr<void>& memory) const {
  const std::weak_ptr<void>& slot = slot_of(memory.get());
  return !slot.owner_before(memory) && !memory.owner_before(slot);
}

void MemoryGuard::cover(const std::shared_ptr<void>& memory) {
  if (!memory) {
    renew();
  } else if (!is_covered(memory)) {
    renew();
    slot_of(memory.get()) = memory;
  }
}

void MemoryGuard::renew() {
  if (!state_->end_access) return;
  auto sentinel = std::make_unique<Sentinel>(Sentinel{state_, state_->current + 1});
  napi_value buffer = nullptr;
  // The memory it stands for is the record itself, of which nobody reads a byte.
  if (napi_create_external_arraybuffer(env_, sentinel.get(), 1, on_freed, sentinel.get(), &buffer) != napi_ok) {
    // External memory is not allowed here (Electron), so there is none to guard. Otherwise the environment is ending.
    return;
  }
  state_->current = sentinel.release()->number;
  napi_ref previous = std::exchange(sentinel_, nullptr);
  // Fails only for null arguments.
  static_cast<void>(napi_create_reference(env_, buffer, 1, &sentinel_));
  if (previous != nullptr) static_cast<void>(napi_delete_reference(env_, previous));
}

void MemoryGuard::retire() {
  state_->end_access = nullptr;
  if (sentinel_ != nullptr) static_cast<void>(napi_delete_reference(env_, std::exchange(sentinel_, nullptr)));
}

}  // namespace diaspora::node
