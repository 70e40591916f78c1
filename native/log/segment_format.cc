#include "log/segment_format.h"

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/crc32c.h"

namespace diaspora::log {

namespace {

// "DSSG" in file order.
constexpr uint32_t kMagic = 0x47535344;
constexpr uint16_t kVersion = 1;
constexpr size_t kCrcOffset = kSegmentHeaderBytes - 4;
constexpr size_t kNameDigits = 16;
constexpr char kSegmentSuffix[] = ".seg";
constexpr char kIndexSuffix[] = ".idx";

std::string name_of(uint64_t number, const char* suffix) {
  char digits[kNameDigits + 1];
  std::snprintf(digits, sizeof(digits), "%016" PRIx64, number);
  return std::string(digits) + suffix;
}

uint64_t number_in(const std::string& name, std::string_view suffix) {
  if (name.size() != kNameDigits + suffix.size() || !name.ends_with(suffix)) return 0;
  uint64_t number = 0;
  for (size_t i = 0; i < kNameDigits; ++i) {
    const char c = name[i];
    const bool digit = c >= '0' && c <= '9';
    if (!digit && (c < 'a' || c > 'f')) return 0;
    number = number * 16 + static_cast<uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  return number;
}

}  // namespace

uint32_t encode_segment_header(const SegmentHeader& header, std::span<uint8_t, kSegmentHeaderBytes> out) {
  std::vector<uint8_t> bytes;
  bytes.reserve(kSegmentHeaderBytes);
  ByteWriter fields(&bytes);
  fields.u32(kMagic);
  fields.u16(kVersion);
  fields.u16(kSegmentHeaderBytes);
  fields.u32(kRecordAlignment);
  fields.u32(header.previous_header_crc);
  fields.uuid(header.partition);
  fields.u64(header.number);
  fields.u64(header.base_id.value);
  fields.u64(static_cast<uint64_t>(header.created_ns));
  bytes.resize(kCrcOffset);
  const uint32_t crc = crc32c(bytes);
  fields.u32(crc);
  DIASPORA_CHECK(bytes.size() == out.size());
  std::memcpy(out.data(), bytes.data(), out.size());
  return crc;
}

Result<SegmentHeader> decode_segment_header(std::span<const uint8_t> bytes) {
  const Error damaged{ErrorCode::k_CORRUPT_DATA, "not a whole segment header"};
  if (bytes.size() < kSegmentHeaderBytes) return damaged;
  ByteReader in(bytes.first(kSegmentHeaderBytes));
  const uint32_t magic = in.u32();
  const uint16_t version = in.u16();
  const uint16_t header_bytes = in.u16();
  const uint32_t alignment = in.u32();
  SegmentHeader header;
  header.previous_header_crc = in.u32();
  header.partition = in.uuid();
  header.number = in.u64();
  header.base_id = EventId(in.u64());
  header.created_ns = static_cast<int64_t>(in.u64());
  in.bytes(in.remaining() - 4);
  header.header_crc = in.u32();
  if (magic != kMagic || header.header_crc != crc32c(bytes.first(kCrcOffset))) return damaged;
  if (version != kVersion || header_bytes != kSegmentHeaderBytes || alignment != kRecordAlignment) {
    return {ErrorCode::k_VERSION_MISMATCH, "a log segment has format version " + std::to_string(version) +
                                               " with alignment " + std::to_string(alignment) +
                                               "; this program reads version " + std::to_string(kVersion) +
                                               " with alignment " + std::to_string(kRecordAlignment)};
  }
  return header;
}

std::string segment_file_name(uint64_t number) { return name_of(number, kSegmentSuffix); }

std::string index_file_name(uint64_t number) { return name_of(number, kIndexSuffix); }

uint64_t parse_segment_file_name(const std::string& name) { return number_in(name, kSegmentSuffix); }

uint64_t parse_index_file_name(const std::string& name) { return number_in(name, kIndexSuffix); }

}  // namespace diaspora::log
