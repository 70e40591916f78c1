#include "log/segment_reader.h"

#include <algorithm>
#include <string>

#include "base/bytes.h"

namespace diaspora::log {

namespace {

// Records from here on are read past the page cache: synced ones were written past it and are not in it. Below, the
// kernel's reading ahead serves several records with one access.
constexpr size_t kDirectBytesMin = size_t{1} << 20;

// What is wrong with a record that was read, or nothing.
std::string find_damage(const StoredRecord& record, const RecordPlace& place, const LogIdentity& identity) {
  const wire::LogRecordHeader& header = record.header;
  if (header.partition != identity.partition || header.segment_number != place.segment_number ||
      header.base_id != place.record.base_id || header.shape.body_bytes() != place.record.body_bytes) {
    return "another record stands in its place";
  }
  const std::span<const uint8_t> head(record.buffer->data() + wire::kLogRecordHeaderBytes, header.shape.head_bytes());
  const Status valid = wire::validate_head(header.shape, head, header.head_crc);
  return valid.ok() ? "" : valid.error().message;
}

}  // namespace

// A segment whose number was used twice (its first file never held an event that counts) is not read before the second
// one exists, so a file that is open stays the right one.
Result<const File*> SegmentReader::file_of(uint64_t segment_number, Caching caching) {
  if (open_.segment_number != segment_number) open_ = {segment_number, nullptr, nullptr};
  std::unique_ptr<File>& file = caching == Caching::kDirect ? open_.direct : open_.cached;
  if (file == nullptr) {
    const std::string path = identity_.directory + "/" + segment_file_name(segment_number);
    auto opened = files_.open(path, OpenMode::kRead, caching);
    if (!opened) return opened.status();
    file = opened.take();
  }
  return file.get();
}

// A segment that goes while it is looked at may fail in any way.
Result<StoredRecord> SegmentReader::read(EventId id) {
  Result<StoredRecord> record = try_read(id);
  if (record || id >= segments_->first_id()) return record;
  return segments_->find(id).status();
}

Result<EventId> SegmentReader::find_time(int64_t timestamp_ns, EventId end_id) {
  while (true) {
    const EventId first_id = segments_->first_id();
    Result<EventId> found = search_time(timestamp_ns, first_id, end_id);
    // Again when segments went meanwhile.
    if (found || segments_->first_id() == first_id) return found;
  }
}

// Halves the range of ids: all batches before `low` are older, none from `high` on is. Reads one header each time.
Result<EventId> SegmentReader::search_time(int64_t timestamp_ns, EventId first_id, EventId end_id) {
  EventId low = first_id;
  EventId high = std::max(end_id, first_id);
  while (low < high) {
    const Result<wire::LogRecordHeader> header = header_of(EventId(low.value + (high.value - low.value) / 2));
    if (!header) return header.status();
    if (header.value().timestamp_ns < timestamp_ns) {
      low = EventId(header.value().base_id.value + header.value().shape.event_count);
    } else {
      high = header.value().base_id;
    }
  }
  return low;
}

Result<wire::LogRecordHeader> SegmentReader::header_of(EventId id) {
  const Result<RecordPlace> found = segments_->find(id);
  if (!found) return found.status();
  const RecordPlace& place = found.value();
  const Result<const File*> file = file_of(place.segment_number, Caching::kCached);
  if (!file) return file.status();
  Result<wire::LogRecordHeader> header = read_record_header(*file.value(), place.record.offset);
  const bool damaged = header ? header.value().base_id != place.record.base_id || header.value().shape.event_count == 0
                              : header.error().code == ErrorCode::k_CORRUPT_DATA;
  if (!damaged) return header;
  return corrupt_log(identity_, place.segment_number,
                     "the record at offset " + std::to_string(place.record.offset) + " with event " +
                         std::to_string(id.value) + " cannot be used: its header is damaged");
}

void SegmentReader::close_before(uint64_t segment_number) {
  if (open_.segment_number < segment_number) open_ = {};
}

Result<StoredRecord> SegmentReader::try_read(EventId id) {
  const Result<RecordPlace> found = segments_->find(id);
  if (!found) return found.status();
  const RecordPlace& place = found.value();
  const bool is_large = place.record.body_bytes >= kDirectBytesMin;
  const Result<const File*> file = file_of(place.segment_number, is_large ? Caching::kDirect : Caching::kCached);
  if (!file) return file.status();
  const size_t record_bytes = wire::kLogRecordHeaderBytes + place.record.body_bytes;
  Result<BufferRef> buffer = pool_->allocate(record_bytes);
  if (!buffer) return buffer.status();
  StoredRecord record{buffer.take(), {}};
  // With its padding, which a direct read needs and the buffer's pages have room for.
  const std::span<uint8_t> bytes(record.buffer->data(), align_up(record_bytes, kDirectAlignment));
  const Result<size_t> got = file.value()->read(place.record.offset, bytes);
  if (!got) return got.status();
  const auto header = wire::decode_log_record_header(bytes.first(std::min(got.value(), record_bytes)));
  std::string damage = "its header is damaged";
  if (got.value() < record_bytes) {
    damage = "the file ends inside of it";
  } else if (header) {
    record.header = header.value();
    damage = find_damage(record, place, identity_);
  }
  if (damage.empty()) return record;
  return corrupt_log(identity_, place.segment_number,
                     "the record at offset " + std::to_string(place.record.offset) + " with event " +
                         std::to_string(id.value) + " cannot be used: " + damage);
}

}  // namespace diaspora::log
