#include "fabric/signal_guard.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "base/error.h"

namespace diaspora::fabric {

namespace {

std::mutex& guard_mutex() {
  static auto* mutex = new std::mutex();
  return *mutex;
}

// Where the objects of the program start in memory. Written once, before libfabric is loaded.
std::vector<uintptr_t>& program_objects() {
  static auto* objects = new std::vector<uintptr_t>();
  return *objects;
}

int note_object(dl_phdr_info* info, size_t, void* objects) {
  constexpr uintptr_t kPageMask = ~uintptr_t{4095};
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
    static_cast<std::vector<uintptr_t>*>(objects)->push_back((info->dlpi_addr + info->dlpi_phdr[i].p_vaddr) &
                                                             kPageMask);
    break;  // the first segment is where dladdr says that the object starts
  }
  return 0;
}

// True when the handler's code came with libfabric.
bool is_foreign(const struct sigaction& action) {
  void* code = nullptr;
  if ((action.sa_flags & SA_SIGINFO) != 0) {
    code = reinterpret_cast<void*>(action.sa_sigaction);
  } else if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN) {
    code = reinterpret_cast<void*>(action.sa_handler);
  }
  Dl_info found{};
  if (code == nullptr || dladdr(code, &found) == 0) return false;
  const std::vector<uintptr_t>& own = program_objects();
  return std::find(own.begin(), own.end(), reinterpret_cast<uintptr_t>(found.dli_fbase)) == own.end();
}

}  // namespace

void remember_loaded_objects() { dl_iterate_phdr(note_object, &program_objects()); }

SignalGuard::SignalGuard() {
  guard_mutex().lock();
  for (size_t i = 0; i < kSignals.size(); ++i) {
    DIASPORA_CHECK(sigaction(kSignals[i], nullptr, &before_[i]) == 0);
  }
}

SignalGuard::~SignalGuard() {
  for (size_t i = 0; i < kSignals.size(); ++i) {
    struct sigaction now{};
    DIASPORA_CHECK(sigaction(kSignals[i], nullptr, &now) == 0);
    if (is_foreign(now)) DIASPORA_CHECK(sigaction(kSignals[i], &before_[i], nullptr) == 0);
  }
  guard_mutex().unlock();
}

}  // namespace diaspora::fabric
