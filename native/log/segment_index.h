// Where each batch of a segment lies, and which producer batches it holds: in memory while the segment grows, in an
// index file beside it once it is sealed.
//
//   index file := 128-byte header | producer entries | record entries       (docs/formats/log.md)
//
// An index is never trusted beyond its checksums and can always be rebuilt from its segment, so it is written without a
// sync. Pure functions and values; any thread.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/ids.h"

namespace diaspora::log {

struct RecordEntry {
  EventId base_id;
  uint64_t offset = 0;      // in the segment, a multiple of kRecordAlignment
  uint32_t body_bytes = 0;  // unpadded
};

// A stored batch as its producer knows it: what duplicate detection needs after a restart.
struct ProducerEntry {
  Uuid session;
  BatchSequence sequence;
  EventId base_id;
  uint32_t event_count = 0;
};

inline constexpr size_t kProducerEntryBytes = 40;
void encode_producer(const ProducerEntry& producer, ByteWriter* out);
ProducerEntry decode_producer(ByteReader* in);

struct SegmentIndex {
  Uuid partition;
  uint64_t segment_number = 0;
  EventId base_id;
  EventId end_id;  // one past its last event that counts
  uint32_t segment_header_crc = 0;
  uint32_t last_event_crc = 0;  // of the newest record header with events up to end_id, in this or an older segment
  std::vector<RecordEntry> records;
  std::vector<ProducerEntry> producers;
};

std::vector<uint8_t> encode_segment_index(const SegmentIndex& index);
// CORRUPT_DATA when any checksum or length does not fit.
Result<SegmentIndex> decode_segment_index(std::span<const uint8_t> file);

// The record that contains `id`; null when none does. Entries ascend by base_id, which is the order of the log.
const RecordEntry* find_record(const std::vector<RecordEntry>& records, EventId id);

// The newest batches of each session, bounded as the partition's own table is.
class ProducerHistory {
 public:
  // As many as SequenceTable keeps: more would not be used.
  static constexpr size_t kBatchesPerSession = 64;
  static constexpr size_t kSessionsMax = 4096;

  void add(const ProducerEntry& entry);
  // In log order.
  std::vector<ProducerEntry> entries() const;
  void clear() { by_session_.clear(); }

 private:
  std::unordered_map<Uuid, std::deque<ProducerEntry>> by_session_;
};

}  // namespace diaspora::log
