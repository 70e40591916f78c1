#include "fabric/ofi_slots.h"

#include "base/clock.h"

namespace diaspora::fabric {

OperationSlot* SlotPool::take(Operation* operation) {
  if (free_.empty()) grow();
  OperationSlot* slot = free_.back();
  free_.pop_back();
  slot->operation = operation;
  return slot;
}

void SlotPool::release(OperationSlot* slot) {
  slot->operation = nullptr;
  free_.push_back(slot);
}

void SlotPool::rest(OperationSlot* slot) {
  slot->operation = nullptr;
  resting_.push_back({slot, monotonic_ms() + kRestMs});
}

// Takes back the slots that have rested, else makes new ones.
void SlotPool::grow() {
  const int64_t now_ms = monotonic_ms();
  while (!resting_.empty() && resting_.front().until_ms <= now_ms) {
    free_.push_back(resting_.front().slot);
    resting_.pop_front();
  }
  if (!free_.empty()) return;
  chunks_.push_back(std::make_unique<OperationSlot[]>(kChunk));
  for (size_t i = 0; i < kChunk; ++i) free_.push_back(&chunks_.back()[i]);
}

}  // namespace diaspora::fabric
