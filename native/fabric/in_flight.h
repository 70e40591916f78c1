// The bookkeeping that both implementations share: which operations an endpoint has in flight, and which completions a
// domain has yet to deliver.
//
// What it is not: it knows no provider. Thread: the domain's. Invariant: an operation is in exactly one InFlight from
// add() until just before its on_complete, so each is completed exactly once, either by CompletionList::run or by
// abort_all.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fabric/fabric.h"

namespace diaspora::fabric {

// The operations of one endpoint, a list through the operations themselves.
class InFlight {
 public:
  // `domain_active` counts the operations of all endpoints, receives left out. It outlives this.
  explicit InFlight(size_t* domain_active) : domain_active_(domain_active) {}

  void add(Operation* operation, bool is_receive);
  void remove(Operation* operation);
  Operation* first() const { return first_; }
  size_t size() const { return size_; }

 private:
  Operation* first_ = nullptr;
  size_t size_ = 0;
  size_t* domain_active_;
};

// Completes everything in flight with k_ABORTED. Taken by value: a callback may destroy the endpoint.
void abort_all(const std::shared_ptr<InFlight>& owned);

// Completions drained but not delivered.
class CompletionList {
 public:
  void add(Operation* operation, OperationResult result) { waiting_.push_back({operation, std::move(result)}); }
  bool empty() const { return waiting_.empty(); }
  // Drops what is known of the operations of a closing endpoint, also of a run() that is under way.
  void forget(const InFlight* in_flight);
  // Delivers what was there on entry. What callbacks add waits for the next run. Returns how many were delivered.
  size_t run();

 private:
  struct Completion {
    Operation* operation;
    OperationResult result;
  };

  std::vector<Completion> waiting_;
  std::vector<Completion> running_;
};

}  // namespace diaspora::fabric
