#include "client/membership.h"

#include <utility>

namespace diaspora::client {

Membership::Membership(RequestTable* coordinator, Options options, Owner* owner)
    : coordinator_(coordinator), options_(std::move(options)), owner_(owner), alive_(std::make_shared<bool>(true)) {}

Membership::~Membership() {
  *alive_ = false;
  coordinator_->forget(request_);
}

wire::GroupSyncFrame Membership::frame() const {
  wire::GroupSyncFrame frame;
  frame.topic = options_.topic;
  frame.consumer = options_.consumer;
  frame.member = member_;
  frame.serial = serial_;
  frame.view = view_;
  frame.partitions = options_.partitions;
  frame.session_timeout_ms = options_.session_timeout_ms;
  frame.rebalance_timeout_ms = options_.rebalance_timeout_ms;
  for (const auto& [index, held] : held_) frame.held.push_back({PartitionIndex(index), held.token});
  return frame;
}

// A newer request takes the place of the one before, which is answered too, with nothing.
void Membership::sync() {
  coordinator_->forget(request_);
  ++serial_;
  request_ = coordinator_->add_kept([&](uint64_t id) { return wire::make_group_sync(id, frame()); },
                                    [this, alive = alive_, serial = serial_](const auto& reply) {
                                      if (*alive && serial == serial_) answered(reply);
                                    });
}

void Membership::answered(const Result<std::span<const uint8_t>>& reply) {
  if (!reply) return owner_->membership_failed(reply.error());
  const Result<wire::GroupView> view = wire::decode_group_sync_reply(reply.value());
  if (!view) return owner_->membership_failed(view.error());
  view_ = view.value().view;
  std::map<uint32_t, uint64_t> wanted;
  for (const wire::GroupHolding& holding : view.value().partitions) wanted[holding.partition.value] = holding.token;
  std::vector<PartitionIndex> revoked;
  for (auto& [index, held] : held_) {
    const auto found = wanted.find(index);
    const bool is_kept = found != wanted.end() && found->second == held.token;
    if (!is_kept && !std::exchange(held.revoked, true)) revoked.emplace_back(index);
    // With another token it was taken away and given anew: what was not finished is the group's again.
    if (is_kept) wanted.erase(found);
  }
  std::vector<wire::GroupHolding> granted;
  for (const auto& [index, token] : wanted) {
    granted.push_back({PartitionIndex(index), token});
    held_[index] = {token, false};
  }
  sync();
  owner_->assigned(granted, revoked);
}

void Membership::leave() {
  if (std::exchange(left_, true)) return;
  coordinator_->forget(std::exchange(request_, 0));
  *alive_ = false;
  if (!coordinator_->can_send()) return;
  ++serial_;
  coordinator_->add_for_session(
      [&](uint64_t id) {
        wire::GroupSyncFrame leaving = frame();
        leaving.leaving = true;
        return wire::make_group_sync(id, leaving);
      },
      [](const Result<std::span<const uint8_t>>& /*reply*/) {});
}

void Membership::release(PartitionIndex partition) {
  const auto found = held_.find(partition.value);
  if (left_ || found == held_.end() || !found->second.revoked) return;
  held_.erase(found);
  sync();
}

void Membership::fenced(PartitionIndex partition) {
  const auto found = held_.find(partition.value);
  if (left_ || found == held_.end() || std::exchange(found->second.revoked, true)) return;
  owner_->assigned({}, {partition});
}

bool Membership::owns(PartitionIndex partition) const {
  const auto found = held_.find(partition.value);
  return found != held_.end() && !found->second.revoked;
}

std::optional<uint64_t> Membership::token(PartitionIndex partition) const {
  const auto found = held_.find(partition.value);
  if (found == held_.end()) return std::nullopt;
  return found->second.token;
}

}  // namespace diaspora::client
