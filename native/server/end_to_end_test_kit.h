// Servers, clients and a completion sink for tests that run both sides in one process.
//
// Every wait has a watchdog far above what it needs; nothing is asserted about time.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "client/client.h"
#include "fabric/fabric.h"
#include "server/server.h"

namespace diaspora::server {

inline constexpr auto kWatchdog = std::chrono::seconds(60);

// Records completions and lets a test wait for them.
class TestSink final : public client::CompletionSink {
 public:
  struct BatchEnd {
    EventId first_id;
    Status status;
  };
  using BatchKey = std::pair<uint32_t, uint64_t>;  // partition, number

  void request_done(uint64_t request, Result<Value> result) override {
    note([&] { requests_.emplace(request, std::move(result)); });
  }
  void batch_done(uint32_t, PartitionIndex partition, uint64_t number, EventId first_id,
                  const Status& status) override {
    note([&] {
      EXPECT_TRUE(batches_.emplace(BatchKey{partition.value, number}, BatchEnd{first_id, status}).second);
      EXPECT_EQ(++last_number_[partition.value], number) << "batches of a partition are done in order";
    });
  }
  void delivery_ready(uint32_t consumer) override {
    note([&] { ++ready_[consumer]; });
  }
  void consumer_failed(uint32_t, std::optional<PartitionIndex>, const Error& error) override {
    note([&] { failures_.push_back(error); });
  }
  void consumer_assigned(uint32_t consumer, std::vector<PartitionIndex> granted,
                         std::vector<PartitionIndex> revoked) override {
    note([&] {
      for (const PartitionIndex partition : revoked) owned_[consumer].erase(partition.value);
      for (const PartitionIndex partition : granted) owned_[consumer].insert(partition.value);
      revoked_[consumer].insert(revoked.begin(), revoked.end());
    });
  }
  void partition_ended(uint32_t consumer, PartitionIndex partition, uint32_t /*seeks*/) override {
    note([&] { ++ended_[{consumer, partition.value}]; });
  }
  void server_lost(uint32_t, uint32_t, uint32_t, const Error& error) override {
    note([&] { losses_.push_back(error); });
  }
  void server_up(uint32_t, uint32_t) override {
    note([&] { ++ups_; });
  }

  void warn(const std::string& /*line*/) override {}

  Result<Value> wait_request(uint64_t request) {
    wait([&] { return requests_.count(request) > 0; });
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = requests_.find(request);
    if (found == requests_.end()) return {ErrorCode::k_TIMEOUT, "the request was never done"};
    return found->second;
  }
  std::map<BatchKey, BatchEnd> wait_batches(size_t count) {
    wait([&] { return batches_.size() >= count; });
    const std::lock_guard<std::mutex> lock(mutex_);
    return batches_;
  }
  void wait_losses(size_t count) {
    wait([&] { return losses_.size() >= count; });
  }
  void wait_ups(size_t count) {
    wait([&] { return ups_ >= count; });
  }
  std::vector<Error> wait_failures(size_t count) {
    wait([&] { return failures_.size() >= count; });
    const std::lock_guard<std::mutex> lock(mutex_);
    return failures_;
  }
  void wait_ended(uint32_t consumer, uint32_t partition) {
    wait([&] { return ended_[{consumer, partition}] > 0; });
  }
  size_t ended(uint32_t consumer, uint32_t partition) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return ended_[{consumer, partition}];
  }
  void wait_ready(uint32_t consumer, size_t count) {
    wait([&] { return ready_[consumer] >= count; });
  }
  // The partitions that a member of a group owns, when they are `count`.
  std::set<uint32_t> wait_owned(uint32_t consumer, size_t count) {
    wait([&] { return owned_[consumer].size() == count; });
    const std::lock_guard<std::mutex> lock(mutex_);
    return owned_[consumer];
  }
  // What it has been asked to give back since the last call.
  std::set<PartitionIndex> take_revoked(uint32_t consumer) {
    wait([&] { return !revoked_[consumer].empty(); });
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(revoked_[consumer], {});
  }
  std::set<PartitionIndex> take_revoked_now(uint32_t consumer) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(revoked_[consumer], {});
  }
  size_t batch_count() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return batches_.size();
  }
  std::vector<Error> failures() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return failures_;
  }
  // Waits for anything to happen, a moment at most.
  void wait_for_change() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(20));
  }

 private:
  template <typename Change>
  void note(Change change) {
    const std::lock_guard<std::mutex> lock(mutex_);
    change();
    changed_.notify_all();
  }
  template <typename Condition>
  void wait(Condition condition) {
    std::unique_lock<std::mutex> lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kWatchdog, condition)) << "watchdog";
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, Result<Value>> requests_;
  std::map<BatchKey, BatchEnd> batches_;
  std::map<uint32_t, uint64_t> last_number_;
  std::map<uint32_t, size_t> ready_;
  std::map<uint32_t, std::set<uint32_t>> owned_;
  std::map<uint32_t, std::set<PartitionIndex>> revoked_;
  std::map<std::pair<uint32_t, uint32_t>, size_t> ended_;  // by consumer and partition
  std::vector<Error> failures_;
  std::vector<Error> losses_;
  size_t ups_ = 0;
};

// An event as a consumer saw it.
struct SeenEvent {
  uint64_t id = 0;
  std::string metadata;
  std::string data;
  friend bool operator==(const SeenEvent&, const SeenEvent&) = default;
};

inline std::string text_of(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline void append_events(const client::Delivery& delivery, std::vector<SeenEvent>* out) {
  for (uint32_t i = 0; i < delivery.shape.event_count; ++i) {
    const wire::EventExtent extent = wire::event_extent(delivery.head, i);
    SeenEvent event;
    event.id = delivery.first_id.value + i;
    event.metadata =
        text_of(delivery.head.subspan(delivery.shape.table_bytes() + extent.metadata_offset, extent.metadata_bytes));
    if (!delivery.data.empty()) event.data = text_of(delivery.data.subspan(extent.data_offset, extent.data_bytes));
    out->push_back(std::move(event));
  }
}

// Deterministic bytes that differ from event to event.
inline std::string pattern(size_t bytes, uint32_t seed) {
  std::string text(bytes, '\0');
  uint32_t state = seed * 2654435761U + 1;
  for (char& c : text) {
    state = state * 1664525U + 1013904223U;
    c = static_cast<char>(state >> 24);
  }
  return text;
}

inline client::DataSegment segment_of(const std::string& text, std::shared_ptr<void> hold = nullptr) {
  client::DataSegment segment;
  segment.bytes = reinterpret_cast<const uint8_t*>(text.data());
  segment.length = text.size();
  segment.hold = std::move(hold);
  return segment;
}

inline client::Producer::Pushed push(client::Producer& producer, uint32_t partition, const std::string& metadata,
                                     std::vector<client::DataSegment> data = {}) {
  ErrorCode error = ErrorCode::kOk;
  uint8_t* room = producer.reserve(PartitionIndex(partition), metadata.size(), &error);
  if (room == nullptr) return {error, 0};
  std::copy(metadata.begin(), metadata.end(), room);
  return producer.commit(PartitionIndex(partition), metadata.size(), data);
}

// Servers and a client over the provider that is the parameter.
class EndToEnd : public ::testing::TestWithParam<std::string> {
 protected:
  using Client = client::Client;
  using ClientOptions = client::ClientOptions;
  using Consumer = client::Consumer;
  using Producer = client::Producer;

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
  // The client leaves, the server begins again on its directory, and a new client meets it.
  void restart(const std::string& directory) {
    consumers_.clear();
    producer_.reset();
    client_->close_and_wait();
    servers_.clear();
    servers_.push_back(make_server(directory));
    sink_ = std::make_shared<TestSink>();
    ASSERT_TRUE(open_client().ok());
  }
  // A client of its own, on the first server; the request that opens it is 1.
  std::shared_ptr<Client> open_another(const std::shared_ptr<TestSink>& sink) const {
    ClientOptions options;
    options.rails = {GetParam()};
    options.servers.push_back({"127.0.0.1", servers_[0]->port(), servers_[0]->uuid()});
    auto client = client::open_client(1, std::move(options), sink);
    EXPECT_TRUE(sink->wait_request(1).ok());
    return client;
  }
  std::shared_ptr<Producer> open_producer_of(Client& client) const {
    Producer::Options options;
    options.id = 7;
    options.topic = topic_.uuid;
    options.server_of_partition = server_of_partition();
    return client.open_producer(std::move(options));
  }
  // Ids given out in partition 0 so far.
  uint64_t stored_events() {
    client_->topic_status(next_request_, 0, topic_.uuid);
    const auto status = sink_->wait_request(next_request_++);
    EXPECT_TRUE(status.ok());
    return status.ok() ? std::get<std::vector<wire::PartitionStatus>>(status.value()).at(0).next_id.value : 0;
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
    const size_t noted = sink_->batch_count();  // first: what ends meanwhile must not count twice
    sink_->wait_batches(noted + producer_->pending().batches);
    for (int i = 0; producer_->pending().batches > 0 && i < 3000; ++i) sink_->wait_for_change();
    for (const auto& [key, end] : sink_->wait_batches(0)) EXPECT_TRUE(end.status.ok()) << end.status.error().message;
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

}  // namespace diaspora::server
