// What every partition must do, run over each implementation and durability.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "partition/storage.h"
#include "testing/batch_maker.h"
#include "testing/faulty_file.h"
#include "testing/manual_executor.h"

namespace diaspora::partition {
namespace {

using testing::bytes_of;
using testing::make_batch;
using testing::numbered_events;
using testing::TestEvent;
using testing::unpack;

struct Variant {
  const char* name;
  PartitionKind kind;
  Durability durability;
};

void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.name; }

class PartitionConformance : public ::testing::TestWithParam<Variant> {
 protected:
  PartitionConformance() {
    options_.pool = BufferPool::create(size_t{64} << 20);
    options_.file_system = &files_;
    options_.segment_bytes = 64 * 1024;
    auto storage = Storage::open("/data", options_);
    EXPECT_TRUE(storage.ok());
    storage_ = storage.take();
    topic_.name = "topic";
    topic_.uuid = Uuid::random();
    topic_.kind = GetParam().kind;
    topic_.durability = GetParam().durability;
    topic_.partition_count = 2;
    open();
  }

  void open() {
    partition_.reset();
    auto opened = storage_->open_partition(topic_, PartitionIndex(1), &executor_);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    partition_ = std::move(opened.value().partition);
  }

  bool durable() const { return GetParam().kind == PartitionKind::kLog; }

  Result<AppendOutcome> append(const std::vector<TestEvent>& events, const ProducerPosition& producer = {}) {
    std::optional<Result<AppendOutcome>> answer;
    partition_->append(make_batch(*options_.pool, events, producer), [&](auto outcome) { answer = outcome; });
    executor_.run_until([&] { return answer.has_value(); });
    return *answer;
  }

  Result<StoredBatch> read(EventId id) {
    std::optional<Result<StoredBatch>> answer;
    partition_->read(id, [&](auto batch) { answer = std::move(batch); });
    executor_.run_until([&] { return answer.has_value(); });
    return *answer;
  }

  Status acknowledge(const std::string& consumer, EventId id) {
    std::optional<Status> answer;
    partition_->acknowledge(consumer, id, [&](Status status) { answer = status; });
    executor_.run_until([&] { return answer.has_value(); });
    return *answer;
  }

  Status change(const std::string& consumer, const ConsumerChange& change) {
    std::optional<Status> answer;
    partition_->change_consumer(consumer, change, [&](Status status) { answer = status; });
    executor_.run_until([&] { return answer.has_value(); });
    return *answer;
  }

  Status close() {
    std::optional<Status> answer;
    partition_->close([&](Status status) { answer = status; });
    executor_.run_until([&] { return answer.has_value(); });
    return *answer;
  }

  testing::FaultyFileSystem files_;
  StorageOptions options_;
  std::unique_ptr<Storage> storage_;
  testing::ManualExecutor executor_;
  TopicEntry topic_;
  std::unique_ptr<Partition> partition_;
};

const Uuid kSession = [] {
  Uuid id;
  id.bytes[0] = 7;
  return id;
}();

ProducerPosition position(uint64_t sequence, uint64_t follows) {
  return {kSession, BatchSequence(sequence), BatchSequence(follows)};
}

TEST_P(PartitionConformance, GivesDenseIdsAndReadsEveryBatchBack) {
  EXPECT_EQ(partition_->next_id(), EventId(0));
  uint64_t next = 0;
  for (uint64_t i = 0; i < 50; ++i) {
    const auto outcome = append(numbered_events(i, 3000));
    ASSERT_TRUE(outcome.ok());
    EXPECT_EQ(outcome.value().base_id.value, next);
    EXPECT_FALSE(outcome.value().duplicate);
    next += outcome.value().event_count;
    EXPECT_EQ(partition_->next_id().value, next);
  }
  partition_->release_cache(SIZE_MAX);
  uint64_t id = 0;
  for (uint64_t i = 0; i < 50; ++i) {
    const size_t count = numbered_events(i).size();
    const auto batch = read(EventId(id + count - 1));
    ASSERT_TRUE(batch.ok()) << batch.error().message;
    bool whole = false;
    EXPECT_EQ(unpack(batch.value(), &whole), numbered_events(i, 3000));
    EXPECT_TRUE(whole);
    EXPECT_EQ(batch.value().base_id.value, id);
    EXPECT_GT(batch.value().timestamp_ns, 0);
    id += count;
  }
}

TEST_P(PartitionConformance, RefusesIdsThatAreNotThere) {
  ASSERT_TRUE(append(numbered_events(2)).ok());
  EXPECT_EQ(read(EventId(3)).error().code, ErrorCode::k_OFFSET_OUT_OF_RANGE);
  EXPECT_EQ(read(EventId(UINT64_MAX)).error().code, ErrorCode::k_OFFSET_OUT_OF_RANGE);
}

TEST_P(PartitionConformance, AnswersADuplicateWithTheFirstAnswer) {
  const auto first = append(numbered_events(2), position(1, 0));
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(append(numbered_events(3), position(2, 1)).ok());
  EXPECT_EQ(partition_->admit(position(1, 0)).kind, Admission::Kind::kDuplicate);
  const auto again = append(numbered_events(2), position(1, 0));
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again.value().duplicate);
  EXPECT_EQ(again.value().base_id, first.value().base_id);
  EXPECT_EQ(again.value().event_count, first.value().event_count);
  EXPECT_EQ(partition_->next_id(), EventId(4));
}

TEST_P(PartitionConformance, RefusesAGapAndLetsSkippedSequencesBeFollowed) {
  ASSERT_TRUE(append(numbered_events(0), position(1, 0)).ok());
  EXPECT_EQ(partition_->admit(position(3, 2)).kind, Admission::Kind::kRefused);
  EXPECT_EQ(append(numbered_events(0), position(3, 2)).error().code, ErrorCode::k_OUT_OF_ORDER);
  partition_->skip(position(2, 1));
  EXPECT_TRUE(append(numbered_events(0), position(3, 2)).ok());
  EXPECT_EQ(append(numbered_events(0), position(2, 1)).error().code, ErrorCode::k_OUT_OF_ORDER);
  EXPECT_EQ(partition_->next_id(), EventId(2));
}

TEST_P(PartitionConformance, TellsAnUnknownSessionThatGoesOn) {
  EXPECT_EQ(append(numbered_events(0), position(5, 4)).error().code, ErrorCode::k_UNKNOWN_SESSION);
  EXPECT_TRUE(append(numbered_events(0), position(5, 0)).ok());
}

TEST_P(PartitionConformance, TellsObserversOncePerGroupAfterTheIdMoved) {
  struct Counter : CommitObserver {
    Partition* partition = nullptr;
    int calls = 0;
    EventId seen;
    void on_commit() override {
      ++calls;
      seen = partition->next_id();
    }
  } counter;
  counter.partition = partition_.get();
  partition_->add_observer(&counter);
  int answered = 0;
  for (int i = 0; i < 20; ++i) {
    partition_->append(make_batch(*options_.pool, {{"{}", ""}}, {}), [&](const auto& outcome) {
      EXPECT_TRUE(outcome.ok());
      ++answered;
    });
  }
  executor_.run_until([&] { return answered == 20 && counter.seen == EventId(20); });
  EXPECT_GE(counter.calls, 1);
  EXPECT_LE(counter.calls, 20);
  partition_->remove_observer(&counter);
  const int before = counter.calls;
  ASSERT_TRUE(append({{"{}", ""}}).ok());
  EXPECT_EQ(counter.calls, before);
}

TEST_P(PartitionConformance, KeepsCursorsMonotonicAndInRange) {
  ASSERT_TRUE(append(numbered_events(2)).ok());
  EXPECT_FALSE(partition_->cursor("reader").has_value());
  EXPECT_EQ(acknowledge("reader", EventId(3)).code(), ErrorCode::k_OFFSET_OUT_OF_RANGE);
  EXPECT_TRUE(acknowledge("reader", EventId(1)).ok());
  EXPECT_EQ(partition_->cursor("reader"), EventId(2));
  EXPECT_TRUE(acknowledge("reader", EventId(0)).ok());
  EXPECT_EQ(partition_->cursor("reader"), EventId(2));
  EXPECT_EQ(acknowledge("", EventId(0)).code(), ErrorCode::k_INVALID_NAME);
  EXPECT_EQ(acknowledge(std::string(257, 'x'), EventId(0)).code(), ErrorCode::k_INVALID_NAME);
  EXPECT_TRUE(acknowledge(std::string(256, 'x'), EventId(0)).ok());
}

TEST_P(PartitionConformance, ReadsWhileAppending) {
  uint64_t answered = 0;
  uint64_t reads = 0;
  uint64_t next_read = 0;
  for (uint64_t i = 0; i < 200; ++i) {
    partition_->append(make_batch(*options_.pool, {{std::to_string(i), std::string(2000, 'd')}}, {}),
                       [&](const auto& outcome) {
                         ASSERT_TRUE(outcome.ok());
                         ++answered;
                       });
    executor_.run_ready();
    partition_->release_cache(SIZE_MAX);
    for (; next_read < partition_->next_id().value; ++next_read) {
      partition_->read(EventId(next_read), [&, id = next_read](const auto& batch) {
        ASSERT_TRUE(batch.ok()) << batch.error().message;
        bool whole = false;
        EXPECT_EQ(unpack(batch.value(), &whole)[0].metadata, std::to_string(id));
        EXPECT_TRUE(whole);
        ++reads;
      });
    }
  }
  executor_.run_until([&] { return answered == 200 && reads == next_read; });
}

// Large records are read past the page cache.
TEST_P(PartitionConformance, ReadsLargeBatchesBackOfAnyLength) {
  std::vector<std::vector<TestEvent>> batches;
  for (const size_t bytes : {size_t{1} << 20, (size_t{1} << 20) + 1, size_t{3} * 1'000'003}) {
    batches.push_back({{"m", std::string(bytes, 'd')}, {"n", "tail"}});
    ASSERT_TRUE(append(batches.back()).ok());
  }
  ASSERT_TRUE(append({{"last", ""}}).ok());
  partition_->release_cache(SIZE_MAX);
  partition_->read_ahead(EventId(2));
  partition_->read_ahead(EventId(1'000));
  for (uint64_t i = 0; i < batches.size(); ++i) {
    const auto batch = read(EventId(2 * i + 1));
    ASSERT_TRUE(batch.ok()) << batch.error().message;
    bool whole = false;
    EXPECT_EQ(unpack(batch.value(), &whole), batches[i]);
    EXPECT_TRUE(whole);
  }
}

TEST_P(PartitionConformance, WhatIsKeptForAConsumerChangesAndStays) {
  for (uint64_t i = 1; i <= 10; ++i) ASSERT_TRUE(append(numbered_events(i), position(i, i - 1)).ok());
  ASSERT_GE(partition_->next_id(), EventId(10));
  ASSERT_TRUE(acknowledge("reader", EventId(5)).ok());
  EXPECT_TRUE(change("reader", {.fence = 7}).ok());
  EXPECT_TRUE(change("reader", {.fence = 3}).ok());
  EXPECT_TRUE(change("reader", {.generation = 20}).ok());
  EXPECT_TRUE(change("other", {.fence = 1}).ok());
  EXPECT_EQ(change("reader", {.next_id = EventId(999), .backwards = true}).code(), ErrorCode::k_OFFSET_OUT_OF_RANGE);
  EXPECT_TRUE(change("reader", {.next_id = EventId(2), .backwards = true}).ok());
  EXPECT_TRUE(change("reader", {.next_id = EventId(1)}).ok()) << "without effect";
  const auto expect_kept = [&] {
    EXPECT_EQ(partition_->consumer("reader"), (ConsumerState{EventId(2), 7, 20}));
    EXPECT_EQ(partition_->consumer("other"), (ConsumerState{std::nullopt, 1, 0}));
    EXPECT_EQ(partition_->consumer("nobody"), ConsumerState());
  };
  expect_kept();
  if (!durable()) return;
  ASSERT_TRUE(close().ok());
  open();
  expect_kept();
}

TEST_P(PartitionConformance, FindsTheFirstBatchOfATime) {
  const auto find = [&](int64_t timestamp_ns) {
    std::optional<Result<EventId>> answer;
    partition_->find_time(timestamp_ns, [&](const auto& found) { answer = found; });
    executor_.run_until([&] { return answer.has_value(); });
    EXPECT_TRUE(answer->ok()) << answer->status().error().message;
    return answer->ok() ? answer->value() : EventId();
  };
  EXPECT_EQ(find(0), EventId(0)) << "the end of nothing";
  std::vector<std::pair<int64_t, EventId>> batches;
  for (uint64_t i = 0; i < 120; ++i) {
    const EventId id = partition_->next_id();
    ASSERT_TRUE(append(numbered_events(i, 2500)).ok());
    batches.emplace_back(read(id).value().timestamp_ns, id);
  }
  for (const size_t release : {size_t{0}, SIZE_MAX}) {
    if (release > 0 && durable()) {
      ASSERT_TRUE(close().ok());
      open();
    }
    for (const auto& [timestamp_ns, id] : batches) {
      const auto first = std::find_if(batches.begin(), batches.end(),
                                      [&, t = timestamp_ns](const auto& batch) { return batch.first >= t; });
      EXPECT_EQ(find(timestamp_ns), first->second);
      EXPECT_EQ(find(timestamp_ns + 1) > id, true);
    }
    EXPECT_EQ(find(0), EventId(0));
    EXPECT_EQ(find(INT64_MAX), partition_->next_id());
  }
}

TEST_P(PartitionConformance, CloseAnswersEverythingBeforeIt) {
  int answered = 0;
  for (int i = 0; i < 10; ++i) {
    partition_->append(make_batch(*options_.pool, numbered_events(1), {}), [&](const auto& outcome) {
      EXPECT_TRUE(outcome.ok());
      ++answered;
    });
  }
  EXPECT_TRUE(close().ok());
  EXPECT_EQ(answered, 10);
}

TEST_P(PartitionConformance, KeepsEventsProducersAndCursorsAcrossReopening) {
  if (!durable()) GTEST_SKIP() << "memory partitions begin empty";
  for (uint64_t i = 1; i <= 100; ++i) ASSERT_TRUE(append(numbered_events(i, 2500), position(i, i - 1)).ok());
  ASSERT_TRUE(acknowledge("reader", EventId(9)).ok());
  const EventId next = partition_->next_id();
  ASSERT_TRUE(close().ok());
  open();
  EXPECT_EQ(partition_->next_id(), next);
  EXPECT_EQ(partition_->cursor("reader"), EventId(10));
  EXPECT_EQ(partition_->consumers().at("reader").next_id, EventId(10));
  EXPECT_EQ(partition_->admit(position(100, 99)).kind, Admission::Kind::kDuplicate);
  EXPECT_EQ(partition_->admit(position(37, 36)).kind, Admission::Kind::kDuplicate);
  EXPECT_EQ(partition_->admit(position(36, 35)).kind, Admission::Kind::kRefused);
  EXPECT_EQ(partition_->admit(position(102, 101)).kind, Admission::Kind::kRefused);
  uint64_t id = 0;
  for (uint64_t i = 1; i <= 100; ++i) {
    const auto batch = read(EventId(id));
    ASSERT_TRUE(batch.ok()) << batch.error().message;
    bool whole = false;
    EXPECT_EQ(unpack(batch.value(), &whole), numbered_events(i, 2500));
    id += batch.value().shape.event_count;
  }
  const auto outcome = append(numbered_events(0), position(101, 100));
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome.value().base_id, next);
}

INSTANTIATE_TEST_SUITE_P(All, PartitionConformance,
                         ::testing::Values(Variant{"memory", PartitionKind::kMemory, Durability::kMemory},
                                           Variant{"log_memory", PartitionKind::kLog, Durability::kMemory},
                                           Variant{"log_os", PartitionKind::kLog, Durability::kOs},
                                           Variant{"log_sync", PartitionKind::kLog, Durability::kSync}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace diaspora::partition
