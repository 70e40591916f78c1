// Deliveries while the server's memory for batches is full.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "server/end_to_end_test_kit.h"

namespace diaspora::server {
namespace {

class FullMemory : public EndToEnd {
 protected:
  void TearDown() override {
    filling_.reset();
    EndToEnd::TearDown();
  }
  // A batch of events whose metadata does not fit into a message, and then a topic that takes all memory that is left,
  // but for less than one of those events needs.
  void begin_full(uint32_t events) {
    constexpr size_t kMemoryBytes = size_t{64} << 20;
    constexpr size_t kLargeBytes = size_t{1} << 20;
    constexpr size_t kSmallBytes = size_t{64} << 10;
    servers_.push_back(make_server("", kMemoryBytes));
    begin();
    put_topic(1);
    open_producer(events);
    for (uint32_t i = 0; i < events; ++i) ASSERT_EQ(push(*producer_, 0, metadata_).code, ErrorCode::kOk);
    flush();
    put_filler();
    size_t left = kMemoryBytes - align_up(events * (metadata_.size() + 64), 4096);
    for (; left >= 2 * kLargeBytes; left -= kLargeBytes) fill(kLargeBytes);
    for (; left >= kSmallBytes; left -= kSmallBytes) fill(kSmallBytes);
    for (int i = 0; filling_->pending().batches > 0 && i < 3000; ++i) sink_->wait_for_change();
    for (const auto& [key, end] : sink_->wait_batches(0)) ASSERT_TRUE(end.status.ok()) << end.status.error().message;
  }
  void empty() {
    client_->topic_remove(next_request_, 0, filler_.uuid);
    ASSERT_TRUE(sink_->wait_request(next_request_++).ok());
  }
  const std::string metadata_ = "{\"a\":\"" + std::string(100'000, 'a') + "\"}";

 private:
  // Partition 0 stays empty: its batches would have the numbers of those of the other topic.
  void put_filler() {
    filler_ = topic_;
    filler_.name = "filler";
    filler_.uuid = Uuid::random();
    filler_.placement.assign(3, servers_[0]->uuid());
    client_->topic_put(next_request_, 0, filler_);
    ASSERT_TRUE(sink_->wait_request(next_request_++).ok());
    Producer::Options options;
    options.id = 8;
    options.topic = filler_.uuid;
    options.server_of_partition = {0, 0, 0};
    options.batch_events = 1;
    filling_ = client_->open_producer(options);
  }
  // A batch that takes so much memory: all but a page are data.
  void fill(size_t bytes) {
    client::DataSegment segment = segment_of(data_);
    segment.length = bytes - 4096;
    ASSERT_EQ(push(*filling_, 1 + filled_++ % 2, "{}", {segment}).code, ErrorCode::kOk);
  }

  const std::string data_ = pattern(size_t{1} << 20, 1);
  wire::TopicRecord filler_;
  std::shared_ptr<Producer> filling_;
  uint32_t filled_ = 0;
};

TEST_P(FullMemory, ALargeHeadNeedsNoneOfItsOwn) {
  begin_full(1);
  const auto seen = take_events(open_consumer(consumer_options(false)), 1);
  EXPECT_EQ(seen.at(0).at(0).metadata, metadata_);
  EXPECT_TRUE(sink_->failures().empty());
}

TEST_P(FullMemory, APartOfABatchWaitsForIt) {
  begin_full(2);
  Consumer::Options options = consumer_options(false);
  options.batch_events = 1;
  Consumer& consumer = open_consumer(options);
  for (int i = 0; i < 5; ++i) {
    sink_->wait_for_change();
    EXPECT_FALSE(consumer.take());
  }
  empty();
  const auto seen = take_events(consumer, 2);
  for (const SeenEvent& event : seen.at(0)) EXPECT_EQ(event.metadata, metadata_);
  EXPECT_TRUE(sink_->failures().empty());
}

INSTANTIATE_TEST_SUITE_P(Providers, FullMemory, ::testing::Values("local", "tcp"),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace diaspora::server
