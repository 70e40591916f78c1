// One server as this process sees it: its connection and everything that uses it, of all clients that share it.
//
// Routes frames and messages, and tells requests, batches, fetches and subscriptions when the connection comes up, goes
// down or is given up. Clients of all threads that want the same server in the same way share one (find_or_make_peer),
// so that a process has one endpoint for each server however many drivers and workers it has. Thread: progress. Owner:
// the clients that use it; the last one to leave closes it. Invariant: when the connection goes down everything that
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
    virtual CompletionSink* peer_log() = 0;  // where lines for the operator go
    virtual void peer_given_up(uint32_t server, const Error& error) = 0;
  };

  Peer(Reactor* reactor, ConnectionOptions options, ServerAddress address);
  ~Peer() override;

  // Connects if need be, and tells `listener`, who knows the server by `index`; at once if the connection is up.
  void join(Listener* listener, uint32_t index);
  // After everything of the listener's has ended. The last one closes the connection for good; what is still pending
  // then fails with `error`.
  void leave(Listener* listener, const Error& error);
  bool used_by_others(const Listener* listener) const;

  Connection& connection() { return connection_; }
  RequestTable& requests() { return requests_; }
  BatchSender& sender() { return sender_; }
  FetchQueue& fetches() { return fetches_; }
  SubscriptionLine line(std::shared_ptr<ClientCounters> counters) {
    return {reactor_, &connection_, &requests_, &fetches_, std::move(counters)};
  }

  // Routed to and told of the connection from now on.
  void add_subscription(Subscription* subscription);
  // Ends it at the server. It may be destroyed afterwards.
  void remove_subscription(Subscription* subscription);

  void on_up() override;
  void on_down() override;
  void on_lost(uint32_t attempt, const Error& error) override;
  void on_warning(const std::string& line) override;
  void on_given_up(const Error& error) override;
  void on_reply(const wire::FrameHeader& header, std::span<const uint8_t> payload) override {
    requests_.on_reply(header, payload);
  }
  Status on_message(const wire::MessageView& view) override;

 private:
  Status on_delivery(const wire::MessageView& view);
  Status on_subscription_error(const wire::MessageView& view);
  Status on_windows_wanted(const wire::MessageView& view);
  Status on_partition_end(const wire::MessageView& view);
  Status on_partition_skip(const wire::MessageView& view);
  void fail_all(const Error& error);
  std::vector<Subscription*> subscriptions() const;

  struct User {
    Listener* listener = nullptr;
    uint32_t index = 0;
  };

  Reactor* reactor_;
  std::vector<User> users_;
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

// The peer for a rail of a server: one that other clients use already, when it was made with the same options at the
// same address and is up or coming up; otherwise a new one. A server that was lost is left to those who had it: a
// new client has time limits of its own.
std::shared_ptr<Peer> find_or_make_peer(const ClientOptions& options, uint32_t server, uint16_t rail);

}  // namespace diaspora::client
