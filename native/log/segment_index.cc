#include "log/segment_index.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "log/segment_format.h"

namespace diaspora::log {

namespace {

// "DSIX" in file order.
constexpr uint32_t kMagic = 0x58495344;
constexpr uint16_t kVersion = 1;
constexpr size_t kHeaderBytes = 128;
constexpr size_t kHeaderCrcOffset = kHeaderBytes - 4;
constexpr size_t kRecordEntryBytes = 16;

void encode_header(const SegmentIndex& index, uint32_t entries_crc, std::vector<uint8_t>* out) {
  ByteWriter fields(out);
  fields.u32(kMagic);
  fields.u16(kVersion);
  fields.u16(kHeaderBytes);
  fields.uuid(index.partition);
  fields.u64(index.segment_number);
  fields.u64(index.base_id.value);
  fields.u64(index.end_id.value);
  fields.u32(index.segment_header_crc);
  fields.u32(index.last_event_crc);
  fields.u32(static_cast<uint32_t>(index.producers.size()));
  fields.u32(static_cast<uint32_t>(index.records.size()));
  fields.u32(entries_crc);
  out->resize(kHeaderCrcOffset);
  fields.u32(crc32c(*out));
}

}  // namespace

void encode_producer(const ProducerEntry& producer, ByteWriter* out) {
  out->uuid(producer.session);
  out->u64(producer.sequence.value);
  out->u64(producer.base_id.value);
  out->u32(producer.event_count);
  out->u32(0);
}

ProducerEntry decode_producer(ByteReader* in) {
  ProducerEntry producer;
  producer.session = in->uuid();
  producer.sequence = BatchSequence(in->u64());
  producer.base_id = EventId(in->u64());
  producer.event_count = in->u32();
  in->u32();
  return producer;
}

std::vector<uint8_t> encode_segment_index(const SegmentIndex& index) {
  std::vector<uint8_t> entries;
  entries.reserve(index.producers.size() * kProducerEntryBytes + index.records.size() * kRecordEntryBytes);
  ByteWriter fields(&entries);
  for (const ProducerEntry& producer : index.producers) encode_producer(producer, &fields);
  for (const RecordEntry& record : index.records) {
    fields.u64(record.base_id.value);
    fields.u32(static_cast<uint32_t>(record.offset / kRecordAlignment));
    fields.u32(record.body_bytes);
  }
  std::vector<uint8_t> file;
  encode_header(index, crc32c(entries), &file);
  file.insert(file.end(), entries.begin(), entries.end());
  return file;
}

Result<SegmentIndex> decode_segment_index(std::span<const uint8_t> file) {
  const Error damaged{ErrorCode::k_CORRUPT_DATA, "not a whole segment index"};
  if (file.size() < kHeaderBytes) return damaged;
  ByteReader header(file.first(kHeaderBytes));
  const uint32_t magic = header.u32();
  const uint16_t version = header.u16();
  header.u16();
  SegmentIndex index;
  index.partition = header.uuid();
  index.segment_number = header.u64();
  index.base_id = EventId(header.u64());
  index.end_id = EventId(header.u64());
  index.segment_header_crc = header.u32();
  index.last_event_crc = header.u32();
  const uint64_t producers = header.u32();
  const uint64_t records = header.u32();
  const uint32_t entries_crc = header.u32();
  header.bytes(header.remaining() - 4);
  if (header.u32() != crc32c(file.first(kHeaderCrcOffset)) || magic != kMagic || version != kVersion) return damaged;
  const std::span<const uint8_t> entries = file.subspan(kHeaderBytes);
  if (entries.size() != producers * kProducerEntryBytes + records * kRecordEntryBytes) return damaged;
  if (crc32c(entries) != entries_crc) return damaged;

  ByteReader in(entries);
  index.producers.reserve(producers);
  for (uint64_t i = 0; i < producers; ++i) index.producers.push_back(decode_producer(&in));
  index.records.reserve(records);
  for (uint64_t i = 0; i < records; ++i) {
    RecordEntry record;
    record.base_id = EventId(in.u64());
    record.offset = in.u32() * kRecordAlignment;
    record.body_bytes = in.u32();
    index.records.push_back(record);
  }
  DIASPORA_CHECK(in.finished());
  return index;
}

const RecordEntry* find_record(const std::vector<RecordEntry>& records, EventId id) {
  const auto after = std::upper_bound(records.begin(), records.end(), id,
                                      [](EventId wanted, const RecordEntry& entry) { return wanted < entry.base_id; });
  return after == records.begin() ? nullptr : &*std::prev(after);
}

void ProducerHistory::add(const ProducerEntry& entry) {
  if (entry.session.is_nil()) return;
  if (by_session_.size() >= kSessionsMax && !by_session_.contains(entry.session)) {
    const auto oldest = std::min_element(by_session_.begin(), by_session_.end(), [](const auto& a, const auto& b) {
      return a.second.back().base_id < b.second.back().base_id;
    });
    by_session_.erase(oldest);
  }
  std::deque<ProducerEntry>& batches = by_session_[entry.session];
  batches.push_back(entry);
  if (batches.size() > kBatchesPerSession) batches.pop_front();
}

std::vector<ProducerEntry> ProducerHistory::entries() const {
  std::vector<ProducerEntry> all;
  for (const auto& [session, batches] : by_session_) all.insert(all.end(), batches.begin(), batches.end());
  std::sort(all.begin(), all.end(),
            [](const ProducerEntry& a, const ProducerEntry& b) { return a.base_id < b.base_id; });
  return all;
}

}  // namespace diaspora::log
