#include "partition/catalogue.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "log/file.h"

namespace diaspora::partition {

namespace {

// "DSCT" in file order.
constexpr uint32_t kMagic = 0x54435344;
constexpr uint16_t kVersion = 2;
constexpr uint16_t kOldestVersion = 1;  // is read; knows neither complete topics nor retention
// magic, version, reserved, count, crc
constexpr size_t kHeaderBytes = 16;
// 256 MiB: some ten thousand topics with long configurations.
constexpr uint64_t kCatalogueBytesMax = uint64_t{256} << 20;
constexpr size_t kConfigBytesMax = kControlFrameBytesMax;

std::string path_in(const std::string& directory) { return directory + "/catalogue"; }

void encode_entry(const TopicEntry& entry, ByteWriter* out) {
  out->string(entry.name);
  out->uuid(entry.uuid);
  out->u8(static_cast<uint8_t>(entry.state));
  out->u8(static_cast<uint8_t>(entry.kind));
  out->u8(static_cast<uint8_t>(entry.durability));
  out->u32(entry.partition_count);
  out->u32(static_cast<uint32_t>(entry.placement.size()));
  out->bytes(entry.placement);
  out->string(entry.config);
  out->u64(entry.retention.bytes);
  out->u64(entry.retention.age_ms);
}

bool decode_entry(ByteReader* in, uint16_t version, TopicEntry* entry) {
  entry->name = in->string(kNameBytesMax);
  entry->uuid = in->uuid();
  const uint8_t state = in->u8();
  const uint8_t kind = in->u8();
  const uint8_t durability = in->u8();
  entry->partition_count = in->u32();
  const std::span<const uint8_t> placement = in->bytes(in->u32());
  entry->placement.assign(placement.begin(), placement.end());
  entry->config = in->string(kConfigBytesMax);
  if (version >= 2) {
    entry->retention.bytes = in->u64();
    entry->retention.age_ms = in->u64();
  }
  entry->state = static_cast<TopicState>(state);
  entry->kind = static_cast<PartitionKind>(kind);
  entry->durability = static_cast<Durability>(durability);
  return in->ok() && state <= static_cast<uint8_t>(TopicState::kComplete) &&
         kind <= static_cast<uint8_t>(PartitionKind::kLog) && durability <= static_cast<uint8_t>(Durability::kSync) &&
         entry->retention.age_ms <= kRetentionAgeMsMax;
}

// The checksum covers everything but itself, which lies at bytes 12 to 15.
uint32_t checksum(std::span<const uint8_t> file) {
  return crc32c(file.subspan(kHeaderBytes), crc32c(file.first(kHeaderBytes - 4)));
}

std::vector<uint8_t> encode(const std::vector<TopicEntry>& entries) {
  std::vector<uint8_t> file;
  ByteWriter out(&file);
  out.u32(kMagic);
  out.u16(kVersion);
  out.u16(0);
  out.u32(static_cast<uint32_t>(entries.size()));
  out.u32(0);
  for (const TopicEntry& entry : entries) encode_entry(entry, &out);
  const uint32_t crc = checksum(file);
  std::memcpy(&file[kHeaderBytes - 4], &crc, sizeof(crc));
  return file;
}

Result<std::vector<TopicEntry>> decode(std::span<const uint8_t> file, const std::string& path) {
  const Error damaged{ErrorCode::k_CORRUPT_LOG, "the topic catalogue " + path + " is damaged; restore it from a copy"};
  ByteReader in(file);
  const uint32_t magic = in.u32();
  const uint16_t version = in.u16();
  in.u16();
  const uint32_t count = in.u32();
  const uint32_t crc = in.u32();
  if (!in.ok() || magic != kMagic || crc != checksum(file)) return damaged;
  if (version < kOldestVersion || version > kVersion) {
    return {ErrorCode::k_VERSION_MISMATCH, path + " has format version " + std::to_string(version) +
                                               "; this program reads versions " + std::to_string(kOldestVersion) +
                                               " to " + std::to_string(kVersion)};
  }
  std::vector<TopicEntry> entries;
  for (uint32_t i = 0; i < count; ++i) {
    TopicEntry entry;
    if (!decode_entry(&in, version, &entry)) return damaged;
    entries.push_back(std::move(entry));
  }
  if (!in.finished()) return damaged;
  return entries;
}

}  // namespace

Result<Catalogue> Catalogue::open(log::FileSystem* files, const std::string& directory) {
  Catalogue catalogue(files, directory);
  if (files == nullptr) return catalogue;
  const std::string path = path_in(directory);
  const Result<bool> there = files->exists(path);
  if (!there) return there.status();
  if (!there.value()) return catalogue;
  const Result<std::vector<uint8_t>> file = log::read_whole_file(*files, path, kCatalogueBytesMax);
  if (!file) return file.status();
  Result<std::vector<TopicEntry>> entries = decode(file.value(), path);
  if (!entries) return entries.status();
  catalogue.entries_ = entries.take();
  return catalogue;
}

Status Catalogue::put(const TopicEntry& entry) {
  if (entry.name.size() > kNameBytesMax || entry.config.size() > kConfigBytesMax) {
    return {ErrorCode::k_INVALID_ARGUMENT, "the name or the configuration of a topic is too long"};
  }
  std::vector<TopicEntry> entries = entries_;
  auto place = entries.end();
  for (auto it = entries.begin(); it != entries.end(); ++it) {
    if (it->uuid == entry.uuid) {
      place = it;
    } else if (it->name == entry.name && it->state != TopicState::kDeleting && entry.state != TopicState::kDeleting) {
      return {ErrorCode::k_TOPIC_EXISTS, "topic \"" + entry.name + "\" exists already"};
    }
  }
  if (place == entries.end()) {
    entries.push_back(entry);
  } else {
    *place = entry;
  }
  return replace(std::move(entries));
}

Status Catalogue::remove(const Uuid& uuid) {
  std::vector<TopicEntry> entries = entries_;
  if (std::erase_if(entries, [&](const TopicEntry& entry) { return entry.uuid == uuid; }) == 0) return {};
  return replace(std::move(entries));
}

Status Catalogue::replace(std::vector<TopicEntry> entries) {
  if (files_ != nullptr) {
    const std::vector<uint8_t> file = encode(entries);
    if (file.size() > kCatalogueBytesMax) {
      return {ErrorCode::k_RESOURCE_EXHAUSTED,
              "the topic catalogue is at its bound of " + std::to_string(kCatalogueBytesMax) + " bytes"};
    }
    const Status replaced = log::replace_file(*files_, path_in(directory_), file);
    if (!replaced) return replaced;
  }
  entries_ = std::move(entries);
  return {};
}

}  // namespace diaspora::partition
