// The cursor file: compaction, damage, and cursors past the end of a log that lost its newest events.
#include "partition/cursor_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "testing/partition_world.h"

namespace diaspora::partition {
namespace {

std::string cursor_file(const TestWorld& world) {
  return "/data/topics/" + world.topic.uuid.to_string() + "/0/cursors";
}

TEST(CursorStore, StaysSmallAndKeepsTheNewestAcrossManyUpdates) {
  TestWorld world(Durability::kSync, uint64_t{1} << 20);
  ASSERT_TRUE(world.start().ok());
  while (world.partition->next_id() < EventId(3000)) ASSERT_TRUE(world.append().ok());
  for (uint64_t id = 0; id < 3000; ++id) ASSERT_TRUE(world.acknowledge(EventId(id)).ok());
  EXPECT_LE(world.files.contents(cursor_file(world)).size(), 1025U * 512);
  world.stop();
  ASSERT_TRUE(world.start().ok());
  EXPECT_EQ(world.partition->cursor("reader"), EventId(3000));
  EXPECT_EQ(world.files.contents(cursor_file(world)).size(), 512U);
}

TEST(CursorStore, EachDamagedByteIsReportedAndCostsOneSlot) {
  TestWorld world(Durability::kSync);
  ASSERT_TRUE(world.start().ok());
  while (world.partition->next_id() < EventId(4)) ASSERT_TRUE(world.append().ok());
  ASSERT_TRUE(world.acknowledge(EventId(0)).ok());
  ASSERT_TRUE(world.acknowledge(EventId(1)).ok());
  ASSERT_TRUE(world.acknowledge(EventId(2)).ok());
  ASSERT_TRUE(world.close().ok());
  world.stop();
  const std::vector<uint8_t> whole = world.files.contents(cursor_file(world));
  ASSERT_EQ(whole.size(), 3U * 512);
  for (size_t at = 0; at < whole.size(); at += 3) {
    std::vector<uint8_t> damaged = whole;
    damaged[at] ^= 0x01;
    world.files.set_contents(cursor_file(world), damaged);
    ASSERT_TRUE(world.start().ok());
    ASSERT_EQ(world.partition->cursor("reader"), at < 1024 ? EventId(3) : EventId(2)) << "byte " << at;
    ASSERT_NE(world.report.detail.find(cursor_file(world)), std::string::npos);
    world.stop();
  }
}

// As written by versions that knew no groups: name right behind the cursor.
TEST(CursorStore, ReadsSlotsOfVersionOne) {
  TestWorld world(Durability::kSync);
  ASSERT_TRUE(world.start().ok());
  while (world.partition->next_id() < EventId(4)) ASSERT_TRUE(world.append().ok());
  ASSERT_TRUE(world.acknowledge(EventId(1)).ok());
  ASSERT_TRUE(world.close().ok());
  world.stop();
  constexpr size_t kNameAt = 56;
  constexpr size_t kOldNameAt = 40;
  std::vector<uint8_t> slot = world.files.contents(cursor_file(world));
  ASSERT_EQ(slot.size(), 512U);
  slot[4] = 1;
  const std::string name = "reader";
  std::fill(slot.begin() + kOldNameAt, slot.begin() + kNameAt + 16, uint8_t{0});
  std::copy(name.begin(), name.end(), slot.begin() + kOldNameAt);
  const uint32_t crc = crc32c(std::span(slot).first(508));
  std::memcpy(&slot[508], &crc, sizeof(crc));
  world.files.set_contents(cursor_file(world), slot);
  ASSERT_TRUE(world.start().ok());
  EXPECT_TRUE(world.report.detail.empty()) << world.report.detail;
  EXPECT_EQ(world.partition->consumer("reader"), (ConsumerState{EventId(2), 0, 0}));
}

TEST(CursorStore, ACursorPastTheEndOfTheLogIsSetBackToIt) {
  TestWorld world(Durability::kOs);
  ASSERT_TRUE(world.start().ok());
  while (world.partition->next_id() < EventId(10)) ASSERT_TRUE(world.append().ok());
  ASSERT_TRUE(world.acknowledge(EventId(9)).ok());
  ASSERT_TRUE(world.close().ok());
  world.stop();
  const std::string segment = "/data/topics/" + world.topic.uuid.to_string() + "/0/0000000000000001.seg";
  std::vector<uint8_t> bytes = world.files.contents(segment);
  bytes.resize(3 * 4096);  // the first two batches
  world.files.set_contents(segment, bytes);
  ASSERT_TRUE(world.start().ok());
  ASSERT_LT(world.partition->next_id(), EventId(9));
  EXPECT_EQ(world.partition->cursor("reader"), world.partition->next_id());
  EXPECT_NE(world.report.detail.find("past the log's end"), std::string::npos);
}

TEST(CursorStore, RefusesMoreConsumersThanItsBound) {
  CursorTable table;
  for (size_t i = 0; i < CursorTable::kCursorsMax; ++i) table.apply(std::to_string(i), {.next_id = EventId(1)});
  EXPECT_EQ(table.check_name("one more").code(), ErrorCode::k_RESOURCE_EXHAUSTED);
  EXPECT_TRUE(table.check_name("7").ok());
}

TEST(CursorStore, BoundsConsumersThatAreBeingStored) {
  TestWorld world(Durability::kMemory);
  ASSERT_TRUE(world.start().ok());
  EXPECT_EQ(world.acknowledge(EventId(7)).code(), ErrorCode::k_OFFSET_OUT_OF_RANGE);
  EXPECT_TRUE(world.partition->consumers().empty()) << "what is refused is not counted";
  size_t answered = 0;
  size_t refused = 0;
  constexpr size_t kNames = CursorTable::kCursorsMax + 10;
  for (size_t i = 0; i < kNames; ++i) {
    world.partition->change_consumer(std::to_string(i), {.fence = 1}, [&](const Status& status) {
      ++answered;
      if (status.code() == ErrorCode::k_RESOURCE_EXHAUSTED) ++refused;
    });
  }
  world.executor.run_until([&] { return answered == kNames; });
  EXPECT_EQ(refused, 10U);
  EXPECT_EQ(world.partition->consumers().size(), CursorTable::kCursorsMax);
}

}  // namespace
}  // namespace diaspora::partition
