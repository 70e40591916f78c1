// The cursor file: compaction, damage, and cursors past the end of a log that lost its newest events.
#include "partition/cursor_store.h"

#include <gtest/gtest.h>

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
  for (size_t i = 0; i < CursorTable::kCursorsMax; ++i) table.advance(std::to_string(i), EventId(1));
  EXPECT_EQ(table.check_name("one more").code(), ErrorCode::k_RESOURCE_EXHAUSTED);
  EXPECT_TRUE(table.check_name("7").ok());
}

}  // namespace
}  // namespace diaspora::partition
