// Gives a partition's answers and commit notices on its owner's thread, one post for all of a turn.
//
// Threads: the owner's only. Invariant: an answer given through add() runs exactly once, after the call that added it,
// unless the queue is destroyed before; then it is dropped unrun.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "partition/partition.h"

namespace diaspora::partition {

class AnswerQueue {
 public:
  explicit AnswerQueue(Executor* owner) : owner_(owner) {}
  ~AnswerQueue() { *alive_ = false; }
  AnswerQueue(const AnswerQueue&) = delete;
  AnswerQueue& operator=(const AnswerQueue&) = delete;

  void add(std::function<void()> answer) {
    answers_.push_back(std::move(answer));
    wake();
  }
  // The next id has moved, or will not: the observers are told once, after the answers.
  void note_commit() {
    moved_ = true;
    wake();
  }
  void add_observer(CommitObserver* observer) { observers_.push_back(observer); }
  void remove_observer(CommitObserver* observer) { std::erase(observers_, observer); }

  // Becomes false with the partition; work posted from other threads looks at it, on the owner's thread.
  const std::shared_ptr<bool>& alive() const { return alive_; }

  // Runs what is waiting. An answer or an observer may use the partition again, or destroy it.
  void drain() {
    const std::shared_ptr<bool> alive = alive_;
    std::vector<std::function<void()>> answers;
    answers.swap(answers_);
    posted_ = false;
    const bool moved = std::exchange(moved_, false);
    for (const auto& answer : answers) answer();
    if (!moved || !*alive) return;
    const std::vector<CommitObserver*> observers = observers_;
    for (CommitObserver* observer : observers) {
      if (!*alive) return;
      if (std::find(observers_.begin(), observers_.end(), observer) != observers_.end()) observer->on_commit();
    }
  }

 private:
  void wake() {
    if (std::exchange(posted_, true)) return;
    owner_->post([this, alive = alive_] {
      if (*alive && posted_) drain();
    });
  }

  Executor* const owner_;
  std::vector<std::function<void()>> answers_;
  std::vector<CommitObserver*> observers_;
  bool posted_ = false;
  bool moved_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace diaspora::partition
