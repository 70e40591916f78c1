#include "client/request_table.h"

#include <utility>

namespace diaspora::client {

void RequestTable::add(const MakeFrame& make, Done done, bool kept) {
  const uint64_t id = next_id_++;
  Request& request = requests_[id];
  request.frame = make(id);
  request.done = std::move(done);
  request.kept = kept;
  if (connection_->is_up()) {
    connection_->send_frame(request.frame);
  } else {
    connection_->open();
  }
}

void RequestTable::on_up() {
  for (const auto& [id, request] : requests_) connection_->send_frame(request.frame);
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
  const Done done = std::move(found->second.done);
  requests_.erase(found);
  if (header.type == wire::FrameType::kReply) return done(payload);
  const Result<wire::ErrorFrame> error = wire::decode_error(payload);
  if (!error) {
    done(error.error());
    return connection_->drop(error.error());
  }
  done(Error{error.value().code, error.value().message});
}

}  // namespace diaspora::client
