#include "server/group.h"

#include <algorithm>
#include <set>

namespace diaspora::server {

void Group::grow(uint32_t partitions) {
  if (partitions > slots_.size()) slots_.resize(partitions);
}

void Group::report(const wire::GroupSyncFrame& frame) {
  const auto [found, is_new] = members_.try_emplace(frame.member);
  Member& member = found->second;
  if (is_new) {
    member.number = next_number_++;
    // Not what a member may have been told before this server restarted.
    member.view = random_u64() >> 2 | 1;
  }
  member.partitions = frame.partitions;
  member.rebalance_timeout_ms = frame.rebalance_timeout_ms;
  claim(frame.member, frame.held);
  if (frame.view != member.view) return;
  std::set<uint32_t> held;
  for (const wire::GroupHolding& holding : frame.held) held.insert(holding.partition.value);
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].owner == frame.member && !held.contains(i)) {
      slots_[i].owner.reset();
      slots_[i].deadline_ms = 0;
    }
  }
}

void Group::claim(const Uuid& member, std::span<const wire::GroupHolding> held) {
  for (const wire::GroupHolding& holding : held) {
    // A token that was never given out proves nothing.
    if (holding.partition.value >= slots_.size() || holding.token > generation_) continue;
    Slot& slot = slots_[holding.partition.value];
    const bool known = slot.owner == member;
    // Of two that this server has forgotten the one that got it later is right.
    const bool newer = slot.owner ? holding.token > slot.token : holding.token >= slot.token;
    if (known || !newer) continue;
    if (slot.owner) ++members_[*slot.owner].view;
    slot = {.owner = member, .target = member, .token = holding.token, .deadline_ms = 0};
  }
}

void Group::remove(const Uuid& member) {
  members_.erase(member);
  for (Slot& slot : slots_) {
    if (slot.owner == member) slot = {.owner = {}, .target = {}, .token = slot.token, .deadline_ms = 0};
  }
}

// Those with the fewest partitions first, the oldest members first among them.
std::vector<Uuid> Group::by_load(const std::map<Uuid, size_t>& loads) const {
  std::vector<Uuid> order;
  for (const auto& [id, load] : loads) order.push_back(id);
  std::sort(order.begin(), order.end(), [&](const Uuid& a, const Uuid& b) {
    const size_t load_a = loads.at(a);
    const size_t load_b = loads.at(b);
    return load_a != load_b ? load_a < load_b : members_.at(a).number < members_.at(b).number;
  });
  return order;
}

void Group::spread_free(Targets* targets, std::map<Uuid, size_t>* loads) const {
  for (uint32_t i = 0; i < targets->size(); ++i) {
    if ((*targets)[i]) continue;
    for (const Uuid& id : by_load(*loads)) {
      if (i >= members_.at(id).partitions) continue;
      (*targets)[i] = id;
      ++(*loads)[id];
      break;
    }
  }
}

// Moves one partition to where there are at least two fewer. False: there is none.
bool Group::level_once(Targets* targets, std::map<Uuid, size_t>* loads) const {
  const std::vector<Uuid> order = by_load(*loads);
  for (auto from = order.rbegin(); from != order.rend(); ++from) {
    for (const Uuid& to : order) {
      if (loads->at(to) + 2 > loads->at(*from)) break;
      for (size_t i = targets->size(); i-- > 0;) {
        if ((*targets)[i] != *from || i >= members_.at(to).partitions) continue;
        (*targets)[i] = to;
        --(*loads)[*from];
        ++(*loads)[to];
        return true;
      }
    }
  }
  return false;
}

void Group::balance(int64_t now_ms, bool may_grant) {
  Targets targets(slots_.size());
  std::map<Uuid, size_t> loads;
  for (const auto& [id, member] : members_) loads[id] = 0;
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    const std::optional<Uuid>& owner = slots_[i].owner;
    if (!owner || i >= members_.at(*owner).partitions) continue;
    targets[i] = owner;
    ++loads[*owner];
  }
  spread_free(&targets, &loads);
  while (level_once(&targets, &loads)) {
  }
  std::set<Uuid> changed;
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    slot.target = targets[i];
    if (slot.owner && slot.owner != slot.target && slot.deadline_ms == 0) {
      slot.deadline_ms = now_ms + std::max<int64_t>(members_.at(*slot.owner).rebalance_timeout_ms, 1);
      changed.insert(*slot.owner);
    } else if (slot.owner && slot.owner == slot.target && slot.deadline_ms != 0) {
      slot.deadline_ms = 0;
      changed.insert(*slot.owner);
    } else if (!slot.owner && slot.target && may_grant) {
      slot.owner = slot.target;
      slot.token = ++generation_;
      changed.insert(*slot.owner);
    }
  }
  for (const Uuid& id : changed) ++members_.at(id).view;
}

void Group::expire(int64_t now_ms) {
  for (Slot& slot : slots_) {
    if (slot.deadline_ms == 0 || slot.deadline_ms > now_ms) continue;
    slot.owner.reset();
    slot.deadline_ms = 0;
  }
}

std::optional<int64_t> Group::next_deadline_ms() const {
  std::optional<int64_t> next;
  for (const Slot& slot : slots_) {
    if (slot.deadline_ms != 0 && (!next || slot.deadline_ms < *next)) next = slot.deadline_ms;
  }
  return next;
}

wire::GroupView Group::view(const Uuid& member) const {
  wire::GroupView view;
  const auto found = members_.find(member);
  if (found == members_.end()) return view;
  view.view = found->second.view;
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].owner == member && slots_[i].target == member) {
      view.partitions.push_back({PartitionIndex(i), slots_[i].token});
    }
  }
  return view;
}

}  // namespace diaspora::server
