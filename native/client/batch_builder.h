// Collects the events of one partition into its open batch. The hot path of a push: no lock, no allocation per event.
//
// What it is not: it decides nothing about when to send beyond "full". Thread: the pushing one. Owner: ProducerCore.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "client/batch.h"
#include "client/client.h"

namespace diaspora::client {

class BatchBuilder {
 public:
  // Data runs of one batch: 24 bytes each in the message, which holds nothing else then (12 KiB: fits every provider).
  static constexpr size_t kRunsMax = 512;

  struct Limits {
    uint32_t events_max = 0;
    uint64_t head_bytes_max = 0;
    uint64_t data_bytes_max = 0;
    uint64_t gathered_bytes_max = 0;
    uint32_t zero_copy_threshold = 0;
  };
  struct Event {
    size_t metadata_bytes = 0;
    std::span<DataSegment> data;
    uint64_t data_bytes = 0;
  };

  BatchBuilder(const Limits& limits, ClientCounters* counters) : limits_(limits), counters_(counters) {}

  uint32_t event_count() const { return batch_ == nullptr ? 0 : batch_->shape.event_count; }
  bool empty() const { return event_count() == 0; }
  // Of what is there; it must not be empty.
  const wire::BodyShape& shape() const { return batch_->shape; }

  // Where the metadata of the next event is to be written, at most `bytes`.
  uint8_t* reserve(size_t bytes) { return open().metadata.room(bytes); }

  // May this event be added to what is there?
  bool fits(const Event& event) const;
  // Adds the event whose metadata was written to the reserved room. Takes the holds of segments that stay in place.
  void add(const Event& event);
  bool full() const;

  // The open batch, which must not be empty. `pending_metadata_bytes` of reserved and written room move on to the next.
  std::unique_ptr<Batch> take(size_t pending_metadata_bytes = 0);
  // A batch that may be filled again.
  void recycle(std::unique_ptr<Batch> batch);

 private:
  Batch& open() {
    if (batch_ == nullptr) begin();
    return *batch_;
  }
  void begin();
  bool stays(const DataSegment& segment, bool gather_all) const {
    return !gather_all && !segment.must_copy && segment.length >= limits_.zero_copy_threshold;
  }
  uint32_t add_data(const Event& event);

  const Limits limits_;
  ClientCounters* counters_;
  std::unique_ptr<Batch> batch_;
  std::unique_ptr<Batch> spare_;
};

}  // namespace diaspora::client
