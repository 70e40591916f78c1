#include "client/batch_builder.h"

#include <algorithm>
#include <utility>

#include "base/crc32c.h"

namespace diaspora::client {

namespace {

// A reused block keeps at most so much memory: what gathered data of the usual size takes, because fresh pages cost
// more than the copy into them.
constexpr size_t kKeptBytesMax = size_t{2} << 20;

}  // namespace

void BatchBuilder::begin() { batch_ = spare_ != nullptr ? std::move(spare_) : std::make_unique<Batch>(counters_); }

bool BatchBuilder::fits(const Event& event) const {
  const Batch& batch = *batch_;
  if (batch.shape.event_count >= limits_.events_max) return false;
  const uint64_t head = batch.shape.head_bytes() + wire::kEventEntryBytes + event.metadata_bytes;
  if (head > limits_.head_bytes_max) return false;
  if (batch.shape.data_bytes + event.data_bytes > limits_.data_bytes_max) return false;
  // Each segment may begin a run in place and one gathered behind it.
  return batch.runs.size() + 2 * std::min(event.data.size(), kRunsMax) <= kRunsMax || event.data.empty();
}

uint32_t BatchBuilder::add_data(const Event& event) {
  Batch& batch = *batch_;
  const bool gather_all = event.data.size() > kRunsMax / 2;
  uint32_t crc = 0;
  for (DataSegment& segment : event.data) {
    if (segment.length == 0) continue;
    crc = crc32c({segment.bytes, segment.length}, crc);
    DataRun* last = batch.runs.empty() ? nullptr : &batch.runs.back();
    if (!stays(segment, gather_all)) {
      batch.gathered.append(segment.bytes, segment.length);
      increase(&counters_->data_bytes_copied, segment.length);
      if (last == nullptr || last->bytes != nullptr) last = &batch.runs.emplace_back();
      last->length += segment.length;
      continue;
    }
    // Neighbours in one buffer are one run.
    const bool adjacent = last != nullptr && last->bytes != nullptr && last->bytes + last->length == segment.bytes &&
                          segment.hold != nullptr && batch.holds.back() == segment.hold;
    if (adjacent) {
      last->length += segment.length;
    } else {
      batch.runs.push_back({segment.bytes, segment.length});
      batch.holds.push_back(std::move(segment.hold));
    }
  }
  return crc;
}

void BatchBuilder::add(const Event& event) {
  Batch& batch = open();
  wire::EventEntry entry;
  if (event.data_bytes > 0) entry.data_crc = add_data(event);
  batch.metadata.extend(event.metadata_bytes);
  batch.shape.event_count += 1;
  batch.shape.metadata_bytes += static_cast<uint32_t>(event.metadata_bytes);
  batch.shape.data_bytes += event.data_bytes;
  entry.metadata_end = batch.shape.metadata_bytes;
  entry.data_end = batch.shape.data_bytes;
  wire::encode_event_entry(entry, batch.table.room(wire::kEventEntryBytes));
  batch.table.extend(wire::kEventEntryBytes);
}

bool BatchBuilder::full() const {
  const Batch& batch = *batch_;
  return batch.shape.event_count >= limits_.events_max || batch.shape.head_bytes() >= limits_.head_bytes_max ||
         batch.shape.data_bytes >= limits_.data_bytes_max || batch.gathered.size() >= limits_.gathered_bytes_max ||
         batch.runs.size() >= kRunsMax;
}

std::unique_ptr<Batch> BatchBuilder::take(size_t pending_metadata_bytes) {
  std::unique_ptr<Batch> taken = std::move(batch_);
  if (pending_metadata_bytes > 0) {
    begin();
    std::memcpy(batch_->metadata.room(pending_metadata_bytes), taken->metadata.data() + taken->metadata.size(),
                pending_metadata_bytes);
  }
  return taken;
}

void BatchBuilder::recycle(std::unique_ptr<Batch> batch) {
  if (spare_ != nullptr) return;
  for (ByteBlock* block : {&batch->table, &batch->metadata, &batch->gathered, &batch->head_block}) {
    block->clear();
    block->trim(kKeptBytesMax);
  }
  auto fresh = std::make_unique<Batch>(counters_);
  fresh->table = std::move(batch->table);
  fresh->metadata = std::move(batch->metadata);
  fresh->gathered = std::move(batch->gathered);
  fresh->head_block = std::move(batch->head_block);
  spare_ = std::move(fresh);
}

}  // namespace diaspora::client
