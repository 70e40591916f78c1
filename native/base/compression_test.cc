// zstd as it is opened at run time. Skipped where it is not installed.
#include "base/compression.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace diaspora {
namespace {

std::vector<uint8_t> alike(size_t events) {
  std::string text;
  for (size_t i = 0; i < events; ++i) text += "{\"detector\":\"east\",\"frame\":" + std::to_string(i) + "}";
  return {text.begin(), text.end()};
}

class Compression : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!compression_available()) GTEST_SKIP() << compression_available().error().message;
  }
};

TEST_F(Compression, WhatIsExpandedIsWhatWasCompressed) {
  const std::vector<uint8_t> text = alike(1000);
  for (const int level : {1, 3, 19}) {
    std::vector<uint8_t> frame(text.size());
    const size_t bytes = compress(text, frame, level);
    ASSERT_GT(bytes, 0U);
    EXPECT_LT(bytes, text.size() / 4);
    std::vector<uint8_t> back(text.size());
    EXPECT_TRUE(decompress(std::span(frame).first(bytes), back).ok());
    EXPECT_EQ(back, text);
  }
}

TEST_F(Compression, WhatDoesNotFitIsNotCompressed) {
  std::vector<uint8_t> noise(4096);
  uint32_t state = 1;
  for (uint8_t& byte : noise) byte = static_cast<uint8_t>((state = state * 1664525U + 1013904223U) >> 24);
  std::vector<uint8_t> frame(noise.size() - noise.size() / 16);
  EXPECT_EQ(compress(noise, frame, 1), 0U);
}

TEST_F(Compression, DamageAndWrongLengthsAreCorruptData) {
  const std::vector<uint8_t> text = alike(100);
  std::vector<uint8_t> frame(text.size());
  frame.resize(compress(text, frame, 1));
  ASSERT_FALSE(frame.empty());
  for (const size_t wrong : {text.size() - 1, text.size() + 1, size_t{0}}) {
    std::vector<uint8_t> back(wrong);
    EXPECT_EQ(decompress(frame, back).code(), ErrorCode::k_CORRUPT_DATA) << wrong;
  }
  std::vector<uint8_t> back(text.size());
  EXPECT_EQ(decompress(std::span(frame).first(frame.size() - 1), back).code(), ErrorCode::k_CORRUPT_DATA);
  EXPECT_EQ(decompress({}, back).code(), ErrorCode::k_CORRUPT_DATA);
  frame[0] ^= 1;
  EXPECT_EQ(decompress(frame, back).code(), ErrorCode::k_CORRUPT_DATA);
}

}  // namespace
}  // namespace diaspora
