// A file system in memory that can fail at each call and lose power: for tests of everything above log/file.h.
//
// It keeps apart what programs see, what a sync has made durable, and the order of what is in between. A failed sync
// loses what it should have written, as Linux does: later reads through the cache still show it, the device never does.
// A power cut keeps the synced state, a random part of the unsynced sectors (512 bytes) of each file, and a random
// prefix of the unsynced directory changes.
// Threads: any (one mutex). Not a model of speed.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "log/file.h"

namespace diaspora::testing {

enum class FaultKind : uint8_t {
  kNone,
  kIoError,     // EIO
  kNoSpace,     // ENOSPC; reads and syncs, which cannot give it, get EIO
  kShortWrite,  // a write does half of its work and then fails with ENOSPC; other calls get EIO
  kFailedSync,  // only syncs fail
  kDead,        // EIO without any effect, not even that of a failed sync: the machine stops here, then power_cut()
};

struct MemoryNode;

class FaultyFileSystem final : public log::FileSystem {
 public:
  FaultyFileSystem();
  ~FaultyFileSystem() override;

  // The `call`-th call from now on fails (1 is the next); with `persistent` every call from it on until clear_faults().
  void fail_at(uint64_t call, FaultKind kind, bool persistent = false);
  void clear_faults();
  uint64_t calls() const;
  // File syncs that were asked for, and those of them that found something written before.
  uint64_t syncs() const;
  uint64_t writes() const;
  bool fault_fired() const;

  // Until release_syncs() every file sync waits. wait_for_held_sync() returns when one does.
  void hold_syncs();
  void wait_for_held_sync();
  void release_syncs();

  // The machine loses power and comes back; open files become useless. `keep` is the chance of each unsynced sector.
  void power_cut(std::mt19937_64* random, double keep);

  // For damaging files in tests: what is on the device.
  std::vector<uint8_t> contents(const std::string& path) const;
  void set_contents(const std::string& path, std::vector<uint8_t> bytes);
  std::vector<std::string> paths() const;

  Result<std::unique_ptr<log::File>> open(const std::string& path, log::OpenMode mode, log::Caching caching) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status remove_file(const std::string& path) override;
  Status remove_directory(const std::string& path) override;
  Status sync_directory(const std::string& path) override;
  Result<bool> make_directory(const std::string& path) override;
  Result<bool> exists(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& path) override;

 private:
  friend class FaultyFile;
  using Names = std::map<std::string, std::shared_ptr<MemoryNode>>;
  // A change of one or two names; a null node stands for an absent name.
  struct NameChange {
    std::string directory;
    std::vector<std::pair<std::string, std::shared_ptr<MemoryNode>>> names;
  };

  enum class CallKind : uint8_t { kRead, kWrite, kSync };
  // The error that this call must give; called once by each call, with the mutex held.
  FaultKind next_fault(CallKind kind);
  Status fault_of(CallKind kind, const std::string& call, const std::string& path);
  void change(NameChange change);
  static void apply(const NameChange& change, Names* names);

  mutable std::mutex mutex_;
  std::condition_variable sync_changed_;
  Names names_;                            // as seen now
  Names durable_names_;                    // as synced
  std::vector<NameChange> pending_names_;  // in between, in order
  uint64_t generation_ = 0;                // raised by a power cut
  uint64_t calls_ = 0;
  uint64_t syncs_ = 0;
  uint64_t writes_ = 0;
  uint64_t fail_call_ = 0;
  FaultKind fail_kind_ = FaultKind::kNone;
  bool fail_persistent_ = false;
  bool fault_fired_ = false;
  bool syncs_held_ = false;
  uint64_t syncs_waiting_ = 0;
};

}  // namespace diaspora::testing
