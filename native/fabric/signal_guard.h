// Undoes what libfabric does to signal handlers.
//
// Loading Debian's libfabric and creating a first shm endpoint install handlers for SIGINT, SIGTERM, SIGSEGV and
// SIGBUS, which would end a Node process without its handlers running and break V8's use of SIGSEGV. A guard restores
// what was there, but only where the new handler lies in a library that was loaded with libfabric or later: what the
// program itself installs meanwhile on another thread (process.on('SIGINT')) stays. Threads: any; one guard at a time.
#pragma once

#include <signal.h>

#include <array>
#include <cstddef>

namespace diaspora::fabric {

class SignalGuard {
 public:
  static constexpr std::array<int, 7> kSignals = {SIGINT, SIGTERM, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

  SignalGuard();
  ~SignalGuard();
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;

 private:
  std::array<struct sigaction, kSignals.size()> before_;
};

// Notes which libraries the process has; called once, before libfabric is loaded.
void remember_loaded_objects();

}  // namespace diaspora::fabric
