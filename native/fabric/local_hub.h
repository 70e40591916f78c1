// What threads share of the `local` provider: mailboxes, the doorbell of each domain, and the process-wide tables of
// endpoints and memory regions.
//
// What it is not: it completes no operation; it hands Arrivals to the domain's thread, which does.
// Threads: everything here may be called by any thread. Lock order: Port::access, Region::access, then Hub::mutex; the
// tables' mutexes are never held while another is taken.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "base/error.h"
#include "fabric/fabric.h"

namespace diaspora::fabric {

// A receive that a message has filled (or could not fill).
struct Arrival {
  Operation* operation;
  OperationResult result;
};

// The bell and the inbox of one domain. Its mutex also guards the mailboxes of the domain's ports.
class Hub {
 public:
  static Result<std::shared_ptr<Hub>> create();
  ~Hub();
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  int wait_fd() const { return event_fd_; }
  std::mutex& mutex() { return mutex_; }

  // Caller holds mutex(). Rings only a domain that sleeps, and once.
  void deliver_locked(Arrival arrival);
  // Something changed that a post may wait for.
  void poke();

  // The domain's thread. True when there may be something to take.
  bool signalled() const { return signalled_.load(std::memory_order_acquire); }
  void take(std::vector<Arrival>* arrivals);
  // False when something waits in the inbox; true from here on means that the next delivery rings the descriptor.
  bool fall_asleep();
  // Removes what has arrived for the operations of `owner`.
  void forget(const void* owner);

 private:
  explicit Hub(int event_fd) : event_fd_(event_fd) {}
  void signal_locked();

  const int event_fd_;
  std::mutex mutex_;
  std::vector<Arrival> inbox_;  // guarded by mutex_
  bool asleep_ = false;         // guarded by mutex_
  bool rung_ = false;           // guarded by mutex_: the descriptor is readable
  // Written under mutex_; read without it so that polling an idle domain costs one load.
  std::atomic<bool> signalled_{false};
};

enum class Delivery { kDone, kNoReceive, kClosed };

// The end of one endpoint that peers see.
class Port {
 public:
  explicit Port(std::shared_ptr<Hub> hub) : hub_(std::move(hub)) {}

  void post_receive(Operation* operation, void* buffer, size_t bytes);
  // Copies the message into the oldest posted receive. Without one `sender` is poked when the next is posted.
  Delivery deliver(const void* message, size_t bytes, const std::shared_ptr<Hub>& sender);
  // Waits for peers that are copying from or to this side's memory, then refuses all.
  void close();

  // Held shared by a peer while it copies, so that close() cannot return in the middle.
  std::shared_mutex& access() { return access_; }
  bool accessible() const { return accessible_.load(); }  // caller holds access()

 private:
  struct PostedReceive {
    Operation* operation;
    void* buffer;
    size_t bytes;
  };

  const std::shared_ptr<Hub> hub_;
  std::shared_mutex access_;
  // Written before close() waits for access_, so that a peer that copies without pause cannot hold close() up.
  std::atomic<bool> accessible_{true};
  bool open_ = true;                         // guarded by hub_->mutex()
  std::deque<PostedReceive> receives_;       // guarded by hub_->mutex()
  std::vector<std::weak_ptr<Hub>> starved_;  // guarded by hub_->mutex(): domains that found no receive
};

// Registered memory as peers see it.
struct Region {
  std::shared_mutex access;  // held shared while a peer copies
  uint8_t* base = nullptr;
  size_t bytes = 0;
  Access allowed = Access::kLocal;
  std::atomic<bool> open{true};  // written before its owner waits for access, as in Port
};

// The tables. Ids and keys are random, so that one that was guessed or outlived its owner finds nothing.
uint64_t publish_port(const std::shared_ptr<Port>& port);
void withdraw_port(uint64_t id);
std::shared_ptr<Port> find_port(uint64_t id);
uint64_t publish_region(const std::shared_ptr<Region>& region);
void withdraw_region(uint64_t key);
std::shared_ptr<Region> find_region(uint64_t key);

}  // namespace diaspora::fabric
