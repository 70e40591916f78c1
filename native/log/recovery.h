// Opening the log of one partition after a clean stop, a kill or a power cut.
//
// Older segments are known by their headers and indexes alone; only the last one is read in full, so the time depends
// on the segment size and not on the history. Rules:
// - Nothing is believed that stands only in the page cache: the last segment is synced, then read past the cache.
// - Let x be the first id whose record is not whole, W the highest watermark found anywhere in the segment. x >= W: the
//   record was never acknowledged as synced; it and all after it are cut and counted. x < W: CORRUPT_LOG, nothing is
//   cut.
// - A missing segment, a segment that is not this partition's, or a break in the chain of checksums is CORRUPT_LOG.
// - What lies before the log's start (log_start.h) was dropped, and is removed.
// Threads: the caller's, before the log is in use. Running it again after a crash at any point gives the same result.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "log/file.h"
#include "log/log_identity.h"
#include "log/log_start.h"
#include "log/segment_format.h"
#include "log/segment_index.h"
#include "log/segment_scan.h"

namespace diaspora::log {

struct SegmentSummary {
  uint64_t number = 0;
  EventId base_id;
};

struct RecoveredLog {
  std::vector<SegmentSummary> segments;  // ascending; empty for a new log
  SegmentHeader last_header;             // of the last segment; meaningless without segments
  uint64_t end_offset = 0;               // where its next record goes
  uint64_t file_bytes = 0;
  uint32_t chain_crc = 0;
  uint32_t last_event_crc = 0;  // of the newest record header with events, in whichever segment
  EventId watermark;            // the highest one on disk
  EventId first_id;
  EventId next_id;
  int64_t began_ns = 0;   // when the first batch of the last segment was stored; 0: it has none
  int64_t newest_ns = 0;  // no batch was stored later
  std::vector<RecordEntry> last_records;
  std::vector<ProducerEntry> producers;  // of the newest segments, in log order
  uint64_t batches = 0;                  // in the segments whose index or records were read
  uint64_t torn_bytes = 0;
  std::string detail;  // about the cut
};

// Indexes read for producer histories and batch counts: the newest 256, which is 64 GiB of default segments.
inline constexpr size_t kIndexesReadMax = 256;

Result<RecoveredLog> recover_log(FileSystem& files, const LogIdentity& identity);

// The index of a sealed segment: from its file where that is whole and fits, else rebuilt from the segment and written
// again. `end_id` is the base id of the next segment. CORRUPT_LOG when the segment does not reach it.
Result<SegmentIndex> load_segment_index(FileSystem& files, const LogIdentity& identity, uint64_t number,
                                        EventId end_id);

// Makes an index of scanned records; `older_event_crc` is used when there are none with events.
SegmentIndex make_segment_index(const SegmentHeader& segment, const std::vector<ScannedRecord>& records, EventId end_id,
                                uint32_t older_event_crc);

Error corrupt_log(const LogIdentity& identity, uint64_t segment_number, const std::string& what);

}  // namespace diaspora::log
