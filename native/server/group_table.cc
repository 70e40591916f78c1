#include "server/group_table.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "server/topic_table.h"

namespace diaspora::server {

namespace {

// Tokens made durable at a time: a write for each rebalance would delay it, and 2^64 are enough.
constexpr uint64_t kTokenBlock = 1024;
constexpr int64_t kStoreAgainMs = 1000;
// Bounds on what one member may ask for.
constexpr uint32_t kSessionTimeoutMsMax = 10 * 60 * 1000;
constexpr uint32_t kRebalanceTimeoutMsMax = 60 * 60 * 1000;
constexpr size_t kMembersMax = 4096;          // of a group
constexpr size_t kSessionMembersMax = 4096;   // of a session: one for each of its subscriptions
constexpr size_t kAllMembersMax = 64 * 1024;  // of all groups: about 30 MiB

// Tokens of a group that this server begins to keep: milliseconds since 1970 and room for 65,536 in each.
uint64_t token_of_now() { return token_of_time(wall_clock_ns() / 1'000'000); }

}  // namespace

GroupTable::GroupTable(Core* core)
    : core_(core), started_ms_(monotonic_ms()), first_token_(token_of_now()), alive_(std::make_shared<bool>(true)) {}

GroupTable::~GroupTable() {
  *alive_ = false;
  if (timer_ != 0) core_->reactor.cancel(timer_);
}

Result<GroupTable::Entry*> GroupTable::find_or_make(const wire::GroupSyncFrame& frame) {
  const auto hosted = core_->topics->find(frame.topic, PartitionIndex(0));
  if (!hosted) return hosted.error();
  const auto partitions = static_cast<uint32_t>(core_->topics->partition_count(frame.topic));
  const Key key{frame.topic, frame.consumer};
  auto found = entries_.find(key);
  if (found == entries_.end()) {
    const uint64_t generation = hosted.value()->partition->consumer(frame.consumer).generation;
    found = entries_.try_emplace(key, partitions, std::max(generation, token_of_now())).first;
    // There was a group before this server started, and members of it may be on their way. (An embedded server's were
    // in its process.)
    const bool is_of_before = generation > 0 && generation < first_token_ && !core_->options.listen_host.empty();
    if (is_of_before) found->second.hold_until_ms = started_ms_ + frame.session_timeout_ms;
    if (frame.view != 0) found->second.hold_until_ms = monotonic_ms() + frame.session_timeout_ms;
  }
  found->second.group.grow(partitions);
  return &found->second;
}

Status GroupTable::may_join(const void* session, const wire::GroupSyncFrame& frame) const {
  const auto known = entries_.find({frame.topic, frame.consumer});
  if (known != entries_.end() && known->second.members.contains(frame.member)) return {};
  const size_t members = known == entries_.end() ? 0 : known->second.members.size();
  const auto of_session = members_of_session_.find(session);
  const size_t session_members = of_session == members_of_session_.end() ? 0 : of_session->second;
  if (members < kMembersMax && session_members < kSessionMembersMax && member_count_ < kAllMembersMax) return {};
  return {ErrorCode::k_RESOURCE_EXHAUSTED, "a consumer group has at most " + std::to_string(kMembersMax) +
                                               " members, a session " + std::to_string(kSessionMembersMax) +
                                               ", a server " + std::to_string(kAllMembersMax)};
}

void GroupTable::sync(const void* session, const wire::GroupSyncFrame& given, Answer answer) {
  const Key key{given.topic, given.consumer};
  if (given.leaving && !entries_.contains(key)) return answer(wire::GroupView{});
  wire::GroupSyncFrame frame = given;
  frame.session_timeout_ms = std::min(frame.session_timeout_ms, kSessionTimeoutMsMax);
  frame.rebalance_timeout_ms = std::min(frame.rebalance_timeout_ms, kRebalanceTimeoutMsMax);
  const Status may = may_join(session, frame);
  if (!may && !frame.leaving) return answer(may.error());
  const Result<Entry*> entry = find_or_make(frame);
  if (!entry) return answer(entry.error());
  attend(entry.value(), session, frame, std::move(answer));
  advance(key);
  arm(key);
}

void GroupTable::attend(Entry* entry, const void* session, const wire::GroupSyncFrame& frame, Answer given) {
  if (frame.leaving) {
    entry->group.remove(frame.member);
    const auto leaving = entry->members.find(frame.member);
    if (leaving != entry->members.end()) {
      move_to(nullptr, &leaving->second);
      entry->members.erase(leaving);
      --member_count_;
    }
    return given(wire::GroupView{});
  }
  const auto [found, is_new] = entry->members.try_emplace(frame.member);
  if (is_new) ++member_count_;
  Attendance& attendance = found->second;
  if (frame.serial < attendance.serial) return given(wire::GroupView{});  // the member has sent a newer one
  if (attendance.answer) std::exchange(attendance.answer, nullptr)(wire::GroupView{});
  move_to(session, &attendance);
  attendance.serial = frame.serial;
  attendance.known_view = frame.view;
  attendance.answer = std::move(given);
  attendance.session_timeout_ms = frame.session_timeout_ms;
  entry->group.report(frame);
}

void GroupTable::move_to(const void* session, Attendance* attendance) {
  if (attendance->session != nullptr) {
    const auto count = members_of_session_.find(attendance->session);
    if (--count->second == 0) members_of_session_.erase(count);
  }
  if (session != nullptr) ++members_of_session_[session];
  attendance->session = session;
}

void GroupTable::answer(Entry* entry, const Uuid& member, Attendance* attendance) {
  wire::GroupView view = entry->group.view(member);
  view.serial = attendance->serial;
  const Answer answer = std::exchange(attendance->answer, nullptr);
  answer(view);
}

void GroupTable::advance(const Key& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  Entry& entry = found->second;
  const int64_t now = monotonic_ms();
  member_count_ -= std::erase_if(entry.members, [&](const auto& member) {
    const bool is_gone = member.second.session == nullptr && member.second.gone_until_ms <= now;
    if (is_gone) entry.group.remove(member.first);
    return is_gone;
  });
  if (entry.members.empty()) {
    entries_.erase(found);
    return;
  }
  entry.group.expire(now);
  entry.group.balance(now, now >= entry.hold_until_ms);
  if (now >= entry.hold_until_ms) entry.hold_until_ms = 0;
  if (!store_generation(key, &entry)) return;
  for (auto& [id, attendance] : entry.members) {
    if (attendance.answer && attendance.known_view != entry.group.view_number(id)) answer(&entry, id, &attendance);
  }
}

// False: nothing may be told before the tokens are stored; advance() follows then.
bool GroupTable::store_generation(const Key& key, Entry* entry) {
  if (entry->group.generation() <= entry->stored_generation) return true;
  if (entry->storing || entry->store_again_ms > monotonic_ms()) return false;
  const auto hosted = core_->topics->find(key.first, PartitionIndex(0));
  if (!hosted) {  // closing: drop() follows
    entry->store_again_ms = monotonic_ms() + kStoreAgainMs;
    return false;
  }
  entry->storing = true;
  entry->store_again_ms = 0;
  const uint64_t generation = entry->group.generation() + kTokenBlock;
  hosted.value()->partition->change_consumer(
      key.second, {.generation = generation}, [this, alive = alive_, key, generation](const Status& status) {
        if (!*alive) return;
        const auto found = entries_.find(key);
        if (found == entries_.end()) return;
        found->second.storing = false;
        if (status) {
          found->second.stored_generation = std::max(found->second.stored_generation, generation);
        } else {
          core_->log(true, "consumer group '" + key.second + "': " + status.error().message);
          found->second.store_again_ms = monotonic_ms() + kStoreAgainMs;
        }
        advance(key);
        arm(key);
      });
  return false;
}

void GroupTable::session_ended(const void* session, bool left) {
  const int64_t now = monotonic_ms();
  std::vector<Key> touched;
  for (auto& [key, entry] : entries_) {
    for (auto& [id, attendance] : entry.members) {
      if (attendance.session != session) continue;
      move_to(nullptr, &attendance);
      attendance.answer = nullptr;
      attendance.gone_until_ms = left ? now : now + attendance.session_timeout_ms;
      touched.push_back(key);
    }
  }
  for (const Key& key : touched) {
    advance(key);
    arm(key);
  }
}

void GroupTable::drop(const Uuid& topic, const Error& reason) {
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    if (entry->first.first != topic) {
      ++entry;
      continue;
    }
    Entry dropped = std::move(entry->second);
    entry = entries_.erase(entry);
    member_count_ -= dropped.members.size();
    for (auto& [id, attendance] : dropped.members) move_to(nullptr, &attendance);
    for (const auto& [id, attendance] : dropped.members) {
      if (attendance.answer) attendance.answer(reason);
    }
  }
}

void GroupTable::on_timer() {
  timer_ = 0;
  std::vector<Key> keys;
  keys.reserve(entries_.size());
  for (const auto& [key, entry] : entries_) keys.push_back(key);
  for (const Key& key : keys) advance(key);
  for (const auto& [key, entry] : entries_) arm(entry);
}

void GroupTable::arm(const Key& key) {
  const auto found = entries_.find(key);
  if (found != entries_.end()) arm(found->second);
}

// Never later than is due; a timer that has become needless finds nothing to do.
void GroupTable::arm(const Entry& entry) {
  std::optional<int64_t> next = entry.group.next_deadline_ms();
  const auto consider = [&next](int64_t deadline_ms) {
    if (deadline_ms != 0 && (!next || deadline_ms < *next)) next = deadline_ms;
  };
  consider(entry.hold_until_ms);
  consider(entry.store_again_ms);
  for (const auto& [id, attendance] : entry.members) {
    if (attendance.session == nullptr) consider(attendance.gone_until_ms);
  }
  if (!next || (timer_ != 0 && timer_ms_ <= *next)) return;
  if (timer_ != 0) core_->reactor.cancel(timer_);
  timer_ms_ = *next;
  timer_ = core_->reactor.call_after_ms(std::max<int64_t>(*next - monotonic_ms(), 1), [this] { on_timer(); });
}

}  // namespace diaspora::server
