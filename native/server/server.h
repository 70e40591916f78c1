// A partition server, free of JS: control listener, sessions, topic catalogue, partitions.
//
// Threads: one Reactor thread ("diaspora-serv") owns the listening socket, the fabric domains, the sessions and the
// partitions; file work runs on the log's writer threads. One server uses about one core for transfers: a machine with
// more cores or adapters runs several servers, joined in one group. start() and stop() may be called from any thread
// and block (call them off the JS thread). Invariants: a server's memory is never registered with remote access; only
// the server initiates RMA.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/ids.h"
#include "fabric/fabric.h"

namespace diaspora::server {

struct ServerOptions {
  std::string data_directory;             // empty: everything in memory
  std::string listen_host = "127.0.0.1";  // numeric IP; empty: no listening socket
  uint16_t listen_port = 0;
  std::string provider = "auto";  // comma-separated list allowed; "local" for embedded
  uint64_t memory_bytes = uint64_t{1} << 30;
  std::function<void(bool warn, const std::string& line)> log;  // any thread
};

struct ServerCounters {
  uint64_t data_bytes_by_rma = 0;
  uint64_t data_bytes_copied = 0;
  uint64_t data_bytes = 0;
  uint64_t events_produced = 0;
  uint64_t events_consumed = 0;
  uint64_t batches = 0;
  uint64_t sessions = 0;
  uint64_t registrations = 0;
};

class Server {
 public:
  static Result<std::unique_ptr<Server>> start(ServerOptions options);
  virtual ~Server() = default;  // stops

  virtual const Uuid& uuid() const = 0;
  virtual uint16_t port() const = 0;
  virtual std::vector<fabric::ProviderInfo> providers() const = 0;
  virtual ServerCounters counters() const = 0;
  // Embedded clients: a connected control socket to this server (the caller owns it). -1 when stopping.
  virtual int connect_local() = 0;
  // Writes and syncs everything accepted, tells clients good-bye, releases the directory. Idempotent. Only port(),
  // counters() and providers() may be called afterwards.
  virtual Status stop() = 0;
};

}  // namespace diaspora::server
