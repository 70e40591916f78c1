// A consumer's subscription at one server: asks for events, checks what arrives, and gives credit.
//
// Thread: progress. Owner: ConsumerCore; its Peer routes messages to it. Invariants: each partition is handed over in
// id order, without gaps but for those that the server declares where that was allowed, and after its checksums were
// verified; after a reconnection it goes on behind the last delivery handed over; deliveries not yet taken never exceed
// deliveries_ahead.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "client/client.h"
#include "client/connection.h"
#include "client/fetch_queue.h"
#include "client/request_table.h"
#include "client/window_set.h"

namespace diaspora::client {

// What a subscription uses of its server; all outlive it.
struct SubscriptionLine {
  Reactor* reactor = nullptr;
  Connection* connection = nullptr;
  RequestTable* requests = nullptr;
  FetchQueue* fetches = nullptr;
  std::shared_ptr<ClientCounters> counters;
};

class Subscription {
 public:
  struct Options {
    uint32_t id = 0;
    Uuid topic;
    std::string consumer;
    bool full_data = false;
    bool oldest_if_dropped = false;
    uint32_t batch_events = 0;
    uint64_t window_bytes = 0;  // of all windows together
    uint32_t deliveries_ahead = 1;
    std::vector<wire::SubscribeFrame::Start> starts;
  };
  class Owner {
   public:
    virtual ~Owner() = default;
    // Accepted by the server, or refused or given up: then nothing more comes.
    virtual void subscribed(Subscription* subscription, const Status& status) = 0;
    virtual void delivered(Subscription* subscription, Delivery delivery, uint32_t window) = 0;
    virtual void partition_failed(PartitionIndex partition, const Error& error) = 0;
    // Once, behind its last delivery.
    virtual void partition_ended(PartitionIndex partition) = 0;
  };

  Subscription(const SubscriptionLine& line, Options options, Owner* owner);
  ~Subscription();
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;

  uint32_t id() const { return options_.id; }
  const Options& options() const { return options_; }

  // Nothing more of this partition is wanted. False: there is no other.
  bool remove(PartitionIndex partition);
  // What it still wants, to be asked for anew.
  std::vector<wire::SubscribeFrame::Start> wanted() const;
  // The consumer took a delivery; send_credit() later tells the server of all of them.
  void note_taken(uint32_t window);
  void send_credit();
  // Nothing is delivered any more. Gives the windows, into which the server may write until it has stopped: until some
  // time after `stopped`, which runs when it has answered, or until the connection is down (then it does not run).
  std::unique_ptr<WindowSet> end(std::function<void()> stopped);

  void on_up();
  void on_down();
  void fail_all(const Error& error);
  Status on_delivery(const wire::DeliveryMessage& message, std::span<const uint8_t> body);
  void on_error(const wire::SubscriptionErrorMessage& message);
  void on_windows_wanted();
  Status on_partition_end(const wire::PartitionEndMessage& message);
  Status on_partition_skip(const wire::PartitionSkipMessage& message);

 private:
  static constexpr int64_t kRefillMsMin = 20;
  static constexpr int64_t kRefillMsMax = 1000;

  struct Progress {
    uint64_t token = 0;  // as asked for
    uint64_t start = 0;  // as asked for, then the event id that the server said
    wire::StartKind start_kind = wire::StartKind::kPosition;
    std::optional<EventId> next_arrival;  // unknown until the first one
    std::optional<EventId> next_handed_over;
    bool failed = false;  // or not wanted any more
    bool ended = false;   // was handed over to its end; it is not asked for again
  };
  struct Arrived {
    uint64_t serial = 0;
    Delivery delivery;
    uint32_t window = 0;  // 0: none
    bool ready = true;    // false: its data is being fetched
    bool is_end = false;  // no delivery: nothing follows in its partition
    Error failure;        // no delivery: its partition has failed
  };

  void accepted(const Result<std::span<const uint8_t>>& reply);
  Status place_head(const wire::DeliveryMessage& message, std::span<const uint8_t> body, Arrived* arrived);
  Status place_data(const wire::DeliveryMessage& message, std::span<const uint8_t> body, Arrived* arrived);
  Status place(const wire::Placement& placement, uint64_t bytes, Arrived* arrived, std::span<const uint8_t>* view,
               std::shared_ptr<void>* owner);
  Status verify(const wire::DeliveryMessage& message, const Arrived& arrived);
  Status corrupt(PartitionIndex partition, EventId first_id, const Error& error);
  Status expand(Arrived* arrived);
  void fetch_data(Arrived* arrived);
  void data_fetched(uint64_t serial, const Status& status);
  void hand_over();
  void fail_partition(PartitionIndex partition, const Error& error);
  void refill_later();

  const SubscriptionLine line_;
  const Options options_;
  Owner* owner_;
  std::map<uint32_t, Progress> partitions_;
  std::unique_ptr<WindowSet> windows_;
  std::deque<Arrived> arrived_;
  uint64_t next_serial_ = 1;
  uint32_t untaken_ = 0;  // handed over, not taken
  uint32_t granted_ = 0;  // deliveries that the server may still send
  bool asked_ = false;    // sent on this connection
  bool active_ = false;   // accepted on this connection
  bool over_ = false;
  bool windows_wanted_ = false;  // on this connection
  // Where the last mismatch was and how often it was there.
  std::pair<uint32_t, uint64_t> corrupt_place_{};
  uint32_t corrupt_count_ = 0;
  Reactor::TimerId refill_timer_ = 0;
  int64_t refill_ms_ = kRefillMsMin;  // grows while others hold the memory
  std::shared_ptr<bool> alive_;
};

}  // namespace diaspora::client
