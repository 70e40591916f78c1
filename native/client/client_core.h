// A client as the progress thread sees it: its servers, producers and consumers, from open to close.
//
// Threads: progress, except counters(), providers and uuids (under a mutex). Owner: shared by the caller's handle
// (client_impl.cc) and work posted by it. States: opening -> open -> closed; closing completes everything pending with
// ABORTED after the endpoints that may still touch the caller's memory were closed, then answers the close request when
// the fabric domains are released too. An endpoint that other clients use is closed only when it may, and made anew.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "client/client.h"
#include "client/consumer_core.h"
#include "client/peer.h"
#include "client/producer_core.h"

namespace diaspora::client {

class ClientCore final : public Peer::Listener, public std::enable_shared_from_this<ClientCore> {
 public:
  ClientCore(uint32_t id, ClientOptions options, std::shared_ptr<CompletionSink> sink);

  // Any thread.
  uint32_t id() const { return id_; }
  const ClientOptions& options() const { return options_; }
  const std::shared_ptr<CompletionSink>& sink() const { return sink_; }
  const std::shared_ptr<ClientCounters>& shared_counters() const { return counters_; }
  Counters counters() const;
  std::vector<Uuid> server_uuids() const;
  // Spreads the partitions of each server over its rails: the line that each partition takes.
  std::vector<uint32_t> spread(const std::vector<uint32_t>& server_of_partition) const;

  // Progress thread.
  void open(uint64_t request);
  void set_address(uint32_t server, const std::string& host, uint16_t port);
  using Decode = std::function<Result<CompletionSink::Value>(std::span<const uint8_t> payload)>;
  void request(uint64_t request, uint32_t server, const RequestTable::MakeFrame& make, Decode decode,
               ErrorCode success_when_resent = ErrorCode::kOk);
  void add_producer(const std::shared_ptr<ProducerCore>& producer);
  void add_consumer(uint64_t request, const std::shared_ptr<ConsumerCore>& consumer);
  // `done` runs when no memory of any caller is touched any more and every completion was delivered.
  void close(std::function<void()> done);

  void peer_up(uint32_t line) override;
  void peer_down(uint32_t line) override;
  void peer_lost(uint32_t line, uint32_t attempt, const Error& error) override;
  CompletionSink* peer_log() override { return sink_.get(); }
  void peer_given_up(uint32_t line, const Error& error) override;

 private:
  // A line is one rail of one server.
  uint32_t first_line(uint32_t server) const { return server * static_cast<uint32_t>(options_.rails.size()); }
  uint32_t server_of(uint32_t line) const { return line / static_cast<uint32_t>(options_.rails.size()); }
  void opened(const Status& status);
  Error not_reached() const;
  void stop_transfers();

  const uint32_t id_;
  const ClientOptions options_;
  const std::shared_ptr<CompletionSink> sink_;
  const std::shared_ptr<ClientCounters> counters_;

  mutable std::mutex mutex_;
  std::vector<std::string> providers_;  // guarded by mutex_
  std::vector<Uuid> uuids_;             // guarded by mutex_

  // Progress thread.
  std::vector<std::shared_ptr<Peer>> peers_;  // by line
  std::vector<bool> was_up_;                  // by line
  std::vector<bool> up_;                      // by line; a server is up when all of its rails are
  size_t not_up_ = 0;
  std::set<std::shared_ptr<ProducerCore>> producers_;
  std::set<std::shared_ptr<ConsumerCore>> consumers_;
  uint64_t open_request_ = 0;  // 0: answered
  struct Asked {
    uint32_t line = 0;
    uint64_t id = 0;  // in the line's request table
  };
  std::unordered_map<uint64_t, Asked> requests_;  // not answered
  Reactor::TimerId open_timer_ = 0;
  bool closed_ = false;
};

}  // namespace diaspora::client
