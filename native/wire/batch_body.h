// The body of a batch: one byte layout in the producer's memory, on the wire, in the log and at the consumer.
//
//   body      := head | zero padding to a multiple of 64 | data
//   head      := table | metadata
//   table     := count entries of 16 bytes:
//                  u32 metadata_end   end of this event's metadata, bytes from the start of `metadata`
//                  u32 data_crc       CRC-32C of this event's data (all segments, in order); 0 when it has none
//                  u64 data_end       end of this event's data, bytes from the start of `data`
//   metadata  := the serialized metadata of the events, one after the other; where the batch is compressed, one zstd
//                frame of it: metadata_end counts the bytes that it gives
//   data      := the data of the events, one after the other
//
// Ends never decrease; the last entry's ends are the total lengths. Little endian. head_crc, carried in the message and
// in the log record's header, is the CRC-32C of `head`; as the table holds the checksums of the data, it covers both.
#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/error.h"

namespace diaspora::wire {

inline constexpr size_t kEventEntryBytes = 16;
inline constexpr size_t kDataAlignment = 64;

struct EventEntry {
  uint32_t metadata_end = 0;
  uint32_t data_crc = 0;
  uint64_t data_end = 0;
};

// The lengths of a body, from which every offset follows.
struct BodyShape {
  uint32_t event_count = 0;
  uint32_t metadata_bytes = 0;
  uint64_t data_bytes = 0;
  bool compressed = false;  // metadata_bytes is the length of the frame

  uint64_t table_bytes() const { return uint64_t{event_count} * kEventEntryBytes; }
  uint64_t head_bytes() const { return table_bytes() + metadata_bytes; }
  uint64_t data_offset() const { return align_up(head_bytes(), kDataAlignment); }
  uint64_t body_bytes() const { return data_bytes == 0 ? head_bytes() : data_offset() + data_bytes; }
};

// Count and flag in one word, as every format has them.
uint32_t encode_count(const BodyShape& shape);
void decode_count(uint32_t word, BodyShape* shape);

void encode_event_entry(const EventEntry& entry, uint8_t* out);
EventEntry decode_event_entry(const uint8_t* from);

// Within the limits of base/limits.h.
Status validate_shape(const BodyShape& shape);

// `head` is shape.head_bytes() long: checks head_crc, that the ends never decrease, and that the last ones are the
// totals. After ok every entry may be trusted.
Status validate_head(const BodyShape& shape, std::span<const uint8_t> head, uint32_t head_crc);

// What the metadata of a valid head is, or gives when it is compressed.
uint32_t expanded_metadata_bytes(const BodyShape& shape, std::span<const uint8_t> head);
// Table and metadata of a valid, compressed head. CORRUPT_DATA, COMPRESSION_MISSING.
Status expand_head(const BodyShape& shape, std::span<const uint8_t> head, std::span<uint8_t> out);

// Where event `index` lies, in a compressed head before that; the head must be valid.
struct EventExtent {
  uint32_t metadata_offset = 0;  // from the start of `metadata`
  uint32_t metadata_bytes = 0;
  uint64_t data_offset = 0;  // from the start of `data`
  uint64_t data_bytes = 0;
  uint32_t data_crc = 0;
};
EventExtent event_extent(std::span<const uint8_t> head, uint32_t index);

}  // namespace diaspora::wire
