// An Executor that runs its work when a test says so, on the test's thread, with a watchdog against hangs.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "base/executor.h"

namespace diaspora::testing {

class ManualExecutor final : public Executor {
 public:
  void post(std::function<void()> work) override {
    // Notifies under the lock: who sees the work may destroy this as soon as it has it.
    const std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(std::move(work));
    posted_.notify_one();
  }

  // Runs work as it comes until `done` is true. A minute without an end is a hang.
  template <typename Predicate>
  void run_until(Predicate done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (!done()) {
      std::function<void()> work;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        DIASPORA_CHECK(posted_.wait_until(lock, deadline, [this] { return !queue_.empty(); }));
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      work();
    }
  }

  // Runs what is there now.
  void run_ready() {
    while (true) {
      std::function<void()> work;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (queue_.empty()) return;
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      work();
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<std::function<void()>> queue_;
};

}  // namespace diaspora::testing
