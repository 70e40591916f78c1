// Every byte of a small log damaged once, every length of its files, files lost and swapped: what was acknowledged is
// delivered as it was or reported, never delivered as something else, and damage to one batch costs that batch.
#include <gtest/gtest.h>

#include <map>

#include "log/recovery.h"
#include "log/segment_reader.h"
#include "testing/partition_world.h"

namespace diaspora::partition {
namespace {

using testing::FaultyFileSystem;

using Snapshot = std::map<std::string, std::vector<uint8_t>>;

struct ReadBack {
  Status opened;
  log::RecoveredLog log;
  size_t whole = 0;     // batches that came back as they were
  size_t refused = 0;   // reads that were refused
  size_t detected = 0;  // batches whose data does not match its checksum
  size_t wrong = 0;     // batches that came back as something else
};

// A log made by appending, and then opened again and again with its files changed. No threads.
class LogDamage : public ::testing::Test {
 protected:
  void make_log(size_t batches, bool closed, uint64_t segment_bytes) {
    TestWorld world(Durability::kSync, segment_bytes);
    ASSERT_TRUE(world.start().ok());
    for (size_t i = 0; i < batches; ++i) ASSERT_TRUE(world.append().ok());
    if (closed) {
      ASSERT_TRUE(world.close().ok());
    }
    world.stop();
    base_ids_ = world.acknowledged;
    next_id_ = EventId(base_ids_.back().value + TestWorld::events_of(batches).size());
    identity_ = {"/data/topics/" + world.topic.uuid.to_string() + "/0", world.topic.uuid, "the partition"};
    for (const std::string& path : world.files.paths()) {
      if (path.starts_with(identity_.directory)) original_[path] = world.files.contents(path);
    }
    ASSERT_TRUE(log::make_directories(files_, identity_.directory).ok());
    restore(original_);
    trim_reserved_space();
  }

  // Leaves one block of it, so that the tests need not try each byte of a mebibyte of zeros.
  void trim_reserved_space() {
    const ReadBack result = read_back();
    ASSERT_TRUE(result.opened.ok());
    std::vector<uint8_t>& last = original_[segment(result.log.last_header.number)];
    last.resize(std::min<size_t>(last.size(), result.log.end_offset + log::kRecordAlignment));
  }

  void restore(const Snapshot& snapshot) {
    for (const std::string& path : files_.paths()) {
      if (snapshot.contains(path)) continue;
      ASSERT_TRUE(files_.remove_file(path).ok());
    }
    for (const auto& [path, bytes] : snapshot) {
      ASSERT_TRUE(files_.open(path, log::OpenMode::kOpenOrCreate, log::Caching::kCached).ok());
      files_.set_contents(path, bytes);
    }
  }

  ReadBack read_back() {
    ReadBack result;
    auto recovered = log::recover_log(files_, identity_);
    result.opened = recovered.status();
    if (!recovered) return result;
    result.log = recovered.take();
    log::SegmentSet segments(files_, identity_);
    segments.restore(result.log.segments, result.log.last_records);
    log::SegmentReader reader(files_, identity_, &segments, pool_);
    for (size_t i = 0; i < base_ids_.size(); ++i) {
      if (base_ids_[i] >= result.log.next_id) continue;
      const auto record = reader.read(base_ids_[i]);
      if (!record) {
        EXPECT_EQ(record.error().code, ErrorCode::k_CORRUPT_LOG);
        ++result.refused;
        continue;
      }
      StoredBatch batch{record.value().buffer, record.value().header.shape, record.value().header.head_crc,
                        record.value().header.base_id, record.value().header.timestamp_ns};
      bool whole = false;
      const bool same = testing::unpack(batch, &whole) == TestWorld::events_of(i + 1);
      ++(same ? result.whole : whole ? result.wrong : result.detected);
    }
    return result;
  }

  std::string segment(uint64_t number) const { return identity_.directory + "/" + log::segment_file_name(number); }

  FaultyFileSystem files_;
  std::shared_ptr<BufferPool> pool_ = BufferPool::create(size_t{16} << 20);
  log::LogIdentity identity_;
  Snapshot original_;
  std::vector<EventId> base_ids_;
  EventId next_id_;
};

TEST_F(LogDamage, EachByteOfAnAcknowledgedSegmentIsDeliveredOrReported) {
  make_log(4, true, uint64_t{1} << 20);
  const std::vector<uint8_t>& bytes = original_.at(segment(1));
  size_t reported = 0;
  size_t harmless = 0;
  for (size_t at = 0; at < bytes.size(); ++at) {
    SCOPED_TRACE("byte " + std::to_string(at));
    Snapshot damaged = original_;
    damaged[segment(1)][at] ^= static_cast<uint8_t>(1U << (at % 8));
    restore(damaged);
    const ReadBack result = read_back();
    ASSERT_EQ(result.wrong, 0U);
    if (!result.opened) {
      ASSERT_EQ(result.opened.code(), ErrorCode::k_CORRUPT_LOG) << result.opened.error().message;
      ++reported;
      continue;
    }
    ASSERT_EQ(result.log.next_id, next_id_);  // nothing is cut
    ASSERT_LE(result.refused + result.detected, 1U);
    ++(result.whole == 4 ? harmless : reported);
  }
  // Harmless: the mark of the watermark behind the last batch, and padding. Everything else is noticed.
  EXPECT_GT(reported, 4 * wire::kLogRecordHeaderBytes);
  EXPECT_EQ(reported + harmless, bytes.size());
}

TEST_F(LogDamage, DamageAboveTheWatermarkIsCutAndCounted) {
  make_log(4, false, uint64_t{1} << 20);  // as after a kill: nothing says that the last batch was synced
  const uint64_t last = [this] {
    restore(original_);
    return read_back().log.last_records.back().offset;
  }();
  size_t cuts = 0;
  for (size_t at = last; at < last + wire::kLogRecordHeaderBytes + 1000; ++at) {
    SCOPED_TRACE("byte " + std::to_string(at));
    Snapshot damaged = original_;
    damaged[segment(1)][at] ^= 0x10;
    restore(damaged);
    const ReadBack result = read_back();
    ASSERT_TRUE(result.opened.ok()) << result.opened.error().message;
    ASSERT_EQ(result.wrong + result.refused + result.detected, 0U);
    if (result.whole == 4) continue;  // padding
    ASSERT_EQ(result.whole, 3U);
    ASSERT_EQ(result.log.next_id, base_ids_.back());
    ASSERT_GT(result.log.torn_bytes, 0U);
    ASSERT_NE(result.log.detail.find(segment(1)), std::string::npos);
    ++cuts;
    // Again: the cut is done, and nothing is left to report.
    const ReadBack again = read_back();
    ASSERT_EQ(again.log.next_id, result.log.next_id);
    ASSERT_EQ(again.log.torn_bytes, 0U);
  }
  EXPECT_GT(cuts, wire::kLogRecordHeaderBytes);
}

TEST_F(LogDamage, EachLengthOfTheLastSegmentGivesAPrefix) {
  make_log(4, true, uint64_t{1} << 20);
  const std::vector<uint8_t> bytes = original_.at(segment(1));
  size_t whole_before = 0;
  for (size_t length = 0; length <= bytes.size(); length += length % 16 == 0 ? 1 : 15) {
    SCOPED_TRACE("length " + std::to_string(length));
    Snapshot cut = original_;
    cut[segment(1)].resize(length);
    restore(cut);
    const ReadBack result = read_back();
    if (!result.opened) {
      ASSERT_EQ(result.opened.code(), ErrorCode::k_CORRUPT_LOG);
      ASSERT_LT(length, log::kSegmentHeaderBytes);
      continue;
    }
    ASSERT_EQ(result.wrong + result.refused + result.detected, 0U);
    ASSERT_GE(result.whole, whole_before);
    whole_before = result.whole;
    ASSERT_EQ(result.log.next_id, result.whole == 4 ? next_id_ : base_ids_[result.whole]);
  }
  EXPECT_EQ(whole_before, 4U);
}

TEST_F(LogDamage, EachByteOfASealedSegmentAndItsIndexCostsAtMostOneBatch) {
  make_log(30, true, 48 * 1024);
  ASSERT_TRUE(original_.contains(segment(2)));
  const std::string index = identity_.directory + "/" + log::index_file_name(1);
  ASSERT_TRUE(original_.contains(index));
  for (const std::string& path : {segment(1), index}) {
    const size_t size = original_.at(path).size();
    for (size_t at = 0; at < size; at += path == index ? 1 : 31) {
      SCOPED_TRACE(path + " byte " + std::to_string(at));
      Snapshot damaged = original_;
      damaged[path][at] ^= 0x04;
      restore(damaged);
      const ReadBack result = read_back();
      ASSERT_EQ(result.wrong, 0U);
      if (!result.opened) {
        ASSERT_EQ(result.opened.code(), ErrorCode::k_CORRUPT_LOG);
        ASSERT_TRUE(path == segment(1) && at < log::kSegmentHeaderBytes);
        continue;
      }
      ASSERT_LE(result.refused + result.detected, path == index ? 0U : 1U);
      ASSERT_EQ(result.log.next_id, next_id_);
    }
  }
}

TEST_F(LogDamage, ALostOrForeignSegmentIsNoticed) {
  make_log(40, true, 48 * 1024);
  ASSERT_TRUE(original_.contains(segment(3)));
  uint64_t last = 3;
  while (original_.contains(segment(last + 1))) ++last;
  for (uint64_t number = 1; number <= last; ++number) {
    SCOPED_TRACE("segment " + std::to_string(number));
    Snapshot lost = original_;
    lost.erase(segment(number));
    restore(lost);
    EXPECT_EQ(read_back().opened.code(), ErrorCode::k_CORRUPT_LOG);
    Snapshot swapped = original_;
    swapped[segment(number)] = original_.at(segment(number == 1 ? 2 : number - 1));
    restore(swapped);
    EXPECT_EQ(read_back().opened.code(), ErrorCode::k_CORRUPT_LOG);
  }
  // Indexes can be lost without loss, and come back.
  Snapshot without = original_;
  for (uint64_t number = 1; number <= last; ++number) {
    without.erase(identity_.directory + "/" + log::index_file_name(number));
  }
  restore(without);
  const ReadBack result = read_back();
  ASSERT_TRUE(result.opened.ok()) << result.opened.error().message;
  EXPECT_EQ(result.whole, 40U);
  EXPECT_EQ(files_.contents(identity_.directory + "/" + log::index_file_name(1)),
            original_.at(identity_.directory + "/" + log::index_file_name(1)));
}

TEST_F(LogDamage, CorruptionIsReportedWithPlaceAndIds) {
  make_log(4, true, uint64_t{1} << 20);
  Snapshot damaged = original_;
  damaged[segment(1)][log::kFirstRecordOffset + 20] ^= 1;
  restore(damaged);
  const ReadBack result = read_back();
  ASSERT_EQ(result.opened.code(), ErrorCode::k_CORRUPT_LOG);
  const std::string& message = result.opened.error().message;
  for (const std::string& part : {std::string("the partition"), segment(1), std::string("offset 4096"),
                                  "ids 0 to " + std::to_string(next_id_.value - 1)}) {
    EXPECT_NE(message.find(part), std::string::npos) << message << " lacks " << part;
  }
}

}  // namespace
}  // namespace diaspora::partition
