#include "log/log_writer.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/clock.h"
#include "base/error.h"

namespace diaspora::log {

namespace {

// The kernel keeps 15 characters of a thread's name.
void name_this_thread(const std::string& name) {
  DIASPORA_CHECK(pthread_setname_np(pthread_self(), name.substr(0, 15).c_str()) == 0);
}

}  // namespace

WriterThread::WriterThread(const std::string& name)
    : thread_([this, name] {
        name_this_thread(name);
        loop();
      }) {}

WriterThread::~WriterThread() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void WriterThread::schedule(WriterTask* task) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (std::find(queue_.begin(), queue_.end(), task) != queue_.end()) return;
    queue_.push_back(task);
  }
  wake_.notify_one();
}

void WriterThread::forget(WriterTask* task) {
  std::unique_lock<std::mutex> lock(mutex_);
  finished_.wait(lock, [&] { return running_ != task; });
  std::erase(queue_, task);
  idle_at_ms_.erase(task);
}

// Waits for a scheduled task, or for the time at which one is idle; false at the end. `*idle` tells which.
bool WriterThread::take_next(std::unique_lock<std::mutex>* lock, WriterTask** task, bool* idle) {
  while (true) {
    if (!queue_.empty()) {
      *task = queue_.front();
      queue_.pop_front();
      *idle = false;
      return true;
    }
    if (stopping_) return false;
    const auto first = std::min_element(idle_at_ms_.begin(), idle_at_ms_.end(),
                                        [](const auto& a, const auto& b) { return a.second < b.second; });
    if (first == idle_at_ms_.end()) {
      wake_.wait(*lock);
      continue;
    }
    const int64_t wait_ms = first->second - monotonic_ms();
    if (wait_ms <= 0) {
      *task = first->first;
      *idle = true;
      return true;
    }
    wake_.wait_for(*lock, std::chrono::milliseconds(wait_ms));
  }
}

void WriterThread::loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  WriterTask* task = nullptr;
  bool idle = false;
  while (take_next(&lock, &task, &idle)) {
    idle_at_ms_.erase(task);
    running_ = task;
    lock.unlock();
    const std::optional<int64_t> idle_at_ms = idle ? task->on_idle() : task->run();
    lock.lock();
    if (idle_at_ms) idle_at_ms_[task] = *idle_at_ms;
    running_ = nullptr;
    finished_.notify_all();
  }
}

ReaderThread::ReaderThread(const std::string& name)
    : thread_([this, name] {
        name_this_thread(name);
        loop();
      }) {}

ReaderThread::~ReaderThread() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void ReaderThread::post(std::function<void()> work) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(std::move(work));
  }
  wake_.notify_one();
}

void ReaderThread::loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    const std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
    lock.lock();
  }
}

LogStore::LogStore(uint32_t writer_threads) : reader_("dsp-log-read") {
  const uint32_t count = std::clamp<uint32_t>(writer_threads, 1, kWritersMax);
  for (uint32_t i = 0; i < count; ++i) {
    writers_.push_back(std::make_unique<WriterThread>("dsp-log-" + std::to_string(i)));
  }
}

}  // namespace diaspora::log
