// Finding a batch by event id in a run of consecutive batches, and the error for ids outside of it.
#pragma once

#include <algorithm>
#include <deque>
#include <string>

#include "partition/partition.h"

namespace diaspora::partition {

// The batch that contains `id`, or the newest one when `id` is past all; `batches` must not be empty, and `id` not
// older than its first.
inline std::deque<StoredBatch>::const_iterator find_batch(const std::deque<StoredBatch>& batches, EventId id) {
  const auto after = std::upper_bound(batches.begin(), batches.end(), id,
                                      [](EventId wanted, const StoredBatch& batch) { return wanted < batch.base_id; });
  DIASPORA_CHECK(after != batches.begin());
  return std::prev(after);
}

// Of the oldest batch stored at `timestamp_ns` or later; `end` when there is none.
inline EventId find_batch_of_time(const std::deque<StoredBatch>& batches, int64_t timestamp_ns, EventId end) {
  const auto found = std::partition_point(batches.begin(), batches.end(), [timestamp_ns](const StoredBatch& batch) {
    return batch.timestamp_ns < timestamp_ns;
  });
  return found == batches.end() ? end : found->base_id;
}

inline Error id_out_of_range(EventId id, EventId first, EventId next) {
  return {ErrorCode::k_OFFSET_OUT_OF_RANGE, "event id " + std::to_string(id.value) + " is not in " +
                                                std::to_string(first.value) + " .. " + std::to_string(next.value) +
                                                " (exclusive)"};
}

}  // namespace diaspora::partition
