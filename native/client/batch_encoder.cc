#include "client/batch_encoder.h"

#include <utility>

#include "base/compression.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "wire/message.h"

namespace diaspora::client {

namespace {

void append(std::span<const uint8_t> bytes, std::vector<uint8_t>* out) {
  out->insert(out->end(), bytes.begin(), bytes.end());
}

// What goes with the message and what the server reads. Inline is cheaper: an RMA read costs 8 to 10 us on tcp.
constexpr size_t kCompressedBytesMin = 512;  // below it a frame is hardly smaller

// Once for each batch, at its first sending.
void compress_metadata(Batch* batch) {
  const int level = std::exchange(batch->compression_level, 0);
  const size_t bytes = batch->metadata.size();
  if (level == 0 || bytes < kCompressedBytesMin || bytes > kExpandedMetadataBytesMax) return;
  ByteBlock& frame = batch->head_block;
  frame.clear();
  // Not smaller by a sixteenth: not worth the work of those who read it.
  const size_t most = bytes - bytes / 16;
  const size_t length = compress(batch->metadata.bytes(), {frame.room(most), most}, level);
  if (length == 0) return;
  frame.extend(length);
  std::swap(batch->metadata, frame);
  batch->shape.metadata_bytes = static_cast<uint32_t>(length);
  batch->shape.compressed = true;
}

struct Plan {
  bool head_inline = false;
  bool gathered_inline = false;
};

Plan make_plan(const Batch& batch, uint64_t room) {
  Plan plan;
  const uint64_t head = batch.shape.head_bytes();
  const uint64_t gathered = batch.gathered.size();
  plan.head_inline = head <= room;
  plan.gathered_inline = gathered <= (plan.head_inline ? room - head : room);
  return plan;
}

Status add_remote(const BatchTarget& target, std::span<const uint8_t> bytes, Batch* batch,
                  wire::BatchMessage* message) {
  auto segment = batch->exposed.expose(target.domain, bytes.data(), bytes.size(), fabric::Access::kRemoteRead);
  if (!segment) return segment.status();
  message->runs.push_back({true, segment.value()});
  return {};
}

// Memory of the caller, who may push it again.
Status add_callers(const BatchTarget& target, std::span<const uint8_t> bytes, const std::shared_ptr<void>& hold,
                   Batch* batch, wire::BatchMessage* message) {
  if (target.registrations == nullptr || hold == nullptr) return add_remote(target, bytes, batch, message);
  auto segment = batch->exposed.expose(target.registrations, bytes.data(), bytes.size(), hold);
  if (!segment) return segment.status();
  message->runs.push_back({true, segment.value()});
  return {};
}

Status add_head(const BatchTarget& target, const Plan& plan, Batch* batch, wire::BatchMessage* message) {
  if (plan.head_inline) {
    message->runs.push_back({false, {0, 0, static_cast<uint32_t>(batch->shape.head_bytes())}});
    return {};
  }
  batch->head_block.clear();
  batch->head_block.append(batch->table.data(), batch->table.size());
  batch->head_block.append(batch->metadata.data(), batch->metadata.size());
  return add_remote(target, batch->head_block.bytes(), batch, message);
}

// The gathered block is registered once; each of its runs is a part of it.
Status add_data(const BatchTarget& target, const Plan& plan, Batch* batch, wire::BatchMessage* message) {
  batch->rma_data_bytes = 0;
  wire::RemoteSegment gathered;
  if (!plan.gathered_inline) {
    auto segment = batch->exposed.expose(target.domain, batch->gathered.data(), batch->gathered.size(),
                                         fabric::Access::kRemoteRead);
    if (!segment) return segment.status();
    gathered = segment.value();
    batch->rma_data_bytes += batch->gathered.size();
  }
  auto hold = batch->holds.begin();  // one for each run of the caller's memory
  for (const DataRun& run : batch->runs) {
    if (run.bytes != nullptr) {
      const Status status = add_callers(target, {run.bytes, run.length}, *hold++, batch, message);
      if (!status) return status;
      batch->rma_data_bytes += run.length;
      continue;
    }
    const auto length = static_cast<uint32_t>(run.length);
    message->runs.push_back({!plan.gathered_inline, {gathered.address, gathered.key, length}});
    gathered.address += length;
  }
  return {};
}

}  // namespace

Status encode_batch(const BatchTarget& target, Batch* batch, std::vector<uint8_t>* out) {
  const uint64_t fixed = wire::kBatchFixedBytes + (1 + batch->runs.size()) * wire::kBatchRunBytes;
  if (fixed > target.message_bytes) {
    return {ErrorCode::k_EVENT_TOO_LARGE, "an event has more data segments than this fabric's messages can name"};
  }
  compress_metadata(batch);
  const Plan plan = make_plan(*batch, target.message_bytes - fixed);
  wire::BatchMessage message;
  message.token = target.token;
  message.topic = target.topic;
  message.partition = batch->partition;
  message.shape = batch->shape;
  message.head_crc = crc32c(batch->metadata.bytes(), crc32c(batch->table.bytes()));
  message.producer_session = batch->session;
  message.sequence = batch->sequence;
  message.follows = batch->follows;
  message.runs.reserve(1 + batch->runs.size());
  Status status = add_head(target, plan, batch, &message);
  if (status) status = add_data(target, plan, batch, &message);
  if (!status) {
    batch->exposed.withdraw();
    return status;
  }
  const uint64_t body_bytes =
      (plan.head_inline ? batch->shape.head_bytes() : 0) + (plan.gathered_inline ? batch->gathered.size() : 0);
  wire::encode(message, static_cast<uint32_t>(body_bytes), out);
  if (plan.head_inline) {
    append(batch->table.bytes(), out);
    append(batch->metadata.bytes(), out);
  }
  if (plan.gathered_inline) append(batch->gathered.bytes(), out);
  return {};
}

}  // namespace diaspora::client
