// A server's storage with one log partition on a file system that can fail, driven step by step, and what it promised:
// for the tests of faults, power cuts and damage.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "partition/storage.h"
#include "testing/batch_maker.h"
#include "testing/faulty_file.h"
#include "testing/manual_executor.h"

namespace diaspora::partition {

class TestWorld {
 public:
  explicit TestWorld(Durability durability, uint64_t segment_bytes = 48 * 1024) {
    options_.pool = BufferPool::create(size_t{64} << 20);
    options_.file_system = &files;
    options_.segment_bytes = segment_bytes;
    options_.clock_ns = [this] { return now_ns.load(); };
    topic.name = "topic";
    topic.uuid = Uuid::random();
    topic.state = TopicState::kActive;
    topic.durability = durability;
    session_ = Uuid::random();
  }
  ~TestWorld() { stop(); }

  Status start() {
    auto opened_storage = Storage::open("/data", options_);
    if (!opened_storage) return opened_storage.status();
    storage = opened_storage.take();
    if (storage->entries().empty()) {
      const Status put = storage->put(topic);
      if (!put) return put;
    }
    auto opened = storage->open_partition(topic, PartitionIndex(0), &executor);
    if (!opened) return opened.status();
    partition = std::move(opened.value().partition);
    report = opened.value().report;
    return {};
  }

  // As if killed: nothing is written any more.
  void stop() {
    partition.reset();
    storage.reset();
  }

  Status close() {
    std::optional<Status> answer;
    partition->close([&](Status status) { answer = status; });
    executor.run_until([&] { return answer.has_value(); });
    return *answer;
  }

  // The next batch of the one producer, or again the one that failed. Remembers it when it was acknowledged.
  Result<AppendOutcome> append() {
    const uint64_t number = acknowledged.size() + 1;
    const auto events = events_of(number);
    std::optional<Result<AppendOutcome>> answer;
    partition->append(
        testing::make_batch(*options_.pool, events, {session_, BatchSequence(number), BatchSequence(number - 1)}),
        [&](auto outcome) { answer = outcome; });
    executor.run_until([&] { return answer.has_value(); });
    if (answer->ok()) acknowledged.push_back(answer->value().base_id);
    return *answer;
  }

  Status acknowledge(EventId id) {
    std::optional<Status> answer;
    partition->acknowledge("reader", id, [&](Status status) { answer = status; });
    executor.run_until([&] { return answer.has_value(); });
    if (answer->ok()) cursor = std::max(cursor, EventId(id.value + 1));
    return *answer;
  }

  Result<StoredBatch> read(EventId id) {
    std::optional<Result<StoredBatch>> answer;
    partition->read(id, [&](auto batch) { answer = std::move(batch); });
    executor.run_until([&] { return answer.has_value(); });
    return *answer;
  }

  static std::vector<testing::TestEvent> events_of(uint64_t number) {
    return testing::numbered_events(number, 300 * (number % 9) + 10);
  }

  // Batch 1, 2, 3, ... stand in the log in this order, whole, from id 0 on, up to next_id; all acknowledged ones are
  // among the first `at_least`.
  void expect_prefix(size_t at_least) {
    EventId id;
    size_t number = 0;
    while (id < partition->next_id()) {
      ++number;
      const auto batch = read(id);
      ASSERT_TRUE(batch.ok()) << batch.error().message;
      bool whole = false;
      ASSERT_EQ(batch.value().base_id, id);
      ASSERT_EQ(testing::unpack(batch.value(), &whole), events_of(number)) << "batch " << number;
      ASSERT_TRUE(whole);
      if (number <= acknowledged.size()) {
        ASSERT_EQ(acknowledged[number - 1], id) << "batch " << number;
      }
      id.value += batch.value().shape.event_count;
    }
    ASSERT_EQ(id, partition->next_id());
    ASSERT_GE(number, at_least);
    stored = number;
  }

  // After a restart: batches that were not acknowledged may be there all the same; what is gone is forgotten.
  void adopt_stored() {
    EventId id;
    acknowledged.clear();
    for (size_t number = 1; number <= stored; ++number) {
      acknowledged.push_back(id);
      id.value += events_of(number).size();
    }
  }

  // Batch n of those that are kept stands at its place, whole, for all from the first id kept on; ids end at next_id.
  void expect_kept() {
    const auto first = std::lower_bound(acknowledged.begin(), acknowledged.end(), partition->first_id());
    const auto number = static_cast<size_t>(first - acknowledged.begin()) + 1;
    EventId id = partition->first_id();
    if (first != acknowledged.end()) {
      ASSERT_EQ(*first, id) << "a batch is kept or dropped as a whole";
    }
    stored = number - 1;
    while (id < partition->next_id()) {
      const auto batch = read(id);
      ASSERT_TRUE(batch.ok()) << batch.error().message;
      bool whole = false;
      ASSERT_EQ(batch.value().base_id, id);
      ASSERT_EQ(testing::unpack(batch.value(), &whole), events_of(++stored)) << "batch " << stored;
      ASSERT_TRUE(whole);
      id.value += batch.value().shape.event_count;
    }
    ASSERT_EQ(id, partition->next_id());
    ASSERT_GE(stored, acknowledged.size());
    if (partition->first_id() > EventId(0)) {
      ASSERT_EQ(read(EventId(partition->first_id().value - 1)).status().code(), ErrorCode::k_OFFSET_OUT_OF_RANGE);
    }
  }

  std::atomic<int64_t> now_ns{1'000'000'000'000'000};  // the partition's wall clock
  testing::FaultyFileSystem files;
  testing::ManualExecutor executor;
  TopicEntry topic;
  std::unique_ptr<Storage> storage;
  std::unique_ptr<Partition> partition;
  RecoveryReport report;
  std::vector<EventId> acknowledged;  // base id of batch 1, 2, 3, ...
  size_t stored = 0;                  // batches found by expect_prefix
  EventId cursor;                     // the highest that was answered with success

 private:
  StorageOptions options_;
  Uuid session_;
};

}  // namespace diaspora::partition
