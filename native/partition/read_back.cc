#include "partition/read_back.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace diaspora::partition {

namespace {

constexpr size_t kKeptMin = 2;

bool contains(const StoredBatch& batch, EventId id) {
  return id >= batch.base_id && id.value - batch.base_id.value < batch.shape.event_count;
}

}  // namespace

void ReadBack::read(EventId id, ReadCallback done) {
  if (const StoredBatch* const known = find(id)) return done(*known);
  waiting_.push_back({id, std::move(done)});
  read_next();
}

void ReadBack::ahead(EventId id) {
  const bool known = find(id) != nullptr || std::any_of(waiting_.begin(), waiting_.end(),
                                                        [&](const Waiting& waiting) { return waiting.id == id; });
  if (known) return;
  waiting_.push_back({id, nullptr});
  read_next();
}

size_t ReadBack::release() {
  kept_.clear();
  return std::exchange(kept_bytes_, 0);
}

const StoredBatch* ReadBack::find(EventId id) const {
  const auto found =
      std::find_if(kept_.begin(), kept_.end(), [&](const StoredBatch& batch) { return contains(batch, id); });
  return found == kept_.end() ? nullptr : &*found;
}

void ReadBack::read_next() {
  if (reading_ || waiting_.empty()) return;
  reading_ = true;
  read_(waiting_.front().id, [this](Result<StoredBatch> batch) { arrived(std::move(batch)); });
}

// An error is the answer to the one who asked; a batch answers all who wait for one of its events.
void ReadBack::arrived(Result<StoredBatch> batch) {
  reading_ = false;
  std::vector<ReadCallback> answered;
  const auto answer = [&](Waiting& waiting) {
    if (waiting.done) answered.push_back(std::move(waiting.done));
  };
  answer(waiting_.front());
  waiting_.pop_front();
  if (batch) {
    keep(batch.value());
    for (Waiting& waiting : waiting_) {
      if (contains(batch.value(), waiting.id)) answer(waiting);
    }
    std::erase_if(waiting_, [&](const Waiting& waiting) { return contains(batch.value(), waiting.id); });
  }
  read_next();
  for (const ReadCallback& done : answered) done(batch);
}

void ReadBack::keep(const StoredBatch& batch) {
  kept_.push_back(batch);
  kept_bytes_ += batch.buffer->size();
  while (kept_.size() > kKeptMin && kept_bytes_ > bytes_max_) {
    kept_bytes_ -= kept_.front().buffer->size();
    kept_.pop_front();
  }
}

}  // namespace diaspora::partition
