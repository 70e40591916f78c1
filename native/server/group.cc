#include "server/group.h"

#include <algorithm>
#include <iterator>
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

std::vector<uint32_t> Group::begin_plan() {
  for (auto& [id, member] : members_) member.targets.clear();
  std::vector<uint32_t> free;
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    const auto planned = slot.target ? members_.find(*slot.target) : members_.end();
    const auto owner = slot.owner ? members_.find(*slot.owner) : members_.end();
    // What is on its way stays so: joining one after the other moves no more than joining at once.
    if (planned != members_.end() && i < planned->second.partitions) {
      planned->second.targets.push_back(i);
    } else if (owner != members_.end() && i < owner->second.partitions) {
      owner->second.targets.push_back(i);
    } else {
      free.push_back(i);
    }
  }
  return free;
}

void Group::give(ByLoad* by_load, ByLoad::iterator to, uint32_t partition) {
  auto entry = by_load->extract(to);
  Load& load = entry.value();
  load.member->targets.push_back(partition);
  load.partitions = load.member->targets.size();
  by_load->insert(std::move(entry));
}

// To those who have the fewest, of those who know the partition.
void Group::spread(ByLoad* by_load, const std::vector<uint32_t>& free) {
  for (const uint32_t partition : free) {
    const auto to = std::find_if(by_load->begin(), by_load->end(),
                                 [&](const Load& load) { return partition < load.member->partitions; });
    if (to != by_load->end()) give(by_load, to, partition);
  }
}

// From those who have the most to those who have at least two fewer.
void Group::level(ByLoad* by_load) {
  while (by_load->size() > 1) {
    const auto to = by_load->begin();
    const auto from = std::prev(by_load->end());
    const uint32_t known = to->member->partitions;
    Member& giver = *from->member;
    if (to->partitions + 2 > from->partitions) return;
    const auto last = std::find_if(giver.targets.rbegin(), giver.targets.rend(),
                                   [&](uint32_t partition) { return partition < known; });
    if (last == giver.targets.rend()) {
      by_load->erase(to);  // it knows none of them
      continue;
    }
    const uint32_t partition = *last;
    giver.targets.erase(std::next(last).base());
    auto entry = by_load->extract(from);
    entry.value().partitions = giver.targets.size();
    by_load->insert(std::move(entry));
    give(by_load, to, partition);
  }
}

void Group::balance(int64_t now_ms, bool may_grant) {
  const std::vector<uint32_t> free = begin_plan();
  ByLoad by_load;
  for (auto& [id, member] : members_) by_load.insert({member.targets.size(), member.number, &member});
  spread(&by_load, free);
  level(&by_load);
  for (Slot& slot : slots_) slot.target.reset();
  for (const auto& [id, member] : members_) {
    for (const uint32_t partition : member.targets) slots_[partition].target = id;
  }
  apply_plan(now_ms, may_grant);
}

void Group::apply_plan(int64_t now_ms, bool may_grant) {
  std::set<Uuid> changed;
  for (Slot& slot : slots_) {
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

uint64_t Group::view_number(const Uuid& member) const {
  const auto found = members_.find(member);
  return found == members_.end() ? 0 : found->second.view;
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
