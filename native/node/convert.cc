#include "node/convert.h"

#include <cmath>
#include <utility>

#include "wire/control.h"

namespace diaspora::node {

namespace {

void release_owner(napi_env /*env*/, void* /*data*/, void* hint) { delete static_cast<std::shared_ptr<void>*>(hint); }

}  // namespace

napi_value throw_error(napi_env env, ErrorCode code, const std::string& message) {
  // Fails when an exception is pending (that one is thrown then) or the environment ends.
  static_cast<void>(napi_throw_error(env, std::string(error_code_name(code)).c_str(), message.c_str()));
  return nullptr;
}

napi_value throw_error(napi_env env, const Error& error) { return throw_error(env, error.code, error.message); }

napi_value throw_error(napi_env env, ErrorCode code) {
  return throw_error(env, code, std::string(error_code_meaning(code)));
}

napi_value throw_type_error(napi_env env, const std::string& message) {
  static_cast<void>(napi_throw_type_error(env, nullptr, message.c_str()));
  return nullptr;
}

napi_value take_exception(napi_env env) {
  bool is_pending = false;
  napi_value exception = nullptr;
  if (napi_is_exception_pending(env, &is_pending) != napi_ok || !is_pending ||
      napi_get_and_clear_last_exception(env, &exception) != napi_ok) {
    return nullptr;
  }
  return exception;
}

napi_value make_undefined(napi_env env) {
  napi_value value = nullptr;
  return napi_get_undefined(env, &value) == napi_ok ? value : nullptr;
}

napi_value make_null(napi_env env) {
  napi_value value = nullptr;
  return napi_get_null(env, &value) == napi_ok ? value : nullptr;
}

napi_value make_number(napi_env env, double number) {
  napi_value value = nullptr;
  return napi_create_double(env, number, &value) == napi_ok ? value : nullptr;
}

napi_value make_boolean(napi_env env, bool flag) {
  napi_value value = nullptr;
  return napi_get_boolean(env, flag, &value) == napi_ok ? value : nullptr;
}

napi_value make_string(napi_env env, std::string_view text) {
  napi_value value = nullptr;
  return napi_create_string_utf8(env, text.data(), text.size(), &value) == napi_ok ? value : nullptr;
}

napi_value make_native_error(napi_env env, const Error& error) {
  return ObjectBuilder(env).string("code", error_code_name(error.code)).string("message", error.message).result();
}

ObjectBuilder& ObjectBuilder::set(const char* name, napi_value value) {
  if (object_ == nullptr) return *this;
  if (value == nullptr || napi_set_named_property(env_, object_, name, value) != napi_ok) object_ = nullptr;
  return *this;
}

void Reader::fail(const char* what) {
  if (wrong_.empty()) wrong_ = what;
}

double Reader::number(napi_value value, const char* what) {
  double number = 0;
  if (value == nullptr || napi_get_value_double(env_, value, &number) != napi_ok) fail(what);
  return number;
}

uint64_t Reader::integer(napi_value value, const char* what, uint64_t max) {
  const double read = number(value, what);
  if (!(read >= 0) || read > static_cast<double>(max) || std::floor(read) != read) {
    fail(what);
    return 0;
  }
  return static_cast<uint64_t>(read);
}

uint64_t Reader::position(napi_value from, const char* what) {
  constexpr double kFromCursor = -1;
  constexpr double kFromEnd = -2;
  constexpr double kFromBeginning = -3;
  const double start = number(from, what);
  if (start == kFromCursor) return wire::kStartAtCursor;
  if (start == kFromEnd) return wire::kStartAtEnd;
  if (start == kFromBeginning) return wire::kStartAtBeginning;
  return integer(from, what, uint64_t{1} << 53);
}

bool Reader::boolean(napi_value value, const char* what) {
  bool flag = false;
  if (value == nullptr || napi_get_value_bool(env_, value, &flag) != napi_ok) fail(what);
  return flag;
}

std::string Reader::string(napi_value value, const char* what) {
  size_t length = 0;
  if (value == nullptr || napi_get_value_string_utf8(env_, value, nullptr, 0, &length) != napi_ok) {
    fail(what);
    return {};
  }
  std::string text(length, '\0');
  // Room for the terminator is there: a std::string has one behind its end.
  if (napi_get_value_string_utf8(env_, value, text.data(), length + 1, &length) != napi_ok) fail(what);
  return text;
}

Uuid Reader::uuid(napi_value value, const char* what) {
  Uuid id;
  if (!Uuid::parse(string(value, what), &id)) fail(what);
  return id;
}

napi_value Reader::optional(napi_value object, const char* name) {
  napi_value value = nullptr;
  napi_valuetype type = napi_undefined;
  if (object == nullptr || napi_get_named_property(env_, object, name, &value) != napi_ok ||
      napi_typeof(env_, value, &type) != napi_ok) {
    fail(name);
    return nullptr;
  }
  return type == napi_undefined ? nullptr : value;
}

napi_value Reader::property(napi_value object, const char* name) {
  napi_value value = optional(object, name);
  if (value == nullptr) fail(name);
  return value;
}

void Reader::elements(napi_value array, const char* what, const std::function<void(napi_value)>& each) {
  uint32_t length = 0;
  if (array == nullptr || napi_get_array_length(env_, array, &length) != napi_ok) {
    fail(what);
    return;
  }
  for (uint32_t i = 0; i < length && ok(); ++i) {
    napi_value element = nullptr;
    if (napi_get_element(env_, array, i, &element) != napi_ok) {
      fail(what);
      return;
    }
    each(element);
  }
}

napi_value make_function(napi_env env, const char* name, napi_callback call, std::shared_ptr<void> owner) {
  napi_value function = nullptr;
  void* data = owner.get();
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, call, data, &function) != napi_ok) return nullptr;
  auto* held = new std::shared_ptr<void>(std::move(owner));
  if (napi_add_finalizer(env, function, data, release_owner, held, nullptr) == napi_ok) return function;
  delete held;
  return nullptr;
}

napi_value make_external(napi_env env, const napi_type_tag& tag, std::shared_ptr<void> owner) {
  napi_value external = nullptr;
  auto* held = new std::shared_ptr<void>(std::move(owner));
  if (napi_create_external(env, held, release_owner, held, &external) != napi_ok) {
    delete held;
    return nullptr;
  }
  return napi_type_tag_object(env, external, &tag) == napi_ok ? external : nullptr;
}

std::shared_ptr<void> external_owner(napi_env env, napi_value value, const napi_type_tag& tag) {
  napi_valuetype type = napi_undefined;
  bool is_ours = false;
  void* data = nullptr;
  if (value == nullptr || napi_typeof(env, value, &type) != napi_ok || type != napi_external ||
      napi_check_object_type_tag(env, value, &tag, &is_ours) != napi_ok || !is_ours ||
      napi_get_value_external(env, value, &data) != napi_ok) {
    return nullptr;
  }
  return *static_cast<std::shared_ptr<void>*>(data);
}

}  // namespace diaspora::node
