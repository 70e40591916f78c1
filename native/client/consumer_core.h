// A consumer: one subscription at each server, a queue of deliveries between the threads, fetches, acknowledgements.
//
// Threads: take, fetch, acknowledge and destroy on the caller's; the rest on the progress thread; what both touch is
// under a mutex. Owner: shared by the caller's handle and ClientCore.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "client/acknowledger.h"
#include "client/client.h"
#include "client/membership.h"
#include "client/peer.h"

namespace diaspora::client {

class ConsumerCore final : public Consumer,
                           public Subscription::Owner,
                           public Membership::Owner,
                           public std::enable_shared_from_this<ConsumerCore> {
 public:
  struct Shared {
    Reactor* reactor = nullptr;
    std::shared_ptr<CompletionSink> sink;
    std::shared_ptr<ClientCounters> counters;
    uint32_t zero_copy_threshold = 0;
  };
  ConsumerCore(Shared shared, Options options);
  ~ConsumerCore() override = default;

  std::optional<Delivery> take() override;
  bool held_back() override;
  void fetch(uint64_t request, PartitionIndex partition, EventId event, std::vector<Range> ranges,
             std::vector<std::span<uint8_t>> destination, std::shared_ptr<void> hold) override;
  void acknowledge(uint64_t request, PartitionIndex partition, EventId event) override;
  void seek(const wire::SubscribeFrame::Start& to) override;
  void go_on() override;
  void release(PartitionIndex partition) override;
  void destroy() override;

  // Progress thread. `open_request` is done when every server has accepted; `released` runs when the consumer is
  // destroyed.
  void attach(const std::vector<Peer*>& peers, uint64_t open_request, std::function<void()> released);
  // A connection of its own may be closed next, on which nothing could be said any more. Idempotent.
  void leave_group();
  // Before the peers go away.
  void detach(const Error& error);

  void subscribed(Subscription* subscription, const Status& status) override;
  void delivered(Subscription* subscription, Delivery delivery, uint32_t window) override;
  void partition_failed(PartitionIndex partition, const Error& error) override;
  void assigned(const std::vector<wire::GroupHolding>& granted, const std::vector<PartitionIndex>& revoked) override;
  void membership_failed(const Error& error) override;
  void partition_ended(PartitionIndex partition) override;

 private:
  struct Queued {
    Delivery delivery;
    uint32_t subscription = 0;
    uint32_t window = 0;
  };
  struct Taken {
    uint32_t subscription = 0;
    uint32_t window = 0;
  };
  struct Line {
    Peer* peer = nullptr;
    std::unique_ptr<Subscription> subscription;
    bool accepted = false;
    bool empty = false;  // it has no partition any more, and is removed soon
  };

  Subscription::Options subscription_options(size_t servers) const;
  void attach_member();
  void subscribe(const std::vector<wire::SubscribeFrame::Start>& starts);
  void subscribe_again(uint32_t failed, std::vector<wire::SubscribeFrame::Start> starts);
  void drop_partition(PartitionIndex partition);
  void forget_waiting(PartitionIndex partition);
  void remove_empty_lines();
  std::unique_ptr<FetchJob> make_fetch(uint64_t request, const std::vector<Range>& ranges,
                                       const std::vector<std::span<uint8_t>>& destination, std::shared_ptr<void> hold);
  void start_fetch(uint64_t request, PartitionIndex partition, EventId event, std::unique_ptr<FetchJob> job);
  Peer* peer_of(PartitionIndex partition) const;
  void drain_taken();
  void accepted();
  void opened(const Status& status);
  void finish_request(uint64_t request, const Status& status);

  const Shared shared_;
  const Options options_;

  std::mutex mutex_;
  std::deque<Queued> ready_;  // guarded by mutex_
  std::vector<Taken> taken_;  // guarded by mutex_
  bool announced_ = false;    // guarded by mutex_
  bool destroyed_ = false;    // guarded by mutex_
  uint32_t unnoticed_ = 0;    // guarded by mutex_; calls of go_on() that are to come
  // Partitions whose place is being changed, and how often: what still comes from the old one is dropped.
  std::map<uint32_t, uint32_t> seeking_;  // guarded by mutex_

  // Progress thread.
  std::vector<Peer*> peers_;  // by server index; empty before attach and after detach
  std::vector<Line> lines_;
  std::map<uint32_t, uint32_t> seeks_;      // by partition: how often it went on elsewhere
  std::unique_ptr<Membership> membership_;  // null: not a member of a group
  Acknowledger acknowledger_;
  uint64_t open_request_ = 0;  // 0: answered
  size_t not_accepted_ = 0;
  std::function<void()> released_;
};

}  // namespace diaspora::client
