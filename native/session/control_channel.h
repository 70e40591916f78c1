// One control connection: frames over a stream socket, driven by a reactor. Used alike by client and server.
//
// What it is not: it interprets no payload except heartbeats and doorbells, which it answers for itself.
// Thread: the reactor's. Owner: a client connection or a server session. Invariants: on_closed runs exactly once, never
// inside a call of the owner, and no callback follows it; output is bounded by kOutputBytesMax. Must not be destroyed
// inside one of its callbacks: post the destruction to the reactor.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/reactor.h"
#include "wire/control.h"

namespace diaspora::session {

class ControlChannel {
 public:
  // A peer that does not read may cost this much memory, then it is disconnected.
  static constexpr size_t kOutputBytesMax = size_t{32} << 20;

  struct Handler {
    std::function<void(const wire::FrameHeader&, std::span<const uint8_t> payload)> on_frame;
    // The peer rang: it has sent something over a fabric that cannot wake this thread.
    std::function<void()> on_doorbell;
    // CONNECTION_LOST (closed, reset, silent for kPeerSilenceMs) or PROTOCOL.
    std::function<void(const Error&)> on_closed;
  };

  // Takes over `fd`, a connected non-blocking stream socket.
  ControlChannel(Reactor* reactor, int fd, Handler handler);
  ~ControlChannel();  // closes without on_closed
  ControlChannel(const ControlChannel&) = delete;
  ControlChannel& operator=(const ControlChannel&) = delete;

  void send(std::vector<uint8_t> frame);
  // Rings the peer unless it was rung within the last millisecond (see session/link.h).
  void ring_doorbell();
  // Frame or fabric message came in: the peer lives.
  void note_activity();
  bool closed() const { return fd_ < 0; }
  // For messages: "127.0.0.1:4711" or "local".
  const std::string& peer_name() const { return peer_name_; }

 private:
  void on_events(uint32_t events);
  void read_input();
  void parse_input();
  void write_output();
  void tick();
  void fail(Error error);
  void shut();

  Reactor* reactor_;
  int fd_;
  Handler handler_;
  std::string peer_name_;
  std::vector<uint8_t> input_;
  size_t input_begin_ = 0;
  std::vector<uint8_t> output_;
  size_t output_begin_ = 0;
  bool writing_ = false;
  int64_t last_heard_ms_ = 0;
  int64_t last_ring_ns_ = 0;
  Reactor::TimerId timer_ = 0;
  std::shared_ptr<bool> alive_;  // false once destroyed: for the posted on_closed
};

}  // namespace diaspora::session
