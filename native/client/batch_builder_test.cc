#include "client/batch_builder.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/crc32c.h"
#include "client/batch_test_kit.h"

namespace diaspora::client {
namespace {

std::string text_of(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

uint32_t crc_of(const std::string& text) {
  return crc32c({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

class BatchBuilderTest : public ::testing::Test {
 protected:
  ClientCounters counters_;
};

TEST_F(BatchBuilderTest, TableAndMetadataMakeAValidHead) {
  BatchBuilder builder(test_limits(64), &counters_);
  const std::string data = "some data";
  add_event(&builder, "first");
  add_event(&builder, "", {segment_of(data)});
  add_event(&builder, "third");
  const std::unique_ptr<Batch> batch = builder.take();
  EXPECT_TRUE(builder.empty());
  const std::string head = text_of(batch->table.bytes()) + text_of(batch->metadata.bytes());
  EXPECT_EQ(text_of(batch->metadata.bytes()), "firstthird");
  const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(head.data()), head.size());
  EXPECT_TRUE(wire::validate_head(batch->shape, bytes, crc32c(bytes)).ok());
  EXPECT_EQ(wire::event_extent(bytes, 0).data_crc, 0u);
  EXPECT_EQ(wire::event_extent(bytes, 1).data_crc, crc_of(data));
  EXPECT_EQ(wire::event_extent(bytes, 1).data_bytes, data.size());
}

TEST_F(BatchBuilderTest, SmallSegmentsAreGatheredLargeOnesStay) {
  BatchBuilder builder(test_limits(10), &counters_);
  const std::string small = "small";
  const std::string large = "a large segment";
  const auto hold = std::make_shared<int>(1);
  add_event(&builder, "m", {segment_of(small), segment_of(large, hold), segment_of(small)});
  add_event(&builder, "m", {segment_of(small)});
  EXPECT_EQ(hold.use_count(), 2);
  std::unique_ptr<Batch> batch = builder.take();
  ASSERT_EQ(batch->runs.size(), 3u);
  EXPECT_EQ(batch->runs[0].bytes, nullptr);
  EXPECT_EQ(batch->runs[0].length, 5u);
  EXPECT_EQ(static_cast<const void*>(batch->runs[1].bytes), large.data());
  EXPECT_EQ(batch->runs[2].length, 10u) << "gathered neighbours are one run";
  EXPECT_EQ(text_of(batch->gathered.bytes()), "smallsmallsmall");
  EXPECT_EQ(counters_.data_bytes_copied, 15u);
  batch.reset();
  EXPECT_EQ(hold.use_count(), 1);
}

TEST_F(BatchBuilderTest, WithThresholdOneNothingIsCopiedUnlessItMust) {
  BatchBuilder builder(test_limits(1), &counters_);
  const std::string text = "x";
  DataSegment must_copy = segment_of(text);
  must_copy.must_copy = true;
  add_event(&builder, "m", {segment_of(text), segment_of("")});
  EXPECT_EQ(counters_.data_bytes_copied, 0u);
  add_event(&builder, "m", {must_copy});
  EXPECT_EQ(counters_.data_bytes_copied, 1u);
}

TEST_F(BatchBuilderTest, NeighboursInOneBufferAreOneRun) {
  BatchBuilder builder(test_limits(1), &counters_);
  const auto buffer = std::make_shared<std::string>("0123456789");
  const auto part = [&](size_t begin, size_t length) {
    DataSegment segment = segment_of(*buffer, buffer);
    segment.bytes += begin;
    segment.length = length;
    return segment;
  };
  add_event(&builder, "m", {part(0, 4), part(4, 3)});
  add_event(&builder, "m", {part(7, 3)});
  add_event(&builder, "m", {part(0, 2)});
  const std::unique_ptr<Batch> batch = builder.take();
  ASSERT_EQ(batch->runs.size(), 2u);
  EXPECT_EQ(batch->runs[0].length, 10u);
  EXPECT_EQ(batch->runs[1].length, 2u);
}

TEST_F(BatchBuilderTest, LimitsSayWhenItIsFull) {
  BatchBuilder::Limits limits = test_limits(1);
  limits.events_max = 2;
  BatchBuilder by_count(limits, &counters_);
  add_event(&by_count, "m");
  EXPECT_FALSE(by_count.full());
  add_event(&by_count, "m");
  EXPECT_TRUE(by_count.full());

  limits = test_limits(1);
  limits.head_bytes_max = 50;
  BatchBuilder by_head(limits, &counters_);
  add_event(&by_head, "0123456789");
  EXPECT_TRUE(by_head.fits({8, {}, 0}));
  EXPECT_FALSE(by_head.fits({9, {}, 0}));

  limits = test_limits(1);
  limits.data_bytes_max = 10;
  BatchBuilder by_data(limits, &counters_);
  const std::string data = "01234567890";
  add_event(&by_data, "m", {segment_of(data)});
  EXPECT_TRUE(by_data.full());
}

TEST_F(BatchBuilderTest, RunsOfABatchAreBounded) {
  BatchBuilder builder(test_limits(1), &counters_);
  std::vector<std::string> texts(BatchBuilder::kRunsMax * 2, "t");
  size_t events = 0;
  std::vector<DataSegment> one;
  for (const std::string& text : texts) {
    one = {segment_of(text)};
    const BatchBuilder::Event event = written(&builder, "", &one);
    if (events > 0 && !builder.fits(event)) break;
    builder.add(event);
    if (builder.full()) break;
    ++events;
  }
  EXPECT_LE(builder.take()->runs.size(), BatchBuilder::kRunsMax);

  // One event with more than that is gathered, whatever the threshold.
  std::vector<DataSegment> many;
  for (const std::string& text : texts) many.push_back(segment_of(text));
  add_event(&builder, "m", many);
  EXPECT_EQ(builder.take()->runs.size(), 1u);
}

TEST_F(BatchBuilderTest, WrittenMetadataMovesToTheNextBatch) {
  BatchBuilder builder(test_limits(1), &counters_);
  add_event(&builder, "first");
  std::vector<DataSegment> none;
  const BatchBuilder::Event event = written(&builder, "second", &none);
  const std::unique_ptr<Batch> batch = builder.take(event.metadata_bytes);
  EXPECT_EQ(text_of(batch->metadata.bytes()), "first");
  EXPECT_TRUE(builder.empty());
  builder.add(event);
  EXPECT_EQ(text_of(builder.take()->metadata.bytes()), "second");
}

TEST_F(BatchBuilderTest, ARecycledBatchIsEmpty) {
  BatchBuilder builder(test_limits(10), &counters_);
  const std::string data = "data";
  add_event(&builder, "metadata", {segment_of(data)});
  builder.recycle(builder.take());
  add_event(&builder, "next");
  const std::unique_ptr<Batch> batch = builder.take();
  EXPECT_EQ(batch->shape.event_count, 1u);
  EXPECT_EQ(text_of(batch->metadata.bytes()), "next");
  EXPECT_EQ(batch->gathered.size(), 0u);
  EXPECT_TRUE(batch->runs.empty());
}

}  // namespace
}  // namespace diaspora::client
