// Contexts for operations in flight, owned by the domain.
//
// libfabric hands back the context pointer of an operation with its completion. A completion may still be queued when
// its endpoint is closed and the operation's memory is gone, so the pointer never leads to the operation but to a slot
// that lives as long as the domain. The slots of a closed endpoint rest before they are used again, so that no late
// completion can be taken for a new operation's. Thread: the domain's.
#pragma once

#include <rdma/fabric.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "fabric/fabric.h"

namespace diaspora::fabric {

struct OperationSlot {
  // First, because its address is the context. Some providers keep state in it.
  fi_context2 context{};
  Operation* operation = nullptr;  // null: unused or resting
};

class SlotPool {
 public:
  OperationSlot* take(Operation* operation);
  // The operation's completion was seen, or it was never posted.
  void release(OperationSlot* slot);
  // The operation was given up; its completion may or may not come.
  void rest(OperationSlot* slot);

 private:
  // fi_close of an endpoint releases what it has in flight before it returns; this is for what we do not know.
  static constexpr int64_t kRestMs = 10'000;
  static constexpr size_t kChunk = 256;

  struct Resting {
    OperationSlot* slot;
    int64_t until_ms;
  };

  void grow();

  std::vector<std::unique_ptr<OperationSlot[]>> chunks_;
  std::vector<OperationSlot*> free_;
  std::deque<Resting> resting_;
};

}  // namespace diaspora::fabric
