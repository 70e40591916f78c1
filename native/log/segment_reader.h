// Reads single batches back from the segments of one log.
//
// Each read verifies the record's header (checksum, log, segment, id, length) and the head of its body; the data has
// its own checksums, which whoever uses it checks. What does not match is CORRUPT_LOG and is never handed on. Large
// records are read past the page cache, straight into the memory from which they go to the consumers. Threads: the
// reader thread. Owner: the PartitionLog.
#pragma once

#include <memory>

#include "base/buffer_pool.h"
#include "log/segment_set.h"
#include "wire/log_record.h"

namespace diaspora::log {

struct StoredRecord {
  BufferRef buffer;  // [record header | body]
  wire::LogRecordHeader header;
};

class SegmentReader {
 public:
  SegmentReader(FileSystem& files, const LogIdentity& identity, SegmentSet* segments, std::shared_ptr<BufferPool> pool)
      : files_(files), identity_(identity), segments_(segments), pool_(std::move(pool)) {}

  // RESOURCE_EXHAUSTED when the pool has no room: retry when batches were released. OFFSET_OUT_OF_RANGE when the event
  // was dropped; a read under way may still give it.
  Result<StoredRecord> read(EventId id);
  // The first event of the oldest batch stored at `timestamp_ns` or later; `end_id` when all before that are older.
  Result<EventId> find_time(int64_t timestamp_ns, EventId end_id);
  // Older segments were dropped: their files are not kept open.
  void close_before(uint64_t segment_number);

 private:
  struct Files {
    uint64_t segment_number = 0;
    std::unique_ptr<File> cached;
    std::unique_ptr<File> direct;
  };
  Result<StoredRecord> try_read(EventId id);
  Result<EventId> search_time(int64_t timestamp_ns, EventId first_id, EventId end_id);
  Result<wire::LogRecordHeader> header_of(EventId id);
  Result<const File*> file_of(uint64_t segment_number, Caching caching);

  FileSystem& files_;
  const LogIdentity identity_;
  SegmentSet* const segments_;
  const std::shared_ptr<BufferPool> pool_;
  Files open_;  // of the segment read last: consumers read in order
};

}  // namespace diaspora::log
