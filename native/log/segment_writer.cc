#include "log/segment_writer.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/clock.h"

namespace diaspora::log {

namespace {

// 8 MiB: rare enough for its journal commit, small enough for a thousand partitions on one disk.
constexpr uint64_t kReserveStepBytes = uint64_t{8} << 20;
// Synced groups up to 32 KiB get zero-filled space: above, filling costs about what the cheaper sync saves.
constexpr uint64_t kZeroFillGroupMax = 32 * 1024;
// 1 MiB of zeros costs 0.5 ms, once in some hundred small groups.
constexpr uint64_t kZeroFillStepBytes = uint64_t{1} << 20;
// Groups that are not synced go through the page cache up to 256 KiB (a few microseconds), and past it above, where
// copying and page allocation cost more than the device.
constexpr uint64_t kCachedGroupMax = 256 * 1024;
constexpr size_t kZeroPieceBytes = 64 * 1024;

alignas(kDirectAlignment) const std::array<uint8_t, kZeroPieceBytes> kZeros{};

struct alignas(kDirectAlignment) Block {
  std::array<uint8_t, kRecordAlignment> bytes{};
};

}  // namespace

Status SegmentWriter::open_files(FileSystem& files, const std::string& path, OpenMode mode) {
  Result<std::unique_ptr<File>> direct = files.open(path, mode, Caching::kDirect);
  if (!direct) return direct.status();
  direct_ = direct.take();
  Result<std::unique_ptr<File>> cached = files.open(path, OpenMode::kReadWrite, Caching::kCached);
  if (!cached) return cached.status();
  cached_ = cached.take();
  return {};
}

Result<std::unique_ptr<SegmentWriter>> SegmentWriter::create(FileSystem& files, const LogIdentity& identity,
                                                             const SegmentHeader& header) {
  std::unique_ptr<SegmentWriter> writer(new SegmentWriter(identity, header));
  const auto block = std::make_unique<Block>();
  writer->header_.header_crc = encode_segment_header(header, std::span(block->bytes).first<kSegmentHeaderBytes>());
  writer->chain_crc_ = writer->header_.header_crc;
  writer->last_event_crc_ = header.previous_header_crc;

  const std::string path = identity.directory + "/" + segment_file_name(header.number);
  const std::string temporary = path + kTemporarySuffix;
  const Status opened = writer->open_files(files, temporary, OpenMode::kReplace);
  if (!opened) return opened;
  const Status written = write_all(*writer->direct_, 0, block->bytes);
  if (!written) return written;
  const Status synced = writer->sync();
  if (!synced) return synced;
  const Status renamed = files.rename(temporary, path);
  if (!renamed) return renamed;
  const Status listed = files.sync_directory(identity.directory);
  if (!listed) return listed;
  return writer;
}

Result<std::unique_ptr<SegmentWriter>> SegmentWriter::resume(FileSystem& files, const LogIdentity& identity,
                                                             const RecoveredLog& recovered) {
  std::unique_ptr<SegmentWriter> writer(new SegmentWriter(identity, recovered.last_header));
  const std::string path = identity.directory + "/" + segment_file_name(recovered.last_header.number);
  const Status opened = writer->open_files(files, path, OpenMode::kReadWrite);
  if (!opened) return opened;
  writer->end_offset_ = recovered.end_offset;
  // A power cut may leave a length that no write of ours has.
  writer->reserved_end_ = recovered.file_bytes / kRecordAlignment * kRecordAlignment;
  writer->zeroed_end_ = recovered.end_offset;
  writer->chain_crc_ = recovered.chain_crc;
  writer->last_event_crc_ = recovered.last_event_crc;
  return writer;
}

Status SegmentWriter::reserve(uint64_t bytes, uint64_t segment_bytes, bool synced) {
  const uint64_t needed_end = end_offset_ + bytes;
  if (needed_end > reserved_end_) {
    // Room for a mark behind it, so that the watermark of a full segment can still be written.
    const uint64_t least = needed_end + kRecordAlignment;
    const uint64_t step_end = std::min(needed_end + std::max(kReserveStepBytes, 4 * bytes), segment_bytes);
    uint64_t end = std::max(least, step_end);
    Status reserved = direct_->reserve(reserved_end_, end - reserved_end_);
    if (!reserved && end > least) {
      end = least;
      reserved = direct_->reserve(reserved_end_, end - reserved_end_);
    }
    if (!reserved) return reserved;
    reserved_end_ = end;
  }
  if (!synced || bytes > kZeroFillGroupMax || needed_end <= zeroed_end_) return {};
  return fill_zeros(bytes);
}

Status SegmentWriter::fill_zeros(uint64_t bytes) {
  const uint64_t start = std::max(zeroed_end_, end_offset_);
  const uint64_t end = std::max(std::min(start + kZeroFillStepBytes, reserved_end_), end_offset_ + bytes);
  std::vector<std::span<const uint8_t>> pieces;
  for (uint64_t at = start; at < end; at += kZeroPieceBytes) {
    pieces.push_back(std::span(kZeros).first(std::min<uint64_t>(kZeroPieceBytes, end - at)));
  }
  const Status written = direct_->write(start, pieces);
  if (written) zeroed_end_ = end;
  return written;
}

uint32_t SegmentWriter::lay_header(const LogBatch& batch, EventId watermark, uint32_t previous_crc) const {
  wire::LogRecordHeader header;
  header.base_id = batch.base_id;
  header.shape = batch.shape;
  header.partition = identity_.partition;
  header.segment_number = header_.number;
  header.producer_session = batch.session;
  header.producer_sequence = batch.sequence;
  header.timestamp_ns = batch.timestamp_ns;
  header.durable_watermark = watermark;
  header.head_crc = batch.head_crc;
  header.previous_header_crc = previous_crc;
  uint8_t* const record = batch.buffer->data();
  const uint64_t used = wire::kLogRecordHeaderBytes + batch.shape.body_bytes();
  DIASPORA_CHECK(batch.buffer->size() >= batch.record_bytes());
  std::memset(record + used, 0, batch.record_bytes() - used);
  return wire::encode_log_record_header(
      header, std::span<uint8_t, wire::kLogRecordHeaderBytes>(record, wire::kLogRecordHeaderBytes));
}

Result<uint64_t> SegmentWriter::write(std::span<const LogBatch> batches, EventId watermark, bool synced) {
  std::vector<std::span<const uint8_t>> pieces;
  pieces.reserve(batches.size());
  uint32_t chain_crc = chain_crc_;
  uint64_t bytes = 0;
  for (const LogBatch& batch : batches) {
    chain_crc = lay_header(batch, watermark, chain_crc);
    pieces.emplace_back(batch.buffer->data(), batch.record_bytes());
    bytes += batch.record_bytes();
  }
  File& file = synced || bytes > kCachedGroupMax ? *direct_ : *cached_;
  const Status written = file.write(end_offset_, pieces);
  if (!written) return written;
  const uint64_t offset = end_offset_;
  chain_crc_ = chain_crc;
  last_event_crc_ = chain_crc;
  end_offset_ += bytes;
  reserved_end_ = std::max(reserved_end_, end_offset_);
  return offset;
}

Status SegmentWriter::mark(EventId next_id, EventId watermark, uint32_t flags) {
  wire::LogRecordHeader header;
  header.flags = flags;
  header.base_id = next_id;
  header.partition = identity_.partition;
  header.segment_number = header_.number;
  header.timestamp_ns = wall_clock_ns();
  header.durable_watermark = watermark;
  header.previous_header_crc = chain_crc_;
  const auto block = std::make_unique<Block>();
  const uint32_t crc =
      wire::encode_log_record_header(header, std::span(block->bytes).first<wire::kLogRecordHeaderBytes>());
  const Status written = write_all(*direct_, end_offset_, block->bytes);
  if (!written) return written;
  chain_crc_ = crc;
  end_offset_ += kRecordAlignment;
  reserved_end_ = std::max(reserved_end_, end_offset_);
  return {};
}

}  // namespace diaspora::log
