// Consumers that meet what retention has dropped: they are told, or go on at the oldest event kept.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/end_to_end_test_kit.h"

namespace diaspora::server {
namespace {

constexpr uint64_t kKeptBytes = 256 * 1024;

class Retaining : public EndToEnd {
 protected:
  void put_limited(Retention retention, wire::ManagerKind manager) {
    topic_.retention = retention;
    put_topic(1, manager);
    open_producer(1);
  }
  void push_events(int count) {
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(push(*producer_, 0, std::to_string(pushed_++), {segment_of(data_)}).code, ErrorCode::kOk);
    }
    flush();
  }
  uint64_t first_id() {
    client_->topic_status(next_request_, 0, topic_.uuid);
    const auto status = sink_->wait_request(next_request_++);
    return std::get<std::vector<wire::PartitionStatus>>(status.value()).at(0).first_id.value;
  }
  void wait_first_id(uint64_t at_least) {
    for (int i = 0; i < 3000 && first_id() < at_least; ++i) sink_->wait_for_change();
    ASSERT_GE(first_id(), at_least);
  }
  // Every segment that is to go has gone: an acknowledgement goes the way of the writer too.
  void settle() {
    Consumer::Options options = reader(wire::kStartAtEnd, false, 99);
    options.name = "settle-" + std::to_string(next_request_);
    open_consumer(options).acknowledge(next_request_, PartitionIndex(0), EventId(pushed_ - 1));
    ASSERT_TRUE(sink_->wait_request(next_request_++).ok());
  }
  Consumer::Options reader(uint64_t position, bool oldest_if_dropped, uint32_t id = 9) const {
    Consumer::Options options = consumer_options(true);
    options.id = id;
    options.starts[0].position = position;
    options.oldest_if_dropped = oldest_if_dropped;
    options.deliveries_ahead = 1;
    options.batch_events = 1;
    return options;
  }
  Status open_status(Consumer::Options options) {
    const uint64_t request = next_request_++;
    consumers_.push_back(client_->open_consumer(request, std::move(options)));
    return sink_->wait_request(request).status();
  }
  // Takes up to the end; the ids that came.
  std::vector<uint64_t> take_all(Consumer& consumer) {
    std::vector<uint64_t> ids;
    for (int idle = 0; idle < 3000 && (ids.empty() || ids.back() + 1 < pushed_);) {
      const auto delivery = consumer.take();
      if (!delivery) {
        ++idle;
        sink_->wait_for_change();
        continue;
      }
      for (uint32_t i = 0; i < delivery->shape.event_count; ++i) ids.push_back(delivery->first_id.value + i);
    }
    return ids;
  }

  void fall_behind(wire::ManagerKind manager);

  std::string data_ = pattern(5000, 1);
  uint64_t pushed_ = 0;
};

void Retaining::fall_behind(wire::ManagerKind manager) {
  start_servers(1, make_directory());
  begin();
  put_limited({kKeptBytes, 0}, manager);
  push_events(1);
  Consumer& told = open_consumer(reader(wire::kStartAtBeginning, false, 9));
  Consumer& going_on = open_consumer(reader(wire::kStartAtBeginning, true, 10));
  sink_->wait_ready(9, 1);
  sink_->wait_ready(10, 1);
  push_events(300);
  settle();
  ASSERT_GT(first_id(), 200U);
  ASSERT_TRUE(told.take());
  // The batch that the server had at hand for it may still come.
  for (int i = 0; i < 3000 && sink_->failures().empty(); ++i) {
    static_cast<void>(told.take());
    sink_->wait_for_change();
  }
  const std::vector<Error> failures = sink_->failures();
  ASSERT_EQ(failures.size(), 1U);
  EXPECT_EQ(failures[0].code, ErrorCode::k_OFFSET_OUT_OF_RANGE);
  EXPECT_NE(failures[0].message.find("the oldest is " + std::to_string(first_id())), std::string::npos)
      << failures[0].message;
  const std::vector<uint64_t> ids = take_all(going_on);
  ASSERT_GT(ids.size(), 10U);
  EXPECT_EQ(ids[0], 0U);
  EXPECT_EQ(ids[1], first_id()) << "one jump";
  for (size_t i = 2; i < ids.size(); ++i) EXPECT_EQ(ids[i], ids[i - 1] + 1);
  EXPECT_EQ(ids.back(), 300U);
  EXPECT_EQ(sink_->failures().size(), 1U);
}

TEST_P(Retaining, AConsumerThatFallsBehindIsToldOrGoesOnAtTheOldest) { fall_behind(wire::ManagerKind::kLog); }
TEST_P(Retaining, InMemoryToo) { fall_behind(wire::ManagerKind::kMemory); }

// Its windows are full of a batch that is dropped then: what the server had at hand still comes, and before the error.
TEST_P(Retaining, WhatIsUnderWayComesBeforeTheError) {
  begin();
  topic_.retention = {kKeptBytes, 0};
  put_topic(1);
  constexpr size_t kEvents = 10;
  open_producer(kEvents);
  const std::string large = pattern(size_t{1} << 20, 2);
  for (size_t i = 0; i < kEvents; ++i) ASSERT_EQ(push(*producer_, 0, "{}", {segment_of(large)}).code, ErrorCode::kOk);
  flush();
  Consumer::Options options = reader(0, false);
  options.window_bytes = 0;  // the smallest ones
  options.batch_events = 0;
  options.deliveries_ahead = 2 * kEvents;
  Consumer& consumer = open_consumer(options);
  sink_->wait_ready(9, 1);
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(push(*producer_, 0, "{}", {segment_of(large)}).code, ErrorCode::kOk);
    flush();
  }
  ASSERT_EQ(first_id(), kEvents + 1);
  EXPECT_EQ(take_events(consumer, kEvents).at(0).size(), kEvents);
  EXPECT_EQ(sink_->wait_failures(1)[0].code, ErrorCode::k_OFFSET_OUT_OF_RANGE);
}

TEST_P(Retaining, StartsThatWereDroppedAreRefusedOrMoveToTheOldest) {
  begin();
  put_limited({kKeptBytes, 0}, wire::ManagerKind::kMemory);
  push_events(1);
  Consumer& early = open_consumer(reader(wire::kStartAtBeginning, false, 9));
  early.acknowledge(next_request_, PartitionIndex(0), EventId(0));
  ASSERT_TRUE(sink_->wait_request(next_request_++).ok());
  push_events(300);
  ASSERT_GT(first_id(), 200U);
  for (const uint64_t position : {uint64_t{7}, wire::kStartAtCursor}) {
    EXPECT_EQ(open_status(reader(position, false, 30)).code(), ErrorCode::k_OFFSET_OUT_OF_RANGE);
    EXPECT_EQ(take_all(open_consumer(reader(position, true, 31))).front(), first_id());
  }
  EXPECT_EQ(take_all(open_consumer(reader(wire::kStartAtBeginning, false, 32))).front(), first_id());
  EXPECT_EQ(open_status(reader(302, true, 33)).code(), ErrorCode::k_OFFSET_OUT_OF_RANGE) << "not stored yet";
  Consumer::Options unknown = reader(wire::kStartAtCursor, false, 34);
  unknown.name = "new";
  EXPECT_EQ(take_all(open_consumer(unknown)).front(), first_id()) << "without a cursor: the oldest";
}

TEST_P(Retaining, AgeDropsWithoutAnyTraffic) {
  start_servers(1, make_directory());
  begin();
  put_limited({0, 50}, wire::ManagerKind::kLog);
  push_events(3);
  wait_first_id(3);
}

TEST_P(Retaining, AgeDropsFromMemoryToo) {
  begin();
  put_limited({0, 50}, wire::ManagerKind::kMemory);
  push_events(3);
  wait_first_id(3);
}

// While the connection is down what comes next is dropped: the answer to the new subscription says where it goes on.
TEST_P(Retaining, AJumpOverAReconnectionIsAllowedWhereItWasAskedFor) {
  const std::string directory = make_directory();
  start_servers(1, directory);
  begin();
  put_limited({kKeptBytes, 0}, wire::ManagerKind::kLog);
  push_events(1);
  Consumer& consumer = open_consumer(reader(wire::kStartAtBeginning, true));
  EXPECT_EQ(take_events(consumer, 1).at(0).size(), 1U);
  Consumer::Options paused = reader(wire::kStartAtBeginning, true, 10);
  Consumer& slow = open_consumer(paused);
  sink_->wait_ready(10, 1);
  push_events(300);
  settle();
  ASSERT_GT(first_id(), 200U);
  ASSERT_TRUE(servers_[0]->stop().ok());
  servers_[0] = make_server(directory);
  client_->set_address(0, "127.0.0.1", servers_[0]->port());
  sink_->wait_ups(2);
  const std::vector<uint64_t> ids = take_all(slow);
  ASSERT_GT(ids.size(), 2U);
  EXPECT_EQ(ids[0], 0U);
  EXPECT_EQ(ids[1], first_id());
  EXPECT_EQ(ids.back(), 300U);
  EXPECT_EQ(take_all(consumer).back(), 300U);
  EXPECT_TRUE(sink_->failures().empty());
}

INSTANTIATE_TEST_SUITE_P(Providers, Retaining, ::testing::Values("local", "tcp"),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace diaspora::server
