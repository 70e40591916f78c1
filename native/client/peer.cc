#include "client/peer.h"

#include <algorithm>
#include <set>
#include <utility>

namespace diaspora::client {

namespace {

// A server stops writing when it has answered the end of the subscription; its last writes take far less.
constexpr int64_t kLeavingMs = 3000;

// Leaked like the progress thread that it belongs to.
std::vector<std::weak_ptr<Peer>>& peers_of_process() {
  static auto* const peers = new std::vector<std::weak_ptr<Peer>>();
  return *peers;
}

bool alike(const ConnectionOptions& a, const ConnectionOptions& b) {
  return a.local_server == b.local_server && a.provider == b.provider && a.rail == b.rail &&
         a.connect_timeout_ms == b.connect_timeout_ms && a.reconnect_timeout_ms == b.reconnect_timeout_ms &&
         a.zero_copy_threshold == b.zero_copy_threshold;
}

bool may_be_shared(Peer& peer, const ConnectionOptions& options, const ServerAddress& wanted) {
  const Connection& connection = peer.connection();
  if (!alike(connection.options(), options)) return false;
  const ServerAddress& known = connection.address();
  // Another address of the same server is another network.
  return known.host == wanted.host && known.port == wanted.port && known.server == wanted.server &&
         connection.may_be_joined();
}

}  // namespace

Peer::Peer(Reactor* reactor, ConnectionOptions options, ServerAddress address)
    : reactor_(reactor),
      connection_(reactor, std::move(options), std::move(address), this),
      requests_(&connection_),
      sender_(reactor, &connection_),
      fetches_(&connection_),
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
  const uint64_t number = next_leaving_++;
  std::unique_ptr<WindowSet> windows = subscription->end([this, alive = alive_, number] {
    reactor_->call_after_ms(kLeavingMs, [this, alive, number] {
      if (*alive) leaving_windows_.erase(number);
    });
  });
  if (windows != nullptr) leaving_windows_[number] = std::move(windows);
}

void Peer::join(Listener* listener, uint32_t index) {
  users_.push_back({listener, index});
  if (connection_.is_up()) return listener->peer_up(index);
  connection_.open();
  connection_.renew_deadline();
}

void Peer::leave(Listener* listener, const Error& error) {
  std::erase_if(users_, [&](const User& user) { return user.listener == listener; });
  if (!users_.empty()) return;
  connection_.close();
  fail_all(error);
}

bool Peer::used_by_others(const Listener* listener) const {
  return std::any_of(users_.begin(), users_.end(), [&](const User& user) { return user.listener != listener; });
}

void Peer::on_up() {
  // Requests that were kept go first: a topic is put before it is used.
  requests_.on_up();
  sender_.on_up();
  fetches_.on_up();
  for (Subscription* subscription : subscriptions()) subscription->on_up();
  for (const User& user : users_) user.listener->peer_up(user.index);
}

void Peer::on_down() {
  leaving_windows_.clear();
  requests_.on_down();
  sender_.on_down();
  fetches_.on_down();
  for (Subscription* subscription : subscriptions()) subscription->on_down();
  for (const User& user : users_) user.listener->peer_down(user.index);
}

void Peer::on_given_up(const Error& error) {
  fail_all(error);
  for (const User& user : users_) user.listener->peer_given_up(user.index, error);
}

void Peer::on_lost(uint32_t attempt, const Error& error) {
  if (attempt == 1 && connection_.lost()) on_warning(error.message + "; connecting anew");
  for (const User& user : users_) user.listener->peer_lost(user.index, attempt, error);
}

// Once to each log, however many clients write to it.
void Peer::on_warning(const std::string& line) {
  std::set<CompletionSink*> logs;
  for (const User& user : users_) logs.insert(user.listener->peer_log());
  for (CompletionSink* log : logs) log->warn(line);
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
    case wire::MessageType::kWindowsWanted:
      return on_windows_wanted(view);
    case wire::MessageType::kPartitionEnd:
      return on_partition_end(view);
    case wire::MessageType::kPartitionSkip:
      return on_partition_skip(view);
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

Status Peer::on_windows_wanted(const wire::MessageView& view) {
  const Result<wire::WindowsWantedMessage> message = wire::decode_windows_wanted(view);
  if (!message) return message.status();
  const auto found = subscriptions_.find(message.value().subscription);
  if (found != subscriptions_.end()) found->second->on_windows_wanted();
  return {};
}

Status Peer::on_partition_end(const wire::MessageView& view) {
  const Result<wire::PartitionEndMessage> message = wire::decode_partition_end(view);
  if (!message) return message.status();
  const auto found = subscriptions_.find(message.value().subscription);
  return found == subscriptions_.end() ? Status() : found->second->on_partition_end(message.value());
}

Status Peer::on_partition_skip(const wire::MessageView& view) {
  const Result<wire::PartitionSkipMessage> message = wire::decode_partition_skip(view);
  if (!message) return message.status();
  const auto found = subscriptions_.find(message.value().subscription);
  return found == subscriptions_.end() ? Status() : found->second->on_partition_skip(message.value());
}

std::shared_ptr<Peer> find_or_make_peer(const ClientOptions& options, uint32_t server, uint16_t rail) {
  ConnectionOptions wanted;
  wanted.connect_local = options.connect_local;
  wanted.local_server = options.local_server;
  wanted.provider = options.rails[rail];
  wanted.rail = rail;
  wanted.connect_timeout_ms = options.connect_timeout_ms;
  wanted.reconnect_timeout_ms = options.reconnect_timeout_ms;
  wanted.zero_copy_threshold = options.zero_copy_threshold;
  std::vector<std::weak_ptr<Peer>>& peers = peers_of_process();
  std::erase_if(peers, [](const std::weak_ptr<Peer>& peer) { return peer.expired(); });
  for (const std::weak_ptr<Peer>& known : peers) {
    const std::shared_ptr<Peer> peer = known.lock();
    if (peer != nullptr && may_be_shared(*peer, wanted, options.servers[server])) return peer;
  }
  auto peer = std::make_shared<Peer>(&progress_thread(), std::move(wanted), options.servers[server]);
  peers.push_back(peer);
  return peer;
}

}  // namespace diaspora::client
