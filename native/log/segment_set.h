// Where each event of one log lies: shared by the writer, which adds records, and the reader, which looks them up.
//
// Threads: any (one mutex, held for look-ups only; indexes are loaded outside of it, by one thread at a time: the
// reader). Invariant: only records are listed whose bytes were handed to the file system with success; an id belongs to
// the newest segment that begins at or before it.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "log/recovery.h"

namespace diaspora::log {

struct RecordPlace {
  uint64_t segment_number = 0;
  RecordEntry record;
};

class SegmentSet {
 public:
  // Indexes of sealed segments kept in memory; consumers read few places at a time.
  static constexpr size_t kLoadedMax = 8;

  SegmentSet(FileSystem& files, const LogIdentity& identity) : files_(files), identity_(identity) {}

  void restore(const std::vector<SegmentSummary>& segments, std::vector<RecordEntry> last_records);
  // A new last segment. One of the same number is replaced; what older ones list at or past base_id is forgotten.
  void begin_segment(const SegmentSummary& segment);
  void add_record(const RecordEntry& record);

  // Older segments are dropped: their events are not found any more.
  void drop_before(uint64_t number);
  // The oldest id that is found.
  EventId first_id();

  // The record that contains `id`, which must have been committed. OFFSET_OUT_OF_RANGE when it was dropped.
  Result<RecordPlace> find(EventId id);

 private:
  using Records = std::shared_ptr<const std::vector<RecordEntry>>;
  struct Segment {
    uint64_t number = 0;
    EventId base_id;
    Records records;  // null: not loaded, or the last one
  };

  size_t segment_of(EventId id) const;
  void keep_loaded(uint64_t number);

  FileSystem& files_;
  const LogIdentity identity_;
  std::mutex mutex_;
  std::vector<Segment> segments_;          // guarded by mutex_
  std::vector<RecordEntry> last_records_;  // guarded by mutex_; of segments_.back()
  std::deque<uint64_t> loaded_;            // guarded by mutex_; oldest first
};

}  // namespace diaspora::log
