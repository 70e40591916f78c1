// Several clients of one process at one server: they share a connection, and do each other no harm; rails.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/end_to_end_test_kit.h"

namespace diaspora::server {
namespace {

class SharedConnection : public EndToEnd {};

// Clients of one process share their connection. One is closed while the server reads its memory, then another: it is
// let go of at once, and the clients that stay lose nothing and get nothing twice.
TEST_P(SharedConnection, AClientThatClosesUnderTrafficLeavesTheOthersWhole) {
  constexpr size_t kEvents = 60;
  begin();
  put_topic(1);
  open_producer();
  const auto kept = std::make_shared<std::string>(pattern(1 << 20, 4));
  for (int round = 0; round < 3; ++round) {
    const auto sink = std::make_shared<TestSink>();
    const std::shared_ptr<Client> other = open_another(sink);
    EXPECT_EQ(servers_[0]->counters().sessions, 1u);
    const std::shared_ptr<Producer> producer = open_producer_of(*other);
    const auto data = std::make_shared<std::string>(pattern(1 << 20, 5));
    for (size_t i = 0; i < kEvents / 3; ++i) {
      ASSERT_EQ(push(*producer, 0, "other", {segment_of(*data, data)}).code, ErrorCode::kOk);
      ASSERT_EQ(push(*producer_, 0, std::to_string(i), {segment_of(*kept, kept)}).code, ErrorCode::kOk);
    }
    seal_all();
    static_cast<void>(producer->seal(PartitionIndex(0)));
    other->close_and_wait();
    for (int i = 0; producer->pending().batches > 0 && i < 3000; ++i) sink->wait_for_change();
    EXPECT_EQ(producer->pending().batches, 0u);
    EXPECT_EQ(data.use_count(), 1);
    EXPECT_EQ(other->counters().registrations, 0u);
  }
  flush();
  EXPECT_EQ(client_->counters().events_produced, kEvents);
  EXPECT_EQ(servers_[0]->counters().sessions, 1u);
  // What the others could store before they closed is there as well.
  const uint64_t stored = stored_events();
  auto seen = take_events(open_consumer(consumer_options(true)), stored)[0];
  std::erase_if(seen, [](const SeenEvent& event) { return event.metadata == "other"; });
  ASSERT_EQ(seen.size(), kEvents);
  for (size_t i = 0; i < kEvents; ++i) {
    EXPECT_EQ(seen[i].metadata, std::to_string(i % (kEvents / 3)));
    EXPECT_TRUE(seen[i].data == *kept);
  }
}

// Windows are held for as long as a consumer lives: one that comes when the memory for them is given away gets on all
// the same.
TEST_P(SharedConnection, AConsumerGetsOnWhenOthersHoldAllWindows) {
  begin();
  put_topic(1);
  open_producer();
  const auto data = std::make_shared<std::string>(pattern(1 << 20, 4));
  constexpr size_t kEvents = 40;
  for (size_t i = 0; i < kEvents; ++i) {
    ASSERT_EQ(push(*producer_, 0, "m", {segment_of(*data, data)}).code, ErrorCode::kOk);
  }
  flush();
  Consumer::Options options = consumer_options(true);
  options.window_bytes = uint64_t{64} << 20;
  for (uint32_t id = 20; id < 28; ++id) {
    options.id = id;
    static_cast<void>(take_events(open_consumer(options), 1));
  }
  options.id = 9;
  const auto seen = take_events(open_consumer(options), kEvents);
  for (const SeenEvent& event : seen.at(0)) EXPECT_TRUE(event.data == *data);
}

// 'The end' is where it was when the consumer began, also when the connection is made anew for another client's sake.
TEST_P(SharedConnection, AConsumerFromTheEndLosesNothingWhenAnotherClientCloses) {
  begin();
  put_topic(1);
  Consumer::Options from_end = consumer_options(true);
  from_end.starts = {{PartitionIndex(0), wire::kStartAtEnd}};
  Consumer& consumer = open_consumer(std::move(from_end));
  const auto sink = std::make_shared<TestSink>();
  const std::shared_ptr<Client> other = open_another(sink);
  const std::shared_ptr<Producer> producer = open_producer_of(*other);
  const auto data = std::make_shared<std::string>(pattern(1 << 20, 5));
  for (size_t i = 0; i < 20; ++i) {
    ASSERT_EQ(push(*producer, 0, "m", {segment_of(*data, data)}).code, ErrorCode::kOk);
  }
  static_cast<void>(producer->seal(PartitionIndex(0)));
  other->close_and_wait();
  open_producer();
  ASSERT_EQ(push(*producer_, 0, "last").code, ErrorCode::kOk);
  flush();
  const uint64_t stored = stored_events();
  const auto seen = take_events(consumer, stored);
  EXPECT_EQ(seen.at(0).front().id, 0u);
  EXPECT_EQ(seen.at(0).back().metadata, "last");
}

// What did not open lets go of the connection that others share.
TEST_P(SharedConnection, AFailedOpenKeepsNothing) {
  begin();
  const auto sink = std::make_shared<TestSink>();
  ClientOptions options;
  options.rails = {GetParam()};
  options.connect_timeout_ms = 300;
  options.servers.push_back({"127.0.0.1", servers_[0]->port(), servers_[0]->uuid()});
  options.servers.push_back({"127.0.0.1", 1, Uuid::random()});
  const std::shared_ptr<Client> half = client::open_client(1, std::move(options), sink);
  EXPECT_EQ(sink->wait_request(1).status().code(), ErrorCode::k_CONNECT_TIMEOUT);
  for (int i = 0; servers_[0]->counters().sessions > 1 && i < 3000; ++i) sink->wait_for_change();
  EXPECT_EQ(servers_[0]->counters().sessions, 1u);
}

TEST_P(SharedConnection, RailsShareThePartitions) {
  start_servers(2);
  ClientOptions options;
  options.rails.resize(2);
  begin(std::move(options));
  put_topic(8);
  for (const auto& server : servers_) EXPECT_EQ(server->counters().sessions, 2u);
  open_producer();
  std::map<uint32_t, std::vector<SeenEvent>> expected;
  for (uint32_t i = 0; i < 400; ++i) {
    const auto data = std::make_shared<std::string>(pattern(i % 5 == 0 ? 100'000 : 10, i));
    ASSERT_EQ(push(*producer_, i % 8, std::to_string(i), {segment_of(*data, data)}).code, ErrorCode::kOk);
    expected[i % 8].push_back({i / 8, std::to_string(i), *data});
  }
  flush();
  Consumer& consumer = open_consumer(consumer_options(true));
  EXPECT_TRUE(take_events(consumer, 400) == expected);
  for (uint32_t i = 0; i < 8; ++i) {
    consumer.acknowledge(next_request_, PartitionIndex(i), EventId(10));
    EXPECT_TRUE(sink_->wait_request(next_request_++).ok());
  }
  EXPECT_TRUE(sink_->failures().empty());
}

INSTANTIATE_TEST_SUITE_P(Providers, SharedConnection, ::testing::Values("local", "tcp"),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace diaspora::server
