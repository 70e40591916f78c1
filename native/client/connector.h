// One attempt to reach a server's control port: name resolution in the background, then non-blocking connects to each
// address found, in order.
//
// Thread: progress. Owner: Connection, which limits the time. Invariants: `done` runs at most once, never inside
// start(), and not after destruction; the descriptor it gets belongs to the receiver.
#pragma once

#include <sys/socket.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/reactor.h"
#include "client/client.h"

namespace diaspora::client {

class Connector {
 public:
  using Done = std::function<void(Result<int>)>;
  struct Address {
    sockaddr_storage storage{};
    socklen_t length = 0;
  };

  Connector(Reactor* reactor, const ServerAddress& server, Done done);
  ~Connector();
  Connector(const Connector&) = delete;
  Connector& operator=(const Connector&) = delete;

 private:
  void resolved(Result<std::vector<Address>> addresses);
  void try_next();
  void on_writable();
  void finish(Result<int> result);

  Reactor* reactor_;
  Done done_;
  std::vector<Address> addresses_;
  size_t next_ = 0;
  int fd_ = -1;
  std::string last_error_ = "no address";
  std::shared_ptr<bool> alive_;
};

}  // namespace diaspora::client
