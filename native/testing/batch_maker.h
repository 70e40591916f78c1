// Makes batches with recognisable content for tests, and checks what came back.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "base/buffer_pool.h"
#include "base/crc32c.h"
#include "partition/partition.h"

namespace diaspora::testing {

struct TestEvent {
  std::string metadata;
  std::string data;
  friend bool operator==(const TestEvent&, const TestEvent&) = default;
};

inline std::span<const uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

inline partition::AppendRequest make_batch(BufferPool& pool, const std::vector<TestEvent>& events,
                                           const partition::ProducerPosition& producer) {
  partition::AppendRequest request;
  request.producer = producer;
  request.shape.event_count = static_cast<uint32_t>(events.size());
  for (const TestEvent& event : events) {
    request.shape.metadata_bytes += static_cast<uint32_t>(event.metadata.size());
    request.shape.data_bytes += event.data.size();
  }
  Result<BufferRef> buffer = pool.allocate(partition::kRecordHeaderBytes + request.shape.body_bytes());
  DIASPORA_CHECK(buffer.ok());
  request.buffer = buffer.take();
  uint8_t* const body = request.buffer->data() + partition::kRecordHeaderBytes;
  uint8_t* metadata = body + request.shape.table_bytes();
  uint8_t* data = body + request.shape.data_offset();
  std::memset(body, 0, request.shape.body_bytes());
  wire::EventEntry entry;
  for (size_t i = 0; i < events.size(); ++i) {
    std::memcpy(metadata, events[i].metadata.data(), events[i].metadata.size());
    metadata += events[i].metadata.size();
    if (!events[i].data.empty()) std::memcpy(data, events[i].data.data(), events[i].data.size());
    data += events[i].data.size();
    entry.metadata_end += static_cast<uint32_t>(events[i].metadata.size());
    entry.data_end += events[i].data.size();
    entry.data_crc = events[i].data.empty() ? 0 : crc32c(bytes_of(events[i].data));
    wire::encode_event_entry(entry, body + i * wire::kEventEntryBytes);
  }
  request.head_crc = crc32c({body, request.shape.head_bytes()});
  return request;
}

// The events of a stored batch; `*whole` says whether the data matches its checksums.
inline std::vector<TestEvent> unpack(const partition::StoredBatch& batch, bool* whole) {
  std::vector<TestEvent> events;
  *whole = true;
  const std::span<const uint8_t> head(batch.body(), batch.shape.head_bytes());
  for (uint32_t i = 0; i < batch.shape.event_count; ++i) {
    const wire::EventExtent extent = wire::event_extent(head, i);
    const uint8_t* const metadata = batch.body() + batch.shape.table_bytes() + extent.metadata_offset;
    TestEvent event;
    event.metadata.assign(metadata, metadata + extent.metadata_bytes);
    if (extent.data_bytes > 0) {
      const uint8_t* const data = batch.data() + extent.data_offset;
      event.data.assign(data, data + extent.data_bytes);
      if (crc32c({data, extent.data_bytes}) != extent.data_crc) *whole = false;
    }
    events.push_back(std::move(event));
  }
  return events;
}

// A few events that tell which batch they belong to; some carry no data.
inline std::vector<TestEvent> numbered_events(uint64_t batch, size_t data_bytes = 40) {
  std::vector<TestEvent> events;
  for (uint64_t i = 0; i < 1 + batch % 3; ++i) {
    const std::string name = std::to_string(batch) + "." + std::to_string(i);
    std::string data;
    while ((batch + i) % 4 != 0 && data.size() < data_bytes) data += name + ";";
    events.push_back({"{\"n\":\"" + name + "\"}", std::move(data)});
  }
  return events;
}

}  // namespace diaspora::testing
