#include "client/client_core.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace diaspora::client {

namespace {

const Error kAborted{ErrorCode::k_ABORTED, "the driver was closed"};
// The connection's own error comes first, as it says why.
constexpr int64_t kOpenGraceMs = 500;

const Error kClosed{ErrorCode::k_INVALID_STATE, "the driver is closed"};

}  // namespace

ClientCore::ClientCore(uint32_t id, ClientOptions options, std::shared_ptr<CompletionSink> sink)
    : id_(id),
      options_(std::move(options)),
      sink_(std::move(sink)),
      counters_(std::make_shared<ClientCounters>()),
      providers_(options_.servers.size()),
      uuids_(options_.servers.size()) {}

std::vector<uint32_t> ClientCore::spread(const std::vector<uint32_t>& server_of_partition) const {
  const auto rails = static_cast<uint32_t>(options_.rails.size());
  std::vector<uint32_t> next_rail(options_.servers.size());
  std::vector<uint32_t> lines;
  lines.reserve(server_of_partition.size());
  for (const uint32_t server : server_of_partition) {
    DIASPORA_CHECK(server < next_rail.size());
    lines.push_back(first_line(server) + next_rail[server]++ % rails);
  }
  return lines;
}

Counters ClientCore::counters() const {
  Counters counters;
  counters.data_bytes_by_rma = counters_->data_bytes_by_rma;
  counters.data_bytes_copied = counters_->data_bytes_copied;
  counters.data_bytes = counters_->data_bytes;
  counters.events_produced = counters_->events_produced;
  counters.events_consumed = counters_->events_consumed;
  counters.batches = counters_->batches;
  counters.reconnects = counters_->reconnects;
  counters.registrations = counters_->registrations;
  const std::lock_guard<std::mutex> lock(mutex_);
  counters.providers = providers_;
  return counters;
}

std::vector<Uuid> ClientCore::server_uuids() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return uuids_;
}

void ClientCore::open(uint64_t request) {
  open_request_ = request;
  const size_t rails = options_.rails.size();
  not_up_ = options_.servers.size() * rails;
  was_up_.resize(not_up_);
  up_.resize(not_up_);
  if (not_up_ == 0) return opened(Status(ErrorCode::k_INVALID_ARGUMENT, "no server was given"));
  for (uint32_t i = 0; i < not_up_; ++i) {
    peers_.push_back(find_or_make_peer(options_, static_cast<uint32_t>(i / rails), static_cast<uint16_t>(i % rails)));
  }
  // A peer that others use has a deadline of its own. Cancelled when the request is answered.
  DIASPORA_CHECK(request != 0);
  open_timer_ = progress_thread().call_after_ms(options_.connect_timeout_ms + kOpenGraceMs, [this] {
    open_timer_ = 0;
    opened(not_reached());
  });
  for (uint32_t i = 0; i < peers_.size(); ++i) peers_[i]->join(this, i);
}

// Which server is missing, when its connection has not said why.
Error ClientCore::not_reached() const {
  std::string names;
  for (uint32_t line = 0; line < peers_.size(); ++line) {
    if (!was_up_[line]) names += (names.empty() ? "" : ", ") + peers_[line]->connection().name();
  }
  return {ErrorCode::k_CONNECT_TIMEOUT, "server " + names + " could not be reached within " +
                                            std::to_string(options_.connect_timeout_ms) +
                                            " ms; check that it runs, its address and the firewall"};
}

void ClientCore::opened(const Status& status) {
  if (open_request_ == 0) return;
  const uint64_t request = std::exchange(open_request_, 0);
  if (open_timer_ != 0) progress_thread().cancel(std::exchange(open_timer_, 0));
  // Nobody closes what did not open. From a pass of its own: this may be the peer's call.
  if (!status && !closed_) progress_thread().post([self = shared_from_this()] { self->close([] {}); });
  if (status) {
    sink_->request_done(request, CompletionSink::Value{});
  } else {
    sink_->request_done(request, status.error());
  }
}

void ClientCore::set_address(uint32_t server, const std::string& host, uint16_t port) {
  if (closed_ || server >= options_.servers.size()) return;
  for (uint32_t i = first_line(server); i < first_line(server + 1); ++i) {
    peers_[i]->connection().set_address(host, port);
  }
}

void ClientCore::request(uint64_t request, uint32_t server, const RequestTable::MakeFrame& make, Decode decode,
                         ErrorCode success_when_resent) {
  if (closed_) return sink_->request_done(request, kClosed);
  if (server >= options_.servers.size()) {
    return sink_->request_done(request,
                               Error{ErrorCode::k_INVALID_ARGUMENT, "there is no server " + std::to_string(server)});
  }
  const uint32_t line = first_line(server);
  Asked& asked = requests_[request];
  asked.line = line;
  asked.id = peers_[line]->requests().add_kept(
      make,
      [self = shared_from_this(), request, decode = std::move(decode)](const Result<std::span<const uint8_t>>& reply) {
        if (self->requests_.erase(request) == 0) return;  // closed meanwhile
        self->sink_->request_done(request,
                                  reply ? decode(reply.value()) : Result<CompletionSink::Value>(reply.error()));
      },
      success_when_resent);
}

void ClientCore::add_producer(const std::shared_ptr<ProducerCore>& producer) {
  if (closed_) return producer->detach(kAborted);
  std::vector<BatchSender*> senders;
  senders.reserve(peers_.size());
  for (const std::shared_ptr<Peer>& peer : peers_) senders.push_back(&peer->sender());
  producers_.insert(producer);
  producer->attach(senders, [self = weak_from_this(), producer = std::weak_ptr(producer)] {
    if (const auto core = self.lock()) core->producers_.erase(producer.lock());
  });
}

void ClientCore::add_consumer(uint64_t request, const std::shared_ptr<ConsumerCore>& consumer) {
  if (closed_) return sink_->request_done(request, kClosed);
  std::vector<Peer*> peers;
  peers.reserve(peers_.size());
  for (const std::shared_ptr<Peer>& peer : peers_) peers.push_back(peer.get());
  consumers_.insert(consumer);
  consumer->attach(peers, request, [self = weak_from_this(), consumer = std::weak_ptr(consumer)] {
    if (const auto core = self.lock()) core->consumers_.erase(consumer.lock());
  });
}

// When a completion tells a caller that its memory is free, nothing may touch it any more.
void ClientCore::stop_transfers() {
  for (const std::shared_ptr<Peer>& peer : peers_) {
    if (!peer->used_by_others(this)) {
      peer->connection().close();
      continue;
    }
    const bool exposed = std::any_of(producers_.begin(), producers_.end(),
                                     [&](const auto& p) { return p->exposes_memory_to(peer->sender()); });
    if (exposed || peer->fetches().has_asked_for(counters_.get())) peer->connection().restart();
  }
}

void ClientCore::close(std::function<void()> done) {
  if (!std::exchange(closed_, true)) {
    for (const std::shared_ptr<ConsumerCore>& consumer : consumers_) consumer->leave_group();
    stop_transfers();
    opened(kAborted);
    for (const std::shared_ptr<ConsumerCore>& consumer : std::exchange(consumers_, {})) consumer->detach(kAborted);
    for (const std::shared_ptr<ProducerCore>& producer : std::exchange(producers_, {})) producer->detach(kAborted);
    for (const auto& [request, asked] : std::exchange(requests_, {})) {
      peers_[asked.line]->requests().forget(asked.id);
      sink_->request_done(request, kAborted);
    }
    for (const std::shared_ptr<Peer>& peer : peers_) peer->leave(this, kAborted);
    peers_.clear();
  }
  // Behind the release of the domains, which is posted too.
  progress_thread().post(std::move(done));
}

void ClientCore::peer_up(uint32_t line) {
  const Connection& connection = peers_[line]->connection();
  const uint32_t server = server_of(line);
  up_[line] = true;
  const bool all_up =
      std::all_of(up_.begin() + first_line(server), up_.begin() + first_line(server + 1), std::identity());
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (all_up) providers_[server] = connection.provider();
    uuids_[server] = connection.server_uuid();
  }
  if (was_up_[line]) {
    increase(&counters_->reconnects, 1);
  } else {
    was_up_[line] = true;
    --not_up_;
  }
  if (all_up) sink_->server_up(id_, server);
  if (not_up_ == 0) opened({});
}

void ClientCore::peer_down(uint32_t line) {
  up_[line] = false;
  const std::lock_guard<std::mutex> lock(mutex_);
  providers_[server_of(line)].clear();
}

void ClientCore::peer_lost(uint32_t line, uint32_t attempt, const Error& error) {
  sink_->server_lost(id_, server_of(line), attempt, error);
}

void ClientCore::peer_given_up(uint32_t, const Error& error) { opened(error); }

}  // namespace diaspora::client
