// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, RFC 3720 section 12.1), hardware-accelerated on x86-64.
// Written here because no maintained implementation is packaged as a static library: a shared one would add a
// run-time dependency to every prebuilt binary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace diaspora {

// Checksum of `bytes` appended to data whose checksum is `seed` (0 for none).
uint32_t crc32c(std::span<const uint8_t> bytes, uint32_t seed = 0);

// The same by table, for tests and for processors without the instruction.
uint32_t crc32c_portable(std::span<const uint8_t> bytes, uint32_t seed = 0);

}  // namespace diaspora
