// The threads that do the file work of the partitions of one server, so that no reactor thread ever waits for a disk.
//
// A WriterTask is something with an inbox of its own (the log or the cursors of one partition). schedule() puts it into
// its writer's queue; run() then takes everything the inbox holds, so what arrives while a sync runs becomes the next
// group. Tasks of one writer take turns. Reads go to one reader thread and never wait behind a sync.
// Threads: schedule, read and forget from any; run() and on_idle() on the writer thread alone. Owner: Storage.
// Invariant: after forget() returned, the task is not running and never runs again.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/ids.h"

namespace diaspora::log {

class WriterTask {
 public:
  virtual ~WriterTask() = default;
  // Does everything that is waiting. Gives the monotonic time in ms at which on_idle() should be called if nothing else
  // is scheduled until then; nothing when there is nothing left to do.
  virtual std::optional<int64_t> run() = 0;
  virtual std::optional<int64_t> on_idle() = 0;
};

class WriterThread {
 public:
  explicit WriterThread(const std::string& name);
  // Runs what is scheduled, then ends.
  ~WriterThread();
  WriterThread(const WriterThread&) = delete;
  WriterThread& operator=(const WriterThread&) = delete;

  // Runs the task soon. Scheduling it again before it has begun to run has no effect.
  void schedule(WriterTask* task);
  // Returns when the task neither runs nor is scheduled; what it had not begun is dropped.
  void forget(WriterTask* task);

 private:
  void loop();
  bool take_next(std::unique_lock<std::mutex>* lock, WriterTask** task, bool* idle);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable finished_;
  std::deque<WriterTask*> queue_;              // guarded by mutex_
  std::map<WriterTask*, int64_t> idle_at_ms_;  // guarded by mutex_
  WriterTask* running_ = nullptr;              // guarded by mutex_
  bool stopping_ = false;                      // guarded by mutex_
  std::thread thread_;                         // last: the loop uses all of the above
};

// A thread that runs closures in order.
class ReaderThread {
 public:
  explicit ReaderThread(const std::string& name);
  ~ReaderThread();  // runs what is queued, then ends
  ReaderThread(const ReaderThread&) = delete;
  ReaderThread& operator=(const ReaderThread&) = delete;

  void post(std::function<void()> work);

 private:
  void loop();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;  // guarded by mutex_
  bool stopping_ = false;                    // guarded by mutex_
  std::thread thread_;
};

class LogStore {
 public:
  // 16 writers: more threads than a disk has useful parallel syncs only cost.
  static constexpr uint32_t kWritersMax = 16;

  explicit LogStore(uint32_t writer_threads);

  // The same for all tasks of one partition.
  WriterThread& writer_for(const Uuid& partition) { return *writers_[std::hash<Uuid>()(partition) % writers_.size()]; }
  ReaderThread& reader() { return reader_; }

 private:
  std::vector<std::unique_ptr<WriterThread>> writers_;
  ReaderThread reader_;
};

}  // namespace diaspora::log
