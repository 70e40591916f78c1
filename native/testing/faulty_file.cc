#include "testing/faulty_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace diaspora::testing {

namespace {

constexpr size_t kSectorBytes = 512;

struct PendingWrite {
  uint64_t offset = 0;
  std::vector<uint8_t> bytes;
  bool resize = false;  // then the file gets `offset` bytes
};

void apply_write(const PendingWrite& write, std::vector<uint8_t>* to) {
  if (write.resize) {
    to->resize(write.offset);
    return;
  }
  if (to->size() < write.offset + write.bytes.size()) to->resize(write.offset + write.bytes.size());
  std::copy(write.bytes.begin(), write.bytes.end(), to->begin() + static_cast<ptrdiff_t>(write.offset));
}

}  // namespace

struct MemoryNode {
  bool directory = false;
  bool locked = false;
  std::vector<uint8_t> cache;         // what reads through the cache see
  std::vector<uint8_t> device;        // what was synced
  std::vector<PendingWrite> pending;  // on its way from the one to the other
  bool lost_writes = false;           // a failed sync dropped some: the device will never agree with the cache

  void write(PendingWrite write) {
    apply_write(write, &cache);
    pending.push_back(std::move(write));
  }
  std::vector<uint8_t> direct_view() const {
    if (!lost_writes) return cache;
    std::vector<uint8_t> view = device;
    for (const PendingWrite& write : pending) apply_write(write, &view);
    return view;
  }
};

class FaultyFile final : public log::File {
 public:
  FaultyFile(FaultyFileSystem* files, std::shared_ptr<MemoryNode> node, std::string path, bool direct)
      : files_(files),
        node_(std::move(node)),
        path_(std::move(path)),
        direct_(direct),
        generation_(files->generation_) {}
  ~FaultyFile() override {
    const std::lock_guard<std::mutex> lock(files_->mutex_);
    if (locked_) node_->locked = false;
  }

  Status write(uint64_t offset, std::span<const std::span<const uint8_t>> pieces) override {
    const std::lock_guard<std::mutex> lock(files_->mutex_);
    DIASPORA_CHECK(pieces.size() <= kWritePiecesMax);
    PendingWrite write;
    write.offset = offset;
    for (const std::span<const uint8_t> piece : pieces) {
      check_alignment(offset, piece);
      write.bytes.insert(write.bytes.end(), piece.begin(), piece.end());
    }
    ++files_->writes_;
    const FaultKind fault = next_fault(FaultyFileSystem::CallKind::kWrite);
    if (fault == FaultKind::kShortWrite) {
      write.bytes.resize(write.bytes.size() / 2);
      node_->write(std::move(write));
      return log::file_error("write", path_, ENOSPC);
    }
    if (fault != FaultKind::kNone) return log::file_error("write", path_, fault == FaultKind::kNoSpace ? ENOSPC : EIO);
    node_->write(std::move(write));
    return {};
  }

  Result<size_t> read(uint64_t offset, std::span<uint8_t> out) const override {
    const std::lock_guard<std::mutex> lock(files_->mutex_);
    if (next_fault(FaultyFileSystem::CallKind::kRead) != FaultKind::kNone) return log::file_error("read", path_, EIO);
    const std::vector<uint8_t> view = direct_ ? node_->direct_view() : std::vector<uint8_t>();
    const std::vector<uint8_t>& from = direct_ ? view : node_->cache;
    if (offset >= from.size()) return size_t{0};
    const size_t count = std::min<size_t>(out.size(), from.size() - offset);
    std::memcpy(out.data(), &from[offset], count);
    return count;
  }

  Status sync_data() override {
    std::unique_lock<std::mutex> lock(files_->mutex_);
    ++files_->syncs_;
    ++files_->syncs_waiting_;
    files_->sync_changed_.notify_all();
    files_->sync_changed_.wait(lock, [this] { return !files_->syncs_held_; });
    --files_->syncs_waiting_;
    const FaultKind fault = next_fault(FaultyFileSystem::CallKind::kSync);
    if (fault != FaultKind::kNone) {
      if (fault != FaultKind::kDead) {
        node_->pending.clear();
        node_->lost_writes = true;
      }
      return log::file_error("fdatasync", path_, EIO);
    }
    for (const PendingWrite& write : node_->pending) apply_write(write, &node_->device);
    node_->pending.clear();
    return {};
  }

  Status reserve(uint64_t offset, uint64_t bytes) override {
    const std::lock_guard<std::mutex> lock(files_->mutex_);
    const Status fault = files_->fault_of(FaultyFileSystem::CallKind::kWrite, "fallocate", path_);
    if (!fault) return fault;
    if (offset + bytes > node_->cache.size()) node_->write({offset + bytes, {}, true});
    return {};
  }

  Status truncate(uint64_t bytes) override {
    const std::lock_guard<std::mutex> lock(files_->mutex_);
    const Status fault = files_->fault_of(FaultyFileSystem::CallKind::kWrite, "ftruncate", path_);
    if (!fault) return fault;
    node_->write({bytes, {}, true});
    return {};
  }

  Result<uint64_t> size() const override {
    const std::lock_guard<std::mutex> lock(files_->mutex_);
    return uint64_t{node_->cache.size()};
  }

  Result<bool> try_lock() override {
    const std::lock_guard<std::mutex> lock(files_->mutex_);
    if (node_->locked) return false;
    node_->locked = true;
    locked_ = true;
    return true;
  }

 private:
  FaultKind next_fault(FaultyFileSystem::CallKind kind) const {
    if (generation_ != files_->generation_) return FaultKind::kIoError;  // from before a power cut
    return files_->next_fault(kind);
  }

  void check_alignment(uint64_t offset, std::span<const uint8_t> piece) const {
    if (!direct_) return;
    DIASPORA_CHECK(offset % log::kDirectAlignment == 0 && piece.size() % log::kDirectAlignment == 0);
    DIASPORA_CHECK(reinterpret_cast<uintptr_t>(piece.data()) % log::kDirectAlignment == 0);
  }

  FaultyFileSystem* const files_;
  const std::shared_ptr<MemoryNode> node_;
  const std::string path_;
  const bool direct_;
  const uint64_t generation_;
  bool locked_ = false;
};

FaultyFileSystem::FaultyFileSystem() {
  const auto root = std::make_shared<MemoryNode>();
  root->directory = true;
  for (const char* name : {".", "/"}) {
    names_[name] = root;
    durable_names_[name] = root;
  }
}

FaultyFileSystem::~FaultyFileSystem() = default;

void FaultyFileSystem::fail_at(uint64_t call, FaultKind kind, bool persistent) {
  const std::lock_guard<std::mutex> lock(mutex_);
  fail_call_ = calls_ + call;
  fail_kind_ = kind;
  fail_persistent_ = persistent;
  fault_fired_ = false;
}

void FaultyFileSystem::clear_faults() {
  const std::lock_guard<std::mutex> lock(mutex_);
  fail_kind_ = FaultKind::kNone;
}

uint64_t FaultyFileSystem::calls() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return calls_;
}

uint64_t FaultyFileSystem::syncs() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return syncs_;
}

uint64_t FaultyFileSystem::writes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return writes_;
}

bool FaultyFileSystem::fault_fired() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return fault_fired_;
}

void FaultyFileSystem::hold_syncs() {
  const std::lock_guard<std::mutex> lock(mutex_);
  syncs_held_ = true;
}

void FaultyFileSystem::wait_for_held_sync() {
  std::unique_lock<std::mutex> lock(mutex_);
  sync_changed_.wait(lock, [this] { return syncs_waiting_ > 0; });
}

void FaultyFileSystem::release_syncs() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    syncs_held_ = false;
  }
  sync_changed_.notify_all();
}

FaultKind FaultyFileSystem::next_fault(CallKind kind) {
  ++calls_;
  if (fail_kind_ == FaultKind::kNone) return FaultKind::kNone;
  if (calls_ != fail_call_ && !(fail_persistent_ && calls_ > fail_call_)) return FaultKind::kNone;
  if (fail_kind_ == FaultKind::kFailedSync && kind != CallKind::kSync) return FaultKind::kNone;
  fault_fired_ = true;
  return fail_kind_;
}

Status FaultyFileSystem::fault_of(CallKind kind, const std::string& call, const std::string& path) {
  const FaultKind fault = next_fault(kind);
  if (fault == FaultKind::kNone) return {};
  return log::file_error(call, path, fault == FaultKind::kNoSpace && kind == CallKind::kWrite ? ENOSPC : EIO);
}

void FaultyFileSystem::apply(const NameChange& change, Names* names) {
  for (const auto& [name, node] : change.names) {
    if (node == nullptr) {
      names->erase(name);
    } else {
      (*names)[name] = node;
    }
  }
}

void FaultyFileSystem::change(NameChange change) {
  apply(change, &names_);
  pending_names_.push_back(std::move(change));
}

void FaultyFileSystem::power_cut(std::mt19937_64* random, double keep) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++generation_;
  const size_t kept_names = std::uniform_int_distribution<size_t>(0, pending_names_.size())(*random);
  for (size_t i = 0; i < kept_names; ++i) apply(pending_names_[i], &durable_names_);
  pending_names_.clear();
  names_ = durable_names_;
  std::bernoulli_distribution kept(keep);
  for (auto& [name, node] : names_) {
    for (PendingWrite& write : node->pending) {
      if (write.resize) {
        if (kept(*random)) apply_write(write, &node->device);
        continue;
      }
      for (size_t at = 0; at < write.bytes.size(); at += kSectorBytes) {
        if (!kept(*random)) continue;
        const size_t count = std::min(kSectorBytes, write.bytes.size() - at);
        const auto from = write.bytes.begin() + static_cast<ptrdiff_t>(at);
        apply_write({write.offset + at, {from, from + static_cast<ptrdiff_t>(count)}, false}, &node->device);
      }
    }
    node->pending.clear();
    node->cache = node->device;
    node->lost_writes = false;
    node->locked = false;
  }
}

std::vector<uint8_t> FaultyFileSystem::contents(const std::string& path) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = names_.find(path);
  DIASPORA_CHECK(found != names_.end());
  return found->second->cache;
}

void FaultyFileSystem::set_contents(const std::string& path, std::vector<uint8_t> bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = names_.find(path);
  DIASPORA_CHECK(found != names_.end());
  found->second->cache = bytes;
  found->second->device = std::move(bytes);
  found->second->pending.clear();
}

std::vector<std::string> FaultyFileSystem::paths() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::string> paths;
  for (const auto& [name, node] : names_) {
    if (!node->directory) paths.push_back(name);
  }
  return paths;
}

Result<std::unique_ptr<log::File>> FaultyFileSystem::open(const std::string& path, log::OpenMode mode,
                                                          log::Caching caching) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const bool creates = mode == log::OpenMode::kReplace || mode == log::OpenMode::kOpenOrCreate;
  const Status fault = fault_of(creates ? CallKind::kWrite : CallKind::kRead, "open", path);
  if (!fault) return fault;
  auto found = names_.find(path);
  if (found == names_.end()) {
    if (!creates || !names_.contains(log::parent_directory(path))) return log::file_error("open", path, ENOENT);
    change({log::parent_directory(path), {{path, std::make_shared<MemoryNode>()}}});
    found = names_.find(path);
  } else if (mode == log::OpenMode::kReplace) {
    found->second->write({0, {}, true});
  }
  if (found->second->directory) return log::file_error("open", path, EISDIR);
  const bool direct = caching == log::Caching::kDirect;
  return std::unique_ptr<log::File>(std::make_unique<FaultyFile>(this, found->second, path, direct));
}

Status FaultyFileSystem::rename(const std::string& from, const std::string& to) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Status fault = fault_of(CallKind::kWrite, "rename", to);
  if (!fault) return fault;
  const auto found = names_.find(from);
  if (found == names_.end()) return log::file_error("rename", from, ENOENT);
  change({log::parent_directory(to), {{to, found->second}, {from, nullptr}}});
  return {};
}

Status FaultyFileSystem::remove_file(const std::string& path) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Status fault = fault_of(CallKind::kWrite, "unlink", path);
  if (!fault) return fault;
  if (!names_.contains(path)) return log::file_error("unlink", path, ENOENT);
  change({log::parent_directory(path), {{path, nullptr}}});
  return {};
}

Status FaultyFileSystem::remove_directory(const std::string& path) { return remove_file(path); }

Status FaultyFileSystem::sync_directory(const std::string& path) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Status fault = fault_of(CallKind::kSync, "fsync", path);
  if (!fault) return fault;
  std::vector<NameChange> left;
  for (NameChange& change : pending_names_) {
    if (change.directory == path) {
      apply(change, &durable_names_);
    } else {
      left.push_back(std::move(change));
    }
  }
  pending_names_ = std::move(left);
  return {};
}

Result<bool> FaultyFileSystem::make_directory(const std::string& path) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Status fault = fault_of(CallKind::kWrite, "mkdir", path);
  if (!fault) return fault;
  if (names_.contains(path)) return false;
  const auto node = std::make_shared<MemoryNode>();
  node->directory = true;
  change({log::parent_directory(path), {{path, node}}});
  return true;
}

Result<bool> FaultyFileSystem::exists(const std::string& path) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Status fault = fault_of(CallKind::kRead, "stat", path);
  if (!fault) return fault;
  return names_.contains(path);
}

Result<std::vector<std::string>> FaultyFileSystem::list(const std::string& path) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Status fault = fault_of(CallKind::kRead, "opendir", path);
  if (!fault) return fault;
  const auto found = names_.find(path);
  if (found == names_.end() || !found->second->directory) return log::file_error("opendir", path, ENOTDIR);
  std::vector<std::string> names;
  for (const auto& [name, node] : names_) {
    if (name != path && log::parent_directory(name) == path) names.push_back(name.substr(path.size() + 1));
  }
  return names;
}

}  // namespace diaspora::testing
