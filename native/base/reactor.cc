#include "base/reactor.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

#include "base/clock.h"
#include "base/error.h"

namespace diaspora {

namespace {

constexpr int kEventsPerWait = 64;
constexpr int64_t kForever = -1;

// epoll_pwait2 would give nanoseconds but needs glibc 2.35; a nap below a millisecond is slept apart.
int epoll_timeout_ms(int64_t timeout_ns) {
  if (timeout_ns == kForever) return -1;
  return static_cast<int>((timeout_ns + 999'999) / 1'000'000);
}

void nap(int64_t ns) {
  const timespec duration{0, ns};
  // An interrupted nap is only shorter.
  static_cast<void>(nanosleep(&duration, nullptr));
}

}  // namespace

struct Reactor::Watch {
  std::function<void(uint32_t)> handler;
  bool active = true;
};

Reactor::Reactor() : epoll_fd_(epoll_create1(EPOLL_CLOEXEC)), wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  DIASPORA_CHECK(epoll_fd_ >= 0 && wake_fd_ >= 0);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = wake_fd_;
  DIASPORA_CHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, wake_fd_, &event) == 0);
}

Reactor::~Reactor() {
  close(wake_fd_);
  close(epoll_fd_);
}

void Reactor::post(std::function<void()> work) {
  bool first = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(work));
  }
  // Sequentially consistent with the store and the look at posted_ in may_sleep(): one of the two sees the other.
  if (first && !awake_.load(std::memory_order_seq_cst)) {
    const uint64_t one = 1;
    // A full counter means that a wake-up is pending already.
    static_cast<void>(write(wake_fd_, &one, sizeof(one)) == sizeof(one));
  }
}

void Reactor::stop() {
  stopping_.store(true);
  post([] {});
}

void Reactor::watch(int fd, uint32_t events, std::function<void(uint32_t)> handler) {
  auto entry = std::make_shared<Watch>();
  entry->handler = std::move(handler);
  DIASPORA_CHECK(watches_.emplace(fd, std::move(entry)).second);
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  DIASPORA_CHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) == 0);
}

void Reactor::modify(int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  DIASPORA_CHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) == 0);
}

void Reactor::unwatch(int fd) {
  const auto it = watches_.find(fd);
  DIASPORA_CHECK(it != watches_.end());
  it->second->active = false;
  watches_.erase(it);
  DIASPORA_CHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr) == 0);
}

void Reactor::add_poller(Poller* poller) {
  pollers_.push_back(poller);
  const int fd = poller->wait_fd();
  if (fd < 0) return;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  DIASPORA_CHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) == 0);
}

void Reactor::remove_poller(Poller* poller) {
  const int fd = poller->wait_fd();
  if (fd >= 0) DIASPORA_CHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr) == 0);
  pollers_.erase(std::remove(pollers_.begin(), pollers_.end(), poller), pollers_.end());
}

Reactor::TimerId Reactor::call_after_ms(int64_t delay_ms, std::function<void()> work) {
  const TimerId id = next_timer_++;
  const int64_t due = monotonic_ns() + delay_ms * 1'000'000;
  timers_.emplace(std::pair{due, id}, std::move(work));
  timer_due_.emplace(id, due);
  return id;
}

void Reactor::cancel(TimerId id) {
  const auto it = timer_due_.find(id);
  if (it == timer_due_.end()) return;
  timers_.erase({it->second, id});
  timer_due_.erase(it);
}

void Reactor::add_pass_end(void* owner, std::function<void()> hook) { pass_ends_.emplace_back(owner, std::move(hook)); }

void Reactor::remove_pass_end(void* owner) {
  pass_ends_.erase(
      std::remove_if(pass_ends_.begin(), pass_ends_.end(), [&](const auto& entry) { return entry.first == owner; }),
      pass_ends_.end());
}

void Reactor::expect_traffic() { traffic_until_ns_ = monotonic_ns() + kTrafficNs; }

bool Reactor::run_posted() {
  std::vector<std::function<void()>> work;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    work.swap(posted_);
  }
  for (const auto& item : work) item();
  return !work.empty();
}

bool Reactor::run_pollers() {
  size_t done = 0;
  // By index: a completion may add or remove pollers.
  for (size_t i = 0; i < pollers_.size(); ++i) done += pollers_[i]->poll();
  return done > 0;
}

bool Reactor::run_timers() {
  bool any = false;
  while (!timers_.empty() && timers_.begin()->first.first <= monotonic_ns()) {
    const auto it = timers_.begin();
    const std::function<void()> work = std::move(it->second);
    timer_due_.erase(it->first.second);
    timers_.erase(it);
    work();
    any = true;
  }
  return any;
}

// Waits up to `timeout_ns` and runs the handlers of what is ready.
bool Reactor::wait_for_events(int64_t timeout_ns) {
  std::array<epoll_event, kEventsPerWait> events;
  const int count = epoll_wait(epoll_fd_, events.data(), kEventsPerWait, epoll_timeout_ms(timeout_ns));
  DIASPORA_CHECK(count >= 0 || errno == EINTR);
  bool any = false;
  for (int i = 0; i < count; ++i) {
    const int fd = events[static_cast<size_t>(i)].data.fd;
    if (fd == wake_fd_) {
      uint64_t value = 0;
      static_cast<void>(read(wake_fd_, &value, sizeof(value)) == sizeof(value));
      continue;
    }
    const auto it = watches_.find(fd);
    if (it == watches_.end()) continue;  // a poller's descriptor, or unwatched by an earlier handler of this round
    const std::shared_ptr<Watch> watch = it->second;
    if (watch->active) watch->handler(events[static_cast<size_t>(i)].events);
    any = true;
  }
  return any;
}

// How long the reactor may sleep; kForever when nothing is due.
int64_t Reactor::sleep_ns(int64_t now) {
  int64_t result = kForever;
  if (!timers_.empty()) result = std::max<int64_t>(0, timers_.begin()->first.first - now);
  for (const Poller* poller : pollers_) {
    if (poller->wait_fd() >= 0) continue;
    if (!poller->must_poll() && now >= traffic_until_ns_) continue;
    result = result == kForever ? kNapNs : std::min(result, kNapNs);
  }
  return result;
}

// Announces sleep, then looks once more: whatever was posted before the announcement is seen here, whatever comes after
// it rings wake_fd_.
bool Reactor::may_sleep() {
  awake_.store(false, std::memory_order_seq_cst);
  bool quiet = true;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    quiet = posted_.empty();
  }
  for (size_t i = 0; quiet && i < pollers_.size(); ++i) {
    if (pollers_[i]->wait_fd() >= 0) quiet = pollers_[i]->prepare_wait();
  }
  return quiet;
}

// Sleeps until something is due or a descriptor is ready. Returns whether a handler ran.
bool Reactor::sleep() {
  bool any = false;
  if (may_sleep()) {
    const int64_t duration = sleep_ns(monotonic_ns());
    if (duration == kForever || duration >= 1'000'000) {
      any = wait_for_events(duration);
    } else if (duration > 0) {
      nap(duration);
    }
  }
  awake_.store(true, std::memory_order_seq_cst);
  return any;
}

void Reactor::run() {
  int64_t last_work = monotonic_ns();
  int64_t last_socket_look = 0;
  while (true) {
    bool any = run_posted();
    any |= run_pollers();
    any |= run_timers();
    const int64_t now = monotonic_ns();
    if (!any || now - last_socket_look > kSpinNs) {
      last_socket_look = now;
      any |= wait_for_events(0);
    }
    if (!any && stopping_.load()) return;
    if (!any && now - last_work >= kSpinNs) any = sleep();
    if (!any) continue;
    // By index: a hook may add or remove hooks.
    for (size_t i = 0; i < pass_ends_.size(); ++i) pass_ends_[i].second();
    last_work = monotonic_ns();
  }
}

}  // namespace diaspora
