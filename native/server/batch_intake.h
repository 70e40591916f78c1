// Takes the batches of one session: fetches their data from the producer's memory, verifies, and appends in order.
//
// A batch goes through: decode, duplicate check, buffer, RMA reads (its inline parts are copied), checksums, append,
// answer. Reads of several batches overlap; appends of one producer on one partition happen in the order in which its
// batches arrived (a lane). When there is no memory, batches wait in arrival order and the client's credit stays used:
// no more than kCredits of them are kept here, whatever a client sends.
// Thread: the server's reactor. Owner: Session, which closes its link before it destroys this.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "server/core.h"
#include "server/topic_table.h"
#include "session/link.h"
#include "wire/message.h"

namespace diaspora::server {

class BatchIntake {
 public:
  // Batches that a client may have unanswered. A batch message is up to 64 KiB, so 12 cover 2.6 GB/s at a round trip of
  // 300 us; each costs one posted receive.
  static constexpr uint32_t kCredits = 12;

  using Answer = std::function<void(wire::BatchAnswer)>;
  BatchIntake(Core* core, ServedDomain* domain, session::Link* link, Answer answer);
  ~BatchIntake();
  BatchIntake(const BatchIntake&) = delete;
  BatchIntake& operator=(const BatchIntake&) = delete;

  // PROTOCOL: the session is to be ended. Everything else is answered to the client.
  Status receive(const wire::MessageView& view);
  // Before the link is closed: aborted reads must not be answered as refusals.
  void abandon() { abandoned_ = true; }

 private:
  struct Incoming;
  using LaneKey = std::tuple<Uuid, Uuid, uint32_t>;  // producer session, topic, partition
  using Lane = std::deque<std::shared_ptr<Incoming>>;
  struct Stalled {
    wire::BatchMessage message;
    std::vector<uint8_t> body;
    int64_t since_ms = 0;
  };

  // False: there is no memory for it now.
  bool begin(const wire::BatchMessage& message, std::span<const uint8_t> body);
  bool answered_at_once(const wire::BatchMessage& message, const HostedPartition& hosted, bool lane_empty);
  void place_runs(const std::shared_ptr<Incoming>& incoming, std::span<const uint8_t> body);
  bool fetch(const std::shared_ptr<Incoming>& incoming, size_t run, std::span<uint8_t> target);
  void fetched(const std::shared_ptr<Incoming>& incoming);
  void drain(const LaneKey& key);
  void finish(const std::shared_ptr<Incoming>& incoming);
  void append(const std::shared_ptr<Incoming>& incoming);
  void refuse(const wire::BatchMessage& message, const Error& error);
  void retry_stalled();
  void arm_retry();

  Core* core_;
  ServedDomain* domain_;
  session::Link* link_;
  Answer answer_;
  uint32_t unanswered_ = 0;
  std::map<LaneKey, Lane> lanes_;
  std::deque<Stalled> stalled_;
  Reactor::TimerId retry_timer_ = 0;
  bool abandoned_ = false;
  std::shared_ptr<bool> alive_;
};

}  // namespace diaspora::server
