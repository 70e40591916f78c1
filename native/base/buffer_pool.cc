#include "base/buffer_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "base/bytes.h"

namespace diaspora {

namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;

std::atomic<uint64_t> next_arena_number{1};

// Maps `bytes` aligned to a huge page, so that MADV_HUGEPAGE covers all of it.
Result<uint8_t*> map_aligned(size_t bytes) {
  const size_t total = bytes + kHugePageBytes;
  void* raw = mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return {ErrorCode::k_RESOURCE_EXHAUSTED, "cannot map memory: " + errno_text(errno)};
  const auto start = reinterpret_cast<uintptr_t>(raw);
  const uintptr_t aligned = align_up(start, kHugePageBytes);
  if (aligned > start) munmap(raw, aligned - start);
  const uintptr_t end = aligned + bytes;
  if (start + total > end) munmap(reinterpret_cast<void*>(end), start + total - end);
  // Advice only: where transparent huge pages are off the memory works with small pages.
  static_cast<void>(madvise(reinterpret_cast<void*>(aligned), bytes, MADV_HUGEPAGE));
  return reinterpret_cast<uint8_t*>(aligned);
}

}  // namespace

Buffer::Buffer(std::shared_ptr<BufferPool> pool, const Arena& arena, size_t offset, size_t bytes)
    : pool_(std::move(pool)), arena_(arena), offset_(offset), bytes_(bytes) {}

Buffer::~Buffer() { pool_->release(arena_, offset_, bytes_); }

std::shared_ptr<BufferPool> BufferPool::create(size_t bytes_max) {
  return std::shared_ptr<BufferPool>(new BufferPool(bytes_max));
}

BufferPool::~BufferPool() {
  for (const ArenaState& state : arenas_) munmap(state.arena.base, state.arena.bytes);
}

Result<BufferRef> BufferPool::allocate(size_t bytes) {
  const size_t rounded = align_up(std::max<size_t>(bytes, 1), kPageBytes);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (used_bytes_ + rounded > bytes_max_) {
    return {ErrorCode::k_RESOURCE_EXHAUSTED, "the batch memory of " + std::to_string(bytes_max_) + " bytes is in use"};
  }
  Arena arena;
  size_t offset = 0;
  if (!take_free(rounded, &arena, &offset)) {
    const bool dedicated = rounded > kArenaBytes;
    const Status added = add_arena(dedicated ? rounded : kArenaBytes, dedicated);
    if (!added) return added;
    DIASPORA_CHECK(take_free(rounded, &arena, &offset));
  }
  used_bytes_ += rounded;
  return std::make_shared<Buffer>(shared_from_this(), arena, offset, rounded);
}

size_t BufferPool::bytes_used() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return used_bytes_;
}

void BufferPool::release(const Arena& arena, size_t offset, size_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  release_locked(arena, offset, bytes);
}

// First fit in the oldest arena: keeps the touched memory compact. The lists are short, as buffers are large.
bool BufferPool::take_free(size_t bytes, Arena* arena, size_t* offset) {
  for (ArenaState& state : arenas_) {
    for (auto it = state.free_by_offset.begin(); it != state.free_by_offset.end(); ++it) {
      if (it->second < bytes) continue;
      *arena = state.arena;
      *offset = it->first;
      const size_t left = it->second - bytes;
      state.free_by_offset.erase(it);
      if (left > 0) state.free_by_offset.emplace(*offset + bytes, left);
      return true;
    }
  }
  return false;
}

// Fragmentation may map up to one arena more than bytes_max; untouched pages cost nothing.
Status BufferPool::add_arena(size_t bytes, bool dedicated) {
  Result<uint8_t*> base = map_aligned(bytes);
  if (!base) return base.status();
  ArenaState state;
  state.arena = {next_arena_number.fetch_add(1), base.value(), bytes};
  state.free_by_offset.emplace(0, bytes);
  state.dedicated = dedicated;
  mapped_bytes_ += bytes;
  arenas_.push_back(std::move(state));
  return {};
}

void BufferPool::release_locked(const Arena& arena, size_t offset, size_t bytes) {
  const auto state =
      std::find_if(arenas_.begin(), arenas_.end(), [&](const ArenaState& s) { return s.arena.number == arena.number; });
  DIASPORA_CHECK(state != arenas_.end());
  used_bytes_ -= bytes;
  auto& free = state->free_by_offset;
  auto [it, inserted] = free.emplace(offset, bytes);
  DIASPORA_CHECK(inserted);
  const auto next = std::next(it);
  if (next != free.end() && it->first + it->second == next->first) {
    it->second += next->second;
    free.erase(next);
  }
  if (it != free.begin()) {
    const auto previous = std::prev(it);
    if (previous->first + previous->second == it->first) {
      previous->second += it->second;
      free.erase(it);
      it = previous;
    }
  }
  if (state->dedicated && it->second == state->arena.bytes) {
    munmap(state->arena.base, state->arena.bytes);
    mapped_bytes_ -= state->arena.bytes;
    arenas_.erase(state);
  }
}

}  // namespace diaspora
