#include <pthread.h>
#include <signal.h>

#include <thread>
#include <utility>

#include "base/reactor.h"
#include "client/background.h"
#include "client/client.h"

namespace diaspora::client {

namespace {

// Starts a thread that no signal is delivered to: signals are the host program's business, on its own threads.
void start_thread(const char* name, std::function<void()> work) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread([name, work = std::move(work)] {
    pthread_setname_np(pthread_self(), name);
    work();
  }).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace

// Leaked on purpose: it may still run while the process ends, when static objects are being destroyed.
Reactor& progress_thread() {
  static Reactor* const reactor = [] {
    auto* made = new Reactor();
    start_thread("diaspora-prog", [made] { made->run(); });
    return made;
  }();
  return *reactor;
}

void run_in_background(std::function<void()> work) { start_thread("diaspora-back", std::move(work)); }

}  // namespace diaspora::client
