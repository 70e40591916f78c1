// The connection to one server: control channel, handshake, fabric link, loss and reconnection.
//
// What it is not: it knows no batches, fetches or subscriptions; those are its Handler's (Peer).
// When the provider that both sides chose does not come up, the next attempt offers the others.
// States: idle -> connecting -> (discovering) -> greeting -> attaching -> pinging -> up; a failure in any of them
// closes the link first, then waits and connects again until the time is up, then is idle again (given up); closed is
// final. Thread: progress. Owner: Peer. Invariants: on_up and on_down alternate; when on_down is called the endpoint is
// closed and nothing touches exposed memory any more, but the domain still exists, so that registrations can be
// withdrawn. No object below is destroyed inside one of its own callbacks: failures are handled in a pass of their own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/reactor.h"
#include "client/client.h"
#include "client/connector.h"
#include "client/domain_registry.h"
#include "session/control_channel.h"
#include "session/link.h"
#include "wire/control.h"
#include "wire/message.h"

namespace diaspora::client {

// What of a client's options a connection is made with: clients for which all of it is the same share one.
struct ConnectionOptions {
  std::function<int()> connect_local;  // see ClientOptions
  const void* local_server = nullptr;
  std::string provider;
  uint16_t rail = 0;
  int64_t connect_timeout_ms = 0;
  int64_t reconnect_timeout_ms = 0;
  uint32_t zero_copy_threshold = 0;
};

// What the server granted in its welcome.
struct SessionLimits {
  uint32_t message_bytes = 0;  // largest message to send
  uint32_t batch_credits = 0;
  uint32_t fetch_credits = 0;
};

class Connection {
 public:
  class Handler {
   public:
    virtual ~Handler() = default;
    virtual void on_up() = 0;
    virtual void on_down() = 0;
    // Will be tried again.
    virtual void on_lost(uint32_t attempt, const Error& error) = 0;
    // A line for the operator: something is worse than it could be.
    virtual void on_warning(const std::string& line) = 0;
    // No more attempts until open() is called again.
    virtual void on_given_up(const Error& error) = 0;
    virtual void on_reply(const wire::FrameHeader& header, std::span<const uint8_t> payload) = 0;
    // An error ends the session.
    virtual Status on_message(const wire::MessageView& view) = 0;
  };

  Connection(Reactor* reactor, ConnectionOptions options, ServerAddress address, Handler* handler);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Connects if idle.
  void open();
  // Another client has begun to wait for the first connection: it gets its time anew.
  void renew_deadline();
  void set_address(std::string host, uint16_t port);
  // Ends the session because of what the server sent; reconnects.
  void drop(Error error) { fail(std::move(error)); }
  // If up: closes the endpoint now and connects anew, so that on return nothing touches exposed memory any more. Never
  // inside a call of the handler.
  void restart();
  // Closes for good. on_down is called if it was up.
  void close();

  bool is_up() const { return state_ == State::kUp && !failing_; }
  // A session was lost and has not been restored. Not while it is up, made for the first time or restarted.
  bool lost() const { return lost_; }
  // Up, or on the way to it for the first time or after restart().
  bool may_be_joined() const { return !lost_ && !failing_ && state_ != State::kClosed; }
  const ConnectionOptions& options() const { return options_; }
  const ServerAddress& address() const { return address_; }
  const SessionLimits& limits() const { return limits_; }
  fabric::Domain* domain() const { return domain_->get(); }
  RegistrationCache* registrations() const { return domain_->registrations(); }
  const std::string& provider() const { return provider_.name; }
  const Uuid& server_uuid() const { return server_uuid_; }
  // For messages: "127.0.0.1:4711" or "the embedded server".
  const std::string& name() const { return name_; }

  // Only while up.
  void send(std::span<const uint8_t> message) { link_->send(message); }
  void send_frame(std::vector<uint8_t> frame) { channel_->send(std::move(frame)); }

 private:
  enum class State { kIdle, kWaiting, kConnecting, kDiscovering, kGreeting, kAttaching, kPinging, kUp, kClosed };

  void begin_attempt();
  void connected(int fd);
  void discover();
  void greet(Result<std::vector<fabric::ProviderInfo>> providers);
  void on_frame(const wire::FrameHeader& header, std::span<const uint8_t> payload);
  Status handle_frame(const wire::FrameHeader& header, std::span<const uint8_t> payload);
  Status welcomed(std::span<const uint8_t> payload);
  Status attached();
  void on_message(std::span<const uint8_t> bytes);
  Status handle_message(const wire::MessageView& view);
  void came_up();
  void fail(Error error);
  bool has_alternative() const;
  Error give_up_provider(const Error& error);
  void limit_attempt(int64_t ms);
  void recover(const Error& error);
  void give_up(const Error& last);
  bool tear_down();
  void session_ended();
  void cancel_timer();
  std::vector<std::string> wanted_providers() const;

  Reactor* reactor_;
  const ConnectionOptions options_;
  ServerAddress address_;
  Handler* handler_;
  std::string name_;
  const Uuid client_uuid_ = Uuid::random();

  State state_ = State::kIdle;
  bool failing_ = false;  // a failure waits for its pass
  bool was_up_once_ = false;
  bool lost_ = false;
  uint64_t epoch_ = 0;  // of this attempt: late callbacks of earlier ones are dropped
  uint32_t attempt_ = 0;
  int64_t backoff_ms_ = 0;
  int64_t deadline_ms_ = 0;
  int64_t attempt_end_ms_ = 0;
  Reactor::TimerId timer_ = 0;
  std::shared_ptr<bool> alive_;

  std::string bind_address_;
  std::vector<fabric::ProviderInfo> providers_;
  fabric::ProviderInfo provider_;
  std::set<std::string> unfit_;  // families that did not come up since the session was up last; not offered again
  Uuid server_uuid_;
  wire::WelcomeFrame welcome_;
  SessionLimits limits_;
  // Destroyed bottom up.
  std::shared_ptr<SharedDomain> domain_;
  std::unique_ptr<Connector> connector_;
  std::unique_ptr<session::ControlChannel> channel_;
  std::unique_ptr<session::Link> link_;
};

}  // namespace diaspora::client
