// A consumer's place in its consumer group, which the server of partition 0 keeps.
//
// There is always one request of the member at that server: it says what the member holds and is answered when it
// should hold something else. What it is given it holds at once; what it should give back it holds until release(), so
// that its user can finish. Thread: progress. Owner: ConsumerCore. Invariant: what is not held is not acknowledged, and
// the server gives a partition to another only when it is released here, or after rebalance_timeout_ms.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/request_table.h"
#include "wire/control.h"

namespace diaspora::client {

class Membership {
 public:
  struct Options {
    Uuid topic;
    std::string consumer;
    uint32_t partitions = 0;  // of the topic
    uint32_t session_timeout_ms = 0;
    uint32_t rebalance_timeout_ms = 0;
  };
  class Owner {
   public:
    virtual ~Owner() = default;
    // What is new and what is to be given back, each maybe empty: also after the first answer.
    virtual void assigned(const std::vector<wire::GroupHolding>& granted,
                          const std::vector<PartitionIndex>& revoked) = 0;
    // The group is not reached, or its topic is gone.
    virtual void membership_failed(const Error& error) = 0;
  };

  Membership(RequestTable* coordinator, Options options, Owner* owner);
  ~Membership();
  Membership(const Membership&) = delete;
  Membership& operator=(const Membership&) = delete;

  void join() { sync(); }
  // Tells the server if it is connected. Nothing follows.
  void leave();
  // What was to be given back is free for others.
  void release(PartitionIndex partition);
  // Another member owns it already.
  void fenced(PartitionIndex partition);
  // Held, and not to be given back.
  bool owns(PartitionIndex partition) const;
  // Of a partition that is held, also of one that is to be given back.
  std::optional<uint64_t> token(PartitionIndex partition) const;

 private:
  struct Held {
    uint64_t token = 0;
    bool revoked = false;
  };
  wire::GroupSyncFrame frame() const;
  void sync();
  void answered(const Result<std::span<const uint8_t>>& reply);

  RequestTable* coordinator_;
  const Options options_;
  Owner* owner_;
  const Uuid member_ = Uuid::random();
  std::map<uint32_t, Held> held_;
  uint64_t serial_ = 0;
  uint64_t view_ = 0;
  uint64_t request_ = 0;  // the latest
  bool left_ = false;
  std::shared_ptr<bool> alive_;
};

}  // namespace diaspora::client
