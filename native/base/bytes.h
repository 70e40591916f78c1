// Bounds-checked little-endian reading and writing: the only way bytes become fields and back.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace diaspora {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "every supported machine is little endian");

// Reads fields in order. After the first read past the end every read gives zero and ok() is false, so that a decoder
// may read everything and check once.
class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes) : rest_(bytes) {}

  bool ok() const { return ok_; }
  size_t remaining() const { return rest_.size(); }
  // True when everything was read and nothing was missing.
  bool finished() const { return ok_ && rest_.empty(); }

  uint8_t u8() { return read<uint8_t>(); }
  uint16_t u16() { return read<uint16_t>(); }
  uint32_t u32() { return read<uint32_t>(); }
  uint64_t u64() { return read<uint64_t>(); }

  Uuid uuid() {
    Uuid id;
    const std::span<const uint8_t> from = bytes(id.bytes.size());
    if (!from.empty()) std::memcpy(id.bytes.data(), from.data(), id.bytes.size());
    return id;
  }

  // The next `length` bytes, not copied; empty when there are fewer.
  std::span<const uint8_t> bytes(size_t length) {
    if (length > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const std::span<const uint8_t> taken = rest_.first(length);
    rest_ = rest_.subspan(length);
    return taken;
  }

  // A u32 length and that many bytes, refused above `length_max`.
  std::string string(size_t length_max) {
    const uint32_t length = u32();
    if (length > length_max) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const std::span<const uint8_t> from = bytes(length);
    return {reinterpret_cast<const char*>(from.data()), from.size()};
  }

 private:
  template <typename T>
  T read() {
    const std::span<const uint8_t> from = bytes(sizeof(T));
    T value{};
    if (!from.empty()) std::memcpy(&value, from.data(), sizeof(T));
    return value;
  }

  std::span<const uint8_t> rest_;
  bool ok_ = true;
};

// Appends fields to a vector.
class ByteWriter {
 public:
  explicit ByteWriter(std::vector<uint8_t>* out) : out_(out) {}

  void u8(uint8_t value) { write(value); }
  void u16(uint16_t value) { write(value); }
  void u32(uint32_t value) { write(value); }
  void u64(uint64_t value) { write(value); }
  void uuid(const Uuid& id) { bytes(id.bytes); }
  void bytes(std::span<const uint8_t> from) { out_->insert(out_->end(), from.begin(), from.end()); }
  void string(std::string_view text) {
    u32(static_cast<uint32_t>(text.size()));
    bytes({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }

 private:
  template <typename T>
  void write(T value) {
    uint8_t raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    out_->insert(out_->end(), raw, raw + sizeof(T));
  }

  std::vector<uint8_t>* out_;
};

inline constexpr uint64_t align_up(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

}  // namespace diaspora
