#include "wire/batch_body.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "base/crc32c.h"
#include "base/limits.h"

namespace diaspora::wire {
namespace {

std::vector<uint8_t> make_head(const std::vector<EventEntry>& entries, std::string_view metadata) {
  std::vector<uint8_t> head(entries.size() * kEventEntryBytes);
  for (size_t i = 0; i < entries.size(); ++i) encode_event_entry(entries[i], head.data() + i * kEventEntryBytes);
  head.insert(head.end(), metadata.begin(), metadata.end());
  return head;
}

TEST(BatchBody, EntryHasItsGoldenBytes) {
  std::vector<uint8_t> bytes(kEventEntryBytes);
  encode_event_entry({0x01020304, 0x05060708, 0x1112131415161718}, bytes.data());
  const std::vector<uint8_t> golden = {4, 3, 2, 1, 8, 7, 6, 5, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11};
  EXPECT_EQ(bytes, golden);
  const EventEntry entry = decode_event_entry(bytes.data());
  EXPECT_EQ(entry.metadata_end, 0x01020304u);
  EXPECT_EQ(entry.data_crc, 0x05060708u);
  EXPECT_EQ(entry.data_end, 0x1112131415161718u);
}

TEST(BatchBody, OffsetsFollowFromTheShape) {
  const BodyShape shape{3, 10, 100};
  EXPECT_EQ(shape.table_bytes(), 48u);
  EXPECT_EQ(shape.head_bytes(), 58u);
  EXPECT_EQ(shape.data_offset(), 64u);
  EXPECT_EQ(shape.body_bytes(), 164u);
  EXPECT_EQ((BodyShape{3, 10, 0}).body_bytes(), 58u);
}

TEST(BatchBody, ShapesOutsideTheLimitsAreRefused) {
  EXPECT_TRUE(validate_shape({1, 0, 0}).ok());
  EXPECT_TRUE(validate_shape({kBatchEventsMax, 0, 0}).ok());
  EXPECT_EQ(validate_shape({0, 0, 0}).code(), ErrorCode::k_PROTOCOL);
  EXPECT_EQ(validate_shape({kBatchEventsMax + 1, 0, 0}).code(), ErrorCode::k_PROTOCOL);
  EXPECT_TRUE(validate_shape({1, 0, kBatchBytesMax - 64}).ok());
  EXPECT_EQ(validate_shape({1, 0, kBatchBytesMax - 63}).code(), ErrorCode::k_EVENT_TOO_LARGE);
  EXPECT_EQ(validate_shape({1, 0, ~uint64_t{0}}).code(), ErrorCode::k_EVENT_TOO_LARGE);
}

TEST(BatchBody, CountAndFlagShareAWord) {
  EXPECT_EQ(encode_count({3, 10, 0}), 3U);
  EXPECT_EQ(encode_count({3, 10, 0, true}), 0x80000003U);
  BodyShape shape;
  decode_count(0x80010000, &shape);
  EXPECT_EQ(shape.event_count, 0x10000U);
  EXPECT_TRUE(shape.compressed);
}

TEST(BatchBody, ACompressedHeadIsSmallerThanWhatItGives) {
  const std::vector<uint8_t> head = make_head({{20, 0, 0}, {40, 0, 0}}, "frame");
  EXPECT_TRUE(validate_head({2, 5, 0, true}, head, crc32c(head)).ok());
  EXPECT_EQ(expanded_metadata_bytes({2, 5, 0, true}, head), 40U);
  EXPECT_EQ(validate_head({2, 5, 0, false}, head, crc32c(head)).code(), ErrorCode::k_PROTOCOL);
  const std::vector<uint8_t> larger = make_head({{2, 0, 0}, {5, 0, 0}}, "frame");
  EXPECT_EQ(validate_head({2, 5, 0, true}, larger, crc32c(larger)).code(), ErrorCode::k_PROTOCOL);
  std::vector<EventEntry> many;
  for (uint32_t i = 1; i <= 8; ++i) many.push_back({i << 20, 0, 0});
  const std::vector<uint8_t> largest = make_head(many, "frame");
  EXPECT_TRUE(validate_head({8, 5, 0, true}, largest, crc32c(largest)).ok());
  many.push_back({9 << 20, 0, 0});
  const std::vector<uint8_t> bomb = make_head(many, "frame");
  EXPECT_EQ(validate_head({9, 5, 0, true}, bomb, crc32c(bomb)).code(), ErrorCode::k_PROTOCOL);
}

TEST(BatchBody, ExtentsSplitTheBody) {
  const BodyShape shape{3, 6, 20};
  const std::vector<uint8_t> head = make_head({{2, 7, 5}, {2, 0, 5}, {6, 9, 20}}, "abcdef");
  ASSERT_TRUE(validate_head(shape, head, crc32c(head)).ok());
  const EventExtent first = event_extent(head, 0);
  EXPECT_EQ(first.metadata_offset, 0u);
  EXPECT_EQ(first.metadata_bytes, 2u);
  EXPECT_EQ(first.data_bytes, 5u);
  EXPECT_EQ(first.data_crc, 7u);
  const EventExtent second = event_extent(head, 1);
  EXPECT_EQ(second.metadata_bytes, 0u);
  EXPECT_EQ(second.data_bytes, 0u);
  const EventExtent third = event_extent(head, 2);
  EXPECT_EQ(third.metadata_offset, 2u);
  EXPECT_EQ(third.metadata_bytes, 4u);
  EXPECT_EQ(third.data_offset, 5u);
  EXPECT_EQ(third.data_bytes, 15u);
}

TEST(BatchBody, HeadsThatDoNotAddUpAreRefused) {
  const auto code = [](const BodyShape& shape, const std::vector<EventEntry>& entries) {
    const std::vector<uint8_t> head = make_head(entries, std::string(shape.metadata_bytes, 'x'));
    return validate_head(shape, head, crc32c(head)).code();
  };
  EXPECT_EQ(code({2, 4, 4}, {{2, 0, 2}, {4, 0, 4}}), ErrorCode::kOk);
  EXPECT_EQ(code({2, 4, 4}, {{3, 0, 2}, {2, 0, 4}}), ErrorCode::k_PROTOCOL);
  EXPECT_EQ(code({2, 4, 4}, {{2, 0, 5}, {4, 0, 4}}), ErrorCode::k_PROTOCOL);
  EXPECT_EQ(code({2, 4, 4}, {{2, 0, 2}, {3, 0, 4}}), ErrorCode::k_PROTOCOL);
  EXPECT_EQ(code({2, 4, 4}, {{2, 0, 2}, {4, 0, 3}}), ErrorCode::k_PROTOCOL);
  const auto too_large = static_cast<uint32_t>(kEventMetadataBytesMax + 1);
  EXPECT_EQ(code({1, too_large, 0}, {{too_large, 0, 0}}), ErrorCode::k_EVENT_TOO_LARGE);
}

TEST(BatchBody, EveryChangedBitAndEveryLengthIsDetected) {
  const BodyShape shape{2, 8, 9};
  std::vector<uint8_t> head = make_head({{3, 1, 4}, {8, 2, 9}}, "metadata");
  const uint32_t crc = crc32c(head);
  for (size_t bit = 0; bit < head.size() * 8; ++bit) {
    head[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
    EXPECT_EQ(validate_head(shape, head, crc).code(), ErrorCode::k_CORRUPT_DATA) << "bit " << bit;
    head[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
  }
  for (size_t length = 0; length < head.size(); ++length) {
    EXPECT_EQ(validate_head(shape, std::span(head).first(length), crc).code(), ErrorCode::k_PROTOCOL);
  }
}

}  // namespace
}  // namespace diaspora::wire
