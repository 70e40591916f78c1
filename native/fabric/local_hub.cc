#include "fabric/local_hub.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "base/ids.h"

namespace diaspora::fabric {

namespace {

// Objects of the process by a random number.
template <typename T>
class Table {
 public:
  uint64_t publish(std::weak_ptr<T> object) {
    const std::unique_lock<std::shared_mutex> lock(mutex_);
    uint64_t id = 0;
    do {
      id = random_u64();
    } while (id == 0 || !objects_.try_emplace(id, object).second);
    return id;
  }

  void withdraw(uint64_t id) {
    const std::unique_lock<std::shared_mutex> lock(mutex_);
    objects_.erase(id);
  }

  std::shared_ptr<T> find(uint64_t id) {
    const std::shared_lock<std::shared_mutex> lock(mutex_);
    const auto found = objects_.find(id);
    return found == objects_.end() ? nullptr : found->second.lock();
  }

 private:
  std::shared_mutex mutex_;
  std::unordered_map<uint64_t, std::weak_ptr<T>> objects_;  // guarded by mutex_
};

// Never destroyed: threads may still close endpoints while the process exits.
Table<Port>& ports() {
  static auto* table = new Table<Port>();
  return *table;
}

Table<Region>& regions() {
  static auto* table = new Table<Region>();
  return *table;
}

}  // namespace

Result<std::shared_ptr<Hub>> Hub::create() {
  const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) return {ErrorCode::k_RESOURCE_EXHAUSTED, "cannot create an event descriptor: " + errno_text(errno)};
  return std::shared_ptr<Hub>(new Hub(fd));
}

Hub::~Hub() { ::close(event_fd_); }

// The descriptor is written under the mutex: written after it, a domain that has already woken could find it readable
// for ever.
void Hub::signal_locked() {
  signalled_.store(true, std::memory_order_release);
  if (!asleep_) return;
  asleep_ = false;
  rung_ = true;
  const uint64_t one = 1;
  DIASPORA_CHECK(::write(event_fd_, &one, sizeof(one)) == sizeof(one));
}

void Hub::deliver_locked(Arrival arrival) {
  inbox_.push_back(std::move(arrival));
  signal_locked();
}

void Hub::poke() {
  const std::lock_guard<std::mutex> lock(mutex_);
  signal_locked();
}

void Hub::take(std::vector<Arrival>* arrivals) {
  const std::lock_guard<std::mutex> lock(mutex_);
  asleep_ = false;
  signalled_.store(false, std::memory_order_relaxed);
  if (std::exchange(rung_, false)) {
    uint64_t count = 0;
    DIASPORA_CHECK(::read(event_fd_, &count, sizeof(count)) == sizeof(count));
  }
  arrivals->swap(inbox_);
}

bool Hub::fall_asleep() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (signalled_.load(std::memory_order_relaxed)) return false;
  asleep_ = true;
  return true;
}

void Hub::forget(const void* owner) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::erase_if(inbox_, [owner](const Arrival& arrival) { return arrival.operation->owner == owner; });
}

void Port::post_receive(Operation* operation, void* buffer, size_t bytes) {
  std::vector<std::weak_ptr<Hub>> starved;
  {
    const std::lock_guard<std::mutex> lock(hub_->mutex());
    receives_.push_back({operation, buffer, bytes});
    starved.swap(starved_);
  }
  for (const std::weak_ptr<Hub>& waiting : starved) {
    if (const std::shared_ptr<Hub> hub = waiting.lock()) hub->poke();
  }
}

Delivery Port::deliver(const void* message, size_t bytes, const std::shared_ptr<Hub>& sender) {
  const std::lock_guard<std::mutex> lock(hub_->mutex());
  if (!open_) return Delivery::kClosed;
  if (receives_.empty()) {
    const bool known = std::any_of(starved_.begin(), starved_.end(),
                                   [&](const std::weak_ptr<Hub>& waiting) { return waiting.lock() == sender; });
    if (!known) starved_.push_back(sender);
    return Delivery::kNoReceive;
  }
  const PostedReceive receive = receives_.front();
  receives_.pop_front();
  if (bytes > receive.bytes) {
    hub_->deliver_locked({receive.operation, {ErrorCode::k_FABRIC, "a message is longer than the posted receive", 0}});
    return Delivery::kDone;
  }
  if (bytes > 0) std::memcpy(receive.buffer, message, bytes);
  hub_->deliver_locked({receive.operation, {ErrorCode::kOk, {}, bytes}});
  return Delivery::kDone;
}

void Port::close() {
  accessible_ = false;
  access_.lock();  // nobody copies any more, and nobody will
  access_.unlock();
  std::vector<std::weak_ptr<Hub>> starved;
  {
    const std::lock_guard<std::mutex> lock(hub_->mutex());
    open_ = false;
    receives_.clear();
    starved.swap(starved_);
  }
  for (const std::weak_ptr<Hub>& waiting : starved) {
    if (const std::shared_ptr<Hub> hub = waiting.lock()) hub->poke();
  }
}

uint64_t publish_port(const std::shared_ptr<Port>& port) { return ports().publish(port); }
void withdraw_port(uint64_t id) { ports().withdraw(id); }
std::shared_ptr<Port> find_port(uint64_t id) { return ports().find(id); }
uint64_t publish_region(const std::shared_ptr<Region>& region) { return regions().publish(region); }
void withdraw_region(uint64_t key) { regions().withdraw(key); }
std::shared_ptr<Region> find_region(uint64_t key) { return regions().find(key); }

}  // namespace diaspora::fabric
