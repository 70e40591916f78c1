// Sends the batches of all producers to one server: sequences, credit, answers, resending.
//
// A lane is the queue of one producer on one partition, in push order; a batch stays in it until it and all before it
// are answered, so answers are reported in order. At most `batch_credits` batches are unanswered on a connection,
// shared fairly among lanes. Thread: progress. Owner: Peer. Invariants: a batch is reported exactly once; not before
// the server has answered it or the link is closed, when it exposes memory.
//
// Refusals. RESOURCE_EXHAUSTED is tried again for a while. OUT_OF_ORDER is tried again when something has changed: an
// earlier batch was refused or is itself being sent again. UNKNOWN_SESSION starts a new producer session, unless the
// batch was sent on an earlier connection: then it may be stored already, and its producer has to decide. Everything
// else is reported.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "client/batch.h"
#include "client/connection.h"

namespace diaspora::client {

// Told about finished batches of its lanes, in order.
class LaneOwner {
 public:
  virtual ~LaneOwner() = default;
  virtual void batch_finished(std::unique_ptr<Batch> batch) = 0;
};

struct BatchLane {
  // Set once by the owner.
  LaneOwner* owner = nullptr;
  ClientCounters* counters = nullptr;
  Uuid topic;
  PartitionIndex partition;

  // BatchSender's.
  std::deque<std::unique_ptr<Batch>> queue;
  Uuid session = Uuid::random();
  uint64_t sequences = 0;       // given out in this session
  BatchSequence last_accepted;  // of this session
  bool listed = false;          // in the sender's turn list
  bool aborted = false;
  bool holding_back = false;  // until a retry timer fires
};

class BatchSender {
 public:
  BatchSender(Reactor* reactor, Connection* connection);
  ~BatchSender();
  BatchSender(const BatchSender&) = delete;
  BatchSender& operator=(const BatchSender&) = delete;

  void add_lane(BatchLane* lane) { lanes_.push_back(lane); }
  // Its queue must be empty.
  void remove_lane(BatchLane* lane);
  void enqueue(BatchLane* lane, std::unique_ptr<Batch> batch);
  // Finishes the lane's batches with ABORTED, those that expose memory as soon as that is safe.
  void abort(BatchLane* lane);

  void on_up();
  void on_down();
  void fail_all(const Error& error);
  // The lane's batches fail with `error`, whether or not they were sent. Not while the lane exposes memory.
  void fail(BatchLane* lane, const Error& error);
  // May the server be reading memory that a batch of the lane names?
  static bool exposes_memory(const BatchLane& lane);
  Status on_answers(const wire::MessageView& view);

 private:
  struct InFlight {
    BatchLane* lane = nullptr;
    Batch* batch = nullptr;  // null: given up, only its credit is awaited
  };

  void list(BatchLane* lane);
  void pump();
  static Batch* next_to_send(const BatchLane& lane);
  void send(BatchLane* lane, Batch* batch);
  void settle(BatchLane* lane, Batch* batch, const wire::BatchAnswer& answer);
  bool try_again(BatchLane* lane, Batch* batch, ErrorCode code);
  bool try_again_later(BatchLane* lane, Batch* batch);
  static bool predecessor_moved(const BatchLane& lane, const Batch& batch);
  static BatchSequence predecessor(const BatchLane& lane, const Batch& batch);
  static void finish(Batch* batch, Status status);
  static void flush(BatchLane* lane);
  void forget(const Batch* batch);
  static void renew_session(BatchLane* lane);

  Reactor* reactor_;
  Connection* connection_;
  std::vector<BatchLane*> lanes_;
  std::deque<BatchLane*> turns_;
  std::unordered_map<uint64_t, InFlight> in_flight_;  // by token
  uint64_t next_token_ = 1;
  uint64_t next_order_ = 1;
  uint64_t connection_number_ = 0;
  std::vector<uint8_t> encoded_;
  std::shared_ptr<bool> alive_;
};

}  // namespace diaspora::client
