#include "client/window_set.h"

#include <utility>

namespace diaspora::client {

namespace {

// Leaked like the progress thread: buffers may be held until the process ends.
BufferPool& window_pool() {
  static auto* const pool = new std::shared_ptr<BufferPool>(BufferPool::create(WindowSet::kPoolBytesMax));
  return **pool;
}

}  // namespace

Result<std::vector<wire::Window>> WindowSet::refill(fabric::Domain* domain) {
  std::vector<wire::Window> granted;
  while (!complete()) {
    auto entry = std::make_unique<Entry>(counters_.get());
    if (!allocate(entry.get())) break;
    const std::span<uint8_t> memory = entry->memory;
    auto segment = entry->exposed.expose(domain, memory.data(), memory.size(), fabric::Access::kRemoteWrite);
    if (!segment) return segment.error();
    const uint32_t id = next_id_++;
    windows_[id] = std::move(entry);
    granted.push_back({id, segment.value()});
  }
  return granted;
}

// False: others hold the memory; to be tried again later.
bool WindowSet::allocate(Entry* entry) const {
  if (auto buffer = window_pool().allocate(window_bytes_)) {
    entry->memory = {buffer.value()->data(), buffer.value()->size()};
    entry->owner = buffer.take();
    return true;
  }
  if (windows_.size() >= kWindowsMin) return false;
  const std::shared_ptr<uint8_t[]> own(new uint8_t[kWindowBytesMin]);
  entry->memory = {own.get(), kWindowBytesMin};
  entry->owner = own;
  return true;
}

WindowSet::Place WindowSet::find(uint32_t id, uint64_t offset, uint64_t bytes) const {
  const auto found = windows_.find(id);
  if (found == windows_.end() || found->second->retired) return {};
  const Entry& window = *found->second;
  if (offset > window.memory.size() || bytes > window.memory.size() - offset) return {};
  return {window.memory.subspan(offset, bytes), window.owner};
}

void WindowSet::note_delivery(uint32_t id) {
  const auto found = windows_.find(id);
  if (found != windows_.end()) ++found->second->untaken;
}

void WindowSet::note_taken(uint32_t id) {
  const auto found = windows_.find(id);
  if (found == windows_.end()) return;  // of a connection that was lost
  --found->second->untaken;
  forget_if_done(id);
}

bool WindowSet::retire(uint32_t id) {
  const auto found = windows_.find(id);
  if (found == windows_.end() || found->second->retired) return false;
  found->second->retired = true;
  found->second->exposed.withdraw();
  forget_if_done(id);
  return true;
}

void WindowSet::forget_if_done(uint32_t id) {
  const auto found = windows_.find(id);
  if (found->second->retired && found->second->untaken == 0) windows_.erase(found);
}

}  // namespace diaspora::client
