// What changes of a topic in its life: partitions are added; complete topics take no more batches, and their consumers
// end behind the last event, whenever they came.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "server/end_to_end_test_kit.h"

namespace diaspora::server {
namespace {

class Completion : public EndToEnd {
 protected:
  Status put_on(uint32_t server, const wire::TopicRecord& record) {
    client_->topic_put(next_request_, server, record);
    return sink_->wait_request(next_request_++).status();
  }
  void complete() {
    topic_.state = wire::TopicState::kComplete;
    for (uint32_t i = 0; i < servers_.size(); ++i) {
      const Status put = put_on(i, topic_);
      ASSERT_TRUE(put.ok()) << put.error().message;
    }
  }
  void push_events(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      const uint32_t partition = static_cast<uint32_t>(i % topic_.placement.size());
      ASSERT_EQ(push(*producer_, partition, std::to_string(i)).code, ErrorCode::kOk);
    }
  }
  client::Consumer::Options reader(uint32_t id) const {
    client::Consumer::Options options = consumer_options(false);
    options.id = id;
    return options;
  }
};

TEST_P(Completion, ConsumersEndBehindTheLastEventWheneverTheyCame) {
  start_servers(2);
  begin();
  put_topic(2);
  open_producer();
  auto& waiting = open_consumer(reader(9));
  push_events(100);
  flush();
  EXPECT_EQ(take_events(waiting, 100).at(1).size(), 50U);
  EXPECT_EQ(sink_->ended(9, 0), 0U);
  auto& behind = open_consumer(reader(10));
  sink_->wait_ready(10, 1);
  complete();
  for (const uint32_t partition : {0U, 1U}) sink_->wait_ended(9, partition);
  take_events(behind, 100);
  for (const uint32_t partition : {0U, 1U}) sink_->wait_ended(10, partition);
  auto& late = open_consumer(reader(11));
  take_events(late, 100);
  for (const uint32_t partition : {0U, 1U}) sink_->wait_ended(11, partition);
  EXPECT_FALSE(late.take());
  EXPECT_TRUE(sink_->failures().empty());
}

TEST_P(Completion, AnEmptyPartitionEndsAtOnce) {
  begin();
  put_topic(1);
  complete();
  open_consumer(reader(9));
  sink_->wait_ended(9, 0);
}

TEST_P(Completion, NewBatchesAreRefused) {
  begin();
  put_topic(1);
  open_producer(1);
  push_events(1);
  flush();
  complete();
  push_events(2);
  const auto batches = sink_->wait_batches(3);
  for (const uint64_t number : {2U, 3U}) {
    EXPECT_EQ(batches.at({0, number}).status.code(), ErrorCode::k_TOPIC_COMPLETE);
  }
  EXPECT_EQ(stored_events(), 1U);
}

TEST_P(Completion, ACompleteTopicStaysCompleteAndCanBeRemoved) {
  begin();
  put_topic(1);
  complete();
  EXPECT_TRUE(put_on(0, topic_).ok()) << "again";
  wire::TopicRecord active = topic_;
  active.state = wire::TopicState::kActive;
  EXPECT_EQ(put_on(0, active).code(), ErrorCode::k_TOPIC_COMPLETE);
  active.uuid = Uuid::random();
  EXPECT_EQ(put_on(0, active).code(), ErrorCode::k_TOPIC_EXISTS);
  client_->topic_remove(next_request_, 0, topic_.uuid);
  EXPECT_TRUE(sink_->wait_request(next_request_++).ok());
  EXPECT_EQ(put_on(0, topic_).code(), ErrorCode::k_TOPIC_NOT_FOUND);
  EXPECT_TRUE(put_on(0, active).ok());
}

TEST_P(Completion, LastsOverARestartAndIsToldOnce) {
  const std::string directory = make_directory();
  start_servers(1, directory);
  begin();
  put_topic(1, wire::ManagerKind::kLog);
  open_producer();
  push_events(10);
  flush();
  auto& early = open_consumer(reader(9));
  auto& unread = open_consumer(reader(10));
  take_events(early, 10);
  complete();
  sink_->wait_ended(9, 0);
  ASSERT_TRUE(servers_[0]->stop().ok());
  servers_[0] = make_server(directory);
  client_->set_address(0, "127.0.0.1", servers_[0]->port());
  sink_->wait_ups(2);
  take_events(open_consumer(reader(11)), 10);
  sink_->wait_ended(11, 0);
  take_events(unread, 10);
  sink_->wait_ended(10, 0);
  EXPECT_EQ(sink_->ended(9, 0), 1U);
  const size_t noted = sink_->batch_count();
  push_events(1);
  seal_all();
  EXPECT_EQ(sink_->wait_batches(noted + 1).rbegin()->second.status.code(), ErrorCode::k_TOPIC_COMPLETE);
  EXPECT_TRUE(sink_->failures().empty());
}

// Puts of two clients that add partitions, in any order, and repeated ones.
TEST_P(Completion, PartitionsAreAddedAndNeverTakenAwayOrMoved) {
  start_servers(2);
  begin();
  put_topic(2);
  wire::TopicRecord longer = topic_;
  for (int i = 0; i < 2; ++i) longer.placement.push_back(servers_[0]->uuid());
  ASSERT_TRUE(put_on(0, longer).ok());
  ASSERT_TRUE(put_on(0, topic_).ok()) << "what was put before";
  client_->topic_status(next_request_, 0, topic_.uuid);
  const auto status = sink_->wait_request(next_request_++);
  ASSERT_TRUE(status.ok());
  EXPECT_EQ(std::get<std::vector<wire::PartitionStatus>>(status.value()).size(), 3U);
  wire::TopicRecord moved = longer;
  std::swap(moved.placement[0], moved.placement[1]);
  EXPECT_EQ(put_on(0, moved).code(), ErrorCode::k_INVALID_ARGUMENT);
  topic_.state = wire::TopicState::kComplete;
  ASSERT_TRUE(put_on(0, topic_).ok()) << "all of them are completed";
  longer.state = wire::TopicState::kActive;
  EXPECT_EQ(put_on(0, longer).code(), ErrorCode::k_TOPIC_COMPLETE);
}

INSTANTIATE_TEST_SUITE_P(Providers, Completion, ::testing::Values("local", "tcp"),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace diaspora::server
