// A server as an environment knows it: started and stopped by jobs, so its state is shared between threads.
//
// starting -> running -> stopped; starting -> stopped when it failed, or when it was abandoned or torn down meanwhile.
// Nobody else gets to keep the server itself: after stop() it is destroyed, with everything that it had locked.
// Threads: any; stop() blocks until the server has stopped, whoever is stopping it.
#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "base/error.h"
#include "node/completion_gate.h"
#include "server/server.h"

namespace diaspora::node {

class ServerHandle {
 public:
  // Blocks; call once, on a job. The server is stopped at once when stop() was called meanwhile.
  Result<ServerStarted> start(server::ServerOptions options);
  // Blocks until stopped. Does nothing when it never started. Idempotent.
  Status stop();
  // Nothing is left to stop.
  bool finished() const;

  // Of the running server; nothing when there is none.
  std::optional<Uuid> uuid() const;
  std::optional<server::ServerCounters> counters() const;
  // As Server::connect_local; -1 when it does not run.
  int connect_local() const;

 private:
  // Held while a server stops, so that a second stop() waits for the first.
  std::mutex stop_mutex_;
  mutable std::mutex mutex_;
  std::unique_ptr<server::Server> server_;  // guarded by mutex_; destroyed only with stop_mutex_ held too
  bool stop_asked_ = false;                 // guarded by mutex_
  bool finished_ = false;                   // guarded by mutex_
};

}  // namespace diaspora::node
