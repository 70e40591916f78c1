#include "fabric/shm_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <set>
#include <string_view>

#include "base/error.h"

namespace diaspora::fabric {

namespace {

// "<pid>:<uid>:<index>", the name of an endpoint's memory.
bool parse_name(std::string_view name, pid_t* pid, uid_t* uid) {
  uint64_t numbers[3] = {};
  const char* at = name.data();
  const char* const end = at + name.size();
  for (int i = 0; i < 3; ++i) {
    if (i > 0) {
      if (at == end || *at != ':') return false;
      ++at;
    }
    const auto [next, error] = std::from_chars(at, end, numbers[i]);
    if (error != std::errc() || numbers[i] > INT32_MAX) return false;
    at = next;
  }
  *pid = static_cast<pid_t>(numbers[0]);
  *uid = static_cast<uid_t>(numbers[1]);
  return at == end && numbers[0] > 0;
}

struct OwnFiles {
  std::mutex mutex;
  std::set<std::string> names;
  pid_t pid = 0;
};

OwnFiles& own_files() {
  static auto* files = new OwnFiles();
  return *files;
}

void unlink_own_files() {
  OwnFiles& files = own_files();
  const std::lock_guard<std::mutex> lock(files.mutex);
  if (files.pid != getpid()) return;  // a forked child: the files are its parent's
  for (const std::string& name : files.names) static_cast<void>(shm_unlink(("/" + name).c_str()));
}

}  // namespace

// A process of another pid name space that shares this /dev/shm looks dead from here; then only new connections to it
// fail, as its mapping lives on. host_identity() keeps such processes from using shm with each other anyway.
int remove_stale_shm_files() {
  const auto close_directory = [](DIR* directory) { closedir(directory); };
  const std::unique_ptr<DIR, decltype(close_directory)> directory(opendir("/dev/shm"), close_directory);
  if (directory == nullptr) return 0;
  int removed = 0;
  while (const dirent* entry = readdir(directory.get())) {
    pid_t pid = 0;
    uid_t uid = 0;
    if (!parse_name(entry->d_name, &pid, &uid) || uid != getuid()) continue;
    struct stat file{};
    if (fstatat(dirfd(directory.get()), entry->d_name, &file, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (!S_ISREG(file.st_mode) || file.st_uid != geteuid()) continue;
    if (kill(pid, 0) == 0 || errno != ESRCH) continue;
    if (unlinkat(dirfd(directory.get()), entry->d_name, 0) == 0) ++removed;
  }
  return removed;
}

void remember_shm_file(const std::string& name) {
  OwnFiles& files = own_files();
  const std::lock_guard<std::mutex> lock(files.mutex);
  if (files.pid == 0) DIASPORA_CHECK(std::atexit(unlink_own_files) == 0);
  files.pid = getpid();
  files.names.insert(name);
}

void forget_shm_file(const std::string& name) {
  OwnFiles& files = own_files();
  const std::lock_guard<std::mutex> lock(files.mutex);
  files.names.erase(name);
}

}  // namespace diaspora::fabric
