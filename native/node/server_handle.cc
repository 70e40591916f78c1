#include "node/server_handle.h"

#include <utility>

namespace diaspora::node {

Status ServerHandle::start(server::ServerOptions options) {
  Result<std::unique_ptr<server::Server>> started = server::Server::start(std::move(options));
  std::shared_ptr<server::Server> server = started.ok() ? started.take() : nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (server && !stop_asked_) {
      server_ = std::move(server);
      return {};
    }
    finished_ = true;
  }
  if (!server) return started.error();
  const Status stopped = server->stop();
  return stopped.ok() ? Status(ErrorCode::k_ABORTED, "the server was stopped while it started") : stopped;
}

Status ServerHandle::stop() {
  std::shared_ptr<server::Server> server;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_asked_ = true;
    server = server_;
  }
  // Server::stop is idempotent, and a second caller waits inside it for the first one.
  Status stopped = server ? server->stop() : Status();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (server) finished_ = true;
  server_.reset();
  return stopped;
}

std::shared_ptr<server::Server> ServerHandle::running() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return stop_asked_ ? nullptr : server_;
}

bool ServerHandle::finished() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return finished_;
}

}  // namespace diaspora::node
