// Errors at every file call, and power cuts at every file call: nothing acknowledged is lost, ids stay dense, and the
// partition goes on by itself.
#include <gtest/gtest.h>

#include <random>

#include "testing/partition_world.h"

namespace diaspora::partition {
namespace {

using testing::FaultKind;

constexpr Durability kDurabilities[] = {Durability::kMemory, Durability::kOs, Durability::kSync};
constexpr FaultKind kFaults[] = {FaultKind::kIoError, FaultKind::kNoSpace, FaultKind::kShortWrite,
                                 FaultKind::kFailedSync};

std::string describe(Durability durability, FaultKind fault, uint64_t call) {
  return "durability " + std::to_string(static_cast<int>(durability)) + ", fault " +
         std::to_string(static_cast<int>(fault)) + ", call " + std::to_string(call);
}

// Appends, acknowledges and reads, whatever fails.
void work(TestWorld* world, int steps) {
  for (int i = 0; i < steps; ++i) {
    const auto outcome = world->append();
    if (!outcome) {
      EXPECT_TRUE(outcome.error().code == ErrorCode::k_NO_SPACE || outcome.error().code == ErrorCode::k_STORAGE_FAILED)
          << outcome.error().message;
    }
    if (i % 3 == 0 && world->partition->next_id() > EventId(0)) {
      const Status status = world->acknowledge(EventId(world->partition->next_id().value - 1));
      EXPECT_EQ(world->partition->cursor("reader").value_or(EventId(0)), world->cursor) << status.ok();
    }
    world->partition->release_cache(SIZE_MAX);
    if (world->partition->next_id() > EventId(0)) static_cast<void>(world->read(EventId(0)));
  }
}

// The append succeeds within a few attempts: the first may still meet what an earlier failure left.
void expect_append_recovers(TestWorld* world) {
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (world->append().ok()) return;
  }
  const auto outcome = world->append();
  ASSERT_TRUE(outcome.ok()) << outcome.error().message;
}

// False when the call was never reached.
bool run_with_fault(Durability durability, FaultKind fault, uint64_t call, bool persistent) {
  SCOPED_TRACE(describe(durability, fault, call) + (persistent ? " and on" : ""));
  TestWorld world(durability);
  EXPECT_TRUE(world.start().ok());
  work(&world, 3);
  world.files.fail_at(call, fault, persistent);
  work(&world, 16);
  const bool fired = world.files.fault_fired();
  world.files.clear_faults();
  expect_append_recovers(&world);
  EXPECT_TRUE(world.acknowledge(EventId(0)).ok());
  world.expect_prefix(world.acknowledged.size());
  EXPECT_TRUE(world.close().ok());
  world.stop();
  const Status restarted = world.start();
  EXPECT_TRUE(restarted.ok()) << restarted.error().message;
  if (!restarted) return false;
  world.expect_prefix(world.acknowledged.size());
  EXPECT_GE(world.partition->cursor("reader").value_or(EventId(0)), world.cursor);
  EXPECT_TRUE(world.append().ok());
  return fired;
}

TEST(LogPartitionFault, SurvivesEachErrorAtEachCall) {
  for (const Durability durability : kDurabilities) {
    for (const FaultKind fault : kFaults) {
      uint64_t call = 1;
      while (run_with_fault(durability, fault, call, false) && !HasFailure()) ++call;
      if (fault != FaultKind::kFailedSync) {
        EXPECT_GT(call, 40U);
      }
      ASSERT_FALSE(HasFailure());
    }
  }
}

TEST(LogPartitionFault, SurvivesErrorsThatStayForAWhile) {
  for (const Durability durability : kDurabilities) {
    for (const FaultKind fault : kFaults) {
      for (uint64_t call = 1; call < 60; call += 3) {
        run_with_fault(durability, fault, call, true);
        ASSERT_FALSE(HasFailure());
      }
    }
  }
}

TEST(LogPartitionFault, AFullDiskRefusesAppendsKeepsServingAndRecovers) {
  TestWorld world(Durability::kSync);
  ASSERT_TRUE(world.start().ok());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(world.append().ok());
  world.files.fail_at(1, FaultKind::kNoSpace, true);
  ErrorCode code = ErrorCode::kOk;
  for (int i = 0; i < 30; ++i) {
    const auto outcome = world.append();
    if (!outcome) code = outcome.error().code;
  }
  EXPECT_EQ(code, ErrorCode::k_NO_SPACE);
  world.files.clear_faults();
  world.partition->release_cache(SIZE_MAX);
  world.expect_prefix(world.acknowledged.size());
  ASSERT_TRUE(world.append().ok());
}

// An error while opening is told, changes nothing that counts, and the next open succeeds.
TEST(LogPartitionFault, AnErrorWhileOpeningLosesNothing) {
  for (const FaultKind fault : kFaults) {
    TestWorld world(Durability::kSync);
    ASSERT_TRUE(world.start().ok());
    work(&world, 20);
    bool fired = true;
    for (uint64_t call = 1; fired; ++call) {
      SCOPED_TRACE(describe(Durability::kSync, fault, call));
      world.stop();
      world.files.fail_at(call, fault);
      const Status status = world.start();
      fired = world.files.fault_fired();
      world.files.clear_faults();
      if (!status) {
        world.stop();
        ASSERT_NE(status.code(), ErrorCode::k_CORRUPT_LOG) << status.error().message;
        ASSERT_TRUE(world.start().ok());
      }
      world.expect_prefix(world.acknowledged.size());
      ASSERT_FALSE(HasFailure());
    }
  }
}

// The machine stops at the given call, loses what was not synced (or some of it), and starts again, three times over.
void run_with_power_cuts(Durability durability, uint64_t seed) {
  SCOPED_TRACE("durability " + std::to_string(static_cast<int>(durability)) + ", seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  TestWorld world(durability);
  size_t promised = 0;
  for (int round = 0; round < 4; ++round) {
    const Status started = world.start();
    ASSERT_TRUE(started.ok()) << started.error().message;
    world.expect_prefix(promised);
    if (::testing::Test::HasFatalFailure()) return;
    world.adopt_stored();
    const EventId cursor = world.partition->cursor("reader").value_or(EventId(0));
    if (durability == Durability::kSync) {
      ASSERT_GE(cursor, world.cursor);
    }
    ASSERT_LE(cursor, world.partition->next_id());
    world.cursor = cursor;
    world.files.fail_at(std::uniform_int_distribution<uint64_t>(1, 90)(random), FaultKind::kDead, true);
    work(&world, 12);
    if (random() % 4 == 0) static_cast<void>(world.close());
    promised = durability == Durability::kSync ? world.acknowledged.size() : 0;
    world.stop();
    world.files.clear_faults();
    const double keeps[] = {0.0, 0.5, 0.9, 1.0};
    world.files.power_cut(&random, keeps[random() % 4]);
  }
}

TEST(LogPartitionFault, SurvivesPowerCutsAtAnyCall) {
  for (const Durability durability : kDurabilities) {
    for (uint64_t seed = 1; seed <= 250; ++seed) {
      run_with_power_cuts(durability, seed);
      ASSERT_FALSE(HasFailure());
    }
  }
}

TEST(LogPartitionFault, OneSyncServesEverythingThatCameMeanwhile) {
  TestWorld world(Durability::kSync, uint64_t{16} << 20);
  ASSERT_TRUE(world.start().ok());
  ASSERT_TRUE(world.append().ok());
  const auto pool = BufferPool::create(size_t{16} << 20);
  int answered = 0;
  const auto append = [&] {
    world.partition->append(testing::make_batch(*pool, {{"{}", "data"}}, {}), [&](const auto& outcome) {
      EXPECT_TRUE(outcome.ok());
      ++answered;
    });
  };
  world.files.hold_syncs();
  append();
  world.files.wait_for_held_sync();
  const uint64_t syncs = world.files.syncs();
  for (int i = 0; i < 100; ++i) append();
  EXPECT_EQ(answered, 0);
  world.files.release_syncs();
  world.executor.run_until([&] { return answered == 101; });
  EXPECT_EQ(world.files.syncs(), syncs + 1);
}

TEST(LogPartitionFault, ABatchSentAgainWhileInFlightGetsTheOneAnswer) {
  TestWorld world(Durability::kSync);
  ASSERT_TRUE(world.start().ok());
  const auto pool = BufferPool::create(size_t{16} << 20);
  const ProducerPosition producer{Uuid::random(), BatchSequence(1), BatchSequence(0)};
  std::vector<AppendOutcome> answers;
  const auto append = [&] {
    world.partition->append(testing::make_batch(*pool, {{"{}", "data"}}, producer), [&](const auto& outcome) {
      ASSERT_TRUE(outcome.ok());
      answers.push_back(outcome.value());
    });
  };
  world.files.hold_syncs();
  append();
  EXPECT_EQ(world.partition->admit(producer).kind, Admission::Kind::kInFlight);
  append();
  world.files.release_syncs();
  world.executor.run_until([&] { return answers.size() == 2; });
  EXPECT_EQ(answers[0].base_id, answers[1].base_id);
  EXPECT_EQ(world.partition->next_id(), EventId(1));
}

class CountingObserver final : public CommitObserver {
 public:
  void on_commit() override { ++count; }
  int count = 0;
};

TEST(LogPartitionFault, ObserversHearThatNothingIsPendingAlsoAfterAFailure) {
  TestWorld world(Durability::kSync);
  ASSERT_TRUE(world.start().ok());
  ASSERT_TRUE(world.append().ok());
  CountingObserver observer;
  world.partition->add_observer(&observer);
  const auto pool = BufferPool::create(size_t{16} << 20);
  const auto append = [&](bool fails) {
    world.files.hold_syncs();
    world.partition->append(testing::make_batch(*pool, {{"{}", "data"}}, {}),
                            [&](const auto& outcome) { EXPECT_EQ(outcome.ok(), !fails); });
    world.files.wait_for_held_sync();
    EXPECT_TRUE(world.partition->has_pending());
    if (fails) world.files.fail_at(1, FaultKind::kFailedSync, true);
    const int before = observer.count;
    world.files.release_syncs();
    world.executor.run_until([&] { return !world.partition->has_pending() && observer.count > before; });
    world.files.clear_faults();
  };
  append(false);
  EXPECT_EQ(world.partition->next_id(), EventId(TestWorld::events_of(1).size() + 1));
  append(true);
  EXPECT_EQ(world.partition->next_id(), EventId(TestWorld::events_of(1).size() + 1));
  world.partition->remove_observer(&observer);
}

}  // namespace
}  // namespace diaspora::partition
