// A server as an environment knows it: started and stopped by jobs, so its state is shared between threads.
//
// starting -> running -> stopped; starting -> stopped when it failed, or when it was abandoned or torn down meanwhile.
// Threads: any; stop() blocks until the server has stopped, whoever is stopping it.
#pragma once

#include <memory>
#include <mutex>

#include "base/error.h"
#include "server/server.h"

namespace diaspora::node {

class ServerHandle {
 public:
  // Blocks; call once, on a job. The server is stopped at once when stop() was called meanwhile.
  Status start(server::ServerOptions options);
  // Blocks until stopped. Does nothing when it never started. Idempotent.
  Status stop();
  // The running server, or null. Whoever keeps it keeps the object, not the service: stop() still stops it.
  std::shared_ptr<server::Server> running() const;
  // Nothing is left to stop.
  bool finished() const;

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<server::Server> server_;  // guarded by mutex_
  bool stop_asked_ = false;                 // guarded by mutex_
  bool finished_ = false;                   // guarded by mutex_
};

}  // namespace diaspora::node
