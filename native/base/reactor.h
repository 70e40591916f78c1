// A reactor: one thread that polls, runs what was posted to it, and sleeps when there is nothing to do.
//
// The client's progress thread and each server worker are one Reactor. A pass: run posted work, poll every Poller, run
// due timers, run end-of-pass hooks. While a pass finds work, the next one follows at once; then the reactor spins for
// kSpinNs, then sleeps in epoll on its descriptors. A Poller without a descriptor (shm) that expects something is
// polled every kNapNs while the reactor sleeps in between; expect_traffic() keeps that up for a while without work in
// flight. Threads: post() and stop() from any thread; everything else on the reactor's own thread (or before run()).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/executor.h"

namespace diaspora {

// Something that makes progress only when asked.
class Poller {
 public:
  virtual ~Poller() = default;
  // Makes progress; returns how much was done (0: nothing).
  virtual size_t poll() = 0;
  // Descriptor that becomes readable when poll() has something to do, or -1.
  virtual int wait_fd() const = 0;
  // May the thread sleep on wait_fd now? False: call poll() again.
  virtual bool prepare_wait() = 0;
  // Only asked when wait_fd() is -1: is something in flight that only poll() can complete?
  virtual bool must_poll() const = 0;
};

class Reactor : public Executor {
 public:
  using TimerId = uint64_t;
  // Spinning this long before sleeping saves the wake-up (50 us on tcp) in a busy exchange and costs little otherwise.
  static constexpr int64_t kSpinNs = 50'000;
  // Sleep between two polls of a provider that cannot wake the thread.
  static constexpr int64_t kNapNs = 50'000;
  // How long polling goes on after the last sign of traffic. The doorbell rule in session/link.h relies on it.
  static constexpr int64_t kTrafficNs = 5'000'000;

  Reactor();
  ~Reactor() override;  // the thread must have left run()

  void post(std::function<void()> work) override;
  // Runs until stop(). Work posted before stop() is run first.
  void run();
  void stop();

  // `handler` gets the epoll events of `fd`. EPOLLIN | EPOLLRDHUP and so on; level-triggered.
  void watch(int fd, uint32_t events, std::function<void(uint32_t)> handler);
  void modify(int fd, uint32_t events);
  void unwatch(int fd);

  void add_poller(Poller* poller);
  void remove_poller(Poller* poller);

  TimerId call_after_ms(int64_t delay_ms, std::function<void()> work);
  void cancel(TimerId id);

  // Runs at the end of every pass that did something: the place to send what was collected.
  void add_pass_end(void* owner, std::function<void()> hook);
  void remove_pass_end(void* owner);

  // A peer is likely to send on a provider that cannot wake this thread: poll for kTrafficNs more.
  void expect_traffic();

 private:
  struct Watch;
  bool run_posted();
  bool run_pollers();
  bool run_timers();
  bool wait_for_events(int64_t timeout_ns);
  int64_t sleep_ns(int64_t now);
  bool may_sleep();
  bool sleep();

  int epoll_fd_;
  int wake_fd_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> awake_{true};  // false while (about to be) in epoll_wait: post() must ring wake_fd_

  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;  // guarded by mutex_

  std::unordered_map<int, std::shared_ptr<Watch>> watches_;
  std::vector<Poller*> pollers_;
  std::map<std::pair<int64_t, TimerId>, std::function<void()>> timers_;  // (due ns, id)
  std::unordered_map<TimerId, int64_t> timer_due_;
  TimerId next_timer_ = 1;
  std::vector<std::pair<void*, std::function<void()>>> pass_ends_;
  int64_t traffic_until_ns_ = 0;
};

}  // namespace diaspora
