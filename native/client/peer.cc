#include "client/peer.h"

#include <utility>

namespace diaspora::client {

namespace {

// A server stops writing when it has processed the end of the subscription; its last writes take far less.
constexpr int64_t kLeavingMs = 3000;

}  // namespace

Peer::Peer(Reactor* reactor, const ClientOptions& options, uint32_t index, ClientCounters* counters, Listener* listener)
    : reactor_(reactor),
      index_(index),
      counters_(counters),
      listener_(listener),
      connection_(reactor, options, options.servers[index], this),
      requests_(&connection_),
      sender_(reactor, &connection_, options, counters),
      fetches_(&connection_, counters),
      alive_(std::make_shared<bool>(true)) {}

Peer::~Peer() { *alive_ = false; }

std::vector<Subscription*> Peer::subscriptions() const {
  std::vector<Subscription*> all;
  all.reserve(subscriptions_.size());
  for (const auto& [id, subscription] : subscriptions_) all.push_back(subscription);
  return all;
}

void Peer::add_subscription(Subscription* subscription) {
  subscriptions_[subscription->id()] = subscription;
  if (connection_.is_up()) {
    subscription->on_up();
  } else {
    connection_.open();
  }
}

void Peer::remove_subscription(Subscription* subscription) {
  subscriptions_.erase(subscription->id());
  std::unique_ptr<WindowSet> windows = subscription->end();
  if (!connection_.is_up()) return;
  const uint64_t number = next_leaving_++;
  leaving_windows_[number] = std::move(windows);
  reactor_->call_after_ms(kLeavingMs, [this, alive = alive_, number] {
    if (*alive) leaving_windows_.erase(number);
  });
}

void Peer::close(const Error& error) {
  connection_.close();
  fail_all(error);
}

void Peer::on_up() {
  // Requests that were kept go first: a topic is put before it is used.
  requests_.on_up();
  sender_.on_up();
  fetches_.on_up();
  for (Subscription* subscription : subscriptions()) subscription->on_up();
  listener_->peer_up(index_);
}

void Peer::on_down() {
  leaving_windows_.clear();
  requests_.on_down();
  sender_.on_down();
  fetches_.on_down();
  for (Subscription* subscription : subscriptions()) subscription->on_down();
  listener_->peer_down(index_);
}

void Peer::on_given_up(const Error& error) {
  fail_all(error);
  listener_->peer_given_up(index_, error);
}

void Peer::fail_all(const Error& error) {
  requests_.fail_all(error);
  sender_.fail_all(error);
  fetches_.fail_all(error);
  for (Subscription* subscription : subscriptions()) subscription->fail_all(error);
}

Status Peer::on_message(const wire::MessageView& view) {
  switch (view.type) {
    case wire::MessageType::kBatchDone:
      return sender_.on_answers(view);
    case wire::MessageType::kDelivery:
      return on_delivery(view);
    case wire::MessageType::kFetchDone:
      return fetches_.on_answer(view);
    case wire::MessageType::kSubscriptionError:
      return on_subscription_error(view);
    default:
      return {ErrorCode::k_PROTOCOL, "the server sent a message that only clients send"};
  }
}

Status Peer::on_delivery(const wire::MessageView& view) {
  const Result<wire::DeliveryMessage> message = wire::decode_delivery(view);
  if (!message) return message.status();
  const auto found = subscriptions_.find(message.value().subscription);
  // Deliveries may cross the end of their subscription.
  if (found == subscriptions_.end()) return {};
  return found->second->on_delivery(message.value(), view.body);
}

Status Peer::on_subscription_error(const wire::MessageView& view) {
  const Result<wire::SubscriptionErrorMessage> message = wire::decode_subscription_error(view);
  if (!message) return message.status();
  const auto found = subscriptions_.find(message.value().subscription);
  if (found != subscriptions_.end()) found->second->on_error(message.value());
  return {};
}

}  // namespace diaspora::client
