// What one partition keeps in memory for each consumer name: its cursor and its group's fence.
// Threads: the partition's owner only.
#pragma once

#include <string>
#include <unordered_map>

#include "base/error.h"
#include "base/ids.h"
#include "base/limits.h"
#include "partition/partition.h"

namespace diaspora::partition {

class CursorTable {
 public:
  // 64 Ki names: a consumer name is a role, not a process; with full names about 20 MiB.
  static constexpr size_t kCursorsMax = 64 * 1024;

  ConsumerState find(const std::string& consumer) const {
    const auto found = states_.find(consumer);
    return found == states_.end() ? ConsumerState() : found->second;
  }

  // Whether `consumer` may have a cursor: INVALID_NAME, RESOURCE_EXHAUSTED.
  Status check_name(const std::string& consumer) const {
    if (consumer.empty() || consumer.size() > kNameBytesMax) {
      return {ErrorCode::k_INVALID_NAME, "a consumer name has 1 to " + std::to_string(kNameBytesMax) + " bytes"};
    }
    if (states_.size() >= kCursorsMax && !states_.contains(consumer)) {
      return {ErrorCode::k_RESOURCE_EXHAUSTED, "the partition has " + std::to_string(kCursorsMax) + " cursors already"};
    }
    return {};
  }

  // Counts from now on: those whose first change is being stored are bounded too.
  void admit(const std::string& consumer) { states_.try_emplace(consumer); }
  void apply(const std::string& consumer, const ConsumerChange& change) { states_[consumer].apply(change); }
  void restore(const std::string& consumer, const ConsumerState& state) { states_[consumer] = state; }

  const std::unordered_map<std::string, ConsumerState>& all() const { return states_; }

 private:
  std::unordered_map<std::string, ConsumerState> states_;
};

}  // namespace diaspora::partition
