// A batch of events on the producer's side, from its first event to its answer.
//
// Built by the pushing thread (BatchBuilder), then handed over whole to the progress thread (BatchSender), then emptied
// and reused. Owned by exactly one of them at a time (unique_ptr). Invariant: memory named by `runs` stays alive
// through `holds` until the batch is cleared, which is after its answer or after its endpoint was closed.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/ids.h"
#include "client/exposed_memory.h"
#include "wire/batch_body.h"

namespace diaspora::client {

// Bytes that grow at the end, without being zeroed first; keeps its memory when cleared.
class ByteBlock {
 public:
  const uint8_t* data() const { return memory_.get(); }
  size_t size() const { return size_; }
  std::span<const uint8_t> bytes() const { return {memory_.get(), size_}; }
  void clear() { size_ = 0; }

  // Room for `bytes` more behind the end; valid until the next call.
  uint8_t* room(size_t bytes) {
    if (size_ + bytes > capacity_) grow(size_ + bytes);
    return memory_.get() + size_;
  }
  void extend(size_t bytes) { size_ += bytes; }
  void append(const uint8_t* from, size_t bytes) {
    if (bytes == 0) return;
    std::memcpy(room(bytes), from, bytes);
    size_ += bytes;
  }
  // Gives memory of unusual size back.
  void trim(size_t capacity_max) {
    if (capacity_ <= capacity_max) return;
    memory_.reset();
    capacity_ = 0;
    size_ = 0;
  }

 private:
  void grow(size_t needed) {
    size_t capacity = capacity_ == 0 ? 4096 : capacity_;
    while (capacity < needed) capacity *= 2;
    std::unique_ptr<uint8_t[]> larger(new uint8_t[capacity]);
    if (size_ > 0) std::memcpy(larger.get(), memory_.get(), size_);
    memory_ = std::move(larger);
    capacity_ = capacity;
  }

  std::unique_ptr<uint8_t[]> memory_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

// Consecutive data of a batch: in the caller's memory, or gathered (copied) into the batch.
struct DataRun {
  const uint8_t* bytes = nullptr;  // null: gathered, the next `length` bytes of Batch::gathered
  uint64_t length = 0;
};

struct Batch {
  explicit Batch(ClientCounters* counters) : exposed(counters) {}

  // Contents, by the pushing thread.
  PartitionIndex partition;
  uint64_t number = 0;  // 1, 2, 3, ... per partition
  ByteBlock table;
  ByteBlock metadata;
  ByteBlock gathered;
  std::vector<DataRun> runs;
  std::vector<std::shared_ptr<void>> holds;
  wire::BodyShape shape;
  int compression_level = 0;  // 0: the metadata stays as it is, or is compressed already
  uint64_t pending_bytes = 0;

  // Transfer, by the progress thread.
  enum class State { kWaiting, kSent, kAnswered };
  State state = State::kWaiting;
  Uuid session;
  BatchSequence sequence;    // 0: none yet
  BatchSequence follows;     // as last sent
  uint64_t sent_order = 0;   // of the last sending, among all of its lane
  uint32_t connections = 0;  // on how many it was sent
  uint64_t last_connection = 0;
  int64_t first_refused_ms = 0;
  bool aborted = false;
  Status status;
  EventId first_id;
  ExposedMemory exposed;
  uint64_t rma_data_bytes = 0;  // of the data, what the server reads
  ByteBlock head_block;         // table and metadata in one piece, when the server reads them
};

}  // namespace diaspora::client
