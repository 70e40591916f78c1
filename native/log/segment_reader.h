// Reads single batches back from the segments of one log.
//
// Each read verifies the record's header (checksum, log, segment, id, length) and the head of its body; the data has
// its own checksums, which whoever uses it checks. What does not match is CORRUPT_LOG and is never handed on. Threads:
// the reader thread. Owner: the PartitionLog.
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

  // RESOURCE_EXHAUSTED when the pool has no room: retry when batches were released.
  Result<StoredRecord> read(EventId id);

 private:
  Result<const File*> file_of(uint64_t segment_number);

  FileSystem& files_;
  const LogIdentity identity_;
  SegmentSet* const segments_;
  const std::shared_ptr<BufferPool> pool_;
  std::unique_ptr<File> file_;  // the segment read last: consumers read in order
  uint64_t file_number_ = 0;
};

}  // namespace diaspora::log
