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
namespace {

using client::Client;
using client::ClientOptions;
using client::Consumer;
using client::Producer;

class EndToEnd : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    fabric::FabricOptions options;
    options.provider = GetParam();
    const auto found = fabric::discover_providers(options);
    if (!found || found.value().empty()) GTEST_SKIP() << "provider " << GetParam() << " is not available here";
  }
  void TearDown() override {
    consumers_.clear();
    producer_.reset();
    if (client_ != nullptr) client_->close_and_wait();
    client_.reset();
    servers_.clear();
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }

  std::unique_ptr<Server> make_server(const std::string& directory = "", uint64_t memory_bytes = uint64_t{256} << 20) {
    ServerOptions options;
    options.data_directory = directory;
    options.provider = GetParam();
    options.memory_bytes = memory_bytes;
    auto server = Server::start(options);
    EXPECT_TRUE(server.ok()) << server.error().message;
    return server.ok() ? server.take() : nullptr;
  }
  void start_servers(size_t count, const std::string& directory = "") {
    for (size_t i = 0; i < count; ++i) servers_.push_back(make_server(directory));
  }
  std::string make_directory() {
    directory_ = (std::filesystem::temp_directory_path() / ("diaspora-e2e-" + Uuid::random().to_string())).string();
    return directory_;
  }

  Status open_client(ClientOptions options = {}) {
    for (std::string& rail : options.rails) rail = GetParam();
    for (const auto& server : servers_) options.servers.push_back({"127.0.0.1", server->port(), server->uuid()});
    client_ = client::open_client(1, std::move(options), sink_);
    return sink_->wait_request(1).status();
  }
  // One server that memory or a directory backs, and a client.
  void begin(ClientOptions options = {}) {
    if (servers_.empty()) start_servers(1);
    const Status opened = open_client(std::move(options));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
  }

  void put_topic(uint32_t partitions, wire::ManagerKind manager = wire::ManagerKind::kMemory) {
    topic_.name = "events";
    topic_.uuid = Uuid::random();
    topic_.durability = 1;
    topic_.manager = manager;
    topic_.config = "{}";
    for (uint32_t i = 0; i < partitions; ++i) topic_.placement.push_back(servers_[i % servers_.size()]->uuid());
    for (uint32_t i = 0; i < servers_.size(); ++i) {
      client_->topic_put(next_request_, i, topic_);
      const Status put = sink_->wait_request(next_request_++).status();
      ASSERT_TRUE(put.ok()) << put.error().message;
    }
  }
  std::vector<uint32_t> server_of_partition() const {
    std::vector<uint32_t> result;
    for (uint32_t i = 0; i < topic_.placement.size(); ++i) {
      result.push_back(i % static_cast<uint32_t>(servers_.size()));
    }
    return result;
  }
  void open_producer(uint32_t batch_events = 0) {
    Producer::Options options;
    options.id = 7;
    options.topic = topic_.uuid;
    options.server_of_partition = server_of_partition();
    options.batch_events = batch_events;
    producer_ = client_->open_producer(std::move(options));
  }
  void seal_all() {
    for (uint32_t i = 0; i < topic_.placement.size(); ++i) static_cast<void>(producer_->seal(PartitionIndex(i)));
  }
  // Seals and waits until all batches begun so far are stored.
  void flush() {
    seal_all();
    for (const auto& [key, end] : sink_->wait_batches(producer_->pending().batches + sink_->batch_count())) {
      EXPECT_TRUE(end.status.ok()) << end.status.error().message;
    }
    for (int i = 0; producer_->pending().batches > 0 && i < 3000; ++i) sink_->wait_for_change();
    EXPECT_EQ(producer_->pending().events, 0u);
    EXPECT_EQ(producer_->pending().bytes, 0u);
  }
  Consumer::Options consumer_options(bool full_data) const {
    Consumer::Options options;
    options.id = 9;
    options.topic = topic_.uuid;
    options.name = "reader";
    options.server_of_partition = server_of_partition();
    options.full_data = full_data;
    options.window_bytes = uint64_t{8} << 20;
    for (uint32_t i = 0; i < topic_.placement.size(); ++i) options.starts.push_back({PartitionIndex(i)});
    return options;
  }
  Consumer& open_consumer(Consumer::Options options) {
    const uint64_t request = next_request_++;
    consumers_.push_back(client_->open_consumer(request, std::move(options)));
    const Status opened = sink_->wait_request(request).status();
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    return *consumers_.back();
  }
  // Takes until `count` events have come; by partition.
  std::map<uint32_t, std::vector<SeenEvent>> take_events(Consumer& consumer, size_t count) {
    std::map<uint32_t, std::vector<SeenEvent>> seen;
    size_t total = 0;
    for (int idle = 0; total < count && idle < 3000;) {
      const auto delivery = consumer.take();
      if (!delivery) {
        ++idle;
        sink_->wait_for_change();
        continue;
      }
      append_events(*delivery, &seen[delivery->partition.value]);
      total += delivery->shape.event_count;
    }
    EXPECT_EQ(total, count);
    return seen;
  }

  struct Case {
    std::vector<size_t> segments;
    size_t events = 0;
  };
  void round_trip(const Case& test_case, ClientOptions options);

  std::shared_ptr<TestSink> sink_ = std::make_shared<TestSink>();
  std::vector<std::unique_ptr<Server>> servers_;
  std::shared_ptr<Client> client_;
  wire::TopicRecord topic_;
  std::shared_ptr<Producer> producer_;
  std::vector<std::shared_ptr<Consumer>> consumers_;
  std::string directory_;
  uint64_t next_request_ = 100;
};

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

// Clients of one process share their connection. One is closed while the server reads its memory, then another: it is
// let go of at once, and the clients that stay lose nothing and get nothing twice.
TEST_P(EndToEnd, AClientThatClosesUnderTrafficLeavesTheOthersWhole) {
  constexpr size_t kEvents = 60;
  begin();
  put_topic(1);
  open_producer();
  const auto kept = std::make_shared<std::string>(pattern(1 << 20, 4));
  for (int round = 0; round < 3; ++round) {
    const auto sink = std::make_shared<TestSink>();
    ClientOptions options;
    options.rails = {GetParam()};
    options.servers.push_back({"127.0.0.1", servers_[0]->port(), servers_[0]->uuid()});
    const std::shared_ptr<Client> other = client::open_client(1, std::move(options), sink);
    ASSERT_TRUE(sink->wait_request(1).ok());
    EXPECT_EQ(servers_[0]->counters().sessions, 1u);
    Producer::Options of_producer;
    of_producer.id = 7;
    of_producer.topic = topic_.uuid;
    of_producer.server_of_partition = server_of_partition();
    const std::shared_ptr<Producer> producer = other->open_producer(std::move(of_producer));
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
  client_->topic_status(next_request_, 0, topic_.uuid);
  const auto status = sink_->wait_request(next_request_++);
  ASSERT_TRUE(status.ok());
  const uint64_t stored = std::get<std::vector<wire::PartitionStatus>>(status.value()).at(0).next_id.value;
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
TEST_P(EndToEnd, AConsumerGetsOnWhenOthersHoldAllWindows) {
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
TEST_P(EndToEnd, AConsumerFromTheEndLosesNothingWhenAnotherClientCloses) {
  begin();
  put_topic(1);
  Consumer::Options from_end = consumer_options(true);
  from_end.starts = {{PartitionIndex(0), wire::kStartAtEnd}};
  Consumer& consumer = open_consumer(std::move(from_end));
  const auto sink = std::make_shared<TestSink>();
  ClientOptions options;
  options.rails = {GetParam()};
  options.servers.push_back({"127.0.0.1", servers_[0]->port(), servers_[0]->uuid()});
  const std::shared_ptr<Client> other = client::open_client(1, std::move(options), sink);
  ASSERT_TRUE(sink->wait_request(1).ok());
  Producer::Options of_producer;
  of_producer.id = 7;
  of_producer.topic = topic_.uuid;
  of_producer.server_of_partition = server_of_partition();
  const std::shared_ptr<Producer> producer = other->open_producer(std::move(of_producer));
  const auto data = std::make_shared<std::string>(pattern(1 << 20, 5));
  for (size_t i = 0; i < 20; ++i) {
    ASSERT_EQ(push(*producer, 0, "m", {segment_of(*data, data)}).code, ErrorCode::kOk);
  }
  static_cast<void>(producer->seal(PartitionIndex(0)));
  other->close_and_wait();
  open_producer();
  ASSERT_EQ(push(*producer_, 0, "last").code, ErrorCode::kOk);
  flush();
  client_->topic_status(next_request_, 0, topic_.uuid);
  const auto status = sink_->wait_request(next_request_++);
  ASSERT_TRUE(status.ok());
  const uint64_t stored = std::get<std::vector<wire::PartitionStatus>>(status.value()).at(0).next_id.value;
  const auto seen = take_events(consumer, stored);
  EXPECT_EQ(seen.at(0).front().id, 0u);
  EXPECT_EQ(seen.at(0).back().metadata, "last");
}

// What did not open lets go of the connection that others share.
TEST_P(EndToEnd, AFailedOpenKeepsNothing) {
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

TEST_P(EndToEnd, RailsShareThePartitions) {
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
