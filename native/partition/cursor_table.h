// The cursors of one partition in memory: consumer name -> the id after the last acknowledged event.
// Threads: the partition's owner only. Invariant: a cursor never moves backwards.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>

#include "base/error.h"
#include "base/ids.h"
#include "base/limits.h"

namespace diaspora::partition {

class CursorTable {
 public:
  // 64 Ki names: a consumer name is a role, not a process; with full names about 20 MiB.
  static constexpr size_t kCursorsMax = 64 * 1024;

  std::optional<EventId> find(const std::string& consumer) const {
    const auto found = next_ids_.find(consumer);
    if (found == next_ids_.end()) return std::nullopt;
    return found->second;
  }

  // Whether `consumer` may have a cursor: INVALID_NAME, RESOURCE_EXHAUSTED.
  Status check_name(const std::string& consumer) const {
    if (consumer.empty() || consumer.size() > kNameBytesMax) {
      return {ErrorCode::k_INVALID_NAME, "a consumer name has 1 to " + std::to_string(kNameBytesMax) + " bytes"};
    }
    if (next_ids_.size() >= kCursorsMax && !next_ids_.contains(consumer)) {
      return {ErrorCode::k_RESOURCE_EXHAUSTED, "the partition has " + std::to_string(kCursorsMax) + " cursors already"};
    }
    return {};
  }

  void advance(const std::string& consumer, EventId next_id) {
    EventId& stored = next_ids_[consumer];
    if (stored < next_id) stored = next_id;
  }

  size_t size() const { return next_ids_.size(); }
  const std::unordered_map<std::string, EventId>& all() const { return next_ids_; }

 private:
  std::unordered_map<std::string, EventId> next_ids_;
};

}  // namespace diaspora::partition
