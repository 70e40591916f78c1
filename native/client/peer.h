// One server as a client sees it: its connection and everything that uses it.
//
// Routes frames and messages, and tells requests, batches, fetches and subscriptions when the connection comes up, goes
// down or is given up. Thread: progress. Owner: ClientCore. Invariant: when the connection goes down everything that
// was exposed to the server is withdrawn before the domain may go away.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "client/batch_sender.h"
#include "client/connection.h"
#include "client/fetch_queue.h"
#include "client/request_table.h"
#include "client/subscription.h"

namespace diaspora::client {

class Peer final : public Connection::Handler {
 public:
  // Told after everything that uses the connection.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void peer_up(uint32_t server) = 0;
    virtual void peer_down(uint32_t server) = 0;
    virtual void peer_lost(uint32_t server, uint32_t attempt, const Error& error) = 0;
    virtual void peer_warning(const std::string& line) = 0;
    virtual void peer_given_up(uint32_t server, const Error& error) = 0;
  };

  Peer(Reactor* reactor, const ClientOptions& options, uint32_t index, ClientCounters* counters, Listener* listener);
  ~Peer() override;

  Connection& connection() { return connection_; }
  RequestTable& requests() { return requests_; }
  BatchSender& sender() { return sender_; }
  FetchQueue& fetches() { return fetches_; }
  SubscriptionLine line() { return {reactor_, &connection_, &requests_, &fetches_, counters_}; }

  // Routed to and told of the connection from now on.
  void add_subscription(Subscription* subscription);
  // Ends it at the server. It may be destroyed afterwards.
  void remove_subscription(Subscription* subscription);

  // Closes the connection for good; everything pending fails with `error`.
  void close(const Error& error);

  void on_up() override;
  void on_down() override;
  void on_lost(uint32_t attempt, const Error& error) override { listener_->peer_lost(index_, attempt, error); }
  void on_warning(const std::string& line) override { listener_->peer_warning(line); }
  void on_given_up(const Error& error) override;
  void on_reply(const wire::FrameHeader& header, std::span<const uint8_t> payload) override {
    requests_.on_reply(header, payload);
  }
  Status on_message(const wire::MessageView& view) override;

 private:
  Status on_delivery(const wire::MessageView& view);
  Status on_subscription_error(const wire::MessageView& view);
  void fail_all(const Error& error);
  std::vector<Subscription*> subscriptions() const;

  Reactor* reactor_;
  const uint32_t index_;
  ClientCounters* counters_;
  Listener* listener_;
  Connection connection_;
  RequestTable requests_;
  BatchSender sender_;
  FetchQueue fetches_;
  std::unordered_map<uint32_t, Subscription*> subscriptions_;
  // Windows of ended subscriptions: the server may be writing into them for a moment.
  std::unordered_map<uint64_t, std::unique_ptr<WindowSet>> leaving_windows_;
  uint64_t next_leaving_ = 1;
  std::shared_ptr<bool> alive_;
};

}  // namespace diaspora::client
