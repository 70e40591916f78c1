// Walking the records of one segment file from its start: for recovery and for rebuilding an index.
//
// It reads; it decides nothing and changes nothing. Damage is told as the place where the walk stopped, a failed read
// as an Error, so that an unreadable sector is never mistaken for the end of the log. Threads: any, one scan at a time
// per File.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "log/file.h"
#include "log/segment_format.h"
#include "wire/log_record.h"

namespace diaspora::log {

// Reads a file through an aligned window, so that it works on files opened past the page cache.
class WindowReader {
 public:
  // 64 KiB: one read serves many small records, and little is read in vain for large ones.
  static constexpr size_t kWindowBytes = 64 * 1024;

  explicit WindowReader(const File& file) : file_(file) {}
  // `bytes` bytes at `offset`, fewer at the end of the file; valid until the next call.
  Result<std::span<const uint8_t>> view(uint64_t offset, size_t bytes);

 private:
  struct Free {
    void operator()(uint8_t* p) const { std::free(p); }
  };
  const File& file_;
  std::unique_ptr<uint8_t[], Free> window_;
  size_t capacity_ = 0;
  uint64_t start_ = 0;
  size_t filled_ = 0;
};

struct ScannedRecord {
  wire::LogRecordHeader header;
  uint64_t offset = 0;
};

struct ScanLimits {
  std::optional<EventId> end_id;  // stop before a record with this id: it belongs to the next segment
  bool verify_heads = false;      // check head_crc and the event tables too
};

struct SegmentScan {
  std::vector<ScannedRecord> records;  // valid ones, in order, those without events included
  EventId next_id;                     // one past the last event in `records`
  uint64_t end_offset = kFirstRecordOffset;
  uint32_t chain_crc = 0;  // what the next record must name as its predecessor
  EventId watermark;       // the highest one seen, also in a record whose head is damaged
  bool sealed = false;
};

// The valid records from the start on, up to the first that is not.
Result<SegmentScan> scan_segment(const File& file, const SegmentHeader& segment, const ScanLimits& limits);

// Takes off the records from `first_dropped` on.
void cut_scan(SegmentScan* scan, size_t first_dropped, const SegmentHeader& segment);

// What lies after `offset`: anything but zeros, and the highest watermark of any valid header of this segment.
struct Remains {
  uint64_t last_nonzero_end = 0;  // offset after the last byte that is not zero; 0 when there is none
  EventId watermark;
};
Result<Remains> examine_remains(const File& file, const SegmentHeader& segment, uint64_t offset);

// Whether the data of a record matches the checksums of its event table.
Result<bool> verify_record_data(const File& file, const ScannedRecord& record);

Result<SegmentHeader> read_segment_header(const File& file);
// CORRUPT_DATA when there is none at `offset`.
Result<wire::LogRecordHeader> read_record_header(const File& file, uint64_t offset);

}  // namespace diaspora::log
