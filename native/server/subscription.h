// One consumer's subscription: sends committed events of its partitions while there is credit.
//
// Credit is memory (windows of the client, written by RMA) and a number of deliveries. Windows are asked for when there
// is something for them: consumers of small events, and idle ones, have none. A paused consumer gives none, so
// it costs the server one batch a partition and nobody else anything. Deliveries leave in the order in which they were
// made, each after the writes into its window are complete.
// Thread: the server's reactor. Owner: Session, which closes its link before it destroys this.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/core.h"
#include "server/topic_table.h"
#include "session/link.h"
#include "wire/message.h"

namespace diaspora::server {

class Subscription {
 public:
  struct Options {
    uint32_t id = 0;
    std::string consumer;
    bool full_data = false;
    bool oldest_if_dropped = false;  // goes on at the oldest kept event where the next one was dropped
    uint32_t batch_events = 0;       // 0: any number
    uint32_t zero_copy_threshold = 0;
    uint32_t message_bytes = 0;
  };
  Subscription(Core* core, ServedDomain* domain, session::Link* link, Options options);
  ~Subscription();
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;

  // OFFSET_OUT_OF_RANGE when `position` is neither kept nor next, unless it was dropped and that is allowed.
  // Gives the id that it begins at.
  // FENCED when its token is of a former owner.
  Result<EventId> add(std::shared_ptr<HostedPartition> hosted, const wire::SubscribeFrame::Start& start);
  // The consumer is told that a partition that it asked for cannot be served.
  void refuse(PartitionIndex partition, const Error& error);
  // Sends nothing more of one partition. False: there is no other.
  bool remove(PartitionIndex partition);
  void grant(const wire::CreditMessage& credit);
  // The partition is about to close: its consumer is told.
  void drop(const HostedPartition* hosted);
  // Sends what may be sent.
  void pump();

 private:
  struct Cursor;
  struct Outgoing;
  struct Slice;

  bool pump_cursor(Cursor* cursor);
  void end_if_complete(Cursor* cursor);
  bool load(Cursor* cursor);
  void skip_dropped(Cursor* cursor);
  void loaded(Cursor* cursor, Result<partition::StoredBatch> batch);
  template <typename Allowed>
  static void fill(Slice* slice, uint32_t last, const Allowed& allowed);
  bool choose_placement(Slice* slice, wire::DeliveryMessage* message);
  bool send(Cursor* cursor, const Slice& slice, wire::DeliveryMessage message);
  Status place_head(Cursor* cursor, const Slice& slice, const BufferRef& room,
                    const std::shared_ptr<Outgoing>& outgoing, wire::DeliveryMessage* message);
  Status place_data(const Slice& slice, const std::shared_ptr<Outgoing>& outgoing,
                    const wire::DeliveryMessage& message);
  void pump_later();
  Status write_to_window(const std::shared_ptr<Outgoing>& outgoing, const wire::Placement& placement,
                         std::span<const uint8_t> bytes, const BufferRef& buffer);
  // The head of the current batch, expanded where it is compressed; valid until the next one is loaded.
  static Result<std::span<const uint8_t>> expanded_head(Cursor* cursor);
  void want_windows();
  void flush_ready();
  void fail(Cursor* cursor, const Error& error);
  template <typename Message>
  void send_in_order(const Message& message);

  Core* core_;
  ServedDomain* domain_;
  session::Link* link_;
  const Options options_;
  std::vector<std::unique_ptr<Cursor>> cursors_;
  size_t next_cursor_ = 0;  // round robin
  uint64_t deliveries_ = 0;
  bool granted_ = false;              // the client knows that it is subscribed: its first credit has come
  std::deque<wire::Window> windows_;  // the front one is being filled
  uint64_t window_fill_ = 0;
  bool windows_wanted_ = false;  // the client was asked for some
  std::vector<uint32_t> retired_;
  std::deque<std::shared_ptr<Outgoing>> outgoing_;
  std::vector<uint8_t> encoded_;
  bool pumping_ = false;
  bool pumps_later_ = false;  // a timer is set
  std::shared_ptr<bool> alive_;
};

}  // namespace diaspora::server
