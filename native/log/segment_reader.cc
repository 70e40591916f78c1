#include "log/segment_reader.h"

#include <string>

namespace diaspora::log {

namespace {

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
Result<const File*> SegmentReader::file_of(uint64_t segment_number) {
  if (file_ == nullptr || file_number_ != segment_number) {
    Result<std::unique_ptr<File>> opened =
        files_.open(identity_.directory + "/" + segment_file_name(segment_number), OpenMode::kRead, Caching::kCached);
    if (!opened) return opened.status();
    file_ = opened.take();
    file_number_ = segment_number;
  }
  return file_.get();
}

Result<StoredRecord> SegmentReader::read(EventId id) {
  const Result<RecordPlace> found = segments_->find(id);
  if (!found) return found.status();
  const RecordPlace& place = found.value();
  const Result<const File*> file = file_of(place.segment_number);
  if (!file) return file.status();
  const size_t record_bytes = wire::kLogRecordHeaderBytes + place.record.body_bytes;
  Result<BufferRef> buffer = pool_->allocate(record_bytes);
  if (!buffer) return buffer.status();
  StoredRecord record{buffer.take(), {}};
  const std::span<uint8_t> bytes(record.buffer->data(), record_bytes);
  const Result<size_t> got = file.value()->read(place.record.offset, bytes);
  if (!got) return got.status();
  const Result<wire::LogRecordHeader> header = wire::decode_log_record_header(bytes.first(got.value()));
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
