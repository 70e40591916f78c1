#include "wire/batch_body.h"

#include <cstring>

#include "base/compression.h"
#include "base/crc32c.h"
#include "base/limits.h"

namespace diaspora::wire {

namespace {

constexpr uint32_t kCompressedBit = uint32_t{1} << 31;

}  // namespace

uint32_t encode_count(const BodyShape& shape) { return shape.event_count | (shape.compressed ? kCompressedBit : 0); }

void decode_count(uint32_t word, BodyShape* shape) {
  shape->event_count = word & ~kCompressedBit;
  shape->compressed = (word & kCompressedBit) != 0;
}

void encode_event_entry(const EventEntry& entry, uint8_t* out) {
  std::memcpy(out, &entry.metadata_end, 4);
  std::memcpy(out + 4, &entry.data_crc, 4);
  std::memcpy(out + 8, &entry.data_end, 8);
}

EventEntry decode_event_entry(const uint8_t* from) {
  EventEntry entry;
  std::memcpy(&entry.metadata_end, from, 4);
  std::memcpy(&entry.data_crc, from + 4, 4);
  std::memcpy(&entry.data_end, from + 8, 8);
  return entry;
}

Status validate_shape(const BodyShape& shape) {
  if (shape.event_count == 0 || shape.event_count > kBatchEventsMax) {
    return {ErrorCode::k_PROTOCOL, "a batch has " + std::to_string(shape.event_count) + " events; 1 to " +
                                       std::to_string(kBatchEventsMax) + " are allowed"};
  }
  // data_bytes first: body_bytes() must not wrap around.
  if (shape.data_bytes > kBatchBytesMax || shape.body_bytes() > kBatchBytesMax) {
    return {ErrorCode::k_EVENT_TOO_LARGE, "a batch exceeds " + std::to_string(kBatchBytesMax) + " bytes"};
  }
  return {};
}

Status validate_head(const BodyShape& shape, std::span<const uint8_t> head, uint32_t head_crc) {
  if (head.size() != shape.head_bytes()) return {ErrorCode::k_PROTOCOL, "a batch head has the wrong length"};
  if (crc32c(head) != head_crc) return {ErrorCode::k_CORRUPT_DATA, "the checksum of a batch's metadata does not match"};
  EventEntry previous;
  for (uint32_t i = 0; i < shape.event_count; ++i) {
    const EventEntry entry = decode_event_entry(head.data() + size_t{i} * kEventEntryBytes);
    if (entry.metadata_end < previous.metadata_end || entry.data_end < previous.data_end) {
      return {ErrorCode::k_PROTOCOL, "the event table of a batch is not in order"};
    }
    if (entry.metadata_end - previous.metadata_end > kEventMetadataBytesMax) {
      return {ErrorCode::k_EVENT_TOO_LARGE, "the metadata of an event exceeds the limit"};
    }
    previous = entry;
  }
  const bool metadata_fits = shape.compressed ? previous.metadata_end > shape.metadata_bytes &&
                                                    previous.metadata_end <= kExpandedMetadataBytesMax
                                              : previous.metadata_end == shape.metadata_bytes;
  if (!metadata_fits || previous.data_end != shape.data_bytes) {
    return {ErrorCode::k_PROTOCOL, "the event table of a batch does not match its lengths"};
  }
  return {};
}

uint32_t expanded_metadata_bytes(const BodyShape& shape, std::span<const uint8_t> head) {
  return decode_event_entry(head.data() + shape.table_bytes() - kEventEntryBytes).metadata_end;
}

Status expand_head(const BodyShape& shape, std::span<const uint8_t> head, std::span<uint8_t> out) {
  const uint64_t table = shape.table_bytes();
  DIASPORA_CHECK(out.size() == table + expanded_metadata_bytes(shape, head));
  std::memcpy(out.data(), head.data(), table);
  return decompress(head.subspan(table), out.subspan(table));
}

EventExtent event_extent(std::span<const uint8_t> head, uint32_t index) {
  EventEntry previous;
  if (index > 0) previous = decode_event_entry(head.data() + size_t{index - 1} * kEventEntryBytes);
  const EventEntry entry = decode_event_entry(head.data() + size_t{index} * kEventEntryBytes);
  EventExtent extent;
  extent.metadata_offset = previous.metadata_end;
  extent.metadata_bytes = entry.metadata_end - previous.metadata_end;
  extent.data_offset = previous.data_end;
  extent.data_bytes = entry.data_end - previous.data_end;
  extent.data_crc = entry.data_crc;
  return extent;
}

}  // namespace diaspora::wire
