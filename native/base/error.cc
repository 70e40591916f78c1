#include "base/error.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace diaspora {

namespace {

struct CodeRow {
  std::string_view name;
  bool retryable;
  std::string_view meaning;
};

constexpr CodeRow kCodeRows[] = {
    {"OK", false, "success"},
#define DIASPORA_ERROR(code, retryable, meaning) {#code, retryable, meaning},
#include "base/error_codes.def"
#undef DIASPORA_ERROR
};

constexpr uint16_t kCodeCount = sizeof(kCodeRows) / sizeof(kCodeRows[0]);

}  // namespace

std::string_view error_code_name(ErrorCode code) { return kCodeRows[static_cast<uint16_t>(code)].name; }

std::string_view error_code_meaning(ErrorCode code) { return kCodeRows[static_cast<uint16_t>(code)].meaning; }

bool error_code_retryable(ErrorCode code) { return kCodeRows[static_cast<uint16_t>(code)].retryable; }

ErrorCode error_code_from_wire(uint16_t value) {
  return value < kCodeCount ? static_cast<ErrorCode>(value) : ErrorCode::k_INTERNAL;
}

std::string errno_text(int error_number) {
  char buffer[128];
  const char* text = strerror_r(error_number, buffer, sizeof(buffer));  // GNU variant: may not use buffer
  return std::string(text) + " (" + std::to_string(error_number) + ")";
}

void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "diaspora-stream: invariant failed: %s at %s:%d\n", condition, file, line);
  std::abort();
}

}  // namespace diaspora
