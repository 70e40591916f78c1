// Servers, clients and a completion sink for tests that run both sides in one process.
//
// Every wait has a watchdog far above what it needs; nothing is asserted about time.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "client/client.h"
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
  void wait_ready(uint32_t consumer, size_t count) {
    wait([&] { return ready_[consumer] >= count; });
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

}  // namespace diaspora::server
