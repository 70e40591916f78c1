// Client and server together, over `local` and over libfabric's native tcp. (shm needs two processes.)
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/limits.h"
#include "fabric/fabric.h"
#include "server/end_to_end_test_kit.h"

// The native tcp provider of libfabric 1.17 leaks a description of every endpoint and connection (0.6 KiB each).
extern "C" __attribute__((visibility("default"))) const char* __lsan_default_suppressions() {
  return "leak:libfabric.so";
}

namespace diaspora::server {

// Produces events with the given segments and consumes them with their data; the caller looks at the counters.
void EndToEnd::round_trip(const Case& test_case, ClientOptions options) {
  begin(std::move(options));
  put_topic(1);
  open_producer();
  std::vector<SeenEvent> expected;
  std::vector<std::shared_ptr<std::string>> memory;
  for (size_t i = 0; i < test_case.events; ++i) {
    SeenEvent event{i, "{\"i\":" + std::to_string(i) + "}", ""};
    std::vector<client::DataSegment> segments;
    for (size_t s = 0; s < test_case.segments.size(); ++s) {
      memory.push_back(
          std::make_shared<std::string>(pattern(test_case.segments[s], static_cast<uint32_t>(i * 10 + s))));
      event.data += *memory.back();
      segments.push_back(segment_of(*memory.back(), memory.back()));
    }
    const Producer::Pushed pushed = push(*producer_, 0, event.metadata, std::move(segments));
    ASSERT_EQ(pushed.code, ErrorCode::kOk);
    expected.push_back(std::move(event));
  }
  flush();
  for (const std::shared_ptr<std::string>& held : memory) EXPECT_EQ(held.use_count(), 1) << "released when stored";
  Consumer& consumer = open_consumer(consumer_options(true));
  const auto seen = take_events(consumer, test_case.events);
  EXPECT_TRUE(seen.at(0) == expected);
  EXPECT_TRUE(sink_->failures().empty());
}

namespace {

using client::Client;
using client::ClientOptions;
using client::Consumer;
using client::Producer;

TEST_P(EndToEnd, SmallEventsWithoutData) { round_trip({{}, 5000}, {}); }
TEST_P(EndToEnd, SmallData) {
  round_trip({{100}, 2000}, {});
  EXPECT_GT(client_->counters().data_bytes_copied, 0u);
}
TEST_P(EndToEnd, Data64KiB) { round_trip({{65536}, 100}, {}); }
TEST_P(EndToEnd, Data1MiB) {
  round_trip({{1 << 20}, 20}, {});
  const client::Counters counters = client_->counters();
  EXPECT_EQ(counters.data_bytes_copied, 0u);
  EXPECT_EQ(counters.data_bytes_by_rma, uint64_t{40} << 20) << "20 MiB out and 20 MiB in";
  EXPECT_EQ(servers_[0]->counters().data_bytes_copied, 0u);
}
TEST_P(EndToEnd, ThreeSegmentsOfMixedSizes) { round_trip({{100, 200000, 3000}, 50}, {}); }
TEST_P(EndToEnd, ThreeSmallSegmentsUnderThresholdOneAreNeverCopied) {
  ClientOptions options;
  options.zero_copy_threshold = 1;
  round_trip({{10, 2000, 300}, 50}, options);
  EXPECT_EQ(client_->counters().data_bytes_copied, 0u);
  EXPECT_EQ(client_->counters().data_bytes_by_rma, uint64_t{2} * 50 * 2310);
  EXPECT_EQ(servers_[0]->counters().data_bytes_copied, 0u);
  EXPECT_EQ(servers_[0]->counters().data_bytes_by_rma, uint64_t{2} * 50 * 2310);
}
TEST_P(EndToEnd, EventsLargerThanAWindowAreFetched) {
  round_trip({{5 << 20}, 4}, {});
  EXPECT_EQ(client_->counters().data_bytes_copied, 0u);
}
TEST_P(EndToEnd, ManySegmentsOfOneEvent) { round_trip({std::vector<size_t>(700, 3), 20}, {}); }

TEST_P(EndToEnd, MetadataUpToItsLimit) {
  begin();
  put_topic(1);
  open_producer();
  const std::string largest(kEventMetadataBytesMax, 'm');
  ASSERT_EQ(push(*producer_, 0, largest).code, ErrorCode::kOk);
  EXPECT_EQ(push(*producer_, 0, largest + "m").code, ErrorCode::k_EVENT_TOO_LARGE);
  ASSERT_EQ(push(*producer_, 0, "small").code, ErrorCode::kOk);
  flush();
  const auto seen = take_events(open_consumer(consumer_options(false)), 2);
  EXPECT_TRUE(seen.at(0)[0].metadata == largest);
  EXPECT_EQ(seen.at(0)[1].metadata, "small");
}

TEST_P(EndToEnd, FixedBatchesHaveTheirSize) {
  begin();
  put_topic(1);
  open_producer(10);
  for (int i = 0; i < 25; ++i) {
    const Producer::Pushed pushed = push(*producer_, 0, std::to_string(i));
    ASSERT_EQ(pushed.code, ErrorCode::kOk);
    EXPECT_EQ(pushed.index, static_cast<uint32_t>(i % 10));
  }
  flush();
  const auto batches = sink_->wait_batches(3);
  ASSERT_EQ(batches.size(), 3u);
  EXPECT_EQ(batches.at({0, 1}).first_id, EventId(0));
  EXPECT_EQ(batches.at({0, 2}).first_id, EventId(10));
  EXPECT_EQ(batches.at({0, 3}).first_id, EventId(20));
}

TEST_P(EndToEnd, TwoServersWithFourPartitionsKeepOrder) {
  start_servers(2);
  begin();
  put_topic(4);
  open_producer();
  Consumer& consumer = open_consumer(consumer_options(true));
  std::map<uint32_t, std::vector<SeenEvent>> expected;
  const std::string data = pattern(100000, 3);
  for (uint32_t i = 0; i < 2000; ++i) {
    const uint32_t partition = i % 4;
    SeenEvent event{i / 4, std::to_string(i), i % 40 == 0 ? data : ""};
    std::vector<client::DataSegment> segments;
    if (!event.data.empty()) segments.push_back(segment_of(data));
    ASSERT_EQ(push(*producer_, partition, event.metadata, segments).code, ErrorCode::kOk);
    expected[partition].push_back(std::move(event));
  }
  flush();
  EXPECT_TRUE(take_events(consumer, 2000) == expected);
}

TEST_P(EndToEnd, APausedConsumerIsBounded) {
  begin();
  put_topic(1);
  open_producer();
  Consumer::Options options = consumer_options(true);
  options.deliveries_ahead = 3;
  Consumer& consumer = open_consumer(options);
  const std::string data = pattern(1 << 20, 1);
  for (int i = 0; i < 60; ++i) ASSERT_EQ(push(*producer_, 0, "m", {segment_of(data)}).code, ErrorCode::kOk);
  flush();
  sink_->wait_ready(9, 1);
  // Nothing was taken: at most the windows' 8 MiB have crossed.
  EXPECT_LE(client_->counters().data_bytes_by_rma, (uint64_t{60} << 20) + (uint64_t{8} << 20));
  const auto seen = take_events(consumer, 60);
  EXPECT_EQ(seen.at(0).back().id, 59u);
}

TEST_P(EndToEnd, FetchAndAcknowledge) {
  begin();
  put_topic(1);
  open_producer();
  const std::string data = pattern(300000, 5);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(push(*producer_, 0, "m", {segment_of(data)}).code, ErrorCode::kOk);
  flush();
  Consumer& consumer = open_consumer(consumer_options(false));
  EXPECT_EQ(take_events(consumer, 3).at(0).size(), 3u);
  const auto fetch = [&](std::vector<Consumer::Range> ranges, size_t bytes) {
    auto memory = std::make_shared<std::string>(bytes, '\0');
    const std::span<uint8_t> all(reinterpret_cast<uint8_t*>(memory->data()), bytes);
    const uint64_t request = next_request_++;
    consumer.fetch(request, PartitionIndex(0), EventId(1), std::move(ranges),
                   {all.first(bytes / 3), all.subspan(bytes / 3)}, memory);
    const Status done = sink_->wait_request(request).status();
    return done.ok() ? *memory : std::string(error_code_name(done.code()));
  };
  EXPECT_TRUE(fetch({{0, 300000}}, 300000) == data);
  EXPECT_TRUE(fetch({{1000, 10}, {5, 20}}, 30) == data.substr(1000, 10) + data.substr(5, 20));
  EXPECT_EQ(fetch({{0, 10}}, 30), "INVALID_DESCRIPTOR");
  EXPECT_EQ(fetch({{299999, 30}}, 30), "INVALID_DESCRIPTOR");
  for (uint64_t i = 0; i < 2; ++i) consumer.acknowledge(next_request_ + i, PartitionIndex(0), EventId(i));
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(sink_->wait_request(next_request_++).ok());
  const auto rest = take_events(open_consumer(consumer_options(false)), 1);
  EXPECT_EQ(rest.at(0)[0].id, 2u) << "a restarted consumer goes on behind its cursor";
}

TEST_P(EndToEnd, ARestartedServerOnAnotherPortLosesNothing) {
  const std::string directory = make_directory();
  start_servers(1, directory);
  begin();
  put_topic(1, wire::ManagerKind::kLog);
  open_producer(5);
  Consumer& consumer = open_consumer(consumer_options(true));
  const std::string data = pattern(70000, 2);
  std::vector<SeenEvent> expected;
  const auto push_some = [&] {
    for (int i = 0; i < 50; ++i) {
      expected.push_back({expected.size(), std::to_string(expected.size()), data});
      ASSERT_EQ(push(*producer_, 0, expected.back().metadata, {segment_of(data)}).code, ErrorCode::kOk);
    }
  };
  push_some();
  push_some();
  // In the middle of the work.
  ASSERT_TRUE(servers_[0]->stop().ok());
  servers_[0].reset();
  sink_->wait_losses(1);
  push_some();
  servers_[0] = make_server(directory);
  ASSERT_NE(servers_[0], nullptr);
  client_->set_address(0, "127.0.0.1", servers_[0]->port());
  sink_->wait_ups(2);
  push_some();
  flush();
  const auto seen = take_events(consumer, expected.size());
  EXPECT_TRUE(seen.at(0) == expected);
  EXPECT_EQ(client_->counters().reconnects, 1u);
  EXPECT_TRUE(sink_->failures().empty());
}

TEST_P(EndToEnd, AServerThatStaysAwayFailsWhatIsPending) {
  ClientOptions options;
  options.reconnect_timeout_ms = 200;
  begin(options);
  put_topic(1);
  open_producer();
  static_cast<void>(open_consumer(consumer_options(false)));
  servers_[0].reset();
  sink_->wait_losses(1);
  ASSERT_EQ(push(*producer_, 0, "lost").code, ErrorCode::kOk);
  seal_all();
  const auto batches = sink_->wait_batches(1);
  EXPECT_EQ(batches.begin()->second.status.code(), ErrorCode::k_CONNECTION_LOST);
  const std::vector<Error> failures = sink_->wait_failures(1);
  EXPECT_EQ(failures[0].code, ErrorCode::k_CONNECTION_LOST);
}

TEST_P(EndToEnd, CloseAbortsWhatIsPendingAndLetsGoOfMemory) {
  begin();
  put_topic(1);
  open_producer();
  const auto data = std::make_shared<std::string>(pattern(1 << 20, 4));
  for (int i = 0; i < 40; ++i) ASSERT_EQ(push(*producer_, 0, "m", {segment_of(*data, data)}).code, ErrorCode::kOk);
  seal_all();
  const uint64_t begun = producer_->pending().batches + sink_->batch_count();
  client_->close_and_wait();
  // The open batch was sealed, so every batch has been answered or aborted by now or at once.
  const auto batches = sink_->wait_batches(std::min<size_t>(begun, 1));
  for (const auto& [key, end] : batches) {
    EXPECT_TRUE(end.status.ok() || end.status.code() == ErrorCode::k_ABORTED) << end.status.error().message;
  }
  for (int i = 0; producer_->pending().batches > 0 && i < 3000; ++i) sink_->wait_for_change();
  EXPECT_EQ(producer_->pending().batches, 0u);
  EXPECT_EQ(data.use_count(), 1);
  EXPECT_EQ(client_->counters().registrations, 0u);
}

TEST_P(EndToEnd, ADestroyedProducerAbortsAndLetsGoOfMemory) {
  begin();
  put_topic(1);
  open_producer();
  const auto data = std::make_shared<std::string>(pattern(1 << 20, 4));
  for (int i = 0; i < 40; ++i) ASSERT_EQ(push(*producer_, 0, "m", {segment_of(*data, data)}).code, ErrorCode::kOk);
  producer_->destroy();
  EXPECT_EQ(push(*producer_, 0, "late").code, ErrorCode::k_INVALID_STATE);
  for (int i = 0; producer_->pending().batches > 0 && i < 3000; ++i) sink_->wait_for_change();
  EXPECT_EQ(producer_->pending().batches, 0u);
  EXPECT_EQ(data.use_count(), 1);
}

TEST_P(EndToEnd, DataThatChangesAfterPushIsRefused) {
  begin();
  put_topic(1);
  open_producer(2);
  std::string data = pattern(100000, 6);
  ASSERT_EQ(push(*producer_, 0, "m", {segment_of(data)}).code, ErrorCode::kOk);
  data[5000] = static_cast<char>(data[5000] ^ 1);
  seal_all();
  EXPECT_EQ(sink_->wait_batches(1).begin()->second.status.code(), ErrorCode::k_DATA_CHANGED);
  ASSERT_EQ(push(*producer_, 0, "next").code, ErrorCode::kOk);
  seal_all();
  EXPECT_TRUE(sink_->wait_batches(2).at({0, 2}).status.ok()) << "only that batch is refused";
}

TEST_P(EndToEnd, PendingBytesAreLimited) {
  ClientOptions options;
  options.pending_bytes_max = 1 << 20;
  begin(options);
  put_topic(1);
  open_producer(1000);
  const std::string data = pattern(300000, 1);
  int accepted = 0;
  while (push(*producer_, 0, "m", {segment_of(data)}).code == ErrorCode::kOk) ++accepted;
  EXPECT_EQ(accepted, 3);
  EXPECT_EQ(push(*producer_, 0, "m", {segment_of(data)}).code, ErrorCode::k_QUEUE_FULL);
  flush();
  EXPECT_EQ(push(*producer_, 0, "m", {segment_of(data)}).code, ErrorCode::kOk);
  flush();
}

TEST_P(EndToEnd, TopicsAreListedAndRemoved) {
  begin();
  put_topic(2);
  client_->topic_list(50, 0, "");
  const auto listed = sink_->wait_request(50);
  ASSERT_TRUE(listed.ok());
  const auto& records = std::get<std::vector<wire::TopicRecord>>(listed.value());
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].name, "events");
  client_->topic_status(51, 0, topic_.uuid);
  const auto status = sink_->wait_request(51);
  ASSERT_TRUE(status.ok());
  EXPECT_EQ(std::get<std::vector<wire::PartitionStatus>>(status.value()).size(), 2u);
  client_->topic_remove(52, 0, topic_.uuid);
  EXPECT_TRUE(sink_->wait_request(52).ok());
  client_->topic_status(53, 0, topic_.uuid);
  EXPECT_EQ(sink_->wait_request(53).status().code(), ErrorCode::k_TOPIC_NOT_FOUND);
  EXPECT_EQ(client_->server_uuids()[0], servers_[0]->uuid());
}

TEST_P(EndToEnd, AnUnreachableServerIsNamed) {
  ClientOptions options;
  options.rails = {GetParam()};
  options.connect_timeout_ms = 100;
  options.servers.push_back({"127.0.0.1", 1, Uuid{}});
  client_ = client::open_client(1, std::move(options), sink_);
  const Status opened = sink_->wait_request(1).status();
  EXPECT_EQ(opened.code(), ErrorCode::k_CONNECT_TIMEOUT);
  EXPECT_NE(opened.error().message.find("127.0.0.1:1 "), std::string::npos) << opened.error().message;
}

INSTANTIATE_TEST_SUITE_P(Providers, EndToEnd, ::testing::Values("local", "tcp"),
                         [](const auto& parameter) { return parameter.param; });

TEST(SameProcess, ShmIsNotUsed) {
  fabric::FabricOptions probe;
  probe.provider = "shm";
  const auto found = fabric::discover_providers(probe);
  if (!found || found.value().empty()) GTEST_SKIP() << "shm is not available here";
  ServerOptions server_options;
  server_options.provider = "shm";
  auto server = Server::start(server_options);
  ASSERT_TRUE(server.ok()) << server.error().message;
  const auto sink = std::make_shared<TestSink>();
  ClientOptions options;
  options.rails = {"shm"};
  options.servers.push_back({"127.0.0.1", server.value()->port(), Uuid{}});
  const auto client = client::open_client(1, options, sink);
  EXPECT_EQ(sink->wait_request(1).status().code(), ErrorCode::k_PROVIDER_UNAVAILABLE);
  client->close_and_wait();
}

TEST(Embedded, AClientConnectsThroughASocketPair) {
  ServerOptions server_options;
  server_options.listen_host = "";
  server_options.provider = "local";
  server_options.memory_bytes = uint64_t{64} << 20;
  auto server = Server::start(server_options);
  ASSERT_TRUE(server.ok()) << server.error().message;
  const auto sink = std::make_shared<TestSink>();
  ClientOptions options;
  options.connect_local = [&] { return server.value()->connect_local(); };
  options.servers.resize(1);
  const auto client = client::open_client(1, options, sink);
  EXPECT_TRUE(sink->wait_request(1).ok());
  EXPECT_EQ(client->counters().providers, std::vector<std::string>{"local"});
  client->close_and_wait();
}

}  // namespace
}  // namespace diaspora::server
