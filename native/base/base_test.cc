#include <gtest/gtest.h>

#include <set>
#include <string>

#include "base/bytes.h"
#include "base/error.h"
#include "base/ids.h"

namespace diaspora {
namespace {

TEST(ErrorCodes, have_distinct_names_and_meanings) {
  std::set<std::string_view> names;
  for (uint16_t value = 0; error_code_from_wire(value) == static_cast<ErrorCode>(value); ++value) {
    const auto code = static_cast<ErrorCode>(value);
    EXPECT_TRUE(names.insert(error_code_name(code)).second);
    EXPECT_FALSE(error_code_meaning(code).empty());
    if (code == ErrorCode::k_TOPIC_COMPLETE) break;
  }
  EXPECT_GT(names.size(), 30U);
  EXPECT_EQ(error_code_name(ErrorCode::k_TOPIC_NOT_FOUND), "TOPIC_NOT_FOUND");
  EXPECT_EQ(error_code_from_wire(60'000), ErrorCode::k_INTERNAL);
  EXPECT_EQ(static_cast<uint16_t>(ErrorCode::k_INTERNAL), 36) << "numbers are those of the wire";
}

TEST(Uuid, text_round_trip_and_refusal) {
  const Uuid id = Uuid::random();
  Uuid back;
  ASSERT_TRUE(Uuid::parse(id.to_string(), &back));
  EXPECT_EQ(id, back);
  EXPECT_NE(id, Uuid::random());
  EXPECT_FALSE(Uuid::parse("", &back));
  EXPECT_FALSE(Uuid::parse(std::string(32, 'g'), &back));
  EXPECT_FALSE(Uuid::parse(id.to_string() + "0", &back));
}

TEST(ByteReader, never_reads_past_the_end) {
  const uint8_t raw[] = {1, 0, 2, 0, 0, 0, 9, 9};
  ByteReader reader(raw);
  EXPECT_EQ(reader.u16(), 1);
  EXPECT_EQ(reader.string(2), std::string("\x09\x09"));
  EXPECT_TRUE(reader.finished());
  EXPECT_EQ(reader.u8(), 0);
  EXPECT_FALSE(reader.ok());

  ByteReader too_long(raw);
  EXPECT_EQ(too_long.u16(), 1);
  EXPECT_EQ(too_long.string(1), "");
  EXPECT_FALSE(too_long.ok());
  EXPECT_EQ(too_long.u64(), 0U);
}

}  // namespace
}  // namespace diaspora
