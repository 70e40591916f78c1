// Fetches of event data from one server: credit, registrations, checks, resending.
//
// A job names ranges of one event's data and the memory that each goes to. A job with many ranges takes several
// messages, one after the other. Thread: progress. Owner: Peer. Invariants: `done` of each job runs exactly once, never
// while the server may still write into the job's memory; a fetch that was answered wrongly is asked for again a few
// times, then fails with CORRUPT_DATA.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "client/client_counters.h"
#include "client/connection.h"
#include "client/exposed_memory.h"

namespace diaspora::client {

struct FetchPiece {
  uint64_t offset = 0;  // from the start of the event's data
  std::span<uint8_t> memory;
};

struct FetchJob {
  explicit FetchJob(ClientCounters* client_counters) : counters(client_counters), exposed(client_counters) {}

  ClientCounters* counters;
  const void* owner = nullptr;  // for cancel()
  Uuid topic;
  PartitionIndex partition;
  EventId event;
  std::vector<FetchPiece> pieces;  // none empty
  std::shared_ptr<void> hold;      // keeps the memory
  std::function<void(const Status&)> done;

  // FetchQueue's.
  ExposedMemory exposed;
  size_t fetched = 0;  // pieces
  size_t asked = 0;    // pieces of the message that is unanswered; 0: none
  uint32_t mismatches = 0;
  bool cancelled = false;
};

class FetchQueue {
 public:
  explicit FetchQueue(Connection* connection) : connection_(connection) {}

  void add(std::unique_ptr<FetchJob> job);
  // Jobs of `owner` fail with ABORTED: at once, or when the server has answered.
  void cancel(const void* owner);
  // May the server be writing into memory of a job of this client, even of one that was cancelled?
  bool has_asked_for(const ClientCounters* client) const;

  void on_up() { pump(); }
  void on_down();
  void fail_all(const Error& error);
  Status on_answer(const wire::MessageView& view);

 private:
  void pump();
  Status ask(FetchJob* job, uint64_t token);
  Status check(FetchJob* job, const wire::FetchDoneMessage& answer);

  Connection* connection_;
  std::deque<std::unique_ptr<FetchJob>> waiting_;
  std::unordered_map<uint64_t, std::unique_ptr<FetchJob>> asked_;  // by token
  uint64_t next_token_ = 1;
  std::vector<uint8_t> encoded_;
};

}  // namespace diaspora::client
