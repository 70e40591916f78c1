#include "partition/read_back.h"

#include <gtest/gtest.h>

#include <vector>

namespace diaspora::partition {
namespace {

constexpr size_t kBatchBytes = 8192;
constexpr uint32_t kEvents = 10;

// A log of batches of ten events, whose reads end when the test says so.
class ReadBackTest : public ::testing::Test {
 protected:
  ReadBackTest()
      : pool_(BufferPool::create(size_t{1} << 20)), read_back_(2 * kBatchBytes, [this](EventId id, ReadCallback done) {
          asked_.push_back(id.value);
          done_ = std::move(done);
        }) {}

  StoredBatch batch_of(uint64_t id) {
    StoredBatch batch;
    batch.buffer = pool_->allocate(kBatchBytes).take();
    batch.shape.event_count = kEvents;
    batch.base_id = EventId(id / kEvents * kEvents);
    return batch;
  }
  void read(uint64_t id) {
    read_back_.read(EventId(id), [this, id](const Result<StoredBatch>& batch) {
      answered_.push_back(id);
      if (batch) {
        EXPECT_EQ(batch.value().base_id.value, id / kEvents * kEvents);
      } else {
        ++errors_;
      }
    });
  }
  // The read of the log that is under way ends.
  void finish() {
    ReadCallback done = std::move(done_);
    done_ = nullptr;
    done(batch_of(asked_.back()));
  }

  std::shared_ptr<BufferPool> pool_;
  std::vector<uint64_t> asked_;  // of the log
  ReadCallback done_;
  std::vector<uint64_t> answered_;
  int errors_ = 0;
  ReadBack read_back_;
};

TEST_F(ReadBackTest, OneReadAnswersAllWhoWaitForTheBatch) {
  read(13);
  read(19);
  read(25);
  read(10);
  EXPECT_EQ(asked_, std::vector<uint64_t>({13}));
  finish();
  EXPECT_EQ(answered_, std::vector<uint64_t>({13, 19, 10}));
  EXPECT_EQ(asked_, std::vector<uint64_t>({13, 25}));
  finish();
  EXPECT_EQ(answered_.back(), 25U);
  EXPECT_EQ(errors_, 0);
}

TEST_F(ReadBackTest, WhatWasReadAheadIsAnsweredAtOnce) {
  read_back_.ahead(EventId(20));
  read_back_.ahead(EventId(20));
  read(21);
  EXPECT_TRUE(answered_.empty());
  finish();
  read(29);
  EXPECT_EQ(answered_, std::vector<uint64_t>({21, 29}));
  EXPECT_EQ(asked_, std::vector<uint64_t>({20}));
}

TEST_F(ReadBackTest, KeepsTheBatchesReadLastUntilReleased) {
  for (const uint64_t id : {0, 10, 20}) {
    read(id);
    finish();
  }
  read(15);
  read(25);
  EXPECT_EQ(asked_.size(), 3U);
  read(5);
  EXPECT_EQ(asked_.size(), 4U);
  finish();
  EXPECT_EQ(pool_->bytes_used(), 2 * kBatchBytes);
  EXPECT_EQ(read_back_.release(), 2 * kBatchBytes);
  EXPECT_EQ(pool_->bytes_used(), 0U);
  read(5);
  EXPECT_EQ(asked_.size(), 5U);
}

TEST_F(ReadBackTest, AnErrorIsForTheOneWhoAskedAndTheNextIsReadAgain) {
  read(1);
  read(2);
  ReadCallback done = std::move(done_);
  done(Error{ErrorCode::k_STORAGE_FAILED, "no"});
  EXPECT_EQ(answered_, std::vector<uint64_t>({1}));
  EXPECT_EQ(errors_, 1);
  EXPECT_EQ(asked_, std::vector<uint64_t>({1, 2}));
  finish();
  EXPECT_EQ(answered_, std::vector<uint64_t>({1, 2}));
  EXPECT_EQ(errors_, 1);
}

}  // namespace
}  // namespace diaspora::partition
