// Pushing into a BatchBuilder, for tests.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/batch_builder.h"
#include "fabric/fabric.h"

namespace diaspora::client {

// A domain that needs no library; null when it does not open.
inline std::unique_ptr<fabric::Domain> open_local_domain() {
  fabric::FabricOptions options;
  options.provider = "local";
  auto domain = fabric::open_domain(fabric::discover_providers(options).value().front(), options);
  return domain.ok() ? domain.take() : nullptr;
}

inline DataSegment segment_of(const std::string& text, std::shared_ptr<void> hold = nullptr) {
  DataSegment segment;
  segment.bytes = reinterpret_cast<const uint8_t*>(text.data());
  segment.length = text.size();
  segment.hold = std::move(hold);
  return segment;
}

inline BatchBuilder::Limits test_limits(uint32_t zero_copy_threshold) {
  BatchBuilder::Limits limits;
  limits.events_max = 100;
  limits.head_bytes_max = 60000;
  limits.data_bytes_max = 1 << 20;
  limits.gathered_bytes_max = 1 << 20;
  limits.zero_copy_threshold = zero_copy_threshold;
  return limits;
}

// The builder's event with this metadata, written to reserved room.
inline BatchBuilder::Event written(BatchBuilder* builder, const std::string& metadata,
                                   std::vector<DataSegment>* segments) {
  uint8_t* room = builder->reserve(metadata.size());
  std::copy(metadata.begin(), metadata.end(), room);
  BatchBuilder::Event event{metadata.size(), *segments, 0};
  for (const DataSegment& segment : *segments) event.data_bytes += segment.length;
  return event;
}

inline void add_event(BatchBuilder* builder, const std::string& metadata, std::vector<DataSegment> segments = {}) {
  builder->add(written(builder, metadata, &segments));
}

}  // namespace diaspora::client
