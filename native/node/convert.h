// Between napi values and C++ values, and from error codes to JS exceptions. The helpers of the cold functions.
//
// Rule for failing napi calls: they fail only when the environment is going down (a worker is being terminated) or when
// an exception is pending. Both mean: give up quietly and return null to JS, which never sees it. So builders keep a
// failed state and give null at the end instead of asking after each call. JS thread only.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/ids.h"

namespace diaspora::node {

// Throws an Error with `code` set to the stable name, and returns null for `return throw_error(...)`.
napi_value throw_error(napi_env env, ErrorCode code, const std::string& message);
napi_value throw_error(napi_env env, const Error& error);
napi_value throw_error(napi_env env, ErrorCode code);
// A call that lib must not make: a bug on the JS side.
napi_value throw_type_error(napi_env env, const std::string& message);

// The pending exception, taken; null when there is none. A failed napi call does not always say that it left one.
napi_value take_exception(napi_env env);

napi_value make_undefined(napi_env env);
napi_value make_null(napi_env env);
napi_value make_number(napi_env env, double value);
napi_value make_boolean(napi_env env, bool value);
napi_value make_string(napi_env env, std::string_view text);
// NativeError of lib/native.ts.
napi_value make_native_error(napi_env env, const Error& error);

// Null when any element is null.
template <typename T, typename Make>
napi_value make_array(napi_env env, const std::vector<T>& from, Make make) {
  napi_value array = nullptr;
  if (napi_create_array_with_length(env, from.size(), &array) != napi_ok) return nullptr;
  for (uint32_t i = 0; i < from.size(); ++i) {
    napi_value element = make(env, from[i]);
    if (element == nullptr || napi_set_element(env, array, i, element) != napi_ok) return nullptr;
  }
  return array;
}

// Builds a plain object; result() is null when anything failed.
class ObjectBuilder {
 public:
  explicit ObjectBuilder(napi_env env) : env_(env) {
    if (napi_create_object(env, &object_) != napi_ok) object_ = nullptr;
  }
  ObjectBuilder& set(const char* name, napi_value value);
  ObjectBuilder& number(const char* name, double value) { return set(name, make_number(env_, value)); }
  ObjectBuilder& boolean(const char* name, bool value) { return set(name, make_boolean(env_, value)); }
  ObjectBuilder& string(const char* name, std::string_view text) { return set(name, make_string(env_, text)); }
  napi_value result() const { return object_; }

 private:
  napi_env env_;
  napi_value object_ = nullptr;
};

// Reads arguments and option objects; the first thing of a wrong type is remembered and named by the thrown TypeError.
class Reader {
 public:
  explicit Reader(napi_env env) : env_(env) {}

  double number(napi_value value, const char* what);
  // Integral and within 0 .. max.
  uint64_t integer(napi_value value, const char* what, uint64_t max);
  uint32_t u32(napi_value value, const char* what) { return static_cast<uint32_t>(integer(value, what, UINT32_MAX)); }
  bool boolean(napi_value value, const char* what);
  std::string string(napi_value value, const char* what);
  Uuid uuid(napi_value value, const char* what);
  // The named property; null when absent or undefined.
  napi_value optional(napi_value object, const char* name);
  // As above, but absence is an error.
  napi_value property(napi_value object, const char* name);
  // Where to begin in a partition (NativeConsumerOptions.start): an id or one of the constants of wire/control.h.
  uint64_t position(napi_value from, const char* what);
  // Calls `each` for the elements of an array.
  void elements(napi_value array, const char* what, const std::function<void(napi_value)>& each);

  bool ok() const { return wrong_.empty(); }
  void fail(const char* what);
  // For `return reader.raise();` after ok() was false.
  napi_value raise() const { return throw_type_error(env_, "native call: " + wrong_); }

 private:
  napi_env env_;
  std::string wrong_;
};

// Arguments of a call. Missing ones are undefined values, as napi fills them in.
template <size_t N>
struct Arguments {
  napi_value values[N] = {};
  size_t count = N;
  void* data = nullptr;

  Arguments(napi_env env, napi_callback_info info) {
    if (napi_get_cb_info(env, info, &count, values, nullptr, &data) != napi_ok) count = 0;
  }
  napi_value operator[](size_t i) const { return values[i]; }
};

// A function whose data pointer is `owner.get()` and which keeps `owner` alive until it is collected.
napi_value make_function(napi_env env, const char* name, napi_callback call, std::shared_ptr<void> owner);

// A type-tagged external that keeps `owner` alive until it is collected.
napi_value make_external(napi_env env, const napi_type_tag& tag, std::shared_ptr<void> owner);
// The owner of a tagged external, or null when `value` is anything else.
std::shared_ptr<void> external_owner(napi_env env, napi_value value, const napi_type_tag& tag);

}  // namespace diaspora::node
