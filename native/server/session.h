// One client's session: handshake, requests, batches, subscriptions, fetches; ended by either side or by a failure.
//
//   states: greeting (awaits kHello) -> attaching (awaits kAttach) -> open -> closed
// Thread: the server's reactor. Owner: ServerImpl; the session asks to be destroyed through on_closed, which is called
// once, from a pass of its own.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/batch_intake.h"
#include "server/core.h"
#include "server/fetch_service.h"
#include "server/subscription.h"
#include "session/control_channel.h"
#include "session/link.h"
#include "wire/control.h"

namespace diaspora::server {

class Session {
 public:
  struct Hooks {
    // The client has said who it is: an older session of the same client is to be ended.
    std::function<void(Session*)> on_identified;
    std::function<void(Session*)> on_closed;
  };
  // `bind_address`: the interface on which the client reached the server; the fabric listens there too.
  Session(Core* core, int fd, std::string bind_address, Hooks hooks);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const Uuid& client() const { return client_; }
  // Its partition is about to close.
  void drop(const HostedPartition* hosted);
  // A partition was completed: what is to be told of it is sent.
  void pump();
  // Ends the session: transfers are cancelled, then on_closed is posted. Idempotent.
  void close(const Error& reason);
  // The server stops: tells the client first.
  void say_goodbye();

 private:
  struct Subscribing;
  enum class State { kGreeting, kAttaching, kOpen, kClosed };

  void on_frame(const wire::FrameHeader& header, std::span<const uint8_t> payload);
  Status greet(std::span<const uint8_t> payload);
  Status attach(std::span<const uint8_t> payload);
  Result<fabric::ProviderInfo> choose_provider(const wire::HelloFrame& hello);
  void on_request(const wire::FrameHeader& header, std::span<const uint8_t> payload);
  Result<std::vector<uint8_t>> request_reply(const wire::FrameHeader& header, std::span<const uint8_t> payload);
  Result<std::vector<uint8_t>> topic_reply(const wire::FrameHeader& header, std::span<const uint8_t> payload);
  Status consumer_request(const wire::FrameHeader& header, std::span<const uint8_t> payload);
  void set_cursor(uint64_t request, const wire::CursorSetFrame& frame);
  void subscribe(uint64_t request, const wire::SubscribeFrame& frame);
  void prepared(const std::shared_ptr<Subscribing>& subscribing, const Status& status);
  Result<std::vector<wire::SubscribeFrame::Start>> finish_subscribe(const wire::SubscribeFrame& frame);
  void unsubscribe(const wire::UnsubscribeFrame& frame);
  void sync_group(uint64_t request, const wire::GroupSyncFrame& frame);
  void acknowledge(uint64_t request, const wire::AcknowledgeFrame& frame);
  void remove_topic(uint64_t request, const Uuid& topic);
  void reply(uint64_t request, const Status& status);
  void on_message(std::span<const uint8_t> bytes);
  Status dispatch(const wire::MessageView& view);
  void flush_answers();

  Core* core_;
  const std::string bind_address_;
  Hooks hooks_;
  State state_ = State::kGreeting;
  bool left_ = false;  // the client has said goodbye
  Uuid client_;
  uint32_t message_bytes_ = 0;
  uint32_t zero_copy_threshold_ = 0;
  std::vector<wire::BatchAnswer> answers_;
  std::vector<uint8_t> encoded_;
  Reactor::TimerId handshake_timer_ = 0;
  std::shared_ptr<bool> alive_;

  // Destroyed bottom up: users of the link before the link, the link before the channel that rings its doorbell.
  std::unique_ptr<session::ControlChannel> control_;
  std::shared_ptr<ServedDomain> domain_;
  std::unique_ptr<session::Link> link_;
  std::unique_ptr<BatchIntake> intake_;
  std::unique_ptr<FetchService> fetches_;
  std::map<uint32_t, std::unique_ptr<Subscription>> subscriptions_;
  std::map<uint32_t, std::shared_ptr<Subscribing>> subscribing_;  // by subscription
};

}  // namespace diaspora::server
