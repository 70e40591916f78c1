#include "base/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace diaspora {

namespace {

constexpr uint32_t kPolynomial = 0x82F63B78;

constexpr std::array<uint32_t, 256> make_byte_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? kPolynomial : 0);
    table[i] = crc;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kByteTable = make_byte_table();

#if defined(__x86_64__)

// The crc32 instruction has a latency of 3 cycles and a throughput of 1, so three independent lanes fill it. The lanes
// are joined by advancing a checksum over the zero bytes that follow it: a linear map, precomputed per byte position.
// Long lanes let the hardware's prefetchers get going: memory that is in no cache is read at 22 GB/s with lanes of
// 64 KiB and at 14 GB/s with lanes of 8 KiB (measured on a Zen 4 core); prefetch instructions gained nothing.
constexpr size_t kLaneLong = 65536;
constexpr size_t kLaneMiddle = 4096;
constexpr size_t kLaneShort = 256;

using ShiftTable = std::array<std::array<uint32_t, 256>, 4>;

uint32_t shift(const ShiftTable& table, uint32_t crc) {
  return table[0][crc & 255] ^ table[1][(crc >> 8) & 255] ^ table[2][(crc >> 16) & 255] ^ table[3][crc >> 24];
}

// `by_bit[i]`: what bit i of a checksum has become after some zero bytes.
using BitMap = std::array<uint32_t, 32>;

uint32_t apply(const BitMap& by_bit, uint32_t crc) {
  uint32_t out = 0;
  for (uint32_t bit = 0; bit < 32; ++bit) {
    if ((crc >> bit) & 1) out ^= by_bit[bit];
  }
  return out;
}

// `zero_bytes`: a power of two. The map of one byte, doubled.
ShiftTable make_shift_table(size_t zero_bytes) {
  BitMap by_bit{};
  for (uint32_t bit = 0; bit < 32; ++bit) {
    const uint32_t crc = uint32_t{1} << bit;
    by_bit[bit] = (crc >> 8) ^ kByteTable[crc & 255];
  }
  for (size_t bytes = 1; bytes < zero_bytes; bytes *= 2) {
    BitMap doubled{};
    for (uint32_t bit = 0; bit < 32; ++bit) doubled[bit] = apply(by_bit, by_bit[bit]);
    by_bit = doubled;
  }
  ShiftTable table{};
  for (uint32_t position = 0; position < 4; ++position) {
    for (uint32_t value = 0; value < 256; ++value) table[position][value] = apply(by_bit, value << (8 * position));
  }
  return table;
}

uint64_t load_u64(const uint8_t* from) {
  uint64_t value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

template <size_t Lane>
__attribute__((target("sse4.2"))) const uint8_t* run_lanes(const uint8_t* at, size_t* left, uint64_t* crc) {
  static const ShiftTable table = make_shift_table(Lane);
  while (*left >= 3 * Lane) {
    uint64_t a = *crc;
    uint64_t b = 0;
    uint64_t c = 0;
    for (size_t i = 0; i < Lane; i += 8) {
      a = _mm_crc32_u64(a, load_u64(at + i));
      b = _mm_crc32_u64(b, load_u64(at + Lane + i));
      c = _mm_crc32_u64(c, load_u64(at + 2 * Lane + i));
    }
    a = shift(table, static_cast<uint32_t>(a)) ^ b;
    *crc = shift(table, static_cast<uint32_t>(a)) ^ c;
    at += 3 * Lane;
    *left -= 3 * Lane;
  }
  return at;
}

__attribute__((target("sse4.2"))) uint32_t crc32c_hardware(const uint8_t* at, size_t left, uint32_t seed) {
  uint64_t crc = static_cast<uint32_t>(~seed);
  at = run_lanes<kLaneLong>(at, &left, &crc);
  at = run_lanes<kLaneMiddle>(at, &left, &crc);
  at = run_lanes<kLaneShort>(at, &left, &crc);
  for (; left >= 8; left -= 8, at += 8) crc = _mm_crc32_u64(crc, load_u64(at));
  auto crc32 = static_cast<uint32_t>(crc);
  for (; left > 0; --left, ++at) crc32 = _mm_crc32_u8(crc32, *at);
  return ~crc32;
}

#endif

}  // namespace

uint32_t crc32c_portable(std::span<const uint8_t> bytes, uint32_t seed) {
  uint32_t crc = ~seed;
  for (const uint8_t byte : bytes) crc = (crc >> 8) ^ kByteTable[(crc ^ byte) & 255];
  return ~crc;
}

uint32_t crc32c(std::span<const uint8_t> bytes, uint32_t seed) {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2");
  if (has_instruction) return crc32c_hardware(bytes.data(), bytes.size(), seed);
#endif
  return crc32c_portable(bytes, seed);
}

}  // namespace diaspora
