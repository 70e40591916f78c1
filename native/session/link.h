// A fabric link: one endpoint to one peer, with posted receives, a queue of messages to send, and the doorbell.
//
// What it is: what client connections and server sessions share on the data path. What it is not: it knows no batches
// and no credit; RMA is posted by the owner through post_read / post_write, with the same retry rule. Thread: the
// reactor that owns the domain. Owner: connection or session. Invariants: on_failed runs at most once, from a reactor
// pass (never inside a call of the owner); it must not be destroyed inside a callback; after close() or destruction
// nothing of it touches memory, and every RMA posted through it has been completed (k_ABORTED).
//
// Doorbell rule, for providers without a wait descriptor: after a message is posted the peer is rung unless it was rung
// within the last millisecond; a rung reactor polls for at least kTrafficNs (5 ms). The check comes after the post, so
// a message is either posted within 1 ms of a ring, while the peer still polls, or rung for: no wake-up is lost.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/reactor.h"
#include "fabric/fabric.h"
#include "session/control_channel.h"

namespace diaspora::session {

// A Domain as the reactor's Poller.
class DomainPoller : public Poller {
 public:
  explicit DomainPoller(fabric::Domain* domain) : domain_(domain) {}
  size_t poll() override { return domain_->progress(); }
  int wait_fd() const override { return domain_->wait_fd(); }
  bool prepare_wait() override { return domain_->prepare_wait(); }
  bool must_poll() const override { return domain_->active_operations() > 0; }

 private:
  fabric::Domain* domain_;
};

class Link {
 public:
  struct Handler {
    // A received message, valid during the call; its receive is posted again afterwards.
    std::function<void(std::span<const uint8_t> message)> on_message;
    std::function<void(const Error&)> on_failed;  // k_FABRIC
  };
  struct Options {
    uint32_t message_bytes = 0;  // size of each receive
    uint32_t receives = 0;       // how many are kept posted
    // The link fails when operations are owed and none was accepted or completed for so long. Several fabrics say
    // nothing of a peer or cable that is silently gone, and refuse posts to a dead one with `busy` for ever. Longer
    // than the 17 s in which an adapter itself gives up.
    int64_t stuck_ms = 20'000;
  };

  Link(Reactor* reactor, fabric::Domain* domain, Handler handler);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  // Makes the endpoint; the address goes to the peer over the control connection.
  Result<std::vector<uint8_t>> open();
  // Connects to the peer and posts the receives. `control` rings the doorbell; it must outlive the link.
  Status start(std::span<const uint8_t> peer_address, const Options& options, ControlChannel* control);

  // Sends [header and fixed part | body], gathered into one registered send buffer (the one copy of small messages).
  // Queued while the fabric is busy: order is kept. The bytes may be reused on return.
  void send(std::span<const uint8_t> message, std::span<const uint8_t> body = {});
  size_t queued_messages() const;

  // RMA of any length, cut into pieces of kPieceBytes, all posted as the fabric takes them; `done` runs once, after the
  // last piece, with the first error. The memory must stay until then. `region` covers `local`; null where the domain
  // does not need local registration. `arrived` runs, before `done`, whenever more bytes from the start on are there
  // without a gap, with their number: what is read can be looked at while it is in the cache. Server side only.
  void read(fabric::MemoryRegion* region, std::span<uint8_t> local, uint64_t address, uint64_t key,
            std::function<void(size_t)> arrived, std::function<void(const Error&)> done);
  void write(fabric::MemoryRegion* region, std::span<const uint8_t> local, uint64_t address, uint64_t key,
             std::function<void(const Error&)> done);
  // Bytes of RMA posted or queued and not yet complete: what the fairness budget counts.
  uint64_t rma_bytes_in_flight() const;

  // Cancels everything. The `done` of each transfer not yet complete runs inside, with ABORTED. Idempotent.
  void close();
  // Started, and neither failed nor closed.
  bool usable() const;

  // 512 KiB: 4 to 5 GB/s over tcp, and in the second-level cache when it is checked; larger pieces gain nothing and
  // make others wait, smaller ones cost 8 to 10 us each.
  static constexpr size_t kPieceBytes = size_t{1} << 19;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace diaspora::session
