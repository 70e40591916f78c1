// Error codes and Result<T>: how every folder reports an operating error. Bugs are DIASPORA_CHECK failures.
// Thread: any. No exception crosses a folder.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace diaspora {

enum class ErrorCode : uint16_t {
  kOk = 0,
#define DIASPORA_ERROR(code, retryable, meaning) k_##code,
#include "base/error_codes.def"
#undef DIASPORA_ERROR
};

// The stable text of a code, for example "TOPIC_NOT_FOUND"; "OK" for kOk.
std::string_view error_code_name(ErrorCode code);
std::string_view error_code_meaning(ErrorCode code);
bool error_code_retryable(ErrorCode code);
// kOk..last; anything else (a number from the wire) becomes k_INTERNAL.
ErrorCode error_code_from_wire(uint16_t value);

// An operating error. `message` is one line for a person: what was wrong and what to do.
struct Error {
  ErrorCode code = ErrorCode::kOk;
  std::string message;
};

// Success without a value, or an Error.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)) {}
  Status(ErrorCode code, std::string message) : error_{code, std::move(message)} {}
  bool ok() const { return error_.code == ErrorCode::kOk; }
  explicit operator bool() const { return ok(); }
  const Error& error() const { return error_; }
  ErrorCode code() const { return error_.code; }

 private:
  Error error_;
};

// A T, or an Error.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Error error) : state_(std::move(error)) {}
  Result(const Status& status) : state_(status.error()) {}
  Result(ErrorCode code, std::string message) : state_(Error{code, std::move(message)}) {}
  bool ok() const { return std::holds_alternative<T>(state_); }
  explicit operator bool() const { return ok(); }
  T& value() { return std::get<T>(state_); }
  const T& value() const { return std::get<T>(state_); }
  T take() { return std::move(std::get<T>(state_)); }
  const Error& error() const { return std::get<Error>(state_); }
  Status status() const { return ok() ? Status() : Status(error()); }

 private:
  std::variant<T, Error> state_;
};

// Text for an errno, for example "No space left on device (28)".
std::string errno_text(int error_number);

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace diaspora

// An invariant: on in release builds. Failing is a bug, never an operating error.
#define DIASPORA_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::diaspora::check_failed(#condition, __FILE__, __LINE__))
