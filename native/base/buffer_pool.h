// The server's memory for batches: anonymous huge-page-advised arenas from which page-aligned buffers are cut.
//
// RMA reads land in these buffers, the log writes from them and consumers are served from them, so that event data is
// never copied in between. An arena is registered once per fabric domain (the domain keeps that map by arena number).
// Not a general allocator: every buffer is a multiple of 4 KiB, and the total is bounded by `bytes_max`.
// Threads: allocate and release from any thread (one mutex; a few thousand calls a second).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/error.h"

namespace diaspora {

class BufferPool;

// One arena: a mapping that never moves while any buffer of it lives.
struct Arena {
  uint64_t number = 0;  // unique in the process, never reused
  uint8_t* base = nullptr;
  size_t bytes = 0;
};

// A page-aligned piece of an arena. Released to the pool when the last reference goes.
class Buffer {
 public:
  Buffer(std::shared_ptr<BufferPool> pool, const Arena& arena, size_t offset, size_t bytes);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  uint8_t* data() const { return arena_.base + offset_; }
  size_t size() const { return bytes_; }
  const Arena& arena() const { return arena_; }
  size_t arena_offset() const { return offset_; }

 private:
  std::shared_ptr<BufferPool> pool_;
  Arena arena_;
  size_t offset_;
  size_t bytes_;
};

using BufferRef = std::shared_ptr<Buffer>;

class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  static constexpr size_t kPageBytes = 4096;
  // 64 MiB: few registrations, and small enough to be allocated on demand.
  static constexpr size_t kArenaBytes = size_t{64} << 20;

  static std::shared_ptr<BufferPool> create(size_t bytes_max);
  ~BufferPool();

  // `bytes` rounded up to pages. RESOURCE_EXHAUSTED when the pool is at its bound. A request above kArenaBytes gets an
  // arena of its own, given back to the system on release.
  Result<BufferRef> allocate(size_t bytes);

  size_t bytes_max() const { return bytes_max_; }
  size_t bytes_used() const;

 private:
  friend class Buffer;
  struct ArenaState {
    Arena arena;
    std::map<size_t, size_t> free_by_offset;  // offset -> bytes, neighbours always merged
    bool dedicated = false;
  };

  explicit BufferPool(size_t bytes_max) : bytes_max_(bytes_max) {}
  void release(const Arena& arena, size_t offset, size_t bytes);
  bool take_free(size_t bytes, Arena* arena, size_t* offset);
  Status add_arena(size_t bytes, bool dedicated);
  void release_locked(const Arena& arena, size_t offset, size_t bytes);

  const size_t bytes_max_;
  mutable std::mutex mutex_;
  std::vector<ArenaState> arenas_;  // guarded by mutex_
  size_t mapped_bytes_ = 0;         // guarded by mutex_
  size_t used_bytes_ = 0;           // guarded by mutex_
};

}  // namespace diaspora
