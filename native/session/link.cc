#include "session/link.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <utility>

#include "base/bytes.h"
#include "base/clock.h"

namespace diaspora::session {

namespace {

// Messages of one link in the fabric at once; more wait in a queue. As many as a server answers in one pass at most.
constexpr size_t kSendSlots = 16;

// RMA of one link in the fabric at once: more gains nothing on tcp and makes other links wait.
constexpr size_t kPiecesPosted = 64;
constexpr size_t kBytesPosted = size_t{8} << 20;

// Retry of what the fabric would not take, when nothing else makes the reactor pass.
constexpr int64_t kRetryMs = 1;

}  // namespace

struct Link::Impl {
  struct Receive : fabric::Operation {
    explicit Receive(Impl* link_in) : link(link_in) {}
    void on_complete(const fabric::OperationResult& result) override { link->on_received(this, result); }
    Impl* link;
    uint8_t* buffer = nullptr;
  };
  struct Send : fabric::Operation {
    explicit Send(Impl* link_in) : link(link_in) {}
    void on_complete(const fabric::OperationResult& result) override { link->on_sent(this, result); }
    Impl* link;
    uint8_t* buffer = nullptr;
    size_t bytes = 0;
  };
  struct Transfer {
    size_t bytes = 0;
    size_t pieces_left = 0;
    std::vector<bool> pieces_done;  // only where `arrived` is wanted
    size_t gapless = 0;             // pieces from the first on that are done
    Error error;
    std::function<void(size_t)> arrived;
    std::function<void(const Error&)> done;

    void piece_done(size_t index);
  };
  struct Piece : fabric::Operation {
    void on_complete(const fabric::OperationResult& result) override { link->on_piece(this, result); }
    Impl* link = nullptr;
    std::shared_ptr<Transfer> transfer;
    size_t index = 0;
    bool is_read = false;
    fabric::MemoryRegion* region = nullptr;
    uint8_t* local = nullptr;
    size_t bytes = 0;
    uint64_t address = 0;
    uint64_t key = 0;
  };
  struct Remote {
    uint64_t address;
    uint64_t key;
  };

  Impl(Reactor* reactor_in, fabric::Domain* domain_in, Handler handler_in)
      : reactor(reactor_in), domain(domain_in), handler(std::move(handler_in)), alive(std::make_shared<bool>(true)) {}

  Status start(std::span<const uint8_t> peer_address, const Options& options, ControlChannel* control_in);
  void send(std::span<const uint8_t> message, std::span<const uint8_t> body);
  void transfer(bool is_read, fabric::MemoryRegion* region, std::span<uint8_t> local, Remote remote,
                const std::shared_ptr<Transfer>& shared);
  void pump();
  void pump_receives();
  void pump_sends();
  void pump_pieces();
  bool work_left() const { return !receives_to_post.empty() || !sends_to_post.empty() || !pieces_to_post.empty(); }
  void on_received(Receive* receive, const fabric::OperationResult& result);
  void on_sent(Send* send, const fabric::OperationResult& result);
  void on_piece(Piece* piece, const fabric::OperationResult& result);
  void finish_piece(Piece* piece, const Error& error);
  void fail(Error error);
  void close();
  void watch_progress();
  void check_progress();
  // What the fabric or the peer still owes us; posted receives do not count.
  bool is_waiting() const { return work_left() || sends_free.size() < sends.size() || pieces_posted > 0; }
  void ring() {
    if (!domain->provider().has_wait_fd) control->ring_doorbell();
  }

  Reactor* reactor;
  fabric::Domain* domain;
  Handler handler;
  ControlChannel* control = nullptr;
  std::shared_ptr<bool> alive;  // false once destroyed: for posted callbacks

  size_t message_bytes = 0;
  // Receives, then sends; each of message_bytes. Not filled with zeros: what is never used never becomes resident, 3
  // MiB of an idle session.
  std::unique_ptr<uint8_t[]> memory;
  std::unique_ptr<fabric::MemoryRegion> memory_region;
  std::vector<std::unique_ptr<Receive>> receives;
  std::vector<std::unique_ptr<Send>> sends;
  std::vector<Receive*> receives_to_post;
  std::vector<Send*> sends_free;
  std::deque<Send*> sends_to_post;
  std::deque<std::vector<uint8_t>> queue;  // messages that wait for a free Send
  std::deque<std::unique_ptr<Piece>> pieces_to_post;
  std::vector<std::unique_ptr<Piece>> pieces_free;
  size_t pieces_posted = 0;
  size_t bytes_posted = 0;
  uint64_t rma_bytes_in_flight = 0;
  Reactor::TimerId retry_timer = 0;
  Reactor::TimerId progress_timer = 0;
  int64_t stuck_ms = 0;
  int64_t last_progress_ms = 0;  // when an operation was last accepted or completed
  std::unique_ptr<fabric::Endpoint> endpoint;
  bool started = false;
  bool failed = false;
  bool closed = false;
};

Status Link::Impl::start(std::span<const uint8_t> peer_address, const Options& options, ControlChannel* control_in) {
  DIASPORA_CHECK(endpoint != nullptr && !started);
  control = control_in;
  message_bytes = options.message_bytes;
  stuck_ms = options.stuck_ms;
  const size_t memory_bytes = message_bytes * (options.receives + kSendSlots);
  memory = std::make_unique_for_overwrite<uint8_t[]>(memory_bytes);
  if (domain->needs_local_registration()) {
    auto region = domain->register_memory(memory.get(), memory_bytes, fabric::Access::kMessages);
    if (!region) return region.status();
    memory_region = region.take();
  }
  uint8_t* next = memory.get();
  for (uint32_t i = 0; i < options.receives; ++i, next += message_bytes) {
    receives.push_back(std::make_unique<Receive>(this));
    receives.back()->buffer = next;
    receives_to_post.push_back(receives.back().get());
  }
  for (size_t i = 0; i < kSendSlots; ++i, next += message_bytes) {
    sends.push_back(std::make_unique<Send>(this));
    sends.back()->buffer = next;
    sends_free.push_back(sends.back().get());
  }
  const Status connected = endpoint->connect(peer_address);
  if (!connected) return connected;
  started = true;
  pump();
  return {};
}

void Link::Impl::send(std::span<const uint8_t> message, std::span<const uint8_t> body) {
  if (!started || failed || closed) return;
  const size_t bytes = message.size() + body.size();
  DIASPORA_CHECK(bytes <= message_bytes);
  uint8_t* out = nullptr;
  if (sends_free.empty()) {
    queue.emplace_back(bytes);
    out = queue.back().data();
  } else {
    Send* free = sends_free.back();
    sends_free.pop_back();
    free->bytes = bytes;
    out = free->buffer;
    sends_to_post.push_back(free);
  }
  std::memcpy(out, message.data(), message.size());
  if (!body.empty()) std::memcpy(out + message.size(), body.data(), body.size());
  pump();
}

void Link::Impl::transfer(bool is_read, fabric::MemoryRegion* region, std::span<uint8_t> local, Remote remote,
                          const std::shared_ptr<Transfer>& shared) {
  shared->bytes = local.size();
  shared->pieces_left = (local.size() + kPieceBytes - 1) / kPieceBytes;
  DIASPORA_CHECK(shared->pieces_left > 0);
  if (shared->arrived) shared->pieces_done.resize(shared->pieces_left);
  rma_bytes_in_flight += local.size();
  for (size_t offset = 0; offset < local.size(); offset += kPieceBytes) {
    std::unique_ptr<Piece> piece;
    if (pieces_free.empty()) {
      piece = std::make_unique<Piece>();
    } else {
      piece = std::move(pieces_free.back());
      pieces_free.pop_back();
    }
    piece->link = this;
    piece->transfer = shared;
    piece->index = offset / kPieceBytes;
    piece->is_read = is_read;
    piece->region = region;
    piece->local = local.data() + offset;
    piece->bytes = std::min(kPieceBytes, local.size() - offset);
    piece->address = remote.address + offset;
    piece->key = remote.key;
    pieces_to_post.push_back(std::move(piece));
  }
  pump();
}

void Link::Impl::pump() {
  if (!started || failed || closed) return;
  pump_receives();
  pump_sends();
  pump_pieces();
  watch_progress();
  if (!work_left() || failed || retry_timer != 0) return;
  retry_timer = reactor->call_after_ms(kRetryMs, [this] {
    retry_timer = 0;
    pump();
  });
}

// Armed while something is owed: an idle link has no timer.
void Link::Impl::watch_progress() {
  if (progress_timer != 0 || failed || !is_waiting()) return;
  last_progress_ms = monotonic_ms();
  progress_timer = reactor->call_after_ms(stuck_ms, [this] { check_progress(); });
}

void Link::Impl::check_progress() {
  progress_timer = 0;
  if (failed || closed || !is_waiting()) return;
  const int64_t left_ms = last_progress_ms + stuck_ms - monotonic_ms();
  if (left_ms > 0) {
    progress_timer = reactor->call_after_ms(left_ms, [this] { check_progress(); });
    return;
  }
  fail({ErrorCode::k_FABRIC, domain->provider().name + ": nothing moved for " + std::to_string(stuck_ms / 1000) +
                                 " s although the peer is to answer; the network or the peer is lost"});
}

void Link::Impl::pump_receives() {
  while (!receives_to_post.empty() && !failed) {
    Receive* receive = receives_to_post.back();
    const auto result = endpoint->post_receive(receive, receive->buffer, message_bytes, memory_region.get());
    if (result == fabric::PostResult::kBusy) return;
    if (result == fabric::PostResult::kFailed) return fail(endpoint->failure());
    receives_to_post.pop_back();
  }
}

// Rings also for what was refused: shm maps a peer's memory, and empties its queues, only when that peer polls.
void Link::Impl::pump_sends() {
  bool tried = false;
  while (!sends_to_post.empty() && !failed) {
    Send* send = sends_to_post.front();
    const auto result = endpoint->post_send(send, send->buffer, send->bytes, memory_region.get());
    tried = true;
    if (result == fabric::PostResult::kBusy) break;
    if (result == fabric::PostResult::kFailed) return fail(endpoint->failure());
    sends_to_post.pop_front();
    last_progress_ms = monotonic_ms();
  }
  if (tried) ring();
}

void Link::Impl::pump_pieces() {
  while (!pieces_to_post.empty() && pieces_posted < kPiecesPosted && bytes_posted < kBytesPosted && !failed) {
    Piece* piece = pieces_to_post.front().get();
    const auto result =
        piece->is_read
            ? endpoint->post_read(piece, piece->local, piece->bytes, piece->region, piece->address, piece->key)
            : endpoint->post_write(piece, piece->local, piece->bytes, piece->region, piece->address, piece->key);
    if (result == fabric::PostResult::kBusy) return ring();
    if (result == fabric::PostResult::kFailed) return fail(endpoint->failure());
    // Owned by the fabric until on_piece takes it back.
    DIASPORA_CHECK(pieces_to_post.front().release() == piece);
    pieces_to_post.pop_front();
    ++pieces_posted;
    bytes_posted += piece->bytes;
    last_progress_ms = monotonic_ms();
    // A delivery-complete write may need the peer's help; a read is done by the initiator alone.
    if (!piece->is_read) ring();
  }
}

void Link::Impl::on_received(Receive* receive, const fabric::OperationResult& result) {
  if (closed || failed) return;
  if (result.code != ErrorCode::kOk) return fail({ErrorCode::k_FABRIC, "receiving failed: " + result.detail});
  if (!domain->provider().has_wait_fd) reactor->expect_traffic();
  control->note_activity();
  handler.on_message({receive->buffer, result.bytes});
  receives_to_post.push_back(receive);
  pump();
}

void Link::Impl::on_sent(Send* send, const fabric::OperationResult& result) {
  if (closed || failed) return;
  if (result.code != ErrorCode::kOk) return fail({ErrorCode::k_FABRIC, "sending failed: " + result.detail});
  last_progress_ms = monotonic_ms();
  if (queue.empty()) {
    sends_free.push_back(send);
  } else {
    send->bytes = queue.front().size();
    std::memcpy(send->buffer, queue.front().data(), send->bytes);
    queue.pop_front();
    sends_to_post.push_back(send);
  }
  pump();
}

void Link::Impl::on_piece(Piece* raw, const fabric::OperationResult& result) {
  std::unique_ptr<Piece> piece(raw);
  --pieces_posted;
  bytes_posted -= piece->bytes;
  last_progress_ms = monotonic_ms();
  Error error;
  if (result.code != ErrorCode::kOk) error = {result.code, "moving event data failed: " + result.detail};
  finish_piece(piece.get(), error);
  piece->transfer.reset();
  pieces_free.push_back(std::move(piece));
  if (result.code != ErrorCode::kOk) return fail({ErrorCode::k_FABRIC, "moving event data failed: " + result.detail});
  pump();
}

void Link::Impl::finish_piece(Piece* piece, const Error& error) {
  rma_bytes_in_flight -= piece->bytes;
  Transfer& transfer = *piece->transfer;
  if (transfer.error.code == ErrorCode::kOk) transfer.error = error;
  if (transfer.arrived && transfer.error.code == ErrorCode::kOk) transfer.piece_done(piece->index);
  if (--transfer.pieces_left == 0) transfer.done(transfer.error);
}

void Link::Impl::Transfer::piece_done(size_t index) {
  pieces_done[index] = true;
  if (index != gapless) return;
  while (gapless < pieces_done.size() && pieces_done[gapless]) ++gapless;
  arrived(std::min(gapless * kPieceBytes, bytes));
}

void Link::Impl::fail(Error error) {
  if (failed || closed) return;
  failed = true;
  reactor->post([this, alive_now = alive, error = std::move(error)] {
    if (*alive_now && !closed) handler.on_failed(error);
  });
}

void Link::Impl::close() {
  if (closed) return;
  closed = true;
  if (retry_timer != 0) reactor->cancel(std::exchange(retry_timer, 0));
  if (progress_timer != 0) reactor->cancel(std::exchange(progress_timer, 0));
  if (endpoint != nullptr) endpoint->close();
  while (!pieces_to_post.empty()) {
    const std::unique_ptr<Piece> piece = std::move(pieces_to_post.front());
    pieces_to_post.pop_front();
    finish_piece(piece.get(), {ErrorCode::k_ABORTED, "the connection was closed"});
  }
  DIASPORA_CHECK(pieces_posted == 0);
  endpoint.reset();
  memory_region.reset();
}

Link::Link(Reactor* reactor, fabric::Domain* domain, Handler handler)
    : impl_(std::make_unique<Impl>(reactor, domain, std::move(handler))) {}

Link::~Link() {
  *impl_->alive = false;
  impl_->close();
}

Result<std::vector<uint8_t>> Link::open() {
  auto endpoint = impl_->domain->create_endpoint();
  if (!endpoint) return endpoint.error();
  impl_->endpoint = endpoint.take();
  return impl_->endpoint->address();
}

Status Link::start(std::span<const uint8_t> peer_address, const Options& options, ControlChannel* control) {
  return impl_->start(peer_address, options, control);
}

void Link::send(std::span<const uint8_t> message, std::span<const uint8_t> body) { impl_->send(message, body); }

size_t Link::queued_messages() const { return impl_->queue.size(); }

void Link::read(fabric::MemoryRegion* region, std::span<uint8_t> local, uint64_t address, uint64_t key,
                std::function<void(size_t)> arrived, std::function<void(const Error&)> done) {
  auto transfer = std::make_shared<Impl::Transfer>();
  transfer->arrived = std::move(arrived);
  transfer->done = std::move(done);
  impl_->transfer(true, region, local, {address, key}, transfer);
}

void Link::write(fabric::MemoryRegion* region, std::span<const uint8_t> local, uint64_t address, uint64_t key,
                 std::function<void(const Error&)> done) {
  auto transfer = std::make_shared<Impl::Transfer>();
  transfer->done = std::move(done);
  // Only read from: the piece keeps one pointer type for both directions.
  impl_->transfer(false, region, {const_cast<uint8_t*>(local.data()), local.size()}, {address, key}, transfer);
}

uint64_t Link::rma_bytes_in_flight() const { return impl_->rma_bytes_in_flight; }

bool Link::usable() const { return impl_->started && !impl_->failed && !impl_->closed; }

void Link::close() { impl_->close(); }

}  // namespace diaspora::session
