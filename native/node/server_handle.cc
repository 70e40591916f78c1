#include "node/server_handle.h"

#include <utility>

namespace diaspora::node {

Result<ServerStarted> ServerHandle::start(server::ServerOptions options) {
  Result<std::unique_ptr<server::Server>> started = server::Server::start(std::move(options));
  if (!started.ok()) {
    const std::lock_guard<std::mutex> lock(mutex_);
    finished_ = true;
    return started.error();
  }
  std::unique_ptr<server::Server> server = started.take();
  ServerStarted facts{server->uuid().to_string(), server->port(), server->providers()};
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!stop_asked_) {
      server_ = std::move(server);
      return facts;
    }
    finished_ = true;
  }
  const Status stopped = server->stop();
  if (!stopped.ok()) return stopped;
  return Error{ErrorCode::k_ABORTED, "the server was stopped while it started"};
}

Status ServerHandle::stop() {
  const std::lock_guard<std::mutex> stop_lock(stop_mutex_);
  server::Server* server = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_asked_ = true;
    server = server_.get();
  }
  if (server == nullptr) return {};
  Status stopped = server->stop();
  const std::lock_guard<std::mutex> lock(mutex_);
  finished_ = true;
  server_.reset();
  return stopped;
}

bool ServerHandle::finished() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return finished_;
}

std::optional<Uuid> ServerHandle::uuid() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (stop_asked_ || !server_) return std::nullopt;
  return server_->uuid();
}

std::optional<server::ServerCounters> ServerHandle::counters() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (stop_asked_ || !server_) return std::nullopt;
  return server_->counters();
}

int ServerHandle::connect_local() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return stop_asked_ || !server_ ? -1 : server_->connect_local();
}

}  // namespace diaspora::node
