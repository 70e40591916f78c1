#include "base/reactor.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "base/clock.h"

namespace diaspora {
namespace {

class ReactorTest : public ::testing::Test {
 protected:
  ReactorTest() : thread_([this] { reactor_.run(); }) {}
  ~ReactorTest() override { finish(); }
  void finish() {
    if (!thread_.joinable()) return;
    reactor_.stop();
    thread_.join();
  }
  void run_on_reactor(std::function<void()> work) {
    std::promise<void> done;
    reactor_.post([&] {
      work();
      done.set_value();
    });
    done.get_future().wait();
  }

  Reactor reactor_;
  std::thread thread_;
};

TEST_F(ReactorTest, runs_posted_work_in_order_on_its_own_thread) {
  std::vector<int> order;
  for (int i = 0; i < 100; ++i) {
    reactor_.post([&order, i, this] {
      EXPECT_EQ(std::this_thread::get_id(), thread_.get_id());
      order.push_back(i);
    });
  }
  finish();
  ASSERT_EQ(order.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

// Posts race with the reactor falling asleep: every one must be run, none may wait for something else to happen.
TEST_F(ReactorTest, loses_no_wake_up) {
  for (int i = 0; i < 3000; ++i) {
    std::promise<void> done;
    reactor_.post([&] { done.set_value(); });
    ASSERT_EQ(done.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready) << "round " << i;
    if (i % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(15 + i % 17));
  }
}

TEST_F(ReactorTest, runs_timers_when_due_and_not_when_cancelled) {
  std::promise<void> fired;
  std::atomic<bool> cancelled_ran{false};
  run_on_reactor([&] {
    const Reactor::TimerId id = reactor_.call_after_ms(1, [&] { cancelled_ran = true; });
    reactor_.cancel(id);
    reactor_.call_after_ms(20, [&] { fired.set_value(); });
  });
  const int64_t start = monotonic_ms();
  fired.get_future().wait();
  EXPECT_GE(monotonic_ms() - start, 15);
  EXPECT_FALSE(cancelled_ran);
}

TEST_F(ReactorTest, watches_descriptors_until_told_otherwise) {
  const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  std::promise<void> seen;
  run_on_reactor([&] {
    reactor_.watch(fd, EPOLLIN, [&](uint32_t) {
      reactor_.unwatch(fd);
      seen.set_value();
    });
  });
  const uint64_t one = 1;
  ASSERT_EQ(write(fd, &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
  ASSERT_EQ(seen.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
  finish();
  close(fd);
}

TEST_F(ReactorTest, runs_pass_end_hooks_after_work) {
  std::atomic<int> hooks{0};
  std::promise<void> ran;
  run_on_reactor([&] {
    reactor_.add_pass_end(this, [&] {
      if (hooks++ == 0) ran.set_value();
    });
  });
  ASSERT_EQ(ran.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
  run_on_reactor([&] { reactor_.remove_pass_end(this); });
}

// A provider without a descriptor is polled only while it must be: an idle one costs nothing.
class CountingPoller : public Poller {
 public:
  size_t poll() override {
    ++polls;
    return 0;
  }
  int wait_fd() const override { return -1; }
  bool prepare_wait() override { return true; }
  bool must_poll() const override { return busy; }
  std::atomic<uint64_t> polls{0};
  std::atomic<bool> busy{false};
};

TEST_F(ReactorTest, polls_a_provider_without_descriptor_only_while_it_is_busy) {
  CountingPoller poller;
  run_on_reactor([&] { reactor_.add_poller(&poller); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const uint64_t before_idle = poller.polls;
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const uint64_t idle_polls = poller.polls - before_idle;
  poller.busy = true;
  run_on_reactor([] {});
  const uint64_t before_busy = poller.polls;
  while (poller.polls < before_busy + 200) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_LT(idle_polls, 100U);
  run_on_reactor([&] { reactor_.remove_poller(&poller); });
}

}  // namespace
}  // namespace diaspora
