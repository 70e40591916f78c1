// The header of a log record: 128 bytes in front of a batch body on disk (docs/formats/log.md is the normative text).
//
//   offset size field
//        0    4 magic                 "DSLR"
//        4    2 version               1
//        6    2 header_bytes          128
//        8    4 flags                 kSealed, or 0
//       12    4 body_bytes            unpadded length of the body that follows
//       16    8 base_id               id of the first event; of the next one when the record has none
//       24    4 event_count           0 in a watermark or seal record
//       28    4 metadata_bytes
//       32    8 data_bytes
//       40   16 partition             uuid of the log it belongs to
//       56    8 segment_number
//       64   16 producer_session
//       80    8 producer_sequence
//       88    8 timestamp_ns          wall clock at append, signed
//       96    8 durable_watermark     all events below this id were synced when the header was built
//      104    4 head_crc              of the body's head, which holds the checksums of the data
//      108    4 previous_header_crc   of the record before it, or of the segment's header: a chain
//      112   12 zero
//      124    4 header_crc            of the 124 bytes before it
//
// Pure functions, any thread. Little endian, encoded field by field.
#pragma once

#include <cstdint>
#include <span>

#include "base/error.h"
#include "base/ids.h"
#include "wire/batch_body.h"

namespace diaspora::wire {

inline constexpr size_t kLogRecordHeaderBytes = 128;
inline constexpr uint32_t kLogRecordMagic = 0x524C5344;
inline constexpr uint16_t kLogRecordVersion = 1;
inline constexpr uint16_t kCompressedRecordVersion = 2;  // of records whose metadata is compressed
// The last record of a full segment: a successor exists.
inline constexpr uint32_t kLogRecordSealed = 1;

struct LogRecordHeader {
  uint32_t flags = 0;
  EventId base_id;
  BodyShape shape;  // event_count 0: nothing follows the header
  Uuid partition;
  uint64_t segment_number = 0;
  Uuid producer_session;
  BatchSequence producer_sequence;
  int64_t timestamp_ns = 0;
  EventId durable_watermark;
  uint32_t head_crc = 0;
  uint32_t previous_header_crc = 0;
  uint32_t header_crc = 0;  // set by decode; encode computes it
};

// Gives the header's checksum.
uint32_t encode_log_record_header(const LogRecordHeader& header, std::span<uint8_t, kLogRecordHeaderBytes> out);

// True when the bytes begin like a header: a cheap test before decode_log_record_header.
bool has_log_record_magic(std::span<const uint8_t> bytes);

// CORRUPT_DATA when it is not a whole header, VERSION_MISMATCH for a whole one of another version. After ok the lengths
// agree with each other and are within the limits of base/limits.h.
Result<LogRecordHeader> decode_log_record_header(std::span<const uint8_t> bytes);

}  // namespace diaspora::wire
