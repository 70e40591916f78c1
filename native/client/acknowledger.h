// A consumer's acknowledgements: at most one on its way for each partition; what comes meanwhile waits and goes with
// the next, which carries the highest event, because acknowledging is cumulative.
//
// Thread: progress. Owner: ConsumerCore. Invariant: every request completes exactly once.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/request_table.h"

namespace diaspora::client {

class Acknowledger {
 public:
  using Done = std::function<void(uint64_t request, const Status& status)>;
  Acknowledger(const Uuid& topic, std::string consumer, Done done)
      : topic_(topic), consumer_(std::move(consumer)), done_(std::move(done)), alive_(std::make_shared<bool>(true)) {}
  ~Acknowledger() { *alive_ = false; }
  Acknowledger(const Acknowledger&) = delete;
  Acknowledger& operator=(const Acknowledger&) = delete;

  // `token`: of the member of a group, else 0.
  void acknowledge(uint64_t request, PartitionIndex partition, EventId event, uint64_t token, RequestTable* server);
  void fail_all(const Status& status);

 private:
  struct Partition {
    RequestTable* server = nullptr;
    EventId highest;
    uint64_t token = 0;
    std::vector<uint64_t> waiting;
    std::vector<uint64_t> sent;
  };
  void send(uint32_t index, Partition* partition);
  void answered(uint32_t index, const Status& status);

  const Uuid topic_;
  const std::string consumer_;
  Done done_;
  std::map<uint32_t, Partition> partitions_;
  std::shared_ptr<bool> alive_;
};

}  // namespace diaspora::client
