#include "fabric/in_flight.h"

namespace diaspora::fabric {

void InFlight::add(Operation* operation, bool is_receive) {
  DIASPORA_CHECK(operation->owner == nullptr);
  operation->owner = this;
  operation->is_receive = is_receive;
  operation->previous = nullptr;
  operation->next = first_;
  if (first_ != nullptr) first_->previous = operation;
  first_ = operation;
  ++size_;
  if (!is_receive) ++*domain_active_;
}

void InFlight::remove(Operation* operation) {
  DIASPORA_CHECK(operation->owner == this);
  if (operation->previous != nullptr) {
    operation->previous->next = operation->next;
  } else {
    first_ = operation->next;
  }
  if (operation->next != nullptr) operation->next->previous = operation->previous;
  operation->previous = nullptr;
  operation->next = nullptr;
  operation->owner = nullptr;
  --size_;
  if (!operation->is_receive) --*domain_active_;
}

void abort_all(const std::shared_ptr<InFlight>& owned) {
  // A callback may destroy the endpoint that owns it. NOLINTNEXTLINE(performance-unnecessary-copy-initialization)
  const std::shared_ptr<InFlight> in_flight = owned;
  const OperationResult aborted{ErrorCode::k_ABORTED, "the endpoint was closed", 0};
  while (Operation* operation = in_flight->first()) {
    in_flight->remove(operation);
    operation->on_complete(aborted);
  }
}

void CompletionList::forget(const InFlight* in_flight) {
  for (std::vector<Completion>* list : {&waiting_, &running_}) {
    for (Completion& completion : *list) {
      if (completion.operation != nullptr && completion.operation->owner == in_flight) completion.operation = nullptr;
    }
  }
}

size_t CompletionList::run() {
  // A callback that polls would deliver completions in the middle of another one.
  DIASPORA_CHECK(running_.empty());
  running_.swap(waiting_);
  size_t delivered = 0;
  for (size_t i = 0; i < running_.size(); ++i) {
    Operation* operation = std::exchange(running_[i].operation, nullptr);
    if (operation == nullptr) continue;  // its endpoint was closed by an earlier callback, which completed it
    static_cast<InFlight*>(operation->owner)->remove(operation);
    operation->on_complete(running_[i].result);
    ++delivered;
  }
  running_.clear();
  return delivered;
}

}  // namespace diaspora::fabric
