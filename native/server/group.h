// One consumer group of a topic: its members, which partitions each owns, and which it should own. Pure: no clock, no
// I/O.
//
// Each partition has at most one owner, who proves it by a token; a token is given once, and each is higher than all
// before it. When members come or go, as few partitions as possible change hands: an owner is asked to give one back,
// and only when it has, or has not in time, the next one gets it with a new token. Thread: the caller's. Owner:
// GroupTable.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "wire/control.h"

namespace diaspora::server {

class Group {
 public:
  // `generation`: no token above it was given out before.
  Group(uint32_t partitions, uint64_t generation) : slots_(partitions), generation_(generation) {}

  // The topic has more partitions now.
  void grow(uint32_t partitions);
  // What a member says of itself; a new one joins. Partitions that it owned and no longer holds are free, if it knew
  // that it owned them; those that it holds and nobody owns are its own (this server has forgotten).
  void report(const wire::GroupSyncFrame& frame);
  void remove(const Uuid& member);
  // Decides who should own what. Free partitions get their owners when `may_grant`. Takes (partitions + members) *
  // log(members) steps.
  void balance(int64_t now_ms, bool may_grant);
  // Takes away what was not given back in time. balance() follows.
  void expire(int64_t now_ms);
  // When expire() has something to do.
  std::optional<int64_t> next_deadline_ms() const;

  uint64_t generation() const { return generation_; }
  // What `member` should hold now; the number changes with it.
  wire::GroupView view(const Uuid& member) const;
  uint64_t view_number(const Uuid& member) const;

 private:
  struct Member {
    uint64_t number = 0;  // in order of joining
    uint32_t partitions = 0;
    uint32_t rebalance_timeout_ms = 0;
    uint64_t view = 0;
    std::vector<uint32_t> targets;  // while balance() decides: what it is to own
  };
  struct Slot {
    std::optional<Uuid> owner;
    std::optional<Uuid> target;
    uint64_t token = 0;       // the latest
    int64_t deadline_ms = 0;  // for the owner to give it back; 0: it may keep it
  };
  // Members by the number of partitions that they are to own, the older first among equals.
  struct Load {
    size_t partitions = 0;
    uint64_t number = 0;
    Member* member = nullptr;
    bool operator<(const Load& other) const {
      return std::pair(partitions, number) < std::pair(other.partitions, other.number);
    }
  };
  using ByLoad = std::set<Load>;

  void claim(const Uuid& member, std::span<const wire::GroupHolding> held);
  // The present plan, and who has nothing yet.
  std::vector<uint32_t> begin_plan();
  static void give(ByLoad* by_load, ByLoad::iterator to, uint32_t partition);
  static void spread(ByLoad* by_load, const std::vector<uint32_t>& free);
  static void level(ByLoad* by_load);
  void apply_plan(int64_t now_ms, bool may_grant);

  std::vector<Slot> slots_;  // by partition
  std::map<Uuid, Member> members_;
  uint64_t generation_;
  uint64_t next_number_ = 1;
};

}  // namespace diaspora::server
