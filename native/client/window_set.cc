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
    auto buffer = window_pool().allocate(window_bytes_);
    if (!buffer) break;  // others hold the memory: tried again later
    auto entry = std::make_unique<Entry>(counters_.get());
    entry->buffer = buffer.take();
    auto segment = entry->exposed.expose(domain, entry->buffer->data(), window_bytes_, fabric::Access::kRemoteWrite);
    if (!segment) return segment.error();
    const uint32_t id = next_id_++;
    windows_[id] = std::move(entry);
    granted.push_back({id, segment.value()});
  }
  return granted;
}

WindowSet::Place WindowSet::find(uint32_t id, uint64_t offset, uint64_t bytes) const {
  const auto found = windows_.find(id);
  if (found == windows_.end() || found->second->retired) return {};
  if (offset > window_bytes_ || bytes > window_bytes_ - offset) return {};
  return {{found->second->buffer->data() + offset, bytes}, found->second->buffer};
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
