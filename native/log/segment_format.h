// Segment files: their names, their header, and where records may begin (docs/formats/log.md is the normative text).
//
//   segment := header, zero padded to kRecordAlignment | record*
//   record  := 128-byte header (wire/log_record.h) | body | zero padding to kRecordAlignment
//
// Pure functions, any thread. Records are padded so that they can be written past the page cache straight from a
// buffer, and so that a torn write never touches the sectors of a record that was acknowledged before.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/error.h"
#include "base/ids.h"
#include "wire/log_record.h"

namespace diaspora::log {

inline constexpr uint64_t kRecordAlignment = 4096;
inline constexpr size_t kSegmentHeaderBytes = 128;
// Where the first record begins.
inline constexpr uint64_t kFirstRecordOffset = kRecordAlignment;

// Bytes of a record with a body of this length, padding included.
inline constexpr uint64_t padded_record_bytes(uint64_t body_bytes) {
  return align_up(wire::kLogRecordHeaderBytes + body_bytes, kRecordAlignment);
}

struct SegmentHeader {
  Uuid partition;
  uint64_t number = 0;               // 1, 2, 3, ...
  EventId base_id;                   // of its first event; events from here on in older segments do not count
  uint32_t previous_header_crc = 0;  // of the newest record with events before base_id; 0 for none
  int64_t created_ns = 0;            // wall clock
  uint32_t header_crc = 0;           // set by decode; encode computes it
};

uint32_t encode_segment_header(const SegmentHeader& header, std::span<uint8_t, kSegmentHeaderBytes> out);
// CORRUPT_DATA, or VERSION_MISMATCH for a whole header of another version.
Result<SegmentHeader> decode_segment_header(std::span<const uint8_t> bytes);

// 16 hexadecimal digits and a suffix, so that names sort by number.
std::string segment_file_name(uint64_t number);
std::string index_file_name(uint64_t number);
// 0 when it is not the name of a segment, or of an index.
uint64_t parse_segment_file_name(const std::string& name);
uint64_t parse_index_file_name(const std::string& name);

}  // namespace diaspora::log
