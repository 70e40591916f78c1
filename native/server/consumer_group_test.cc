// Consumer groups over client and server: shares, hand-over, fences, members that vanish, servers that restart.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/end_to_end_test_kit.h"

namespace diaspora::server {
namespace {

using client::Client;
using client::Consumer;
using client::Producer;

constexpr uint32_t kLongMs = 30000;

class ConsumerGroup : public EndToEnd {
 protected:
  Consumer::Options member_options(uint32_t id, uint32_t rebalance_timeout_ms = kLongMs) const {
    Consumer::Options options = consumer_options(false);
    options.id = id;
    options.starts.clear();
    options.member = true;
    options.session_timeout_ms = kLongMs;
    options.rebalance_timeout_ms = rebalance_timeout_ms;
    return options;
  }
  Status acknowledge(Consumer& consumer, uint32_t partition, uint64_t event) {
    const uint64_t request = next_request_++;
    consumer.acknowledge(request, PartitionIndex(partition), EventId(event));
    return sink_->wait_request(request).status();
  }
  void push_to_all(int count) {
    for (uint32_t partition = 0; partition < topic_.placement.size(); ++partition) {
      for (int i = 0; i < count; ++i) ASSERT_EQ(push(*producer_, partition, std::to_string(i)).code, ErrorCode::kOk);
    }
    flush();
  }
  static void notice(Consumer& consumer) {
    while (consumer.held_back()) consumer.go_on();
  }
  // What a member should give back, it gives back.
  void release(Consumer& consumer, uint32_t id) {
    const std::set<PartitionIndex> asked = sink_->take_revoked(id);
    notice(consumer);
    for (const PartitionIndex partition : asked) consumer.release(partition);
  }
  std::vector<wire::CursorRow> cursors() {
    client_->topic_cursors(next_request_, 0, topic_.uuid, "reader");
    const auto rows = sink_->wait_request(next_request_++);
    return rows ? std::get<std::vector<wire::CursorRow>>(rows.value()) : std::vector<wire::CursorRow>{};
  }
};

TEST_P(ConsumerGroup, MembersShareThePartitionsAndEachEventComesOnce) {
  begin();
  put_topic(4);
  open_producer();
  Consumer& first = open_consumer(member_options(1));
  EXPECT_EQ(sink_->wait_owned(1, 4).size(), 4U);
  Consumer& second = open_consumer(member_options(2));
  release(first, 1);
  const std::set<uint32_t> of_first = sink_->wait_owned(1, 2);
  const std::set<uint32_t> of_second = sink_->wait_owned(2, 2);
  push_to_all(50);
  const auto seen_first = take_events(first, 100);
  const auto seen_second = take_events(second, 100);
  for (const auto& [partition, events] : seen_first) {
    EXPECT_TRUE(of_first.contains(partition));
    EXPECT_EQ(events.size(), 50U);
  }
  for (const auto& [partition, events] : seen_second) {
    EXPECT_TRUE(of_second.contains(partition));
    EXPECT_EQ(events.size(), 50U);
  }
}

TEST_P(ConsumerGroup, OneThatLeavesLeavesItsPartitionsToTheOthers) {
  begin();
  put_topic(4);
  open_producer();
  Consumer& first = open_consumer(member_options(1));
  Consumer& second = open_consumer(member_options(2));
  release(first, 1);
  const std::set<uint32_t> of_second = sink_->wait_owned(2, 2);
  push_to_all(10);
  static_cast<void>(take_events(second, 20));
  for (const uint32_t partition : of_second) EXPECT_TRUE(acknowledge(second, partition, 4).ok());
  second.destroy();
  EXPECT_EQ(sink_->wait_owned(1, 4).size(), 4U);
  const auto seen = take_events(first, 20 + 10);
  for (const auto& [partition, events] : seen) {
    EXPECT_EQ(events.front().id, of_second.contains(partition) ? 5U : 0U) << "behind what was acknowledged";
  }
}

TEST_P(ConsumerGroup, OneThatDoesNotGiveBackInTimeIsFenced) {
  begin();
  put_topic(2);
  open_producer();
  push_to_all(10);
  Consumer& slow = open_consumer(member_options(1, 50));
  static_cast<void>(take_events(slow, 20));
  Consumer& other = open_consumer(member_options(2));
  const std::set<PartitionIndex> asked = sink_->take_revoked(1);
  ASSERT_EQ(asked.size(), 1U);
  const uint32_t lost = asked.begin()->value;
  EXPECT_EQ(sink_->wait_owned(2, 1), std::set<uint32_t>{lost});
  EXPECT_EQ(take_events(other, 10).at(lost).front().id, 0U);
  const Status late = acknowledge(slow, lost, 9);
  EXPECT_EQ(late.code(), ErrorCode::k_FENCED) << late.error().message;
  EXPECT_TRUE(acknowledge(slow, 1 - lost, 9).ok()) << "its own partition";
  EXPECT_TRUE(acknowledge(other, lost, 3).ok());
  for (const wire::CursorRow& row : cursors()) EXPECT_EQ(row.next_id.value, row.partition.value == lost ? 4U : 10U);
}

// Its user would take new deliveries for old ones, and drop them.
TEST_P(ConsumerGroup, WhatIsGivenAnewComesAfterTheRevocationWasNoticed) {
  begin();
  put_topic(2);
  open_producer();
  Consumer& busy = open_consumer(member_options(1, 50));
  EXPECT_EQ(sink_->wait_owned(1, 2).size(), 2U);
  Consumer& other = open_consumer(member_options(2));
  const uint32_t lost = sink_->take_revoked(1).begin()->value;
  EXPECT_EQ(sink_->wait_owned(2, 1), std::set<uint32_t>{lost});
  other.destroy();
  EXPECT_EQ(sink_->wait_owned(1, 2).size(), 2U);
  push_to_all(10);
  sink_->wait_ready(1, 1);
  EXPECT_TRUE(busy.held_back());
  EXPECT_FALSE(busy.take());
  busy.go_on();
  EXPECT_FALSE(busy.held_back());
  EXPECT_EQ(take_events(busy, 20).at(lost).size(), 10U);
}

TEST_P(ConsumerGroup, WhoWasToGiveBackMayAcknowledgeUntilItHas) {
  begin();
  put_topic(2);
  open_producer();
  push_to_all(10);
  Consumer& first = open_consumer(member_options(1));
  static_cast<void>(take_events(first, 20));
  Consumer& second = open_consumer(member_options(2));
  const PartitionIndex asked = *sink_->take_revoked(1).begin();
  EXPECT_TRUE(acknowledge(first, asked.value, 6).ok());
  first.release(asked);
  sink_->wait_owned(2, 1);
  EXPECT_EQ(take_events(second, 3).at(asked.value).front().id, 7U);
  EXPECT_EQ(acknowledge(first, asked.value, 8).code(), ErrorCode::k_FENCED);
}

TEST_P(ConsumerGroup, AClientThatClosesTakesItsMembersWithIt) {
  begin();
  put_topic(4);
  const auto sink = std::make_shared<TestSink>();
  const std::shared_ptr<Client> client = open_another(sink);
  const std::shared_ptr<Consumer> theirs = client->open_consumer(2, member_options(2));
  EXPECT_EQ(sink->wait_owned(2, 4).size(), 4U);
  open_consumer(member_options(1));
  client->close_and_wait();
  EXPECT_EQ(sink_->wait_owned(1, 4).size(), 4U);
}

// The first member is asked to give back while its own subscription is still being made: it loses those alone.
TEST_P(ConsumerGroup, MembersThatComeAtOnceLeaveNoPartitionUnread) {
  const std::string directory = make_directory();
  start_servers(1, directory);
  begin();
  put_topic(4, wire::ManagerKind::kLog);
  open_producer();
  push_to_all(5);
  for (uint32_t round = 0; round < 10; ++round) {
    const uint32_t first = 10 * (round + 1);
    std::vector<std::pair<uint64_t, std::shared_ptr<Consumer>>> members;
    for (uint32_t i = 0; i < 3; ++i) {
      Consumer::Options options = member_options(first + i);
      options.name = "group" + std::to_string(round);
      members.emplace_back(next_request_, client_->open_consumer(next_request_, options));
      ++next_request_;
    }
    std::map<uint32_t, std::set<uint64_t>> seen;
    size_t total = 0;
    for (int idle = 0; total < 20 && idle < 1500;) {
      bool any = false;
      for (uint32_t i = 0; i < 3; ++i) {
        const std::set<PartitionIndex> revoked = sink_->take_revoked_now(first + i);
        notice(*members[i].second);
        for (const PartitionIndex partition : revoked) members[i].second->release(partition);
        while (const auto delivery = members[i].second->take()) {
          any = true;
          std::vector<SeenEvent> events;
          append_events(*delivery, &events);
          for (const SeenEvent& event : events)
            total += seen[delivery->partition.value].insert(event.id).second ? 1 : 0;
        }
      }
      if (any) continue;
      ++idle;
      sink_->wait_for_change();
    }
    ASSERT_EQ(total, 20U) << "round " << round;
    for (const auto& [request, consumer] : members) {
      EXPECT_TRUE(sink_->wait_request(request).ok());
      consumer->destroy();
    }
  }
}

// Another client of the process closes in the middle of a transfer: the connection that they share is made anew.
TEST_P(ConsumerGroup, ARestartOfTheSharedConnectionChangesNothing) {
  begin();
  put_topic(2);
  Consumer& member = open_consumer(member_options(1));
  sink_->wait_owned(1, 2);
  const auto data = std::make_shared<std::string>(pattern(1 << 20, 5));
  for (int round = 0; round < 3; ++round) {
    const auto sink = std::make_shared<TestSink>();
    const std::shared_ptr<Client> other = open_another(sink);
    const std::shared_ptr<Producer> producer = open_producer_of(*other);
    for (int i = 0; i < 20; ++i) ASSERT_EQ(push(*producer, 0, "x", {segment_of(*data, data)}).code, ErrorCode::kOk);
    static_cast<void>(producer->seal(PartitionIndex(0)));
    other->close_and_wait();
  }
  open_producer();
  ASSERT_EQ(push(*producer_, 1, "last").code, ErrorCode::kOk);
  flush();
  for (bool found = false; !found;) {
    const auto delivery = member.take();
    if (!delivery) {
      sink_->wait_for_change();
      continue;
    }
    found = delivery->partition == PartitionIndex(1);
  }
  EXPECT_EQ(sink_->wait_owned(1, 2).size(), 2U);
  EXPECT_TRUE(sink_->take_revoked_now(1).empty());
}

// A disk that was exchanged, or a power cut: the coordinator knows of no token, the owner of partition 1 of a high one.
TEST_P(ConsumerGroup, AGroupGoesOnWhereTheRecordOfItsTokensWasLost) {
  start_servers(2);
  begin();
  put_topic(2);
  Consumer& first = open_consumer(member_options(1));
  sink_->wait_owned(1, 2);
  first.destroy();
  consumers_.clear();
  // The memory of server 0, with its partition, is gone; server 1 has kept its fence.
  client_->topic_remove(next_request_, 0, topic_.uuid);
  ASSERT_TRUE(sink_->wait_request(next_request_++).ok());
  client_->topic_put(next_request_, 0, topic_);
  ASSERT_TRUE(sink_->wait_request(next_request_++).ok());
  open_consumer(member_options(2));
  EXPECT_EQ(sink_->wait_owned(2, 2).size(), 2U);
  open_producer();
  push_to_all(3);
  EXPECT_EQ(take_events(*consumers_.back(), 6).size(), 2U);
  EXPECT_TRUE(sink_->take_revoked_now(2).empty());
}

TEST_P(ConsumerGroup, ATokenThatNoGroupCanHaveGivenOutIsRefused) {
  begin();
  put_topic(1);
  Consumer::Options liar = consumer_options(false);
  liar.starts = {{PartitionIndex(0), wire::kStartAtCursor, ~uint64_t{0}}};
  const uint64_t request = next_request_++;
  consumers_.push_back(client_->open_consumer(request, liar));
  EXPECT_EQ(sink_->wait_request(request).status().code(), ErrorCode::k_INVALID_ARGUMENT);
  open_consumer(member_options(1));
  EXPECT_EQ(sink_->wait_owned(1, 1).size(), 1U);
}

TEST_P(ConsumerGroup, TokensAndFencesOutliveTheServer) {
  const std::string directory = make_directory();
  start_servers(1, directory);
  begin();
  put_topic(1, wire::ManagerKind::kLog);
  for (uint32_t id = 1; id <= 2; ++id) {
    Consumer& owner = open_consumer(member_options(id));
    sink_->wait_owned(id, 1);
    owner.destroy();
  }
  restart(directory);
  // Nobody else has come back; the first owner's token is refused all the same.
  Consumer::Options zombie = consumer_options(false);
  zombie.starts = {{PartitionIndex(0), wire::kStartAtCursor, 1}};
  const uint64_t request = next_request_++;
  consumers_.push_back(client_->open_consumer(request, zombie));
  EXPECT_EQ(sink_->wait_request(request).status().code(), ErrorCode::k_FENCED);
  Consumer::Options next = member_options(3);
  next.session_timeout_ms = 100;  // for so long nothing is given that others may still hold
  open_consumer(next);
  EXPECT_EQ(sink_->wait_owned(3, 1).size(), 1U);
}

TEST_P(ConsumerGroup, SeekGoesOnElsewhereAndGivesNothingOfBefore) {
  begin();
  put_topic(1);
  open_producer();
  push_to_all(1000);
  Consumer::Options options = consumer_options(false);
  options.batch_events = 10;
  Consumer& consumer = open_consumer(options);
  const auto next_id = [&] {
    for (int idle = 0; idle < 3000; ++idle) {
      if (const auto delivery = consumer.take()) return delivery->first_id.value;
      sink_->wait_for_change();
    }
    return ~uint64_t{0};
  };
  EXPECT_EQ(next_id(), 0U);
  for (const uint64_t to : {uint64_t{500}, uint64_t{3}, uint64_t{990}, uint64_t{0}}) {
    consumer.seek({PartitionIndex(0), to});
    EXPECT_EQ(next_id(), to);
  }
}

TEST_P(ConsumerGroup, ACursorIsSetBackWhenNobodyReads) {
  begin();
  put_topic(1);
  open_producer();
  push_to_all(10);
  Consumer& consumer = open_consumer(consumer_options(false));
  EXPECT_TRUE(acknowledge(consumer, 0, 7).ok());
  const auto set_cursor = [&](uint64_t position) {
    const uint64_t request = next_request_++;
    client_->cursor_set(request, 0, {topic_.uuid, PartitionIndex(0), "reader", position});
    return sink_->wait_request(request).status().code();
  };
  EXPECT_EQ(set_cursor(2), ErrorCode::k_INVALID_STATE);
  consumers_.clear();
  EXPECT_EQ(set_cursor(2), ErrorCode::kOk);
  EXPECT_EQ(cursors().at(0).next_id, EventId(2));
  EXPECT_EQ(set_cursor(11), ErrorCode::k_OFFSET_OUT_OF_RANGE);
  EXPECT_EQ(set_cursor(wire::kStartAtEnd), ErrorCode::kOk);
  EXPECT_EQ(cursors().at(0).next_id, EventId(10));
  EXPECT_EQ(set_cursor(wire::kStartAtBeginning), ErrorCode::kOk);
  EXPECT_EQ(take_events(open_consumer(consumer_options(false)), 10).at(0).front().id, 0U);
}

INSTANTIATE_TEST_SUITE_P(Providers, ConsumerGroup, ::testing::Values("local", "tcp"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace diaspora::server
