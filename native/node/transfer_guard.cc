#include "node/transfer_guard.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>

#include "node/buffers.h"
#include "node/convert.h"

namespace diaspora::node {

namespace {

// 2^53 - 1, above which V8 throws RangeError.
constexpr double kLengthMax = 9007199254740991.0;

// The builtin that a replacement goes back to; lives as long as the replacement.
struct Original {
  napi_env env;
  napi_ref function = nullptr;

  explicit Original(napi_env in) : env(in) {}
  ~Original() {
    if (function != nullptr) static_cast<void>(napi_delete_reference(env, function));
  }
  Original(const Original&) = delete;
  Original& operator=(const Original&) = delete;
};

napi_value call_original(napi_env env, const Original& original, napi_value self, napi_value length) {
  napi_value function = nullptr;
  napi_value result = nullptr;
  if (napi_get_reference_value(env, original.function, &function) != napi_ok) return nullptr;
  const size_t count = length == nullptr ? 0 : 1;
  // A failure has left its exception, which goes on to the caller.
  return napi_call_function(env, self, function, count, &length, &result) == napi_ok ? result : nullptr;
}

// A new ArrayBuffer of `length` with what fits of `self`, which is detached without moving its memory.
napi_value transfer_by_copy(napi_env env, const Original& original, napi_value self, size_t length) {
  void* from = nullptr;
  size_t from_length = 0;
  void* to = nullptr;
  napi_value result = nullptr;
  if (napi_create_arraybuffer(env, length, &to, &result) != napi_ok ||
      napi_get_arraybuffer_info(env, self, &from, &from_length) != napi_ok) {
    return nullptr;
  }
  const size_t kept = std::min(length, from_length);
  if (kept > 0) std::memcpy(to, from, kept);
  return call_original(env, original, self, nullptr) == nullptr ? nullptr : result;
}

napi_value guarded_transfer(napi_env env, napi_callback_info info) {
  napi_value self = nullptr;
  napi_value length = nullptr;
  size_t count = 1;
  void* data = nullptr;
  if (napi_get_cb_info(env, info, &count, &length, &self, &data) != napi_ok) return nullptr;
  const Original& original = *static_cast<const Original*>(data);
  napi_valuetype type = napi_undefined;
  if (napi_typeof(env, length, &type) != napi_ok) return nullptr;
  if (type == napi_undefined) return call_original(env, original, self, nullptr);
  // As ToIndex does, and once only: it may run the caller's code, which may detach or resize.
  napi_value coerced = nullptr;
  double wanted = 0;
  if (napi_coerce_to_number(env, length, &coerced) != napi_ok ||
      napi_get_value_double(env, coerced, &wanted) != napi_ok) {
    return nullptr;
  }
  bool is_buffer = false;
  bool is_detached = false;
  void* memory = nullptr;
  size_t bytes = 0;
  const bool is_attached = napi_is_arraybuffer(env, self, &is_buffer) == napi_ok && is_buffer &&
                           napi_is_detached_arraybuffer(env, self, &is_detached) == napi_ok && !is_detached &&
                           napi_get_arraybuffer_info(env, self, &memory, &bytes) == napi_ok;
  wanted = wanted != wanted ? 0 : wanted;  // NaN
  // Whatever must fail, keeps its length or is resizable (never exposed) is V8's own business.
  if (!is_attached || wanted <= -1 || wanted > kLengthMax || static_cast<size_t>(std::max(wanted, 0.0)) == bytes ||
      is_resizable_buffer(env, self)) {
    return call_original(env, original, self, coerced);
  }
  return transfer_by_copy(env, original, self, static_cast<size_t>(std::max(wanted, 0.0)));
}

bool array_buffer_prototype(napi_env env, napi_value* prototype) {
  napi_value global = nullptr;
  napi_value constructor = nullptr;
  return napi_get_global(env, &global) == napi_ok &&
         napi_get_named_property(env, global, "ArrayBuffer", &constructor) == napi_ok &&
         napi_get_named_property(env, constructor, "prototype", prototype) == napi_ok;
}

bool find_function(napi_env env, napi_value object, const char* name, napi_value* function) {
  napi_valuetype type = napi_undefined;
  return napi_get_named_property(env, object, name, function) == napi_ok &&
         napi_typeof(env, *function, &type) == napi_ok && type == napi_function;
}

// Tried on a small buffer: is the held memory another one afterwards?
bool reallocates_in_place(napi_env env, napi_value transfer) {
  constexpr size_t kBytes = 1024;
  napi_value buffer = nullptr;
  napi_value length = make_number(env, 2 * kBytes);
  void* memory = nullptr;
  if (length == nullptr || napi_create_arraybuffer(env, kBytes, &memory, &buffer) != napi_ok) return false;
  const std::shared_ptr<void> held = hold_array_buffer(env, buffer);
  if (!held || napi_call_function(env, buffer, transfer, 1, &length, nullptr) != napi_ok) return false;
  return held_bytes(held) != kBytes;
}

void replace(napi_env env, napi_value prototype, const char* name) {
  napi_value function = nullptr;
  napi_value replacement = nullptr;
  if (!find_function(env, prototype, name, &function)) return;
  auto original = std::make_shared<Original>(env);
  if (napi_create_reference(env, function, 1, &original->function) != napi_ok) return;
  replacement = make_function(env, name, guarded_transfer, original);
  if (replacement == nullptr) return;
  napi_property_descriptor property{};
  property.utf8name = name;
  property.value = replacement;
  property.attributes = static_cast<napi_property_attributes>(napi_writable | napi_configurable);
  // A frozen prototype cannot be helped; then nobody is protected, as before.
  if (napi_define_properties(env, prototype, 1, &property) != napi_ok) static_cast<void>(take_exception(env));
}

}  // namespace

void guard_transfers(napi_env env) {
  napi_value prototype = nullptr;
  napi_value transfer = nullptr;
  if (!can_hold_memory() || !array_buffer_prototype(env, &prototype) ||
      !find_function(env, prototype, "transfer", &transfer) || !reallocates_in_place(env, transfer)) {
    return;
  }
  replace(env, prototype, "transfer");
  replace(env, prototype, "transferToFixedLength");
}

}  // namespace diaspora::node
