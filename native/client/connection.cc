#include "client/connection.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "base/address.h"
#include "base/clock.h"
#include "base/limits.h"
#include "client/background.h"

namespace diaspora::client {

namespace {

constexpr int64_t kBackoffMinMs = 20;
constexpr int64_t kBackoffMaxMs = 1000;
// The last attempt gets a fair chance even when the deadline is near.
constexpr int64_t kAttemptMsMin = 50;
// What a provider gets to come up in while there are others.
constexpr int64_t kFabricMsMax = 5000;

// Receives kept posted: answers to all batches and fetches of a session, and deliveries.
constexpr uint32_t kReceives = 32;

Result<std::vector<fabric::ProviderInfo>> find_providers(const std::vector<std::string>& names,
                                                         const std::string& bind_address) {
  std::vector<fabric::ProviderInfo> found;
  Error first_error;
  for (const std::string& name : names) {
    fabric::FabricOptions options;
    options.provider = name;
    options.bind_address = bind_address;
    const auto some = fabric::discover_providers(options);
    if (some) {
      found.insert(found.end(), some.value().begin(), some.value().end());
    } else if (first_error.code == ErrorCode::kOk) {
      first_error = some.error();
    }
  }
  if (!found.empty()) return found;
  if (first_error.code != ErrorCode::kOk) return first_error;
  return {ErrorCode::k_PROVIDER_UNAVAILABLE, "no fabric provider works on this machine; try 'diaspora info'"};
}

}  // namespace

Connection::Connection(Reactor* reactor, ConnectionOptions options, ServerAddress address, Handler* handler)
    : reactor_(reactor),
      options_(std::move(options)),
      address_(std::move(address)),
      handler_(handler),
      name_(options_.connect_local ? "the embedded server" : address_.host + ":" + std::to_string(address_.port)),
      alive_(std::make_shared<bool>(true)) {}

Connection::~Connection() {
  *alive_ = false;
  close();
}

void Connection::open() {
  if (state_ != State::kIdle) return;
  attempt_ = 0;
  backoff_ms_ = kBackoffMinMs;
  deadline_ms_ = monotonic_ms() + (was_up_once_ ? options_.reconnect_timeout_ms : options_.connect_timeout_ms);
  begin_attempt();
}

void Connection::set_address(std::string host, uint16_t port) {
  address_.host = std::move(host);
  address_.port = port;
  name_ = address_.host + ":" + std::to_string(port);
  if (state_ == State::kWaiting) begin_attempt();
}

void Connection::renew_deadline() {
  if (!was_up_once_) deadline_ms_ = monotonic_ms() + options_.connect_timeout_ms;
}

void Connection::restart() {
  if (state_ != State::kUp) return;
  // No goodbye: what other clients have at the server waits for them.
  tear_down();
  session_ended();
  // Nothing was lost: there is time for a connection as at first.
  deadline_ms_ = std::max(deadline_ms_, monotonic_ms() + options_.connect_timeout_ms);
  domain_.reset();
  begin_attempt();
}

// The session was up and is no more: the handler withdraws what it has exposed, and there is time to connect anew.
void Connection::session_ended() {
  attempt_ = 0;
  backoff_ms_ = kBackoffMinMs;
  deadline_ms_ = monotonic_ms() + options_.reconnect_timeout_ms;
  handler_->on_down();
}

void Connection::close() {
  if (state_ == State::kClosed) return;
  if (state_ == State::kUp) send_frame(wire::make_frame(wire::FrameType::kGoodbye, 0));
  const bool was_up = tear_down();
  state_ = State::kClosed;
  if (was_up && *alive_) handler_->on_down();
  domain_.reset();
}

void Connection::begin_attempt() {
  cancel_timer();
  state_ = State::kConnecting;
  const int64_t left = deadline_ms_ - monotonic_ms();
  const int64_t attempt_ms = std::max(std::min(left, options_.connect_timeout_ms), kAttemptMsMin);
  attempt_end_ms_ = monotonic_ms() + attempt_ms;
  limit_attempt(attempt_ms);
  if (options_.connect_local) {
    const int fd = options_.connect_local();
    if (fd < 0) return fail({ErrorCode::k_CONNECTION_LOST, "it is stopping"});
    return connected(fd);
  }
  connector_ = std::make_unique<Connector>(reactor_, address_, [this](Result<int> fd) {
    if (!fd) return fail(fd.error());
    connected(fd.value());
  });
}

void Connection::limit_attempt(int64_t ms) {
  cancel_timer();
  timer_ = reactor_->call_after_ms(ms, [this, ms] {
    timer_ = 0;
    const Error error{ErrorCode::k_CONNECT_TIMEOUT, "no answer within " + std::to_string(ms) + " ms"};
    fail(state_ == State::kAttaching || state_ == State::kPinging ? give_up_provider(error) : error);
  });
}

void Connection::connected(int fd) {
  bind_address_ = local_host_of(fd);
  session::ControlChannel::Handler handler;
  handler.on_frame = [this](const wire::FrameHeader& header, std::span<const uint8_t> payload) {
    on_frame(header, payload);
  };
  handler.on_doorbell = [] {};  // the channel has made the reactor poll
  handler.on_closed = [this](const Error& error) { fail(error); };
  channel_ = std::make_unique<session::ControlChannel>(reactor_, fd, std::move(handler));
  state_ = State::kDiscovering;
  discover();
}

std::vector<std::string> Connection::wanted_providers() const {
  if (options_.connect_local && options_.provider == "auto") return {"local"};
  std::vector<std::string> names;
  std::istringstream list(options_.provider);
  for (std::string name; std::getline(list, name, ',');) names.push_back(name);
  return names;
}

// Loading libfabric and trying its providers takes up to 0.3 s the first time.
void Connection::discover() {
  std::vector<std::string> names = wanted_providers();
  if (names == std::vector<std::string>{"local"}) return greet(find_providers(names, bind_address_));
  run_in_background([this, reactor = reactor_, alive = alive_, epoch = epoch_, names = std::move(names),
                     bind_address = bind_address_] {
    auto found = find_providers(names, bind_address);
    reactor->post([this, alive, epoch, found = std::move(found)] {
      if (*alive && epoch == epoch_ && state_ == State::kDiscovering) greet(found);
    });
  });
}

void Connection::greet(Result<std::vector<fabric::ProviderInfo>> providers) {
  if (!providers) return fail(providers.error());
  providers_ = providers.take();
  wire::HelloFrame hello;
  hello.rail = options_.rail;
  hello.client = client_uuid_;
  hello.expected_server = address_.server;
  hello.process = process_identity();
  hello.host_identity = fabric::host_identity();
  hello.message_bytes = kMessageBytesMax;
  hello.zero_copy_threshold = options_.zero_copy_threshold;
  for (const fabric::ProviderInfo& provider : providers_) {
    if (unfit_.count(provider.family) == 0) hello.providers.push_back({provider.name, provider.family});
  }
  channel_->send(wire::make_frame(hello));
  state_ = State::kGreeting;
}

void Connection::on_frame(const wire::FrameHeader& header, std::span<const uint8_t> payload) {
  if (failing_) return;
  const Status status = handle_frame(header, payload);
  if (!status) fail(status.error());
}

Status Connection::handle_frame(const wire::FrameHeader& header, std::span<const uint8_t> payload) {
  if (header.type == wire::FrameType::kGoodbye) return {ErrorCode::k_CONNECTION_LOST, "the server is stopping"};
  if (header.type == wire::FrameType::kError && header.request_id == 0) {
    const Result<wire::ErrorFrame> error = wire::decode_error(payload);
    if (!error) return error.status();
    const Error said{error.value().code, error.value().message};
    if (state_ == State::kAttaching || state_ == State::kPinging) return give_up_provider(said);
    if (said.code == ErrorCode::k_PROVIDER_UNAVAILABLE && !unfit_.empty()) {
      unfit_.clear();  // the server has none of the others: again with all
      return {ErrorCode::k_CONNECTION_LOST, said.message};
    }
    return said;
  }
  if (state_ == State::kGreeting && header.type == wire::FrameType::kWelcome) return welcomed(payload);
  if (state_ == State::kAttaching && header.type == wire::FrameType::kAttached) return attached();
  const bool is_answer = header.type == wire::FrameType::kReply || header.type == wire::FrameType::kError;
  if (state_ == State::kUp && is_answer) {
    handler_->on_reply(header, payload);
    return {};
  }
  return {ErrorCode::k_PROTOCOL, "the server sent a frame that was not expected"};
}

Status Connection::welcomed(std::span<const uint8_t> payload) {
  Result<wire::WelcomeFrame> welcome = wire::decode_welcome(payload);
  if (!welcome) return welcome.status();
  welcome_ = welcome.take();
  const auto chosen = std::find_if(providers_.begin(), providers_.end(),
                                   [&](const fabric::ProviderInfo& p) { return p.family == welcome_.provider_family; });
  if (chosen == providers_.end()) return {ErrorCode::k_PROTOCOL, "the server chose a provider that was not offered"};
  provider_ = *chosen;
  auto domain = share_domain(provider_, bind_address_);
  if (!domain) return give_up_provider(domain.error());
  domain_ = domain.take();
  session::Link::Handler handler;
  handler.on_message = [this](std::span<const uint8_t> bytes) { on_message(bytes); };
  handler.on_failed = [this](const Error& error) {
    const Error lost{ErrorCode::k_CONNECTION_LOST, error.message};
    fail(state_ == State::kUp ? lost : give_up_provider(lost));
  };
  link_ = std::make_unique<session::Link>(reactor_, domain_->get(), std::move(handler));
  const Result<std::vector<uint8_t>> address = link_->open();
  if (!address) return give_up_provider(address.error());
  channel_->send(wire::make_frame(wire::FrameType::kAttach, 0, address.value()));
  state_ = State::kAttaching;
  // A fabric that says nothing must leave time for another.
  if (has_alternative()) {
    const int64_t share_ms = std::clamp(options_.connect_timeout_ms / 2, kAttemptMsMin, kFabricMsMax);
    limit_attempt(std::max(std::min(share_ms, attempt_end_ms_ - monotonic_ms()), int64_t{1}));
  }
  return {};
}

Status Connection::attached() {
  session::Link::Options options;
  options.message_bytes = welcome_.message_bytes;
  options.receives = kReceives;
  const Status started = link_->start(welcome_.endpoint_address, options, channel_.get());
  if (!started) return give_up_provider(started.error());
  limits_.message_bytes =
      static_cast<uint32_t>(std::min<uint64_t>(welcome_.message_bytes, provider_.message_bytes_max));
  limits_.batch_credits = welcome_.batch_credits;
  limits_.fetch_credits = welcome_.fetch_credits;
  state_ = State::kPinging;
  std::vector<uint8_t> ping;
  wire::encode_ping(wire::MessageType::kPing, &ping);
  link_->send(ping);
  return {};
}

void Connection::on_message(std::span<const uint8_t> bytes) {
  if (failing_) return;
  const Result<wire::MessageView> view = wire::parse_message(bytes);
  const Status status = view ? handle_message(view.value()) : view.status();
  if (!status) fail(status.error());
}

Status Connection::handle_message(const wire::MessageView& view) {
  if (state_ == State::kPinging && view.type == wire::MessageType::kPong) {
    came_up();
    return {};
  }
  if (state_ != State::kUp) return {ErrorCode::k_PROTOCOL, "the server sent a message before the session was ready"};
  return handler_->on_message(view);
}

void Connection::came_up() {
  cancel_timer();
  state_ = State::kUp;
  server_uuid_ = welcome_.server;
  was_up_once_ = true;
  lost_ = false;
  unfit_.clear();
  handler_->on_up();
}

// Is there another provider to offer? The server has chosen the best of those it could take: only worse ones are left.
bool Connection::has_alternative() const {
  return std::any_of(providers_.begin(), providers_.end(), [&](const fabric::ProviderInfo& other) {
    return other.preference < provider_.preference && unfit_.count(other.family) == 0;
  });
}

// The provider that both sides chose does not come up. What to fail the attempt with: a retryable error while there are
// others to offer.
Error Connection::give_up_provider(const Error& error) {
  if (failing_) return error;
  const Error what{error.code, "provider " + provider_.name + " does not come up: " + error.message};
  if (!has_alternative()) {
    unfit_.clear();
    return what;
  }
  unfit_.insert(provider_.family);
  handler_->on_warning("server " + name_ + ": " + what.message + "; trying another provider");
  return {ErrorCode::k_CONNECTION_LOST, what.message};
}

// Reported by the channel, the link or the handler: dealt with when none of them is on the stack.
void Connection::fail(Error error) {
  if (failing_ || state_ == State::kClosed) return;
  failing_ = true;
  reactor_->post([this, alive = alive_, epoch = epoch_, error = std::move(error)] {
    if (*alive && epoch == epoch_) recover(error);
  });
}

void Connection::recover(const Error& error) {
  const bool was_up = tear_down();
  lost_ = was_up_once_;
  if (was_up) session_ended();
  domain_.reset();
  // A first connection fails at once for what time does not cure; a lost one may find another server at its address.
  const bool is_final = was_up_once_ ? error.code == ErrorCode::k_VERSION_MISMATCH : !error_code_retryable(error.code);
  if (is_final) {
    state_ = State::kIdle;
    return handler_->on_given_up({error.code, "server " + name_ + ": " + error.message});
  }
  if (monotonic_ms() >= deadline_ms_) return give_up(error);
  ++attempt_;
  state_ = State::kWaiting;
  timer_ = reactor_->call_after_ms(std::min(backoff_ms_, deadline_ms_ - monotonic_ms()), [this] {
    timer_ = 0;
    begin_attempt();
  });
  backoff_ms_ = std::min(backoff_ms_ * 2, kBackoffMaxMs);
  handler_->on_lost(attempt_, {error.code, "server " + name_ + ": " + error.message});
}

void Connection::give_up(const Error& last) {
  state_ = State::kIdle;
  Error error;
  if (was_up_once_) {
    error.code = ErrorCode::k_CONNECTION_LOST;
    error.message = "the connection to server " + name_ + " was lost and not restored within " +
                    std::to_string(options_.reconnect_timeout_ms) + " ms: " + last.message;
  } else {
    error.code = ErrorCode::k_CONNECT_TIMEOUT;
    error.message = "server " + name_ + " could not be reached within " + std::to_string(options_.connect_timeout_ms) +
                    " ms: " + last.message + "; check that it runs, its address and the firewall";
  }
  handler_->on_given_up(error);
}

// Closes everything but the domain, which registrations need until on_down. Returns whether the session was up.
bool Connection::tear_down() {
  ++epoch_;
  failing_ = false;
  cancel_timer();
  connector_.reset();
  if (link_ != nullptr) link_->close();
  link_.reset();
  channel_.reset();
  return std::exchange(state_, State::kIdle) == State::kUp;
}

void Connection::cancel_timer() {
  if (timer_ != 0) reactor_->cancel(std::exchange(timer_, 0));
}

}  // namespace diaspora::client
