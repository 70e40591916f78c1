#include "client/request_table.h"

#include <utility>

namespace diaspora::client {

uint64_t RequestTable::add_kept(const MakeFrame& make, Done done, ErrorCode success_when_resent) {
  Request request;
  request.done = std::move(done);
  request.kept = true;
  request.success_when_resent = success_when_resent;
  return add(make, std::move(request));
}

void RequestTable::add_for_session(const MakeFrame& make, Done done) {
  Request request;
  request.done = std::move(done);
  add(make, std::move(request));
}

uint64_t RequestTable::add(const MakeFrame& make, Request request) {
  const uint64_t id = next_id_++;
  request.frame = make(id);
  Request& added = requests_[id] = std::move(request);
  if (connection_->is_up()) {
    send(&added);
  } else {
    connection_->open();
  }
  return id;
}

void RequestTable::forget(uint64_t id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;
  if (found->second.times_sent == 0) {
    requests_.erase(found);
    return;
  }
  found->second.kept = false;
  found->second.done = [](const Result<std::span<const uint8_t>>& /*reply*/) {};
}

void RequestTable::send(Request* request) {
  ++request->times_sent;
  connection_->send_frame(request->frame);
}

void RequestTable::on_up() {
  for (auto& [id, request] : requests_) send(&request);
}

void RequestTable::on_down() {
  std::erase_if(requests_, [](const auto& entry) { return !entry.second.kept; });
}

void RequestTable::fail_all(const Error& error) {
  const std::map<uint64_t, Request> failed = std::exchange(requests_, {});
  for (const auto& [id, request] : failed) request.done(error);
}

void RequestTable::on_reply(const wire::FrameHeader& header, std::span<const uint8_t> payload) {
  const auto found = requests_.find(header.request_id);
  // A server that answers what was never asked is broken.
  if (found == requests_.end()) return connection_->drop({ErrorCode::k_PROTOCOL, "an answer to no request"});
  const Request request = std::move(found->second);
  requests_.erase(found);
  if (header.type == wire::FrameType::kReply) return request.done(payload);
  const Result<wire::ErrorFrame> error = wire::decode_error(payload);
  if (!error) {
    request.done(error.error());
    return connection_->drop(error.error());
  }
  if (request.times_sent > 1 && error.value().code == request.success_when_resent) {
    return request.done(std::span<const uint8_t>{});
  }
  request.done(Error{error.value().code, error.value().message});
}

}  // namespace diaspora::client
