// Who owns which partition: even shares, few moves, tokens that only rise, and members that come back.
#include "server/group.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace diaspora::server {
namespace {

constexpr uint32_t kRebalanceMs = 1000;

// A member as the client library behaves: it holds what it is given, and gives back what it is asked for.
class TestMember {
 public:
  explicit TestMember(uint8_t number, uint32_t partitions) : partitions_(partitions) { id_.bytes[0] = number; }

  const Uuid& id() const { return id_; }
  const std::map<uint32_t, uint64_t>& held() const { return held_; }
  std::set<uint32_t> owned() const {
    std::set<uint32_t> owned;
    for (const auto& [partition, token] : held_) owned.insert(partition);
    for (const uint32_t partition : revoked_) owned.erase(partition);
    return owned;
  }
  void report(Group* group) {
    wire::GroupSyncFrame frame;
    frame.member = id_;
    frame.view = view_;
    frame.partitions = partitions_;
    frame.rebalance_timeout_ms = kRebalanceMs;
    for (const auto& [partition, token] : held_) frame.held.push_back({PartitionIndex(partition), token});
    group->report(frame);
  }
  // Takes in what the group says; true: there was something new.
  bool look(const Group& group) {
    const wire::GroupView view = group.view(id_);
    if (view.view == view_) return false;
    view_ = view.view;
    std::map<uint32_t, uint64_t> wanted;
    for (const wire::GroupHolding& holding : view.partitions) wanted[holding.partition.value] = holding.token;
    for (const auto& [partition, token] : held_) {
      const auto found = wanted.find(partition);
      if (found == wanted.end() || found->second != token) revoked_.insert(partition);
      if (found != wanted.end()) wanted.erase(found);
    }
    for (const auto& [partition, token] : wanted) held_[partition] = token;
    return true;
  }
  void give_back() {
    for (const uint32_t partition : revoked_) held_.erase(partition);
    revoked_.clear();
  }

 private:
  Uuid id_;
  uint32_t partitions_;
  uint64_t view_ = 0;
  std::map<uint32_t, uint64_t> held_;
  std::set<uint32_t> revoked_;
};

class GroupTest : public ::testing::Test {
 protected:
  void join(uint32_t partitions = 8) {
    members_.emplace_back(static_cast<uint8_t>(members_.size() + 1), partitions);
    members_.back().report(&group_);
    settle();
  }
  void leave(size_t index) {
    group_.remove(members_[index].id());
    members_.erase(members_.begin() + static_cast<ptrdiff_t>(index));
    settle();
  }
  // Until nobody hears anything new.
  void settle(bool give_back = true) {
    group_.balance(now_ms_, true);
    for (bool changed = true; changed;) {
      changed = false;
      for (TestMember& member : members_) {
        if (!member.look(group_)) continue;
        changed = true;
        if (give_back) member.give_back();
        member.report(&group_);
        group_.balance(now_ms_, true);
      }
    }
  }
  void expect_even(uint32_t partitions = 8) {
    std::set<uint32_t> all;
    for (const TestMember& member : members_) {
      const std::set<uint32_t> owned = member.owned();
      EXPECT_GE(owned.size(), partitions / members_.size());
      EXPECT_LE(owned.size(), (partitions + members_.size() - 1) / members_.size());
      for (const uint32_t partition : owned) EXPECT_TRUE(all.insert(partition).second) << "two own " << partition;
    }
    EXPECT_EQ(all.size(), partitions);
  }

  Group group_{8, 0};
  std::vector<TestMember> members_;
  int64_t now_ms_ = 1000;
};

TEST_F(GroupTest, SharesAreEvenWhoeverComesAndGoes) {
  for (int i = 0; i < 5; ++i) {
    join();
    expect_even();
  }
  leave(2);
  expect_even();
  leave(0);
  expect_even();
  leave(1);
  leave(1);
  expect_even();
}

TEST_F(GroupTest, NoMorePartitionsMoveThanTheNewcomerGets) {
  join();
  join();
  const std::set<uint32_t> first = members_[0].owned();
  const std::set<uint32_t> second = members_[1].owned();
  join();
  for (const uint32_t partition : members_[0].owned()) EXPECT_TRUE(first.contains(partition));
  for (const uint32_t partition : members_[1].owned()) EXPECT_TRUE(second.contains(partition));
  expect_even();
}

TEST_F(GroupTest, MoreMembersThanPartitionsLeaveSomeWithNone) {
  for (int i = 0; i < 10; ++i) join();
  size_t owned = 0;
  for (const TestMember& member : members_) owned += member.owned().size();
  EXPECT_EQ(owned, 8U);
  leave(0);
  expect_even();
}

TEST_F(GroupTest, APartitionChangesHandsOnlyWhenItIsGivenBackOrTheTimeIsUp) {
  join();
  members_.emplace_back(2, 8);
  members_.back().report(&group_);
  settle(false);
  EXPECT_EQ(members_[0].owned().size(), 4U) << "it was asked to give four back";
  EXPECT_TRUE(members_[1].held().empty()) << "and has not";
  EXPECT_EQ(group_.next_deadline_ms(), now_ms_ + kRebalanceMs);
  const std::map<uint32_t, uint64_t> before = members_[0].held();
  now_ms_ += kRebalanceMs - 1;
  group_.expire(now_ms_);
  settle(false);
  EXPECT_TRUE(members_[1].held().empty());
  now_ms_ += 1;
  group_.expire(now_ms_);
  settle(false);
  EXPECT_EQ(members_[1].owned().size(), 4U);
  for (const auto& [partition, token] : members_[1].held()) EXPECT_GT(token, before.at(partition));
  members_[0].give_back();
  members_[0].report(&group_);
  settle();
  expect_even();
}

TEST_F(GroupTest, TokensRiseWithEachOwner) {
  std::map<uint32_t, uint64_t> highest;
  std::map<uint64_t, Uuid> owner_of_token;
  for (int round = 0; round < 50; ++round) {
    if (members_.size() < 3) join();
    for (const TestMember& member : members_) {
      for (const auto& [partition, token] : member.held()) {
        EXPECT_GE(token, highest[partition]);
        highest[partition] = token;
        EXPECT_EQ(owner_of_token.try_emplace(token, member.id()).first->second, member.id());
      }
    }
    if (members_.size() == 3) leave(static_cast<size_t>(round) % 3);
  }
}

TEST_F(GroupTest, MembersOfBeforeARestartKeepWhatTheyHold) {
  for (int i = 0; i < 3; ++i) join();
  std::vector<std::set<uint32_t>> before;
  for (const TestMember& member : members_) before.push_back(member.owned());
  group_ = Group(8, group_.generation() + 100);
  for (TestMember& member : members_) {
    member.report(&group_);
    group_.balance(now_ms_, false);
  }
  settle();
  for (size_t i = 0; i < members_.size(); ++i) EXPECT_EQ(members_[i].owned(), before[i]);
}

TEST_F(GroupTest, OfTwoThatClaimAPartitionTheLaterOwnerKeepsIt) {
  join();
  TestMember zombie = members_[0];
  leave(0);
  members_.emplace_back(2, 8);
  members_[0].report(&group_);
  settle();
  group_ = Group(8, group_.generation());
  zombie.report(&group_);
  group_.balance(now_ms_, false);
  const std::map<uint32_t, uint64_t> before = members_[0].held();
  members_[0].report(&group_);
  group_.balance(now_ms_, false);
  EXPECT_EQ(group_.view(members_[0].id()).partitions.size() + group_.view(zombie.id()).partitions.size(), 4U)
      << "half of them are to be given to the other, and wait for that";
  EXPECT_TRUE(group_.view(zombie.id()).partitions.empty());
  for (const wire::GroupHolding& holding : group_.view(members_[0].id()).partitions) {
    EXPECT_EQ(holding.token, before.at(holding.partition.value));
  }
}

TEST_F(GroupTest, ATokenThatWasNeverGivenOutProvesNothing) {
  TestMember liar(9, 8);
  wire::GroupSyncFrame frame;
  frame.member = liar.id();
  frame.partitions = 8;
  frame.held = {{PartitionIndex(0), 1000}, {PartitionIndex(99), 1}};
  group_.report(frame);
  group_.balance(now_ms_, true);
  for (const wire::GroupHolding& holding : group_.view(liar.id()).partitions) EXPECT_LE(holding.token, 8U);
}

// Each newcomer moves what it gets, and nothing that was to move already.
TEST_F(GroupTest, JoiningOneByOneMovesNoMoreThanJoiningAtOnce) {
  join();
  for (uint8_t i = 0; i < 3; ++i) {
    members_.emplace_back(static_cast<uint8_t>(members_.size() + 1), 8);
    members_.back().report(&group_);
    settle(false);
  }
  size_t revoked = 0;
  for (const TestMember& member : members_) revoked += member.held().size() - member.owned().size();
  EXPECT_EQ(revoked, 6U) << "the first keeps two of eight";
}

// The server's only thread does this for every join: a hundred thousand steps, not ten million.
TEST_F(GroupTest, ManyMembersOfManyPartitionsSettle) {
  constexpr uint32_t kPartitions = 1024;
  group_ = Group(kPartitions, 0);
  for (int i = 0; i < 255; ++i) {
    members_.emplace_back(static_cast<uint8_t>(i + 1), kPartitions);
    members_.back().report(&group_);
    group_.balance(now_ms_, true);
  }
  settle();
  expect_even(kPartitions);
}

TEST_F(GroupTest, MembersThatKnowNoPartitionsDoNotStopTheOthers) {
  join(0);
  join(8);
  join(4);
  EXPECT_TRUE(members_[0].owned().empty());
  EXPECT_EQ(members_[1].owned().size(), 4U);
  EXPECT_EQ(members_[2].owned(), (std::set<uint32_t>{0, 1, 2, 3}));
}

TEST_F(GroupTest, NewPartitionsGoToMembersThatKnowThem) {
  join(8);
  group_.grow(12);
  members_.emplace_back(2, 12);
  members_.back().report(&group_);
  settle();
  for (uint32_t partition = 8; partition < 12; ++partition) EXPECT_TRUE(members_[1].owned().contains(partition));
  for (const uint32_t partition : members_[0].owned()) EXPECT_LT(partition, 8U);
  expect_even(12);
}

}  // namespace
}  // namespace diaspora::server
