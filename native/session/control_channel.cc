#include "session/control_channel.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/clock.h"

namespace diaspora::session {

namespace {

constexpr size_t kReadBytes = 64 * 1024;
constexpr int64_t kRingPauseNs = 1'000'000;

std::string name_of_peer(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return "unknown";
  char text[INET6_ADDRSTRLEN] = {};
  if (address.ss_family == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(&address);
    inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
    return std::string(text) + ":" + std::to_string(ntohs(in->sin_port));
  }
  if (address.ss_family == AF_INET6) {
    const auto* in = reinterpret_cast<const sockaddr_in6*>(&address);
    inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof(text));
    return "[" + std::string(text) + "]:" + std::to_string(ntohs(in->sin6_port));
  }
  return "local";
}

// Frames are small and answers are awaited: no Nagle. A lost host shows within TCP_USER_TIMEOUT. On a socket pair these
// do not apply and fail harmlessly.
void set_socket_options(int fd) {
  const int on = 1;
  const int timeout_ms = 5000;
  static_cast<void>(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
  static_cast<void>(setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms)));
}

}  // namespace

ControlChannel::ControlChannel(Reactor* reactor, int fd, Handler handler)
    : reactor_(reactor), fd_(fd), handler_(std::move(handler)), alive_(std::make_shared<bool>(true)) {
  peer_name_ = name_of_peer(fd);
  set_socket_options(fd);
  last_heard_ms_ = monotonic_ms();
  reactor_->watch(fd_, EPOLLIN | EPOLLRDHUP, [this](uint32_t events) { on_events(events); });
  timer_ = reactor_->call_after_ms(wire::kHeartbeatMs, [this] { tick(); });
}

ControlChannel::~ControlChannel() {
  *alive_ = false;
  shut();
}

void ControlChannel::shut() {
  if (timer_ != 0) reactor_->cancel(std::exchange(timer_, 0));
  if (fd_ < 0) return;
  reactor_->unwatch(fd_);
  close(std::exchange(fd_, -1));
}

// Reported from a pass of its own, so that no owner is called back inside its own call.
void ControlChannel::fail(Error error) {
  if (fd_ < 0) return;
  shut();
  reactor_->post([this, alive = alive_, error = std::move(error)] {
    if (*alive) handler_.on_closed(error);
  });
}

void ControlChannel::note_activity() { last_heard_ms_ = monotonic_ms(); }

void ControlChannel::tick() {
  timer_ = 0;
  if (monotonic_ms() - last_heard_ms_ > wire::kPeerSilenceMs) {
    fail(
        {ErrorCode::k_CONNECTION_LOST, peer_name_ + " was silent for " + std::to_string(wire::kPeerSilenceMs) + " ms"});
    return;
  }
  send(wire::make_frame(wire::FrameType::kHeartbeat, 0));
  if (fd_ >= 0) timer_ = reactor_->call_after_ms(wire::kHeartbeatMs, [this] { tick(); });
}

void ControlChannel::ring_doorbell() {
  const int64_t now = monotonic_ns();
  if (now - last_ring_ns_ < kRingPauseNs) return;
  // The time before the write: the ring arrives later, so the peer polls at least until now + Reactor::kTrafficNs.
  last_ring_ns_ = now;
  send(wire::make_frame(wire::FrameType::kDoorbell, 0));
}

void ControlChannel::send(std::vector<uint8_t> frame) {
  if (fd_ < 0) return;
  if (output_.size() - output_begin_ + frame.size() > kOutputBytesMax) {
    fail({ErrorCode::k_CONNECTION_LOST, peer_name_ + " does not read what it asked for"});
    return;
  }
  output_.insert(output_.end(), frame.begin(), frame.end());
  if (!writing_) write_output();
}

void ControlChannel::write_output() {
  while (output_begin_ < output_.size()) {
    const ssize_t sent = ::send(fd_, output_.data() + output_begin_, output_.size() - output_begin_, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (sent < 0) {
      fail({ErrorCode::k_CONNECTION_LOST, "the connection to " + peer_name_ + " failed: " + errno_text(errno)});
      return;
    }
    output_begin_ += static_cast<size_t>(sent);
  }
  const bool pending = output_begin_ < output_.size();
  if (!pending) {
    output_.clear();
    output_begin_ = 0;
  }
  if (pending != writing_) {
    writing_ = pending;
    reactor_->modify(fd_, EPOLLIN | EPOLLRDHUP | (pending ? EPOLLOUT : 0U));
  }
}

void ControlChannel::on_events(uint32_t events) {
  if ((events & EPOLLOUT) != 0) write_output();
  // Input first, also on a hang-up: the peer's last words (an error frame) are worth having.
  if (fd_ >= 0 && (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) read_input();
}

void ControlChannel::read_input() {
  while (fd_ >= 0) {
    const size_t before = input_.size();
    input_.resize(before + kReadBytes);
    const ssize_t got = recv(fd_, input_.data() + before, kReadBytes, 0);
    input_.resize(before + (got > 0 ? static_cast<size_t>(got) : 0));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (got <= 0) {
      const std::string why = got == 0 ? "was closed by the peer" : "failed: " + errno_text(errno);
      fail({ErrorCode::k_CONNECTION_LOST, "the connection to " + peer_name_ + " " + why});
      return;
    }
    note_activity();
    parse_input();
    if (got < static_cast<ssize_t>(kReadBytes)) return;
  }
}

void ControlChannel::parse_input() {
  while (fd_ >= 0 && input_.size() - input_begin_ >= wire::kFrameHeaderBytes) {
    const std::span<const uint8_t> rest = std::span<const uint8_t>(input_).subspan(input_begin_);
    const Result<wire::FrameHeader> header = wire::parse_frame_header(rest.first(wire::kFrameHeaderBytes));
    if (!header) {
      fail(header.error());
      return;
    }
    const size_t frame_bytes = wire::kFrameHeaderBytes + header.value().payload_bytes;
    if (rest.size() < frame_bytes) break;
    input_begin_ += frame_bytes;
    if (header.value().type == wire::FrameType::kDoorbell) {
      reactor_->expect_traffic();
      handler_.on_doorbell();
    } else if (header.value().type != wire::FrameType::kHeartbeat) {
      handler_.on_frame(header.value(), rest.subspan(wire::kFrameHeaderBytes, header.value().payload_bytes));
    }
  }
  input_.erase(input_.begin(), input_.begin() + static_cast<ptrdiff_t>(input_begin_));
  input_begin_ = 0;
}

}  // namespace diaspora::session
