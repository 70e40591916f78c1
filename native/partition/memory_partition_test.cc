// The bounds of a memory partition; what it has in common with others is in partition_conformance_test.cc.
#include "partition/memory_partition.h"

#include <gtest/gtest.h>

#include "testing/batch_maker.h"
#include "testing/manual_executor.h"

namespace diaspora::partition {
namespace {

class MemoryPartitionBound : public ::testing::Test {
 protected:
  Result<AppendOutcome> append(MemoryPartition& partition, size_t data_bytes) {
    std::optional<Result<AppendOutcome>> answer;
    partition.append(testing::make_batch(*pool_, {{"{}", std::string(data_bytes, 'd')}}, {}),
                     [&](auto outcome) { answer = outcome; });
    executor_.run_until([&] { return answer.has_value(); });
    return *answer;
  }

  testing::ManualExecutor executor_;
  std::shared_ptr<BufferPool> pool_ = BufferPool::create(size_t{16} << 20);
};

TEST_F(MemoryPartitionBound, RefusesWhatDoesNotFit) {
  MemoryPartition partition(&executor_, {3 * 4096, false});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(append(partition, 100).ok());
  EXPECT_EQ(append(partition, 100).error().code, ErrorCode::k_NO_SPACE);
  EXPECT_EQ(partition.next_id(), EventId(3));
  EXPECT_EQ(partition.first_id(), EventId(0));
}

TEST_F(MemoryPartitionBound, DropsTheOldestWhereToldTo) {
  MemoryPartition partition(&executor_, {3 * 4096, true});
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(append(partition, 100).ok());
  EXPECT_EQ(partition.next_id(), EventId(5));
  EXPECT_EQ(partition.first_id(), EventId(2));
  EXPECT_EQ(pool_->bytes_used(), 3U * 4096);
  ErrorCode code = ErrorCode::kOk;
  partition.read(EventId(1), [&](const auto& batch) { code = batch.error().code; });
  EXPECT_EQ(code, ErrorCode::k_OFFSET_OUT_OF_RANGE);
  EXPECT_EQ(append(partition, 20000).error().code, ErrorCode::k_NO_SPACE);
  EXPECT_EQ(partition.first_id(), EventId(2));
}

TEST_F(MemoryPartitionBound, DestroyedWithAnswersPendingDropsThem) {
  bool answered = false;
  {
    MemoryPartition partition(&executor_, {});
    partition.append(testing::make_batch(*pool_, {{"{}", ""}}, {}), [&](const auto&) { answered = true; });
  }
  executor_.run_ready();
  EXPECT_FALSE(answered);
  EXPECT_EQ(pool_->bytes_used(), 0U);
}

TEST_F(MemoryPartitionBound, RetentionKeepsTheNewestBytes) {
  MemoryPartition partition(&executor_, {.retention = {3 * 4096, 0}});
  for (uint64_t i = 0; i < 5; ++i) ASSERT_TRUE(append(partition, 100).ok());
  EXPECT_EQ(partition.first_id(), EventId(2));
  EXPECT_EQ(partition.next_id(), EventId(5));
  MemoryPartition tiny(&executor_, {.retention = {1, 0}});
  for (uint64_t i = 0; i < 3; ++i) ASSERT_TRUE(append(tiny, 100).ok());
  EXPECT_EQ(tiny.first_id(), EventId(2)) << "the newest batch stays";
}

TEST_F(MemoryPartitionBound, WhatIsRefusedDropsNothing) {
  MemoryPartition partition(&executor_, {.bytes_max = 8 * 4096, .retention = {4 * 4096, 0}});
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(append(partition, 100).ok());
  EXPECT_EQ(append(partition, 10 * 4096).error().code, ErrorCode::k_NO_SPACE);
  EXPECT_EQ(partition.first_id(), EventId(0));
  MemoryPartition small(&executor_, {.bytes_max = 4 * 4096, .retention = {5 * 4096, 0}});
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(append(small, 100).ok());
  EXPECT_EQ(append(small, 4096).error().code, ErrorCode::k_NO_SPACE) << "less is stored than may be kept";
  EXPECT_EQ(small.first_id(), EventId(0));
}

TEST_F(MemoryPartitionBound, RetentionDropsWhatIsTooOld) {
  int64_t now_ns = 1'000'000'000;
  MemoryPartition partition(&executor_, {.retention = {0, 10}, .clock_ns = [&] { return now_ns; }});
  ASSERT_TRUE(append(partition, 100).ok());
  now_ns += 8'000'000;
  ASSERT_TRUE(append(partition, 100).ok());
  now_ns += 2'000'000;
  partition.retain();
  EXPECT_EQ(partition.first_id(), EventId(0)) << "not older than its age";
  now_ns += 1;
  partition.retain();
  EXPECT_EQ(partition.first_id(), EventId(1));
  now_ns += 8'000'000;
  partition.retain();
  EXPECT_EQ(partition.first_id(), partition.next_id());
  ASSERT_TRUE(append(partition, 100).ok());
  EXPECT_EQ(partition.next_id(), EventId(3));
}

}  // namespace
}  // namespace diaspora::partition
