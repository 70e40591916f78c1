// Topics that are removed while somebody still works with them.
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "server/end_to_end_test_kit.h"

namespace diaspora::server {
namespace {

class Removal : public EndToEnd {
 protected:
  // One partition in a log, and a producer of a batch an event.
  void begin_with_log() {
    start_servers(1, make_directory());
    begin();
    put_topic(1, wire::ManagerKind::kLog);
    open_producer(1);
  }
  void push_large(size_t count, size_t bytes) {
    const auto data = std::make_shared<std::string>(pattern(bytes, 1));
    for (size_t i = 0; i < count; ++i) {
      ASSERT_EQ(push(*producer_, 0, "{}", {segment_of(*data, data)}).code, ErrorCode::kOk);
    }
  }
  uint64_t begin_remove() {
    client_->topic_remove(next_request_, 0, topic_.uuid);
    return next_request_++;
  }
  // Answered after all that was asked for before it.
  std::vector<wire::TopicRecord> list() {
    client_->topic_list(next_request_, 0, "");
    const auto listed = sink_->wait_request(next_request_++);
    EXPECT_TRUE(listed.ok());
    return listed.ok() ? std::get<std::vector<wire::TopicRecord>>(listed.value()) : std::vector<wire::TopicRecord>{};
  }
  uint64_t begin_put(const wire::TopicRecord& record) {
    client_->topic_put(next_request_, 0, record);
    return next_request_++;
  }
  Status wait(uint64_t request) { return sink_->wait_request(request).status(); }
};

TEST_P(Removal, AConsumerGoesWhileItsPartitionCloses) {
  begin_with_log();
  Consumer& consumer = open_consumer(consumer_options(false));
  constexpr size_t kBatches = 12;
  push_large(kBatches, size_t{4} << 20);
  sink_->wait_batches(1);
  const uint64_t removed = begin_remove();
  consumer.destroy();
  EXPECT_TRUE(wait(removed).ok());
  sink_->wait_batches(kBatches);  // stored, or refused: the server is there to say so
}

TEST_P(Removal, TheServerStopsMeanwhile) {
  begin_with_log();
  push_large(12, size_t{4} << 20);
  sink_->wait_batches(1);
  begin_remove();
  list();
  EXPECT_TRUE(servers_[0]->stop().ok());
  restart(directory_);
  EXPECT_TRUE(list().empty()) << "what has begun is finished first";
  EXPECT_TRUE(std::filesystem::is_empty(directory_ + "/topics"));
}

TEST_P(Removal, WhatIsPutMeanwhileDoesNotBringTheTopicBack) {
  begin_with_log();
  wire::TopicRecord longer = topic_;
  longer.placement.push_back(servers_[0]->uuid());
  wire::TopicRecord deleting = topic_;
  deleting.state = wire::TopicState::kDeleting;
  push_large(12, size_t{4} << 20);
  sink_->wait_batches(1);
  const uint64_t removed = begin_remove();
  const uint64_t put = begin_put(longer);
  const uint64_t deleted_again = begin_put(deleting);
  const uint64_t removed_again = begin_remove();
  EXPECT_EQ(wait(put).code(), ErrorCode::k_TOPIC_DELETED);
  EXPECT_TRUE(wait(deleted_again).ok());
  EXPECT_TRUE(wait(removed).ok());
  EXPECT_TRUE(wait(removed_again).ok());
  EXPECT_TRUE(list().empty());
  EXPECT_TRUE(wait(begin_remove()).ok()) << "it is gone already";
}

TEST_P(Removal, WhatIsMarkedAsDeletedStaysSoUntilItIsRemoved) {
  begin_with_log();
  const wire::TopicRecord active = topic_;
  topic_.state = wire::TopicState::kDeleting;
  EXPECT_TRUE(wait(begin_put(topic_)).ok());
  EXPECT_TRUE(wait(begin_put(topic_)).ok());
  EXPECT_EQ(wait(begin_put(active)).code(), ErrorCode::k_TOPIC_DELETED);
  EXPECT_TRUE(wait(begin_remove()).ok());
  topic_ = {};
  put_topic(1, wire::ManagerKind::kLog);  // another one of that name
  open_producer(1);
  push_large(1, 100);
  flush();
  EXPECT_EQ(stored_events(), 1U);
}

INSTANTIATE_TEST_SUITE_P(Providers, Removal, ::testing::Values("local", "tcp"),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace diaspora::server
