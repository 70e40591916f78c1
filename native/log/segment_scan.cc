#include "log/segment_scan.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include "base/crc32c.h"

namespace diaspora::log {

namespace {

constexpr size_t kSweepBytes = size_t{1} << 20;

bool belongs_to(const wire::LogRecordHeader& header, const SegmentHeader& segment) {
  return header.partition == segment.partition && header.segment_number == segment.number;
}

uint64_t body_offset(const ScannedRecord& record) { return record.offset + wire::kLogRecordHeaderBytes; }

// Whether the body is there in full and, where asked for, its head is whole.
Result<bool> body_is_whole(WindowReader* window, const ScannedRecord& record, bool verify_head, uint64_t file_bytes) {
  const wire::BodyShape& shape = record.header.shape;
  if (body_offset(record) + shape.body_bytes() > file_bytes) return false;
  if (!verify_head || shape.event_count == 0) return true;
  const Result<std::span<const uint8_t>> head = window->view(body_offset(record), shape.head_bytes());
  if (!head) return head.status();
  return wire::validate_head(shape, head.value(), record.header.head_crc).ok();
}

bool is_zero(std::span<const uint8_t> block) {
  static constexpr std::array<uint8_t, kRecordAlignment> kZeros{};
  return std::memcmp(block.data(), kZeros.data(), block.size()) == 0;
}

// Takes a valid record into the scan.
void accept(SegmentScan* scan, const ScannedRecord& record) {
  scan->next_id.value += record.header.shape.event_count;
  scan->end_offset = record.offset + padded_record_bytes(record.header.shape.body_bytes());
  scan->chain_crc = record.header.header_crc;
  scan->sealed = (record.header.flags & wire::kLogRecordSealed) != 0;
  scan->records.push_back(record);
}

}  // namespace

Result<std::span<const uint8_t>> WindowReader::view(uint64_t offset, size_t bytes) {
  if (offset < start_ || offset + bytes > start_ + filled_) {
    const uint64_t start = offset / kDirectAlignment * kDirectAlignment;
    const size_t wanted = std::max<size_t>(align_up(offset + bytes - start, kDirectAlignment), kWindowBytes);
    if (wanted > capacity_) {
      window_.reset(static_cast<uint8_t*>(std::aligned_alloc(kDirectAlignment, wanted)));
      if (window_ == nullptr) return {ErrorCode::k_RESOURCE_EXHAUSTED, "no memory to read a log segment"};
      capacity_ = wanted;
    }
    const Result<size_t> got = file_.read(start, {window_.get(), wanted});
    if (!got) return got.status();
    start_ = start;
    filled_ = got.value();
  }
  const uint64_t end = std::min<uint64_t>(offset + bytes, start_ + filled_);
  if (offset >= end) return std::span<const uint8_t>();
  return std::span<const uint8_t>(window_.get() + (offset - start_), end - offset);
}

Result<SegmentScan> scan_segment(const File& file, const SegmentHeader& segment, const ScanLimits& limits) {
  const Result<uint64_t> file_bytes = file.size();
  if (!file_bytes) return file_bytes.status();
  SegmentScan scan;
  scan.next_id = segment.base_id;
  scan.chain_crc = segment.header_crc;
  WindowReader window(file);
  while (!scan.sealed) {
    const Result<std::span<const uint8_t>> bytes = window.view(scan.end_offset, wire::kLogRecordHeaderBytes);
    if (!bytes) return bytes.status();
    const Result<wire::LogRecordHeader> header = wire::decode_log_record_header(bytes.value());
    if (!header) {
      if (header.error().code == ErrorCode::k_VERSION_MISMATCH) return header.status();
      break;
    }
    const ScannedRecord record{header.value(), scan.end_offset};
    const bool follows = belongs_to(record.header, segment) && record.header.base_id == scan.next_id &&
                         record.header.previous_header_crc == scan.chain_crc;
    if (!follows) break;
    const bool has_events = record.header.shape.event_count > 0;
    if (has_events && limits.end_id && record.header.base_id >= *limits.end_id) break;
    scan.watermark = std::max(scan.watermark, record.header.durable_watermark);
    const Result<bool> whole = body_is_whole(&window, record, limits.verify_heads, file_bytes.value());
    if (!whole) return whole.status();
    if (!whole.value()) break;
    accept(&scan, record);
  }
  return scan;
}

void cut_scan(SegmentScan* scan, size_t first_dropped, const SegmentHeader& segment) {
  DIASPORA_CHECK(first_dropped < scan->records.size());
  const ScannedRecord& dropped = scan->records[first_dropped];
  scan->next_id = dropped.header.base_id;
  scan->end_offset = dropped.offset;
  scan->chain_crc = first_dropped == 0 ? segment.header_crc : scan->records[first_dropped - 1].header.header_crc;
  scan->sealed = false;
  scan->records.resize(first_dropped);
}

Result<Remains> examine_remains(const File& file, const SegmentHeader& segment, uint64_t offset) {
  Remains remains;
  WindowReader window(file);
  for (uint64_t at = offset;; at += kSweepBytes) {
    const Result<std::span<const uint8_t>> bytes = window.view(at, kSweepBytes);
    if (!bytes) return bytes.status();
    const std::span<const uint8_t> piece = bytes.value();
    if (piece.empty()) return remains;
    for (size_t i = 0; i < piece.size(); i += kRecordAlignment) {
      const std::span<const uint8_t> block = piece.subspan(i, std::min<size_t>(kRecordAlignment, piece.size() - i));
      if (is_zero(block)) continue;
      const auto nonzero = std::find_if(block.rbegin(), block.rend(), [](uint8_t byte) { return byte != 0; });
      remains.last_nonzero_end = at + i + static_cast<uint64_t>(block.rend() - nonzero);
      if (!wire::has_log_record_magic(block)) continue;
      const Result<wire::LogRecordHeader> header = wire::decode_log_record_header(block);
      if (header && belongs_to(header.value(), segment)) {
        remains.watermark = std::max(remains.watermark, header.value().durable_watermark);
      }
    }
    if (piece.size() < kSweepBytes) return remains;
  }
}

Result<bool> verify_record_data(const File& file, const ScannedRecord& record) {
  const wire::BodyShape& shape = record.header.shape;
  if (shape.data_bytes == 0) return true;
  WindowReader heads(file);
  WindowReader window(file);
  const Result<std::span<const uint8_t>> head = heads.view(body_offset(record), shape.head_bytes());
  if (!head) return head.status();
  if (head.value().size() != shape.head_bytes()) return false;
  const uint64_t data_offset = body_offset(record) + shape.data_offset();
  for (uint32_t i = 0; i < shape.event_count; ++i) {
    const wire::EventExtent extent = wire::event_extent(head.value(), i);
    uint32_t crc = 0;
    for (uint64_t done = 0; done < extent.data_bytes;) {
      const size_t step = std::min<uint64_t>(extent.data_bytes - done, kSweepBytes);
      const Result<std::span<const uint8_t>> bytes = window.view(data_offset + extent.data_offset + done, step);
      if (!bytes) return bytes.status();
      if (bytes.value().size() != step) return false;
      crc = crc32c(bytes.value(), crc);
      done += step;
    }
    if (extent.data_bytes > 0 && crc != extent.data_crc) return false;
  }
  return true;
}

Result<SegmentHeader> read_segment_header(const File& file) {
  WindowReader window(file);
  const Result<std::span<const uint8_t>> bytes = window.view(0, kSegmentHeaderBytes);
  if (!bytes) return bytes.status();
  return decode_segment_header(bytes.value());
}

Result<wire::LogRecordHeader> read_record_header(const File& file, uint64_t offset) {
  std::array<uint8_t, wire::kLogRecordHeaderBytes> bytes{};
  const Result<size_t> got = file.read(offset, bytes);
  if (!got) return got.status();
  return wire::decode_log_record_header(std::span(bytes).first(got.value()));
}

}  // namespace diaspora::log
