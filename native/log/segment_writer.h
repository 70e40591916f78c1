// The one open segment that a log appends to: lays records one after the other, reserves space ahead, syncs, seals.
//
// Event data is written from the batch's own buffer, never copied; only the 128 header bytes in front of the body and
// the padding behind it are filled in here. Space is set aside before anything is written, so that a full disk refuses
// a group instead of tearing it. A stream of small synced groups writes over zero-filled space (a sync then needs no
// journal commit: 94 against 163 us for 4 KiB here); large groups go to space that is only reserved, because filling it
// would cost as much bandwidth as the data.
// Threads: the log's writer thread. Invariant: after write(), mark() or sync() failed nothing more may be written here.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/buffer_pool.h"
#include "log/recovery.h"

namespace diaspora::log {

// A batch on its way to the disk.
struct LogBatch {
  BufferRef buffer;  // [128 bytes for the record header | body], page aligned
  wire::BodyShape shape;
  uint32_t head_crc = 0;
  EventId base_id;
  int64_t timestamp_ns = 0;
  Uuid session;
  BatchSequence sequence;
  uint64_t epoch = 0;     // of the owner's attempts; raised after each failure it was told of
  bool answered = false;  // its producer was told of success: it must not be dropped

  EventId end_id() const { return EventId(base_id.value + shape.event_count); }
  uint64_t record_bytes() const { return padded_record_bytes(shape.body_bytes()); }
};

class SegmentWriter {
 public:
  // Makes the segment file durable under its final name, with its header and no record; replaces a file of that name.
  static Result<std::unique_ptr<SegmentWriter>> create(FileSystem& files, const LogIdentity& identity,
                                                       const SegmentHeader& header);
  // Goes on where recovery found the end.
  static Result<std::unique_ptr<SegmentWriter>> resume(FileSystem& files, const LogIdentity& identity,
                                                       const RecoveredLog& recovered);

  const SegmentHeader& header() const { return header_; }
  uint64_t end_offset() const { return end_offset_; }

  // Sets space for `bytes` more aside. A failure leaves the segment as it was.
  Status reserve(uint64_t bytes, uint64_t segment_bytes, bool synced);
  // Writes the records at the end, in one call. At most File::kWritePiecesMax. Gives the first one's offset.
  Result<uint64_t> write(std::span<const LogBatch> batches, EventId watermark, bool synced);
  // Writes a record without events.
  Status mark(EventId next_id, EventId watermark, uint32_t flags);
  Status sync() { return direct_->sync_data(); }
  // Gives unused space back, keeping [0, bytes).
  Status trim(uint64_t bytes) { return direct_->truncate(bytes); }

  // CRC of the newest record header with events in this segment; that of older segments while it has none.
  uint32_t last_event_crc() const { return last_event_crc_; }

 private:
  SegmentWriter(const LogIdentity& identity, const SegmentHeader& header) : identity_(identity), header_(header) {}
  Status open_files(FileSystem& files, const std::string& path, OpenMode mode);
  Status fill_zeros(uint64_t bytes);
  uint32_t lay_header(const LogBatch& batch, EventId watermark, uint32_t previous_crc) const;

  const LogIdentity identity_;
  SegmentHeader header_;
  std::unique_ptr<File> direct_;
  std::unique_ptr<File> cached_;
  uint64_t end_offset_ = kFirstRecordOffset;
  uint64_t reserved_end_ = kFirstRecordOffset;  // the file's size
  uint64_t zeroed_end_ = kFirstRecordOffset;    // written before, so that overwriting needs no journal
  uint32_t chain_crc_ = 0;
  uint32_t last_event_crc_ = 0;
};

}  // namespace diaspora::log
