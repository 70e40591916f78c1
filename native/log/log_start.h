// Where a log begins once its oldest segments were dropped: a small file that is written before they are removed.
//
// So a crash between two removals is finished by the next start, and a missing segment is damage as ever. The file also
// keeps what duplicate detection needs of producers whose batches are gone. Pure functions over a file system; threads:
// the log's writer, and recovery.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "log/file.h"
#include "log/log_identity.h"
#include "log/segment_index.h"

namespace diaspora::log {

struct LogStart {
  uint64_t segment_number = 1;  // the first that counts
  EventId base_id;              // its first event
  // The newest batch of each producer session that had none in the segments kept, in log order.
  std::vector<ProducerEntry> producers;
};

std::vector<uint8_t> encode_log_start(const Uuid& partition, const LogStart& start);
// CORRUPT_DATA when it is not whole or another partition's, VERSION_MISMATCH.
Result<LogStart> decode_log_start(const Uuid& partition, std::span<const uint8_t> file);

// Segment 1 and id 0 when there is no file. CORRUPT_LOG.
Result<LogStart> load_log_start(FileSystem& files, const LogIdentity& identity);
// Durable when it answers ok.
Status store_log_start(FileSystem& files, const LogIdentity& identity, const LogStart& start);

}  // namespace diaspora::log
