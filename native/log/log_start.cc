#include "log/log_start.h"

#include <string>

#include "base/bytes.h"
#include "base/crc32c.h"

namespace diaspora::log {

namespace {

// "DSST" in file order.
constexpr uint32_t kMagic = 0x54535344;
constexpr uint16_t kVersion = 1;
constexpr size_t kCrcBytes = 4;
constexpr uint64_t kFileBytesMax = 1024 + ProducerHistory::kSessionsMax * kProducerEntryBytes;

std::string path_in(const LogIdentity& identity) { return identity.directory + "/start"; }

}  // namespace

std::vector<uint8_t> encode_log_start(const Uuid& partition, const LogStart& start) {
  std::vector<uint8_t> file;
  ByteWriter fields(&file);
  fields.u32(kMagic);
  fields.u16(kVersion);
  fields.u16(0);
  fields.uuid(partition);
  fields.u64(start.segment_number);
  fields.u64(start.base_id.value);
  fields.u32(static_cast<uint32_t>(start.producers.size()));
  for (const ProducerEntry& producer : start.producers) encode_producer(producer, &fields);
  fields.u32(crc32c(file));
  return file;
}

Result<LogStart> decode_log_start(const Uuid& partition, std::span<const uint8_t> file) {
  const Error damaged{ErrorCode::k_CORRUPT_DATA, "not a whole log start"};
  if (file.size() < kCrcBytes) return damaged;
  const std::span<const uint8_t> body = file.first(file.size() - kCrcBytes);
  if (ByteReader(file.last(kCrcBytes)).u32() != crc32c(body)) return damaged;
  ByteReader in(body);
  const uint32_t magic = in.u32();
  const uint16_t version = in.u16();
  in.u16();
  if (!in.ok() || magic != kMagic) return damaged;
  if (version != kVersion) {
    return {ErrorCode::k_VERSION_MISMATCH,
            "format version " + std::to_string(version) + "; this program reads version " + std::to_string(kVersion)};
  }
  const Uuid owner = in.uuid();
  LogStart start;
  start.segment_number = in.u64();
  start.base_id = EventId(in.u64());
  const uint64_t producers = in.u32();
  if (!in.ok() || owner != partition || in.remaining() != producers * kProducerEntryBytes) return damaged;
  for (uint64_t i = 0; i < producers; ++i) start.producers.push_back(decode_producer(&in));
  return start;
}

Result<LogStart> load_log_start(FileSystem& files, const LogIdentity& identity) {
  const std::string path = path_in(identity);
  const Result<bool> there = files.exists(path);
  if (!there) return there.status();
  if (!there.value()) return LogStart{};
  const Result<std::vector<uint8_t>> file = read_whole_file(files, path, kFileBytesMax);
  if (!file) return file.status();
  Result<LogStart> start = decode_log_start(identity.partition, file.value());
  if (start) return start;
  const bool damaged = start.error().code == ErrorCode::k_CORRUPT_DATA;
  return Error{damaged ? ErrorCode::k_CORRUPT_LOG : start.error().code,
               identity.label + ": " + path + ": " + start.error().message};
}

Status store_log_start(FileSystem& files, const LogIdentity& identity, const LogStart& start) {
  return replace_file(files, path_in(identity), encode_log_start(identity.partition, start));
}

}  // namespace diaspora::log
