// Work handed to a named thread. Each reactor thread (progress thread, server worker) is an Executor.
#pragma once

#include <functional>

namespace diaspora {

class Executor {
 public:
  virtual ~Executor() = default;
  // Runs `work` on the executor's thread, after the call that runs now. Any thread may call. Work posted after the
  // thread has stopped is destroyed without being run.
  virtual void post(std::function<void()> work) = 0;
};

}  // namespace diaspora
