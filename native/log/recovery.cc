#include "log/recovery.h"

#include <algorithm>
#include <utility>

namespace diaspora::log {

namespace {

// 1 GiB: an index has 16 bytes a record of at least 4 KiB, and a segment is far below 256 GiB.
constexpr uint64_t kIndexFileBytesMax = uint64_t{1} << 30;

std::string segment_path(const LogIdentity& identity, uint64_t number) {
  return identity.directory + "/" + segment_file_name(number);
}

std::string id_text(EventId id) { return std::to_string(id.value); }

// The numbers of the segments from the log's start on, after removing what a crash left half made or half dropped.
Result<std::vector<uint64_t>> list_segments(FileSystem& files, const LogIdentity& identity, uint64_t first) {
  const Result<std::vector<std::string>> names = files.list(identity.directory);
  if (!names) return names.status();
  std::vector<uint64_t> numbers;
  for (const std::string& name : names.value()) {
    const uint64_t number = parse_segment_file_name(name);
    const uint64_t owner = std::max(number, parse_index_file_name(name));
    if (name.ends_with(kTemporarySuffix) || (owner > 0 && owner < first)) {
      const Status removed = files.remove_file(identity.directory + "/" + name);
      if (!removed) return removed;
    } else if (number > 0) {
      numbers.push_back(number);
    }
  }
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (numbers[i] != first + i) return corrupt_log(identity, first + i, "the segment file is missing");
  }
  if (numbers.empty() && first > 1) return corrupt_log(identity, first, "the segment file is missing");
  return numbers;
}

Result<SegmentHeader> check_segment_header(const File& file, const LogIdentity& identity, uint64_t number) {
  Result<SegmentHeader> header = read_segment_header(file);
  if (!header && header.error().code == ErrorCode::k_CORRUPT_DATA) {
    return corrupt_log(identity, number, "the segment header is damaged");
  }
  if (!header) return header;
  if (header.value().partition != identity.partition || header.value().number != number) {
    return corrupt_log(identity, number, "the file belongs to another log or was renamed");
  }
  return header;
}

Result<SegmentHeader> open_segment_header(FileSystem& files, const LogIdentity& identity, uint64_t number) {
  const Result<std::unique_ptr<File>> file =
      files.open(segment_path(identity, number), OpenMode::kRead, Caching::kCached);
  if (!file) return file.status();
  return check_segment_header(*file.value(), identity, number);
}

// The sealed segments: their headers must follow each other, and join the indexes where these were read.
Status recover_sealed(FileSystem& files, const LogIdentity& identity, const std::vector<SegmentHeader>& headers,
                      RecoveredLog* log) {
  for (size_t i = 0; i + 1 < headers.size(); ++i) {
    const SegmentHeader& next = headers[i + 1];
    if (next.base_id < headers[i].base_id) return corrupt_log(identity, next.number, "its first id is too low");
    if (headers.size() - i > kIndexesReadMax) continue;
    const Result<SegmentIndex> index = load_segment_index(files, identity, headers[i].number, next.base_id);
    if (!index) return index.status();
    if (index.value().last_event_crc != next.previous_header_crc) {
      return corrupt_log(identity, next.number, "it does not continue the segment before it");
    }
    log->batches += index.value().records.size();
    const auto& producers = index.value().producers;
    log->producers.insert(log->producers.end(), producers.begin(), producers.end());
  }
  return {};
}

// Data of records above the watermark may be torn although their heads are whole; what is below was synced.
Status cut_torn_data(const File& file, const SegmentHeader& segment, EventId watermark, SegmentScan* scan) {
  for (size_t i = 0; i < scan->records.size(); ++i) {
    const wire::LogRecordHeader& header = scan->records[i].header;
    if (header.base_id.value + header.shape.event_count <= watermark.value) continue;
    const Result<bool> whole = verify_record_data(file, scan->records[i]);
    if (!whole) return whole.status();
    if (whole.value()) continue;
    cut_scan(scan, i, segment);
    return {};
  }
  return {};
}

struct LastSegment {
  SegmentScan scan;
  Remains remains;
};

Result<LastSegment> examine_last(const File& file, const LogIdentity& identity, const SegmentHeader& segment) {
  Result<SegmentScan> scanned = scan_segment(file, segment, {std::nullopt, true});
  if (!scanned) return scanned.status();
  LastSegment last{scanned.take(), {}};
  Result<Remains> remains = examine_remains(file, segment, last.scan.end_offset);
  if (!remains) return remains.status();
  const EventId watermark = std::max(last.scan.watermark, remains.value().watermark);
  if (last.scan.next_id < watermark) {
    return corrupt_log(identity, segment.number,
                       "the record at offset " + std::to_string(last.scan.end_offset) +
                           " is damaged; of the acknowledged events, ids " + id_text(last.scan.next_id) + " to " +
                           id_text(EventId(watermark.value - 1)) + " cannot be read from it");
  }
  if (last.scan.sealed) return corrupt_log(identity, segment.number + 1, "the segment file is missing");
  const uint64_t scanned_end = last.scan.end_offset;
  const Status cut = cut_torn_data(file, segment, watermark, &last.scan);
  if (!cut) return cut;
  last.scan.watermark = watermark;
  last.remains = remains.value();
  if (last.scan.end_offset < scanned_end) {
    last.remains.last_nonzero_end = std::max(last.remains.last_nonzero_end, scanned_end);
  }
  return last;
}

Status recover_last(FileSystem& files, const LogIdentity& identity, RecoveredLog* log) {
  const SegmentHeader& segment = log->last_header;
  const std::string path = segment_path(identity, segment.number);
  const Result<std::unique_ptr<File>> file = files.open(path, OpenMode::kReadWrite, Caching::kDirect);
  if (!file) return file.status();
  const Status synced = file.value()->sync_data();
  if (!synced) return synced;
  const Result<LastSegment> last = examine_last(*file.value(), identity, segment);
  if (!last) return last.status();
  const SegmentScan& scan = last.value().scan;
  const Result<uint64_t> size = file.value()->size();
  if (!size) return size.status();
  log->file_bytes = size.value();
  if (last.value().remains.last_nonzero_end > scan.end_offset || log->file_bytes < scan.end_offset) {
    if (last.value().remains.last_nonzero_end > scan.end_offset) {
      log->torn_bytes = last.value().remains.last_nonzero_end - scan.end_offset;
      log->detail = identity.label + ": segment " + path + " cut at offset " + std::to_string(scan.end_offset) + ", " +
                    std::to_string(log->torn_bytes) + " bytes of unacknowledged batches from id " +
                    id_text(scan.next_id) + " on dropped";
    }
    const Status cut = file.value()->truncate(scan.end_offset);
    if (!cut) return cut;
    const Status cut_synced = file.value()->sync_data();
    if (!cut_synced) return cut_synced;
    log->file_bytes = scan.end_offset;
  }
  const SegmentIndex index = make_segment_index(segment, scan.records, scan.next_id, segment.previous_header_crc);
  log->end_offset = scan.end_offset;
  log->chain_crc = scan.chain_crc;
  log->last_event_crc = index.last_event_crc;
  log->watermark = scan.watermark;
  log->next_id = scan.next_id;
  log->newest_ns = segment.created_ns;
  for (const ScannedRecord& record : scan.records) {
    if (record.header.shape.event_count == 0) continue;
    if (log->began_ns == 0) log->began_ns = record.header.timestamp_ns;
    log->newest_ns = std::max(log->newest_ns, record.header.timestamp_ns);
  }
  log->last_records = index.records;
  log->batches += index.records.size();
  log->producers.insert(log->producers.end(), index.producers.begin(), index.producers.end());
  return {};
}

// A segment whose index file is missing or does not fit.
Result<SegmentIndex> rebuild_index(FileSystem& files, const LogIdentity& identity, const SegmentHeader& header,
                                   EventId end_id) {
  const Result<std::unique_ptr<File>> file =
      files.open(segment_path(identity, header.number), OpenMode::kRead, Caching::kCached);
  if (!file) return file.status();
  const Result<SegmentScan> scan = scan_segment(*file.value(), header, {end_id, false});
  if (!scan) return scan.status();
  if (scan.value().next_id != end_id) {
    return corrupt_log(identity, header.number,
                       "the record at offset " + std::to_string(scan.value().end_offset) + " is damaged; ids " +
                           id_text(scan.value().next_id) + " to " + id_text(EventId(end_id.value - 1)) +
                           " cannot be found");
  }
  return make_segment_index(header, scan.value().records, end_id, header.previous_header_crc);
}

bool fits(const SegmentIndex& index, const SegmentHeader& header, EventId end_id) {
  return index.partition == header.partition && index.segment_number == header.number &&
         index.base_id == header.base_id && index.segment_header_crc == header.header_crc && index.end_id == end_id;
}

}  // namespace

Error corrupt_log(const LogIdentity& identity, uint64_t segment_number, const std::string& what) {
  return {ErrorCode::k_CORRUPT_LOG,
          identity.label + ": segment " + segment_path(identity, segment_number) + ": " + what};
}

SegmentIndex make_segment_index(const SegmentHeader& segment, const std::vector<ScannedRecord>& records, EventId end_id,
                                uint32_t older_event_crc) {
  SegmentIndex index;
  index.partition = segment.partition;
  index.segment_number = segment.number;
  index.base_id = segment.base_id;
  index.end_id = end_id;
  index.segment_header_crc = segment.header_crc;
  index.last_event_crc = older_event_crc;
  ProducerHistory producers;
  for (const ScannedRecord& record : records) {
    const wire::LogRecordHeader& header = record.header;
    if (header.shape.event_count == 0) continue;
    index.last_event_crc = header.header_crc;
    index.records.push_back({header.base_id, record.offset, static_cast<uint32_t>(header.shape.body_bytes())});
    producers.add({header.producer_session, header.producer_sequence, header.base_id, header.shape.event_count});
  }
  index.producers = producers.entries();
  return index;
}

Result<SegmentIndex> load_segment_index(FileSystem& files, const LogIdentity& identity, uint64_t number,
                                        EventId end_id) {
  const Result<SegmentHeader> header = open_segment_header(files, identity, number);
  if (!header) return header.status();
  const std::string path = identity.directory + "/" + index_file_name(number);
  // Any failure to read the index is as good as none: the segment is the truth.
  const Result<std::vector<uint8_t>> file = read_whole_file(files, path, kIndexFileBytesMax);
  if (file) {
    Result<SegmentIndex> index = decode_segment_index(file.value());
    if (index && fits(index.value(), header.value(), end_id)) return index;
  }
  Result<SegmentIndex> rebuilt = rebuild_index(files, identity, header.value(), end_id);
  if (!rebuilt) return rebuilt;
  // Only a saving of time: without it the next start scans again.
  static_cast<void>(replace_file(files, path, encode_segment_index(rebuilt.value())));
  return rebuilt;
}

Result<RecoveredLog> recover_log(FileSystem& files, const LogIdentity& identity) {
  const Result<LogStart> start = load_log_start(files, identity);
  if (!start) return start.status();
  const Result<std::vector<uint64_t>> numbers = list_segments(files, identity, start.value().segment_number);
  if (!numbers) return numbers.status();
  RecoveredLog log;
  if (numbers.value().empty()) return log;
  log.first_id = start.value().base_id;
  log.producers = start.value().producers;
  // A crash may have come between the renaming of a new segment and the sync of the directory.
  const Status synced = files.sync_directory(identity.directory);
  if (!synced) return synced;
  std::vector<SegmentHeader> headers;
  for (const uint64_t number : numbers.value()) {
    const Result<SegmentHeader> header = open_segment_header(files, identity, number);
    if (!header) return header.status();
    headers.push_back(header.value());
    log.segments.push_back({number, header.value().base_id});
  }
  if (headers.front().base_id != log.first_id) {
    return corrupt_log(identity, headers.front().number, "it does not begin with id " + id_text(log.first_id));
  }
  const Status sealed = recover_sealed(files, identity, headers, &log);
  if (!sealed) return sealed;
  log.last_header = headers.back();
  const Status last = recover_last(files, identity, &log);
  if (!last) return last;
  return log;
}

}  // namespace diaspora::log
