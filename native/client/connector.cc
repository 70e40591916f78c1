#include "client/connector.h"

#include <netdb.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "client/background.h"

namespace diaspora::client {

namespace {

Result<std::vector<Connector::Address>> resolve(const std::string& host, uint16_t port, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | flags;
  addrinfo* list = nullptr;
  const int code = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (code != 0) {
    return {ErrorCode::k_CONNECT_TIMEOUT, "the host name '" + host + "' cannot be resolved: " + gai_strerror(code)};
  }
  std::vector<Connector::Address> addresses;
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    Connector::Address address;
    std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
    address.length = entry->ai_addrlen;
    addresses.push_back(address);
  }
  freeaddrinfo(list);
  return addresses;
}

}  // namespace

Connector::Connector(Reactor* reactor, const ServerAddress& server, Done done)
    : reactor_(reactor), done_(std::move(done)), alive_(std::make_shared<bool>(true)) {
  const auto deliver = [this, reactor, alive = alive_](Result<std::vector<Address>> addresses) {
    reactor->post([this, alive, addresses = std::move(addresses)] {
      if (*alive) resolved(addresses);
    });
  };
  // Numeric addresses need no name service; everything else may block for seconds.
  auto numeric = resolve(server.host, server.port, AI_NUMERICHOST);
  if (numeric) {
    deliver(numeric.take());
  } else {
    run_in_background([deliver, host = server.host, port = server.port] { deliver(resolve(host, port, 0)); });
  }
}

Connector::~Connector() {
  *alive_ = false;
  if (fd_ < 0) return;
  reactor_->unwatch(fd_);
  close(fd_);
}

void Connector::resolved(Result<std::vector<Address>> addresses) {
  if (!addresses) return finish(addresses.error());
  addresses_ = addresses.take();
  try_next();
}

void Connector::try_next() {
  while (next_ < addresses_.size()) {
    const Address& address = addresses_[next_++];
    fd_ = socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd_ < 0) {
      last_error_ = errno_text(errno);
      continue;
    }
    const int code = connect(fd_, reinterpret_cast<const sockaddr*>(&address.storage), address.length);
    if (code == 0 || errno == EINPROGRESS) {
      // Also when it is connected already: writable at once.
      reactor_->watch(fd_, EPOLLOUT, [this](uint32_t) { on_writable(); });
      return;
    }
    last_error_ = errno_text(errno);
    close(std::exchange(fd_, -1));
  }
  finish(Error{ErrorCode::k_CONNECT_TIMEOUT, last_error_});
}

void Connector::on_writable() {
  int error = 0;
  socklen_t length = sizeof(error);
  if (getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
  reactor_->unwatch(fd_);
  const int fd = std::exchange(fd_, -1);
  if (error == 0) return finish(fd);
  last_error_ = errno_text(error);
  close(fd);
  try_next();
}

void Connector::finish(Result<int> result) {
  const Done done = std::move(done_);
  done(std::move(result));  // may destroy this object
}

}  // namespace diaspora::client
