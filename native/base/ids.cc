#include "base/ids.h"

#include <sys/random.h>

#include "base/error.h"

namespace diaspora {

namespace {

void fill_random(void* out, size_t length) {
  // getrandom gives up to 256 bytes in one piece once the pool is initialised (getrandom(2)).
  const ssize_t got = getrandom(out, length, 0);
  DIASPORA_CHECK(got == static_cast<ssize_t>(length));
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::string Uuid::to_string() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(32);
  for (const uint8_t byte : bytes) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

Uuid Uuid::random() {
  Uuid id;
  fill_random(id.bytes.data(), id.bytes.size());
  return id;
}

bool Uuid::parse(const std::string& text, Uuid* out) {
  if (text.size() != 32) return false;
  Uuid id;
  for (size_t i = 0; i < id.bytes.size(); ++i) {
    const int high = hex_value(text[2 * i]);
    const int low = hex_value(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    id.bytes[i] = static_cast<uint8_t>(high * 16 + low);
  }
  *out = id;
  return true;
}

const Uuid& process_identity() {
  static const Uuid identity = Uuid::random();
  return identity;
}

uint64_t random_u64() {
  uint64_t value = 0;
  fill_random(&value, sizeof(value));
  return value;
}

}  // namespace diaspora
