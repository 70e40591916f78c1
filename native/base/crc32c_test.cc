#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <string_view>
#include <vector>

namespace diaspora {
namespace {

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// RFC 3720, appendix B.4, and the check value of the CRC catalogue.
TEST(Crc32c, gives_the_published_values) {
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xE3069283U);
  EXPECT_EQ(crc32c(std::vector<uint8_t>(32, 0)), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::vector<uint8_t>(32, 0xFF)), 0x62A8AB43U);
  EXPECT_EQ(crc32c({}), 0U);
}

TEST(Crc32c, hardware_equals_table_for_every_length_and_alignment) {
  std::mt19937 random(7);
  std::vector<uint8_t> data(450'000);
  for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
  for (size_t length : {0UL, 1UL, 7UL, 8UL, 255UL, 767UL, 768UL, 769UL, 5000UL, 24'575UL, 24'576UL, 30'001UL, 59'000UL,
                        196'607UL, 196'608UL, 196'609UL, 430'001UL}) {
    for (size_t offset = 0; offset < 9; ++offset) {
      const std::span<const uint8_t> part = std::span<const uint8_t>(data).subspan(offset, length);
      ASSERT_EQ(crc32c(part), crc32c_portable(part)) << "length " << length << " offset " << offset;
    }
  }
}

TEST(Crc32c, continues_from_a_seed) {
  const auto whole = bytes_of("the quick brown fox jumps over the lazy dog");
  EXPECT_EQ(crc32c(whole.subspan(10), crc32c(whole.first(10))), crc32c(whole));
}

}  // namespace
}  // namespace diaspora
