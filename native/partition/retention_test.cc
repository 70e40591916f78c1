// Dropping the oldest segments of a log partition: by bytes and by age, over restarts, errors and power cuts.
#include <gtest/gtest.h>

#include <random>

#include "log/file.h"
#include "log/log_start.h"
#include "testing/partition_world.h"

namespace diaspora::partition {
namespace {

using testing::FaultKind;

constexpr uint64_t kKeptBytes = 200 * 1024;
constexpr int64_t kNsPerMs = 1'000'000;

// Everything that the writer thread had to do before is done, and heard of: an acknowledgement goes the same way.
void settle(TestWorld* world) {
  bool answered = false;
  world->partition->acknowledge(Uuid::random().to_string(), EventId(world->partition->next_id().value - 1),
                                [&](const Status& status) {
                                  EXPECT_TRUE(status.ok());
                                  answered = true;
                                });
  world->executor.run_until([&] { return answered; });
}

std::vector<std::string> segments_of(const TestWorld& world) {
  std::vector<std::string> paths = world.files.paths();
  std::erase_if(paths, [](const std::string& path) { return !path.ends_with(".seg"); });
  return paths;
}

void make_file(TestWorld* world, const std::string& path, std::span<const uint8_t> bytes) {
  const auto file = world->files.open(path, log::OpenMode::kReplace, log::Caching::kCached);
  ASSERT_TRUE(file.ok() && log::write_all(*file.value(), 0, bytes).ok());
}

void append_many(TestWorld* world, int count) {
  for (int i = 0; i < count; ++i) ASSERT_TRUE(world->append().ok());
}

TEST(Retention, BytesBoundWhatIsKeptAndTheRestIsOutOfRange) {
  TestWorld world(Durability::kSync);
  world.topic.retention.bytes = kKeptBytes;
  ASSERT_TRUE(world.start().ok());
  append_many(&world, 150);
  settle(&world);
  const EventId first = world.partition->first_id();
  EXPECT_GT(first, EventId(100));
  world.partition->release_cache(SIZE_MAX);
  world.expect_kept();
  uint64_t bytes = 0;
  for (const std::string& path : segments_of(world)) bytes += world.files.contents(path).size();
  EXPECT_LE(bytes, kKeptBytes + 48 * 1024) << "the open segment has space set aside";
  EXPECT_GT(bytes, kKeptBytes / 2);
  ASSERT_TRUE(world.close().ok());
  world.stop();
  ASSERT_TRUE(world.start().ok());
  EXPECT_EQ(world.partition->first_id(), first);
  EXPECT_EQ(world.report.events, world.partition->next_id().value - first.value);
  world.expect_kept();
  append_many(&world, 50);
  settle(&world);
  EXPECT_GT(world.partition->first_id(), first);
  world.expect_kept();
}

TEST(Retention, AgeDropsWholeSegmentsAlsoOfAnIdleLog) {
  TestWorld world(Durability::kOs);
  world.topic.retention.age_ms = 1000;
  ASSERT_TRUE(world.start().ok());
  append_many(&world, 20);
  world.now_ns += 1000 * kNsPerMs;
  world.partition->retain();  // ends the open segment, and drops nothing: nothing is older than a second
  settle(&world);
  append_many(&world, 3);
  const EventId later = world.acknowledged[20];
  settle(&world);
  EXPECT_EQ(world.partition->first_id(), EventId(0));
  world.now_ns += 1;
  world.partition->retain();
  world.executor.run_until([&] { return world.partition->first_id() > EventId(0); });
  EXPECT_EQ(world.partition->first_id(), later);
  world.expect_kept();
  world.now_ns += 1001 * kNsPerMs;
  world.partition->retain();
  world.executor.run_until([&] { return world.partition->first_id() == world.partition->next_id(); });
  const EventId end = world.partition->next_id();
  ASSERT_TRUE(world.acknowledge(EventId(end.value - 1)).ok());
  settle(&world);
  EXPECT_EQ(segments_of(world).size(), 1U);
  world.stop();
  ASSERT_TRUE(world.start().ok());
  EXPECT_EQ(world.partition->first_id(), end);
  EXPECT_EQ(world.partition->next_id(), end);
  EXPECT_EQ(world.partition->cursor("reader"), end);
  append_many(&world, 2);
  world.expect_kept();
}

TEST(Retention, AgeIsReadFromTheSegmentsAfterARestart) {
  TestWorld world(Durability::kSync);
  ASSERT_TRUE(world.start().ok());
  append_many(&world, 100);
  world.now_ns += 500 * kNsPerMs;
  append_many(&world, 50);
  ASSERT_TRUE(world.close().ok());
  world.stop();
  world.topic.retention.age_ms = 100;
  ASSERT_TRUE(world.start().ok());
  world.partition->retain();
  world.executor.run_until([&] { return world.partition->first_id() > EventId(0); });
  EXPECT_LE(world.partition->first_id(), world.acknowledged[100]) << "a segment goes when its newest batch is too old";
  EXPECT_GT(world.partition->first_id(), world.acknowledged[80]);
  world.expect_kept();
}

TEST(Retention, WithoutABoundNothingIsDropped) {
  TestWorld world(Durability::kOs);
  ASSERT_TRUE(world.start().ok());
  append_many(&world, 100);
  world.now_ns += int64_t{1} << 60;
  world.partition->retain();
  settle(&world);
  EXPECT_EQ(world.partition->first_id(), EventId(0));
  world.expect_prefix(100);
}

TEST(Retention, TimeNeverGoesBackWithinAPartition) {
  TestWorld world(Durability::kSync);
  ASSERT_TRUE(world.start().ok());
  const int64_t began = world.now_ns;
  append_many(&world, 3);
  world.stop();
  world.now_ns -= 1'000'000'000;
  ASSERT_TRUE(world.start().ok());
  append_many(&world, 1);
  EXPECT_EQ(world.read(world.acknowledged[3]).value().timestamp_ns, began);
}

TEST(Retention, ATimeIsFoundInWhatIsKeptWithFewReads) {
  TestWorld world(Durability::kSync);
  world.topic.retention.bytes = 4 * kKeptBytes;
  ASSERT_TRUE(world.start().ok());
  for (int i = 0; i < 600; ++i) {
    ASSERT_TRUE(world.append().ok());
    world.now_ns += kNsPerMs;
  }
  settle(&world);
  const int64_t began = world.now_ns - 600 * kNsPerMs;
  const auto find = [&](int64_t timestamp_ns) {
    std::optional<Result<EventId>> answer;
    world.partition->find_time(timestamp_ns, [&](const auto& found) { answer = found; });
    world.executor.run_until([&] { return answer.has_value(); });
    EXPECT_TRUE(answer->ok());
    return answer->value();
  };
  world.partition->release_cache(SIZE_MAX);
  const EventId first = world.partition->first_id();
  ASSERT_GT(first, EventId(0));
  EXPECT_EQ(find(began), first) << "the oldest kept is later than that";
  for (const size_t batch : {580U, 590U, 599U}) {
    ASSERT_GT(world.acknowledged[batch], first);
    EXPECT_EQ(find(began + static_cast<int64_t>(batch) * kNsPerMs), world.acknowledged[batch]);
    EXPECT_EQ(find(began + static_cast<int64_t>(batch) * kNsPerMs - 1), world.acknowledged[batch]);
  }
  EXPECT_EQ(find(world.now_ns), world.partition->next_id());
  const uint64_t before = world.files.calls();
  find(began + 560 * kNsPerMs);
  EXPECT_LT(world.files.calls() - before, 40U);
}

// A producer that was idle for so long that all of its batches were dropped is still known after a restart.
TEST(Retention, ADuplicateOfADroppedBatchIsNotStoredAgain) {
  TestWorld world(Durability::kSync);
  world.topic.retention.bytes = kKeptBytes;
  ASSERT_TRUE(world.start().ok());
  const auto pool = BufferPool::create(size_t{16} << 20);
  const ProducerPosition idle{Uuid::random(), BatchSequence(1), BatchSequence(0)};
  const auto append = [&] {
    std::optional<Result<AppendOutcome>> answer;
    world.partition->append(testing::make_batch(*pool, TestWorld::events_of(1), idle),
                            [&](auto outcome) { answer = outcome; });
    world.executor.run_until([&] { return answer.has_value(); });
    return answer->value();
  };
  const AppendOutcome first = append();
  EXPECT_EQ(first.base_id, EventId(0));
  append_many(&world, 150);
  settle(&world);
  ASSERT_GT(world.partition->first_id(), EventId(10));
  world.stop();
  ASSERT_TRUE(world.start().ok());
  const AppendOutcome again = append();
  EXPECT_TRUE(again.duplicate);
  EXPECT_EQ(again.base_id, first.base_id);
}

TEST(Retention, AMissingSegmentIsDamageAndLeftoversAreRemoved) {
  TestWorld world(Durability::kSync);
  world.topic.retention.bytes = kKeptBytes;
  ASSERT_TRUE(world.start().ok());
  append_many(&world, 20);
  const std::string oldest = segments_of(world).front();
  const std::vector<uint8_t> dropped = world.files.contents(oldest);
  append_many(&world, 130);
  settle(&world);
  world.stop();
  ASSERT_NE(segments_of(world).front(), oldest);
  const size_t count = segments_of(world).size();

  // As if the machine had stopped between two removals.
  make_file(&world, oldest, dropped);
  make_file(&world, oldest.substr(0, oldest.size() - 3) + "idx", dropped);
  ASSERT_TRUE(world.start().ok());
  EXPECT_EQ(segments_of(world).size(), count);
  world.expect_kept();
  world.stop();

  const std::string first = segments_of(world).front();
  const std::vector<uint8_t> contents = world.files.contents(first);
  ASSERT_TRUE(world.files.remove_file(first).ok());
  EXPECT_EQ(world.start().code(), ErrorCode::k_CORRUPT_LOG);
  world.stop();
  make_file(&world, first, contents);

  const std::string start = oldest.substr(0, oldest.rfind('/')) + "/start";
  std::vector<uint8_t> damaged = world.files.contents(start);
  ASSERT_FALSE(damaged.empty());
  damaged[24] ^= 1;
  world.files.set_contents(start, damaged);
  EXPECT_EQ(world.start().code(), ErrorCode::k_CORRUPT_LOG);
}

TEST(Retention, TheStartOfALogIsKnownDownToEachBit) {
  const Uuid partition = Uuid::random();
  const log::LogStart start{7, EventId(1000), {{Uuid::random(), BatchSequence(3), EventId(900), 5}}};
  const std::vector<uint8_t> file = log::encode_log_start(partition, start);
  EXPECT_EQ(file.size(), 88U);
  EXPECT_EQ(std::string(file.begin(), file.begin() + 4), "DSST");
  const auto back = log::decode_log_start(partition, file);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back.value().segment_number, 7U);
  EXPECT_EQ(back.value().base_id, EventId(1000));
  ASSERT_EQ(back.value().producers.size(), 1U);
  EXPECT_EQ(back.value().producers[0].sequence, BatchSequence(3));
  for (size_t bit = 0; bit < file.size() * 8; ++bit) {
    std::vector<uint8_t> damaged = file;
    damaged[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
    EXPECT_EQ(log::decode_log_start(partition, damaged).status().code(), ErrorCode::k_CORRUPT_DATA) << bit;
  }
  for (size_t bytes = 0; bytes < file.size(); ++bytes) {
    EXPECT_FALSE(log::decode_log_start(partition, std::span(file).first(bytes)).ok());
  }
  EXPECT_FALSE(log::decode_log_start(Uuid::random(), file).ok()) << "of another partition";
}

// Appends, reads at both ends and drops by age, whatever fails.
void work(TestWorld* world, int steps) {
  for (int i = 0; i < steps; ++i) {
    static_cast<void>(world->append());
    world->now_ns += 20 * kNsPerMs;
    if (i % 4 == 0) world->partition->retain();
    world->partition->release_cache(SIZE_MAX);
    if (world->partition->next_id() > world->partition->first_id()) {
      static_cast<void>(world->read(world->partition->first_id()));
    }
  }
}

void limit(TestWorld* world) {
  world->topic.retention.bytes = kKeptBytes;
  world->topic.retention.age_ms = 400;
}

// The machine stops at the given call, loses what was not synced (or some of it), and starts again.
TEST(Retention, SurvivesPowerCutsAtAnyCall) {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    TestWorld world(Durability::kSync);
    limit(&world);
    EventId told;
    for (int round = 0; round < 4; ++round) {
      const Status started = world.start();
      ASSERT_TRUE(started.ok()) << started.error().message;
      ASSERT_GE(world.partition->first_id(), told) << "what was dropped stays dropped";
      world.expect_kept();
      if (HasFatalFailure()) return;
      // Batches that were not answered may be there all the same.
      EventId id = world.acknowledged.empty() ? EventId() : world.acknowledged.back();
      for (size_t n = world.acknowledged.size(); n < world.stored; ++n) {
        if (n > 0) id.value += TestWorld::events_of(n).size();
        world.acknowledged.push_back(id);
      }
      world.files.fail_at(std::uniform_int_distribution<uint64_t>(1, 250)(random), FaultKind::kDead, true);
      work(&world, 40);
      told = world.partition->first_id();
      world.stop();
      world.files.clear_faults();
      const double keeps[] = {0.0, 0.5, 1.0};
      world.files.power_cut(&random, keeps[random() % 3]);
    }
  }
}

TEST(Retention, SurvivesEachErrorAtEachCall) {
  for (const FaultKind fault : {FaultKind::kIoError, FaultKind::kNoSpace, FaultKind::kFailedSync}) {
    int fired = 0;
    for (uint64_t call = 1; call < 200; call += 1 + call % 3) {
      SCOPED_TRACE("fault " + std::to_string(static_cast<int>(fault)) + ", call " + std::to_string(call));
      TestWorld world(Durability::kSync);
      limit(&world);
      ASSERT_TRUE(world.start().ok());
      work(&world, 20);
      world.files.fail_at(call, fault);
      work(&world, 40);
      if (world.files.fault_fired()) ++fired;
      world.files.clear_faults();
      for (int attempt = 0; attempt < 3; ++attempt) static_cast<void>(world.append());
      world.now_ns += 401 * kNsPerMs;
      world.partition->retain();
      settle(&world);
      world.partition->retain();
      settle(&world);
      ASSERT_GT(world.partition->first_id(), world.acknowledged[20]);
      world.expect_kept();
      const EventId first = world.partition->first_id();
      world.stop();
      ASSERT_TRUE(world.start().ok());
      ASSERT_EQ(world.partition->first_id(), first);
      world.expect_kept();
      ASSERT_FALSE(HasFailure());
    }
    EXPECT_GT(fired, 15);
  }
}

}  // namespace
}  // namespace diaspora::partition
