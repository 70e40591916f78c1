#include "client/consumer_core.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/limits.h"

namespace diaspora::client {

namespace {

const Error kDestroyed{ErrorCode::k_ABORTED, "the consumer was destroyed"};
// Between two tries of a member to subscribe.
constexpr int64_t kSubscribeAgainMs = 1000;

const Error kClosed{ErrorCode::k_INVALID_STATE, "the consumer or its driver is closed"};

Error not_owned(PartitionIndex partition) {
  return {ErrorCode::k_FENCED,
          "another member of the consumer group owns partition " + std::to_string(partition.value) + " now"};
}

// Numbers the subscriptions of the process: those of all clients share connections. Progress thread.
uint32_t next_subscription() {
  static uint32_t last = 0;
  return ++last;
}

// Walks ranges and memory together and cuts both where either ends.
bool cut_pieces(const std::vector<Consumer::Range>& ranges, const std::vector<std::span<uint8_t>>& memory,
                std::vector<FetchPiece>* pieces) {
  size_t index = 0;
  size_t used = 0;
  for (const Consumer::Range& range : ranges) {
    for (uint64_t done = 0; done < range.bytes;) {
      while (index < memory.size() && used == memory[index].size()) {
        ++index;
        used = 0;
      }
      if (index == memory.size()) return false;
      const auto bytes = static_cast<size_t>(std::min<uint64_t>(range.bytes - done, memory[index].size() - used));
      pieces->push_back({range.offset + done, memory[index].subspan(used, bytes)});
      used += bytes;
      done += bytes;
    }
  }
  while (index < memory.size() && used == memory[index].size()) {
    ++index;
    used = 0;
  }
  return index == memory.size();
}

}  // namespace

ConsumerCore::ConsumerCore(Shared shared, Options options)
    : shared_(std::move(shared)),
      options_(std::move(options)),
      acknowledger_(options_.topic, options_.name,
                    [this](uint64_t request, const Status& status) { finish_request(request, status); }) {}

// --- caller's thread ---

std::optional<Delivery> ConsumerCore::take() {
  std::optional<Delivery> delivery;
  bool first = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (unnoticed_ > 0) return std::nullopt;
    if (ready_.empty()) {
      announced_ = false;
      return std::nullopt;
    }
    Queued& front = ready_.front();
    first = taken_.empty();
    taken_.push_back({front.subscription, front.window});
    delivery = std::move(front.delivery);
    ready_.pop_front();
  }
  if (first) shared_.reactor->post([self = shared_from_this()] { self->drain_taken(); });
  return delivery;
}

bool ConsumerCore::held_back() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return unnoticed_ > 0;
}

void ConsumerCore::go_on() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (unnoticed_ > 0) --unnoticed_;
}

// Small destinations are not exposed: they may share their pages with anything. They are filled through memory of ours.
std::unique_ptr<FetchJob> ConsumerCore::make_fetch(uint64_t request, const std::vector<Range>& ranges,
                                                   const std::vector<std::span<uint8_t>>& destination,
                                                   std::shared_ptr<void> hold) {
  auto job = std::make_unique<FetchJob>(shared_.counters.get());
  uint64_t total = 0;
  for (const std::span<uint8_t> part : destination) total += part.size();
  const auto finish = [self = shared_from_this(), request, total](const Status& status) {
    if (status) increase(&self->shared_.counters->data_bytes, total);
    self->finish_request(request, status);
  };
  job->owner = this;
  if (total >= shared_.zero_copy_threshold) {
    if (!cut_pieces(ranges, destination, &job->pieces)) return nullptr;
    job->hold = std::move(hold);
    job->done = finish;
    return job;
  }
  const std::shared_ptr<uint8_t[]> bounce(new uint8_t[total]);
  if (!cut_pieces(ranges, {{bounce.get(), total}}, &job->pieces)) return nullptr;
  job->hold = bounce;
  job->done = [finish, bounce, destination, hold = std::move(hold), counters = shared_.counters,
               total](const Status& status) {
    const uint8_t* from = bounce.get();
    for (const std::span<uint8_t> part : destination) {
      if (status && !part.empty()) std::copy_n(from, part.size(), part.data());
      from += part.size();
    }
    if (status) increase(&counters->data_bytes_copied, total);
    finish(status);
  };
  return job;
}

void ConsumerCore::fetch(uint64_t request, PartitionIndex partition, EventId event, std::vector<Range> ranges,
                         std::vector<std::span<uint8_t>> destination, std::shared_ptr<void> hold) {
  std::shared_ptr<FetchJob> job = make_fetch(request, ranges, destination, std::move(hold));
  shared_.reactor->post([self = shared_from_this(), request, partition, event, job = std::move(job)] {
    if (job == nullptr) {
      return self->finish_request(
          request, {ErrorCode::k_INVALID_DESCRIPTOR, "the destination's size differs from that of the ranges"});
    }
    // A std::function must be copyable, a job is owned by one.
    auto owned = std::make_unique<FetchJob>(self->shared_.counters.get());
    owned->owner = job->owner;
    owned->pieces = std::move(job->pieces);
    owned->hold = std::move(job->hold);
    owned->done = std::move(job->done);
    self->start_fetch(request, partition, event, std::move(owned));
  });
}

void ConsumerCore::acknowledge(uint64_t request, PartitionIndex partition, EventId event) {
  shared_.reactor->post([self = shared_from_this(), request, partition, event] {
    Peer* peer = self->peer_of(partition);
    if (peer == nullptr) return self->finish_request(request, kClosed);
    uint64_t token = 0;
    if (self->membership_ != nullptr) {
      const std::optional<uint64_t> held = self->membership_->token(partition);
      if (!held) return self->finish_request(request, not_owned(partition));
      token = *held;
    }
    self->acknowledger_.acknowledge(request, partition, event, token, &peer->requests());
  });
}

// What was delivered of the partition and not taken counts as taken.
void ConsumerCore::forget_waiting(PartitionIndex partition) {
  for (const Queued& queued : ready_) {
    if (queued.delivery.partition == partition) taken_.push_back({queued.subscription, queued.window});
  }
  std::erase_if(ready_, [&](const Queued& queued) { return queued.delivery.partition == partition; });
}

void ConsumerCore::seek(const wire::SubscribeFrame::Start& to) {
  const PartitionIndex partition = to.partition;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    forget_waiting(partition);
    ++seeking_[partition.value];
  }
  shared_.reactor->post([self = shared_from_this(), partition, to] {
    const Membership* membership = self->membership_.get();
    const bool is_read = membership == nullptr || membership->owns(partition);
    const uint64_t token = membership == nullptr ? 0 : membership->token(partition).value_or(0);
    self->drop_partition(partition);
    ++self->seeks_[partition.value];
    {
      const std::lock_guard<std::mutex> lock(self->mutex_);
      if (--self->seeking_[partition.value] == 0) self->seeking_.erase(partition.value);
    }
    if (is_read && !self->peers_.empty()) self->subscribe({{partition, to.position, token, to.kind}});
    self->drain_taken();
  });
}

void ConsumerCore::release(PartitionIndex partition) {
  shared_.reactor->post([self = shared_from_this(), partition] {
    if (self->membership_ != nullptr) self->membership_->release(partition);
  });
}

void ConsumerCore::destroy() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (std::exchange(destroyed_, true)) return;
    ready_.clear();
  }
  shared_.reactor->post([self = shared_from_this()] {
    const std::function<void()> released = std::exchange(self->released_, nullptr);
    self->detach(kDestroyed);
    if (released) released();
  });
}

// --- progress thread ---

Peer* ConsumerCore::peer_of(PartitionIndex partition) const {
  if (peers_.empty() || partition.value >= options_.server_of_partition.size()) return nullptr;
  return peers_[options_.server_of_partition[partition.value]];
}

void ConsumerCore::start_fetch(uint64_t request, PartitionIndex partition, EventId event,
                               std::unique_ptr<FetchJob> job) {
  Peer* peer = peer_of(partition);
  if (peer == nullptr) return finish_request(request, kClosed);
  if (job->pieces.empty()) return finish_request(request, {});  // nothing was asked for
  job->topic = options_.topic;
  job->partition = partition;
  job->event = event;
  peer->fetches().add(std::move(job));
}

Subscription::Options ConsumerCore::subscription_options(size_t servers) const {
  Subscription::Options options;
  options.topic = options_.topic;
  options.consumer = options_.name;
  options.full_data = options_.full_data;
  options.oldest_if_dropped = options_.oldest_if_dropped;
  options.batch_events = options_.batch_events;
  // Of what the subscriptions share that are there and those that come.
  options.window_bytes = options_.window_bytes / (lines_.size() + servers);
  options.deliveries_ahead = std::max<uint32_t>(options_.deliveries_ahead, 1);
  return options;
}

void ConsumerCore::attach(const std::vector<Peer*>& peers, uint64_t open_request, std::function<void()> released) {
  peers_ = peers;
  released_ = std::move(released);
  open_request_ = open_request;
  for (const wire::SubscribeFrame::Start& start : options_.starts) {
    if (start.partition.value >= options_.server_of_partition.size()) {
      return opened(
          {ErrorCode::k_INVALID_PARTITION, "partition " + std::to_string(start.partition.value) + " does not exist"});
    }
  }
  if (options_.member) return attach_member();
  if (options_.starts.empty()) return opened({});
  subscribe(options_.starts);
}

void ConsumerCore::attach_member() {
  if (options_.server_of_partition.empty()) return opened({});
  Membership::Options options;
  options.topic = options_.topic;
  options.consumer = options_.name;
  options.partitions = static_cast<uint32_t>(options_.server_of_partition.size());
  options.session_timeout_ms = options_.session_timeout_ms;
  options.rebalance_timeout_ms = options_.rebalance_timeout_ms;
  RequestTable& coordinator = peer_of(PartitionIndex(0))->requests();
  membership_ = std::make_unique<Membership>(&coordinator, std::move(options), this);
  membership_->join();
}

// One subscription for each server.
void ConsumerCore::subscribe(const std::vector<wire::SubscribeFrame::Start>& starts) {
  std::map<uint32_t, std::vector<wire::SubscribeFrame::Start>> by_server;
  for (const wire::SubscribeFrame::Start& start : starts) {
    by_server[options_.server_of_partition[start.partition.value]].push_back(start);
  }
  if (open_request_ != 0) not_accepted_ += by_server.size();
  std::vector<Subscription*> made;
  for (auto& [server, list] : by_server) {
    Subscription::Options options = subscription_options(by_server.size());
    options.id = next_subscription();
    options.starts = std::move(list);
    const SubscriptionLine line = peers_[server]->line(shared_.counters);
    lines_.push_back({peers_[server], std::make_unique<Subscription>(line, std::move(options), this), false, false});
    made.push_back(lines_.back().subscription.get());
  }
  for (const Line& line : lines_) {
    if (std::find(made.begin(), made.end(), line.subscription.get()) != made.end()) {
      line.peer->add_subscription(line.subscription.get());
    }
  }
}

// The line goes later: this may be called by its subscription.
void ConsumerCore::drop_partition(PartitionIndex partition) {
  bool any_empty = false;
  for (Line& line : lines_) {
    if (line.empty || line.subscription->remove(partition)) continue;
    line.empty = true;
    any_empty = true;
  }
  if (any_empty) shared_.reactor->post([self = shared_from_this()] { self->remove_empty_lines(); });
}

void ConsumerCore::remove_empty_lines() {
  for (const Line& line : lines_) {
    if (!line.empty) continue;
    line.peer->remove_subscription(line.subscription.get());
    if (!line.accepted) accepted();
  }
  std::erase_if(lines_, [](const Line& line) { return line.empty; });
}

void ConsumerCore::assigned(const std::vector<wire::GroupHolding>& granted,
                            const std::vector<PartitionIndex>& revoked) {
  for (const PartitionIndex partition : revoked) drop_partition(partition);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const PartitionIndex partition : revoked) forget_waiting(partition);
    if (!revoked.empty()) ++unnoticed_;
  }
  std::vector<wire::SubscribeFrame::Start> starts;
  std::vector<PartitionIndex> partitions;
  for (const wire::GroupHolding& holding : granted) {
    if (holding.partition.value >= options_.server_of_partition.size()) continue;
    starts.push_back({holding.partition, wire::kStartAtCursor, holding.token, wire::StartKind::kPosition});
    partitions.push_back(holding.partition);
  }
  if (!partitions.empty() || !revoked.empty()) {
    shared_.sink->consumer_assigned(options_.id, std::move(partitions), revoked);
  }
  if (starts.empty()) {
    if (not_accepted_ == 0) opened({});
  } else {
    subscribe(starts);
  }
  drain_taken();
}

void ConsumerCore::membership_failed(const Error& error) {
  if (open_request_ != 0) return opened(error);
  shared_.sink->consumer_failed(options_.id, std::nullopt, error);
}

void ConsumerCore::leave_group() {
  if (membership_ != nullptr) membership_->leave();
}

void ConsumerCore::detach(const Error& error) {
  if (peers_.empty()) return;
  leave_group();
  membership_.reset();
  for (const Line& line : lines_) line.peer->remove_subscription(line.subscription.get());
  lines_.clear();
  for (Peer* peer : peers_) peer->fetches().cancel(this);
  peers_.clear();
  acknowledger_.fail_all(error);
  opened(error);
}

void ConsumerCore::opened(const Status& status) {
  if (open_request_ != 0) finish_request(std::exchange(open_request_, 0), status);
}

// A member owns its partitions although the server cannot serve them now (a full disk): nobody else would.
void ConsumerCore::subscribe_again(uint32_t failed, std::vector<wire::SubscribeFrame::Start> starts) {
  shared_.reactor->call_after_ms(kSubscribeAgainMs, [weak = weak_from_this(), failed, starts = std::move(starts)] {
    const std::shared_ptr<ConsumerCore> self = weak.lock();
    if (self == nullptr || self->membership_ == nullptr || self->peers_.empty()) return;
    std::vector<wire::SubscribeFrame::Start> owned;
    for (const wire::SubscribeFrame::Start& start : starts) {
      const bool is_same =
          self->membership_->owns(start.partition) && self->membership_->token(start.partition) == start.token;
      if (is_same) owned.push_back(start);
    }
    for (Line& line : self->lines_) line.empty = line.empty || line.subscription->id() == failed;
    if (!owned.empty()) self->subscribe(owned);
    self->remove_empty_lines();
  });
}

// One subscription fewer to wait for.
void ConsumerCore::accepted() {
  if (open_request_ != 0 && --not_accepted_ == 0) opened({});
}

void ConsumerCore::subscribed(Subscription* subscription, const Status& status) {
  const auto line = std::find_if(lines_.begin(), lines_.end(),
                                 [&](const Line& other) { return other.subscription.get() == subscription; });
  const bool is_first = line != lines_.end() && !std::exchange(line->accepted, true);
  const std::vector<wire::SubscribeFrame::Start> wanted = subscription->wanted();
  const bool is_member = membership_ != nullptr;
  const bool is_fenced = is_member && status.code() == ErrorCode::k_FENCED;
  const bool is_refused = !status && !is_fenced && line != lines_.end() && line->peer->connection().is_up();
  if (is_member && is_refused && error_code_retryable(status.code())) {
    line->accepted = !is_first;
    return subscribe_again(subscription->id(), wanted);
  }
  // Refused alone: the consumer has others, or may be given some.
  const size_t all = is_member ? options_.server_of_partition.size() : options_.starts.size();
  const bool is_dropped = status.code() == ErrorCode::k_OFFSET_OUT_OF_RANGE;
  const bool fails_alone = is_fenced || (is_dropped && all > wanted.size());
  if (!status && open_request_ != 0 && !fails_alone && !wanted.empty()) {
    if (is_member) membership_->leave();
    return opened(status);
  }
  if (!status) {
    for (const wire::SubscribeFrame::Start& start : wanted) partition_failed(start.partition, status.error());
  }
  if (is_first) accepted();
}

void ConsumerCore::delivered(Subscription* subscription, Delivery delivery, uint32_t window) {
  bool announce = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (destroyed_) return;
    if (seeking_.contains(delivery.partition.value)) {
      taken_.push_back({subscription->id(), window});
      return;
    }
    ready_.push_back({std::move(delivery), subscription->id(), window});
    announce = !std::exchange(announced_, true);
  }
  if (announce) shared_.sink->delivery_ready(options_.id);
}

void ConsumerCore::partition_failed(PartitionIndex partition, const Error& error) {
  if (membership_ != nullptr && error.code == ErrorCode::k_FENCED) return membership_->fenced(partition);
  shared_.sink->consumer_failed(options_.id, partition, error);
}

void ConsumerCore::partition_ended(PartitionIndex partition) {
  const auto seeks = seeks_.find(partition.value);
  shared_.sink->partition_ended(options_.id, partition, seeks == seeks_.end() ? 0 : seeks->second);
}

void ConsumerCore::drain_taken() {
  std::vector<Taken> taken;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    taken.swap(taken_);
  }
  for (const Line& line : lines_) {
    bool any = false;
    for (const Taken& entry : taken) {
      if (entry.subscription != line.subscription->id()) continue;
      line.subscription->note_taken(entry.window);
      any = true;
    }
    if (any) line.subscription->send_credit();
  }
}

void ConsumerCore::finish_request(uint64_t request, const Status& status) {
  if (status) {
    shared_.sink->request_done(request, CompletionSink::Value{});
  } else {
    shared_.sink->request_done(request, status.error());
  }
}

}  // namespace diaspora::client
