#include "server/session.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/limits.h"
#include "server/group_table.h"

namespace diaspora::server {

namespace {

// Pings and credit messages.
constexpr uint32_t kOtherReceives = 8;

// A peer that connects and says nothing is not kept.
constexpr int64_t kHandshakeMs = 5000;

// Subscriptions of one session: a thousand consumers in one process, with room.
constexpr size_t kSubscriptionsMax = 4096;

// Of each family the one that belongs to the rail: adapters of the same family are numbered in the order in which they
// were named, and a client with more of them than this server goes round.
std::vector<fabric::ProviderInfo> on_rail(const std::vector<fabric::ProviderInfo>& providers, uint16_t rail) {
  std::map<std::string, std::vector<fabric::ProviderInfo>> families;
  for (const fabric::ProviderInfo& provider : providers) families[provider.family].push_back(provider);
  std::vector<fabric::ProviderInfo> chosen;
  for (const fabric::ProviderInfo& provider : providers) {
    std::vector<fabric::ProviderInfo>& family = families[provider.family];
    if (!family.empty()) chosen.push_back(family[rail % family.size()]);
    family.clear();
  }
  return chosen;
}

}  // namespace

// A subscription that is made when its former owners are fenced off and the events of its times are known.
struct Session::Subscribing {
  uint64_t request = 0;
  wire::SubscribeFrame frame;
  size_t left = 1;  // answers of partitions, and the function that asks them
  Status status;
  std::set<PartitionIndex> withdrawn;  // no longer wanted
};

Session::Session(Core* core, int fd, std::string bind_address, Hooks hooks)
    : core_(core),
      bind_address_(std::move(bind_address)),
      hooks_(std::move(hooks)),
      alive_(std::make_shared<bool>(true)) {
  session::ControlChannel::Handler handler;
  handler.on_frame = [this](const wire::FrameHeader& header, std::span<const uint8_t> payload) {
    on_frame(header, payload);
  };
  handler.on_doorbell = [] {};  // the channel has made the reactor poll
  handler.on_closed = [this](const Error& error) { close(error); };
  control_ = std::make_unique<session::ControlChannel>(&core_->reactor, fd, std::move(handler));
  handshake_timer_ = core_->reactor.call_after_ms(kHandshakeMs, [this] {
    handshake_timer_ = 0;
    if (state_ != State::kOpen) close({ErrorCode::k_TIMEOUT, "the handshake was not finished in time"});
  });
  core_->reactor.add_pass_end(this, [this] { flush_answers(); });
}

Session::~Session() {
  *alive_ = false;
  if (core_->groups != nullptr) core_->groups->session_ended(this, left_);
  if (handshake_timer_ != 0) core_->reactor.cancel(handshake_timer_);
  core_->reactor.remove_pass_end(this);
  if (intake_ != nullptr) intake_->abandon();
  if (link_ != nullptr) link_->close();
}

void Session::close(const Error& reason) {
  if (state_ == State::kClosed) return;
  const bool was_open = state_ == State::kOpen;
  state_ = State::kClosed;
  if (reason.code != ErrorCode::k_CONNECTION_LOST) {
    control_->send(wire::make_error_frame(0, reason));
    core_->log(true, "session of " + control_->peer_name() + " ended: " + reason.message);
  }
  if (was_open) --core_->counters.sessions;
  if (intake_ != nullptr) intake_->abandon();
  // From a pass of its own: the link and the channel may be calling now.
  core_->reactor.post([this, alive = alive_] {
    if (*alive) hooks_.on_closed(this);
  });
}

void Session::say_goodbye() { control_->send(wire::make_frame(wire::FrameType::kGoodbye, 0)); }

void Session::drop(const HostedPartition* hosted) {
  for (const auto& [id, subscription] : subscriptions_) subscription->drop(hosted);
  // What is asked of a partition that closes may never be answered.
  std::erase_if(subscribing_, [&](const auto& entry) {
    const wire::SubscribeFrame& frame = entry.second->frame;
    const bool is_its = frame.topic == hosted->topic &&
                        std::any_of(frame.starts.begin(), frame.starts.end(),
                                    [&](const auto& start) { return start.partition == hosted->index; });
    if (is_its) {
      reply(entry.second->request, {ErrorCode::k_TOPIC_DELETED, "topic '" + hosted->topic_name + "' was deleted"});
    }
    return is_its;
  });
}

void Session::pump() {
  if (state_ != State::kOpen) return;
  for (const auto& [id, subscription] : subscriptions_) subscription->pump();
}

void Session::on_frame(const wire::FrameHeader& header, std::span<const uint8_t> payload) {
  Status status;
  switch (state_) {
    case State::kGreeting:
      status = header.type == wire::FrameType::kHello
                   ? greet(payload)
                   : Status(ErrorCode::k_PROTOCOL, "the first frame must be a hello");
      break;
    case State::kAttaching:
      status = header.type == wire::FrameType::kAttach ? attach(payload)
                                                       : Status(ErrorCode::k_PROTOCOL, "an attach frame was expected");
      break;
    case State::kOpen:
      if (header.type == wire::FrameType::kGoodbye) {
        left_ = true;
        status = {ErrorCode::k_CONNECTION_LOST, "the client has left"};
      } else {
        on_request(header, payload);
      }
      break;
    case State::kClosed:
      break;
  }
  if (!status) close(status.error());
}

// Opens the best provider that both sides have and that works on the interface by which this client came. Same-host
// ones only when both are on one host.
Result<fabric::ProviderInfo> Session::choose_provider(const wire::HelloFrame& hello) {
  std::string refused;
  const bool same_process = hello.process == process_identity();
  const bool same_host = hello.host_identity == fabric::host_identity();
  for (const fabric::ProviderInfo& own : on_rail(core_->providers, hello.rail)) {
    if (own.same_host_only && !same_host) continue;
    // libfabric's shm reaches a peer of its own process by bare pointers, which dangle when that peer closes.
    if (own.same_host_only && own.name != "local" && same_process) continue;
    const bool shared = std::any_of(hello.providers.begin(), hello.providers.end(),
                                    [&](const wire::OfferedProvider& p) { return p.family == own.family; });
    if (!shared) continue;
    Result<std::shared_ptr<ServedDomain>> domain = core_->domain(own, bind_address_);
    if (domain) {
      domain_ = domain.take();
      return own;
    }
    if (domain.error().code != ErrorCode::k_PROVIDER_UNAVAILABLE) return domain.error();
    refused += "; " + domain.error().message;
  }
  std::string offered;
  for (const wire::OfferedProvider& p : hello.providers) offered += " " + p.name + " (" + p.family + ")";
  return {ErrorCode::k_PROVIDER_UNAVAILABLE,
          "client and server share no fabric provider; the client offers:" + offered + refused};
}

Status Session::greet(std::span<const uint8_t> payload) {
  const Result<wire::HelloFrame> hello = wire::decode_hello(payload);
  if (!hello) return hello.status();
  const Uuid own = core_->storage->server_uuid();
  if (!hello.value().expected_server.is_nil() && hello.value().expected_server != own) {
    return {ErrorCode::k_CONNECTION_LOST, "another server listens at this address now"};
  }
  const Result<fabric::ProviderInfo> provider = choose_provider(hello.value());
  if (!provider) return provider.status();
  client_ = hello.value().client;
  hooks_.on_identified(this);
  message_bytes_ = static_cast<uint32_t>(
      std::min<uint64_t>({hello.value().message_bytes, provider.value().message_bytes_max, kMessageBytesMax}));
  zero_copy_threshold_ = std::max<uint32_t>(hello.value().zero_copy_threshold, 1);
  session::Link::Handler handler;
  handler.on_message = [this](std::span<const uint8_t> bytes) { on_message(bytes); };
  handler.on_failed = [this](const Error& error) { close({ErrorCode::k_CONNECTION_LOST, error.message}); };
  link_ = std::make_unique<session::Link>(&core_->reactor, domain_->domain.get(), std::move(handler));
  const Result<std::vector<uint8_t>> address = link_->open();
  if (!address) return address.status();
  wire::WelcomeFrame welcome;
  welcome.server = own;
  welcome.provider_family = provider.value().family;
  welcome.message_bytes = message_bytes_;
  welcome.batch_credits = BatchIntake::kCredits;
  welcome.fetch_credits = FetchService::kCredits;
  welcome.endpoint_address = address.value();
  control_->send(wire::make_frame(welcome));
  state_ = State::kAttaching;
  return {};
}

Status Session::attach(std::span<const uint8_t> payload) {
  intake_ = std::make_unique<BatchIntake>(core_, domain_.get(), link_.get(),
                                          [this](wire::BatchAnswer answer) { answers_.push_back(std::move(answer)); });
  fetches_ = std::make_unique<FetchService>(core_, domain_.get(), link_.get());
  session::Link::Options options;
  options.message_bytes = message_bytes_;
  options.receives = BatchIntake::kCredits + FetchService::kCredits + kOtherReceives;
  const Status started = link_->start(payload, options, control_.get());
  if (!started) return started;
  control_->send(wire::make_frame(wire::FrameType::kAttached, 0));
  state_ = State::kOpen;
  ++core_->counters.sessions;
  return {};
}

void Session::reply(uint64_t request, const Status& status) {
  control_->send(status ? wire::make_frame(wire::FrameType::kReply, request)
                        : wire::make_error_frame(request, status.error()));
}

// Requests that are answered at once give a frame; the others answer later and give an empty one.
void Session::on_request(const wire::FrameHeader& header, std::span<const uint8_t> payload) {
  const Result<std::vector<uint8_t>> frame = request_reply(header, payload);
  if (!frame) {
    control_->send(wire::make_error_frame(header.request_id, frame.error()));
  } else if (!frame.value().empty()) {
    control_->send(frame.value());
  }
}

Result<std::vector<uint8_t>> Session::request_reply(const wire::FrameHeader& header, std::span<const uint8_t> payload) {
  switch (header.type) {
    case wire::FrameType::kTopicPut:
    case wire::FrameType::kTopicRemove:
    case wire::FrameType::kTopicList:
    case wire::FrameType::kTopicStatus:
    case wire::FrameType::kTopicCursors:
      return topic_reply(header, payload);
    default:
      break;
  }
  const Status status = consumer_request(header, payload);
  if (!status) return status;
  const bool is_done = header.type == wire::FrameType::kUnsubscribe;
  return is_done ? wire::make_frame(wire::FrameType::kReply, header.request_id) : std::vector<uint8_t>{};
}

Result<std::vector<uint8_t>> Session::topic_reply(const wire::FrameHeader& header, std::span<const uint8_t> payload) {
  const uint64_t request = header.request_id;
  switch (header.type) {
    case wire::FrameType::kTopicPut: {
      const auto record = wire::decode_topic_record(payload);
      const Status status = record ? core_->topics->put(record.value()) : record.status();
      if (!status) return status;
      return wire::make_frame(wire::FrameType::kReply, request);
    }
    case wire::FrameType::kTopicRemove: {
      const auto topic = wire::decode_topic_uuid(payload);
      if (!topic) return topic.error();
      remove_topic(request, topic.value());
      return std::vector<uint8_t>{};
    }
    case wire::FrameType::kTopicList: {
      const auto name = wire::decode_topic_name(payload);
      if (!name) return name.error();
      return wire::make_topic_list_reply(request, core_->topics->list(name.value()));
    }
    case wire::FrameType::kTopicStatus: {
      const auto topic = wire::decode_topic_uuid(payload);
      if (!topic) return topic.error();
      const auto rows = core_->topics->status(topic.value());
      if (!rows) return rows.error();
      return wire::make_topic_status_reply(request, rows.value());
    }
    default: {
      const auto frame = wire::decode_topic_cursors(payload);
      if (!frame) return frame.error();
      const auto rows = core_->topics->cursors(frame.value().topic, frame.value().consumer);
      if (!rows) return rows.error();
      return wire::make_topic_cursors_reply(request, rows.value());
    }
  }
}

// All but the end of a subscription are answered later.
Status Session::consumer_request(const wire::FrameHeader& header, std::span<const uint8_t> payload) {
  const uint64_t request = header.request_id;
  switch (header.type) {
    case wire::FrameType::kSubscribe: {
      const auto frame = wire::decode_subscribe(payload);
      if (frame) subscribe(request, frame.value());
      return frame.status();
    }
    case wire::FrameType::kUnsubscribe: {
      const auto frame = wire::decode_unsubscribe(payload);
      if (frame) unsubscribe(frame.value());
      return frame.status();
    }
    case wire::FrameType::kAcknowledge: {
      const auto frame = wire::decode_acknowledge(payload);
      if (frame) acknowledge(request, frame.value());
      return frame.status();
    }
    case wire::FrameType::kCursorSet: {
      const auto frame = wire::decode_cursor_set(payload);
      if (frame) set_cursor(request, frame.value());
      return frame.status();
    }
    case wire::FrameType::kGroupSync: {
      const auto frame = wire::decode_group_sync(payload);
      if (frame) sync_group(request, frame.value());
      return frame.status();
    }
    default:
      return {ErrorCode::k_PROTOCOL, "unknown request " + std::to_string(static_cast<int>(header.type))};
  }
}

void Session::set_cursor(uint64_t request, const wire::CursorSetFrame& frame) {
  core_->topics->set_cursor(frame, [this, alive = alive_, request](const Status& status) {
    if (*alive) reply(request, status);
  });
}

void Session::remove_topic(uint64_t request, const Uuid& topic) {
  core_->topics->remove(topic, [this, alive = alive_, request](const Status& status) {
    if (*alive) reply(request, status);
  });
}

void Session::sync_group(uint64_t request, const wire::GroupSyncFrame& frame) {
  core_->groups->sync(this, frame, [this, alive = alive_, request](const Result<wire::GroupView>& view) {
    if (!*alive) return;
    control_->send(view ? wire::make_group_sync_reply(request, view.value())
                        : wire::make_error_frame(request, view.error()));
  });
}

// Before a new owner of a partition is served the former ones are fenced off for good: a restarted server must know.
void Session::subscribe(uint64_t request, const wire::SubscribeFrame& frame) {
  if (subscriptions_.size() + subscribing_.size() >= kSubscriptionsMax) {
    return reply(request, {ErrorCode::k_RESOURCE_EXHAUSTED,
                           "a session may have " + std::to_string(kSubscriptionsMax) + " consumers"});
  }
  const auto subscribing = std::make_shared<Subscribing>();
  subscribing->request = request;
  subscribing->frame = frame;
  subscribing_[frame.subscription] = subscribing;
  for (wire::SubscribeFrame::Start& start : subscribing->frame.starts) {
    const auto hosted = core_->topics->find(frame.topic, start.partition);
    if (!hosted) continue;  // finish_subscribe() says so
    partition::Partition& partition = *hosted.value()->partition;
    if (start.kind == wire::StartKind::kTime) {
      ++subscribing->left;
      partition.find_time(static_cast<int64_t>(start.position),
                          [this, alive = alive_, subscribing, &start](const Result<EventId>& found) {
                            if (found) start.position = found.value().value;
                            if (*alive) prepared(subscribing, found.status());
                          });
    }
    if (start.token > partition.consumer(frame.consumer).fence) {
      ++subscribing->left;
      hosted.value()->raise_fence(frame.consumer, start.token,
                                  [this, alive = alive_, subscribing](const Status& status) {
                                    if (*alive) prepared(subscribing, status);
                                  });
    }
  }
  prepared(subscribing, {});
}

void Session::prepared(const std::shared_ptr<Subscribing>& subscribing, const Status& status) {
  if (subscribing->status.ok()) subscribing->status = status;
  if (--subscribing->left > 0) return;
  const auto known = subscribing_.find(subscribing->frame.subscription);
  if (known == subscribing_.end() || known->second != subscribing || state_ != State::kOpen) return;  // answered
  subscribing_.erase(known);
  if (!subscribing->status.ok()) return reply(subscribing->request, subscribing->status);
  std::erase_if(subscribing->frame.starts,
                [&](const auto& start) { return subscribing->withdrawn.contains(start.partition); });
  const auto starts = finish_subscribe(subscribing->frame);
  if (!starts) return reply(subscribing->request, starts.status());
  control_->send(wire::make_subscribe_reply(subscribing->request, starts.value()));
}

// A part or all of it.
void Session::unsubscribe(const wire::UnsubscribeFrame& frame) {
  const auto found = subscriptions_.find(frame.subscription);
  if (frame.partition && found != subscriptions_.end() && found->second->remove(*frame.partition)) return;
  subscriptions_.erase(frame.subscription);
  const auto subscribing = subscribing_.find(frame.subscription);
  if (subscribing == subscribing_.end()) return;
  if (frame.partition) {
    subscribing->second->withdrawn.insert(*frame.partition);
    if (subscribing->second->withdrawn.size() < subscribing->second->frame.starts.size()) return;
  }
  const uint64_t request = subscribing->second->request;
  subscribing_.erase(subscribing);
  reply(request, {ErrorCode::k_ABORTED, "the subscription was ended"});
}

Result<std::vector<wire::SubscribeFrame::Start>> Session::finish_subscribe(const wire::SubscribeFrame& frame) {
  Subscription::Options options;
  options.id = frame.subscription;
  options.consumer = frame.consumer;
  options.full_data = frame.full_data;
  options.oldest_if_dropped = frame.oldest_if_dropped;
  options.batch_events = frame.batch_events;
  options.zero_copy_threshold = zero_copy_threshold_;
  options.message_bytes = message_bytes_;
  auto subscription = std::make_unique<Subscription>(core_, domain_.get(), link_.get(), std::move(options));
  std::vector<wire::SubscribeFrame::Start> starts;
  for (wire::SubscribeFrame::Start start : frame.starts) {
    auto hosted = core_->topics->find(frame.topic, start.partition);
    if (!hosted) return hosted.error();
    // What was found may have been dropped since: then the oldest kept is the first of that time.
    if (start.kind == wire::StartKind::kTime) {
      start.position = std::max(start.position, hosted.value()->partition->first_id().value);
    }
    const Result<EventId> added = subscription->add(hosted.take(), start);
    if (!added && added.error().code == ErrorCode::k_OFFSET_OUT_OF_RANGE && frame.starts.size() > 1) {
      // The others of this subscription are none the worse for it.
      subscription->refuse(start.partition, added.error());
      continue;
    }
    if (!added) return added.error();
    starts.push_back({start.partition, added.value().value, start.token});
  }
  subscriptions_[frame.subscription] = std::move(subscription);
  return starts;
}

void Session::acknowledge(uint64_t request, const wire::AcknowledgeFrame& frame) {
  const auto hosted = core_->topics->find(frame.topic, frame.partition);
  const Status status = hosted ? hosted.value()->check_token(frame.consumer, frame.token) : hosted.status();
  if (!status) return reply(request, status);
  hosted.value()->partition->acknowledge(frame.consumer, frame.event,
                                         [this, alive = alive_, request](const Status& done) {
                                           if (*alive) reply(request, done);
                                         });
}

void Session::on_message(std::span<const uint8_t> bytes) {
  if (state_ != State::kOpen) return;
  const Result<wire::MessageView> view = wire::parse_message(bytes);
  const Status status = view ? dispatch(view.value()) : view.status();
  if (!status) close(status.error());
}

Status Session::dispatch(const wire::MessageView& view) {
  switch (view.type) {
    case wire::MessageType::kPing:
      wire::encode_ping(wire::MessageType::kPong, &encoded_);
      link_->send(encoded_);
      return {};
    case wire::MessageType::kBatch:
      return intake_->receive(view);
    case wire::MessageType::kFetch:
      return fetches_->receive(view);
    case wire::MessageType::kCredit: {
      const Result<wire::CreditMessage> credit = wire::decode_credit(view);
      if (!credit) return credit.status();
      const auto subscription = subscriptions_.find(credit.value().subscription);
      // Credit may cross the end of its subscription.
      if (subscription != subscriptions_.end()) subscription->second->grant(credit.value());
      return {};
    }
    default:
      return {ErrorCode::k_PROTOCOL,
              "a client may not send message type " + std::to_string(static_cast<int>(view.type))};
  }
}

// All answers of a pass go out together: as many in a message as fit.
void Session::flush_answers() {
  if (answers_.empty()) return;
  if (state_ != State::kOpen) {
    answers_.clear();
    return;
  }
  wire::BatchDoneMessage message;
  size_t bytes = 0;
  constexpr size_t kAnswerFixedBytes = 32;
  constexpr size_t kMessageRoom = 64;
  for (wire::BatchAnswer& answer : answers_) {
    const size_t answer_bytes = kAnswerFixedBytes + answer.detail.size();
    if (!message.answers.empty() && bytes + answer_bytes + kMessageRoom > message_bytes_) {
      wire::encode(message, &encoded_);
      link_->send(encoded_);
      message.answers.clear();
      bytes = 0;
    }
    bytes += answer_bytes;
    message.answers.push_back(std::move(answer));
  }
  answers_.clear();
  wire::encode(message, &encoded_);
  link_->send(encoded_);
}

}  // namespace diaspora::server
