// Strong types for every identity, so that two bare integers never stand side by side in a signature.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace diaspora {

template <typename Tag, typename Rep>
struct StrongId {
  Rep value{};
  constexpr StrongId() = default;
  constexpr explicit StrongId(Rep v) : value(v) {}
  friend constexpr auto operator<=>(const StrongId&, const StrongId&) = default;
};

// Position of an event in its partition: 0, 1, 2, ... without gaps.
using EventId = StrongId<struct EventIdTag, uint64_t>;
// Index of a partition in its topic, 0 .. partitions - 1.
using PartitionIndex = StrongId<struct PartitionIndexTag, uint32_t>;
// Number of a batch of one producer session on one partition: 1, 2, 3, ...; 0 means none.
using BatchSequence = StrongId<struct BatchSequenceTag, uint64_t>;

// 128 random bits: identity of a topic, server, producer session or log partition.
struct Uuid {
  std::array<uint8_t, 16> bytes{};
  friend constexpr auto operator<=>(const Uuid&, const Uuid&) = default;
  bool is_nil() const { return *this == Uuid{}; }
  std::string to_string() const;  // 32 lower-case hexadecimal digits
  // From the system's cryptographic random source (getrandom).
  static Uuid random();
  // Accepts what to_string() gives. False when `text` is anything else.
  static bool parse(const std::string& text, Uuid* out);
};

// Random, the same for the life of this process: tells whether a peer is in it.
const Uuid& process_identity();

// A 64-bit value from the system's cryptographic random source.
uint64_t random_u64();

}  // namespace diaspora

template <typename Tag, typename Rep>
struct std::hash<diaspora::StrongId<Tag, Rep>> {
  size_t operator()(const diaspora::StrongId<Tag, Rep>& id) const noexcept { return std::hash<Rep>{}(id.value); }
};

template <>
struct std::hash<diaspora::Uuid> {
  size_t operator()(const diaspora::Uuid& id) const noexcept {
    size_t result = 0;
    for (size_t i = 0; i < sizeof(size_t); ++i) result = (result << 8) | id.bytes[i];
    return result;
  }
};
