#include "wire/log_record.h"

#include <gtest/gtest.h>

#include <array>

namespace diaspora::wire {
namespace {

using HeaderBytes = std::array<uint8_t, kLogRecordHeaderBytes>;

Uuid uuid_from(uint8_t first) {
  Uuid id;
  for (size_t i = 0; i < id.bytes.size(); ++i) id.bytes[i] = static_cast<uint8_t>(first + i);
  return id;
}

LogRecordHeader example() {
  LogRecordHeader header;
  header.base_id = EventId(0x0102030405060708);
  header.shape = {3, 100, 1000};
  header.partition = uuid_from(0x10);
  header.segment_number = 0x2122232425262728;
  header.producer_session = uuid_from(0x40);
  header.producer_sequence = BatchSequence(0x3132333435363738);
  header.timestamp_ns = -2;
  header.durable_watermark = EventId(0x0102030405060700);
  header.head_crc = 0xA1A2A3A4;
  header.previous_header_crc = 0xB1B2B3B4;
  return header;
}

// The format on disk: this test may only change together with kLogRecordVersion.
TEST(LogRecord, HasTheseBytes) {
  const HeaderBytes golden = {
      'D',  'S',  'L',  'R',  1,    0,    128,  0,                                                     // magic
      0,    0,    0,    0,    0xA8, 0x04, 0,    0,                                                     // flags, body
      8,    7,    6,    5,    4,    3,    2,    1,                                                     // base id
      3,    0,    0,    0,    100,  0,    0,    0,                                                     // counts
      0xE8, 0x03, 0,    0,    0,    0,    0,    0,                                                     // data
      0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F,  // partition
      0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21,                                                  // segment
      0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x4B, 0x4C, 0x4D, 0x4E, 0x4F,  // session
      0x38, 0x37, 0x36, 0x35, 0x34, 0x33, 0x32, 0x31,                                                  // sequence
      0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,                                                  // time
      0,    7,    6,    5,    4,    3,    2,    1,                                                     // watermark
      0xA4, 0xA3, 0xA2, 0xA1, 0xB4, 0xB3, 0xB2, 0xB1,                                                  // crcs
      0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,                             // zero
      0x71, 0x32, 0xFE, 0x7C};
  HeaderBytes bytes;
  encode_log_record_header(example(), bytes);
  EXPECT_EQ(bytes, golden);
}

TEST(LogRecord, ComesBackAsItWas) {
  HeaderBytes bytes;
  const uint32_t crc = encode_log_record_header(example(), bytes);
  const auto header = decode_log_record_header(bytes);
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(header.value().header_crc, crc);
  EXPECT_EQ(header.value().base_id, example().base_id);
  EXPECT_EQ(header.value().shape.event_count, 3U);
  EXPECT_EQ(header.value().shape.metadata_bytes, 100U);
  EXPECT_EQ(header.value().shape.data_bytes, 1000U);
  EXPECT_EQ(header.value().partition, example().partition);
  EXPECT_EQ(header.value().segment_number, example().segment_number);
  EXPECT_EQ(header.value().producer_session, example().producer_session);
  EXPECT_EQ(header.value().producer_sequence, example().producer_sequence);
  EXPECT_EQ(header.value().timestamp_ns, -2);
  EXPECT_EQ(header.value().durable_watermark, example().durable_watermark);
  EXPECT_EQ(header.value().head_crc, example().head_crc);
  EXPECT_EQ(header.value().previous_header_crc, example().previous_header_crc);
}

TEST(LogRecord, EachFlippedBitAndEachShortLengthIsRefused) {
  HeaderBytes bytes;
  encode_log_record_header(example(), bytes);
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    HeaderBytes damaged = bytes;
    damaged[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
    EXPECT_EQ(decode_log_record_header(damaged).error().code, ErrorCode::k_CORRUPT_DATA) << "bit " << bit;
  }
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(decode_log_record_header(std::span(bytes).first(length)).ok());
  }
}

TEST(LogRecord, RefusesLengthsBeyondTheLimits) {
  LogRecordHeader header = example();
  header.shape.data_bytes = uint64_t{1} << 40;
  HeaderBytes bytes;
  encode_log_record_header(header, bytes);
  EXPECT_FALSE(decode_log_record_header(bytes).ok());
}

TEST(LogRecord, ARecordWithoutEventsIsAHeaderAlone) {
  LogRecordHeader header = example();
  header.shape = {};
  header.flags = kLogRecordSealed;
  HeaderBytes bytes;
  encode_log_record_header(header, bytes);
  const auto decoded = decode_log_record_header(bytes);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded.value().flags, kLogRecordSealed);
  EXPECT_EQ(decoded.value().shape.body_bytes(), 0U);
}

}  // namespace
}  // namespace diaspora::wire
