#include "wire/log_record.h"

#include <cstring>
#include <string>

#include "base/bytes.h"
#include "base/crc32c.h"

namespace diaspora::wire {

namespace {

constexpr size_t kCrcOffset = kLogRecordHeaderBytes - 4;
constexpr size_t kReservedBytes = 12;

// Writes fields one after the other into a fixed place.
class FieldWriter {
 public:
  explicit FieldWriter(uint8_t* at) : at_(at) {}

  template <typename T>
  void put(T value) {
    std::memcpy(at_, &value, sizeof(T));
    at_ += sizeof(T);
  }
  void put(const Uuid& id) {
    std::memcpy(at_, id.bytes.data(), id.bytes.size());
    at_ += id.bytes.size();
  }

 private:
  uint8_t* at_;
};

Error damaged() { return {ErrorCode::k_CORRUPT_DATA, "not a whole log record header"}; }

}  // namespace

uint32_t encode_log_record_header(const LogRecordHeader& header, std::span<uint8_t, kLogRecordHeaderBytes> out) {
  std::memset(out.data(), 0, out.size());
  FieldWriter fields(out.data());
  fields.put(kLogRecordMagic);
  fields.put(header.shape.compressed ? kCompressedRecordVersion : kLogRecordVersion);
  fields.put(static_cast<uint16_t>(kLogRecordHeaderBytes));
  fields.put(header.flags);
  fields.put(static_cast<uint32_t>(header.shape.body_bytes()));
  fields.put(header.base_id.value);
  fields.put(encode_count(header.shape));
  fields.put(header.shape.metadata_bytes);
  fields.put(header.shape.data_bytes);
  fields.put(header.partition);
  fields.put(header.segment_number);
  fields.put(header.producer_session);
  fields.put(header.producer_sequence.value);
  fields.put(header.timestamp_ns);
  fields.put(header.durable_watermark.value);
  fields.put(header.head_crc);
  fields.put(header.previous_header_crc);
  const uint32_t crc = crc32c(out.first<kCrcOffset>());
  std::memcpy(&out[kCrcOffset], &crc, sizeof(crc));
  return crc;
}

bool has_log_record_magic(std::span<const uint8_t> bytes) {
  uint32_t magic = 0;
  if (bytes.size() < sizeof(magic)) return false;
  std::memcpy(&magic, bytes.data(), sizeof(magic));
  return magic == kLogRecordMagic;
}

Result<LogRecordHeader> decode_log_record_header(std::span<const uint8_t> bytes) {
  if (bytes.size() < kLogRecordHeaderBytes || !has_log_record_magic(bytes)) return damaged();
  ByteReader in(bytes.first(kLogRecordHeaderBytes));
  in.u32();
  const uint16_t version = in.u16();
  const uint16_t header_bytes = in.u16();
  LogRecordHeader header;
  header.flags = in.u32();
  const uint32_t body_bytes = in.u32();
  header.base_id = EventId(in.u64());
  decode_count(in.u32(), &header.shape);
  header.shape.metadata_bytes = in.u32();
  header.shape.data_bytes = in.u64();
  header.partition = in.uuid();
  header.segment_number = in.u64();
  header.producer_session = in.uuid();
  header.producer_sequence = BatchSequence(in.u64());
  header.timestamp_ns = static_cast<int64_t>(in.u64());
  header.durable_watermark = EventId(in.u64());
  header.head_crc = in.u32();
  header.previous_header_crc = in.u32();
  in.bytes(kReservedBytes);
  header.header_crc = in.u32();
  DIASPORA_CHECK(in.finished());
  if (header.header_crc != crc32c(bytes.first(kCrcOffset))) return damaged();
  const bool known = version == kLogRecordVersion || version == kCompressedRecordVersion;
  if (!known || header_bytes != kLogRecordHeaderBytes) {
    return {ErrorCode::k_VERSION_MISMATCH, "a log record has format version " + std::to_string(version) +
                                               "; this program reads versions " + std::to_string(kLogRecordVersion) +
                                               " and " + std::to_string(kCompressedRecordVersion)};
  }
  if (header.shape.compressed != (version == kCompressedRecordVersion)) return damaged();
  const bool empty = header.shape.event_count == 0;
  if (empty &&
      (header.shape.compressed || header.shape.metadata_bytes != 0 || header.shape.data_bytes != 0 || body_bytes != 0))
    return damaged();
  if (!empty && (!validate_shape(header.shape) || body_bytes != header.shape.body_bytes())) return damaged();
  return header;
}

}  // namespace diaspora::wire
