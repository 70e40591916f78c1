#include "partition/sequence_table.h"

#include <gtest/gtest.h>

namespace diaspora::partition {
namespace {

Uuid session_number(uint8_t number) {
  Uuid id;
  id.bytes[3] = number;
  return id;
}

ProducerPosition position(uint8_t session, uint64_t sequence, uint64_t follows) {
  return {session_number(session), BatchSequence(sequence), BatchSequence(follows)};
}

void store(SequenceTable* table, const ProducerPosition& producer, uint64_t base_id) {
  ASSERT_EQ(table->admit(producer).kind, Admission::Kind::kNew);
  table->begin(producer);
  table->finish(producer, EventId(base_id), 2);
}

TEST(SequenceTable, RemembersTheAnswersOfTheNewestBatches) {
  SequenceTable table;
  const uint64_t last = SequenceTable::kRingSize + 10;
  for (uint64_t i = 1; i <= last; ++i) store(&table, position(1, i, i - 1), 2 * i);
  for (uint64_t i = 1; i <= last; ++i) {
    const Admission admission = table.admit(position(1, i, i - 1));
    if (i <= 10) {
      EXPECT_EQ(admission.kind, Admission::Kind::kRefused);
      EXPECT_EQ(admission.error.code, ErrorCode::k_OUT_OF_ORDER);
    } else {
      ASSERT_EQ(admission.kind, Admission::Kind::kDuplicate);
      EXPECT_EQ(admission.outcome.base_id, EventId(2 * i));
      EXPECT_TRUE(admission.outcome.duplicate);
    }
  }
}

TEST(SequenceTable, BatchesInFlightMayBeFollowedAndFailTogether) {
  SequenceTable table;
  store(&table, position(1, 1, 0), 0);
  table.begin(position(1, 2, 1));
  EXPECT_EQ(table.admit(position(1, 2, 1)).kind, Admission::Kind::kInFlight);
  EXPECT_EQ(table.admit(position(1, 3, 2)).kind, Admission::Kind::kNew);
  table.begin(position(1, 3, 2));
  table.fail(position(1, 2, 1));
  table.fail(position(1, 3, 2));
  EXPECT_EQ(table.admit(position(1, 4, 3)).kind, Admission::Kind::kRefused);
  EXPECT_EQ(table.admit(position(1, 3, 2)).kind, Admission::Kind::kRefused);
  store(&table, position(1, 2, 1), 2);
  store(&table, position(1, 3, 2), 4);
}

TEST(SequenceTable, ForgetsTheLeastRecentlyUsedSessionAndSaysSo) {
  SequenceTable table(3);
  for (uint8_t session = 1; session <= 3; ++session) store(&table, position(session, 1, 0), session);
  store(&table, position(1, 2, 1), 10);
  store(&table, position(4, 1, 0), 11);
  EXPECT_EQ(table.session_count(), 3U);
  EXPECT_EQ(table.admit(position(2, 2, 1)).error.code, ErrorCode::k_UNKNOWN_SESSION);
  EXPECT_EQ(table.admit(position(1, 3, 2)).kind, Admission::Kind::kNew);
}

TEST(SequenceTable, NeverForgetsASessionWithBatchesInFlight) {
  SequenceTable table(2);
  table.begin(position(1, 1, 0));
  table.begin(position(2, 1, 0));
  store(&table, position(3, 1, 0), 0);
  EXPECT_EQ(table.admit(position(1, 1, 0)).kind, Admission::Kind::kInFlight);
  EXPECT_EQ(table.admit(position(2, 1, 0)).kind, Admission::Kind::kInFlight);
}

TEST(SequenceTable, DoesNotTrackBatchesWithoutASession) {
  SequenceTable table;
  const ProducerPosition nobody{};
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(table.admit(nobody).kind, Admission::Kind::kNew);
    table.begin(nobody);
    table.finish(nobody, EventId(0), 1);
  }
  EXPECT_EQ(table.session_count(), 0U);
}

TEST(SequenceTable, RestoresASessionThatBeganAgain) {
  SequenceTable table;
  table.restore(session_number(1), BatchSequence(5), EventId(50), 1);
  table.restore(session_number(1), BatchSequence(1), EventId(60), 1);
  EXPECT_EQ(table.admit(position(1, 1, 0)).outcome.base_id, EventId(60));
  EXPECT_EQ(table.admit(position(1, 7, 6)).kind, Admission::Kind::kRefused);
}

}  // namespace
}  // namespace diaspora::partition
