// Requests over the control connection of one server: ids, answers, and what happens to them when the connection is
// lost.
//
// Thread: progress. Owner: Peer. Invariant: the `done` of a kept request runs exactly once: with the answer, or with
// the error that the connection was given up with. A request of one session (not kept) vanishes with the session,
// silently: who made it is told that the connection is down and makes it anew.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "base/error.h"
#include "client/connection.h"

namespace diaspora::client {

class RequestTable {
 public:
  // The payload of the reply, valid during the call.
  using Done = std::function<void(Result<std::span<const uint8_t>>)>;
  using MakeFrame = std::function<std::vector<uint8_t>(uint64_t request_id)>;

  explicit RequestTable(Connection* connection) : connection_(connection) {}

  // Idempotent requests: sent again after a reconnection. `success_when_resent` is the error that then says that the
  // first one has done its work (a topic that is to be removed is not found). Gives its id.
  uint64_t add_kept(const MakeFrame& make, Done done, ErrorCode success_when_resent = ErrorCode::kOk);
  // Only while the connection is up.
  void add_for_session(const MakeFrame& make, Done done);

  // Nobody waits for it any more: it is not sent, or not again.
  void forget(uint64_t id);
  bool can_send() const { return connection_->is_up(); }

  void on_up();
  void on_down();
  void fail_all(const Error& error);
  void on_reply(const wire::FrameHeader& header, std::span<const uint8_t> payload);

 private:
  struct Request {
    std::vector<uint8_t> frame;
    Done done;
    bool kept = false;
    uint32_t times_sent = 0;
    ErrorCode success_when_resent = ErrorCode::kOk;
  };
  uint64_t add(const MakeFrame& make, Request request);
  void send(Request* request);

  Connection* connection_;
  std::map<uint64_t, Request> requests_;  // in the order in which they were made
  uint64_t next_id_ = 1;
};

}  // namespace diaspora::client
