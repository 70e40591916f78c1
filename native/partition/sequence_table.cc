#include "partition/sequence_table.h"

#include <algorithm>
#include <string>

namespace diaspora::partition {

namespace {

Admission refused(ErrorCode code, std::string message) {
  Admission admission;
  admission.kind = Admission::Kind::kRefused;
  admission.error = {code, std::move(message)};
  return admission;
}

std::string describe(const ProducerPosition& producer) {
  return "batch " + std::to_string(producer.sequence.value) + " of producer session " + producer.session.to_string();
}

}  // namespace

Admission SequenceTable::admit(const ProducerPosition& producer) const {
  if (producer.session.is_nil()) return {};
  const auto found = sessions_.find(producer.session);
  if (found == sessions_.end()) {
    if (producer.follows == BatchSequence{}) return {};
    return refused(ErrorCode::k_UNKNOWN_SESSION,
                   describe(producer) + " follows a batch that this partition has forgotten");
  }
  const Session& session = found->second;
  if (producer.sequence > session.last_seen) {
    if (producer.follows <= session.last_seen) return {};
    return refused(ErrorCode::k_OUT_OF_ORDER,
                   describe(producer) + " follows " + std::to_string(producer.follows.value) +
                       ", but the last one seen is " + std::to_string(session.last_seen.value));
  }
  const auto& ring = session.ring;
  const auto stored = std::lower_bound(ring.begin(), ring.end(), producer.sequence,
                                       [](const Stored& s, BatchSequence sequence) { return s.sequence < sequence; });
  Admission admission;
  if (stored != ring.end() && stored->sequence == producer.sequence) {
    admission.kind = Admission::Kind::kDuplicate;
    admission.outcome = {stored->base_id, stored->event_count, true};
    return admission;
  }
  const auto& flying = session.in_flight;
  if (std::find(flying.begin(), flying.end(), producer.sequence) != flying.end()) {
    admission.kind = Admission::Kind::kInFlight;
    return admission;
  }
  return refused(ErrorCode::k_OUT_OF_ORDER, describe(producer) + " comes after " +
                                                std::to_string(session.last_seen.value) + " and is not remembered");
}

void SequenceTable::begin(const ProducerPosition& producer) {
  if (producer.session.is_nil()) return;
  Session& session = touch(producer.session);
  session.last_seen = std::max(session.last_seen, producer.sequence);
  session.in_flight.push_back(producer.sequence);
}

void SequenceTable::finish(const ProducerPosition& producer, EventId base_id, uint32_t event_count) {
  if (producer.session.is_nil()) return;
  Session& session = touch(producer.session);
  std::erase(session.in_flight, producer.sequence);
  store(&session, {producer.sequence, base_id, event_count});
}

void SequenceTable::fail(const ProducerPosition& producer) {
  if (producer.session.is_nil()) return;
  Session& session = touch(producer.session);
  std::erase(session.in_flight, producer.sequence);
  session.last_seen = session.last_stored;
}

void SequenceTable::skip(const ProducerPosition& producer) {
  if (producer.session.is_nil()) return;
  Session& session = touch(producer.session);
  session.last_seen = std::max(session.last_seen, producer.sequence);
}

void SequenceTable::restore(const Uuid& session_id, BatchSequence sequence, EventId base_id, uint32_t event_count) {
  if (session_id.is_nil()) return;
  Session& session = touch(session_id);
  // A session that had been forgotten and began again: its earlier batches were not known then, nor are they now.
  if (!session.ring.empty() && session.ring.back().sequence >= sequence) session.ring.clear();
  store(&session, {sequence, base_id, event_count});
}

void SequenceTable::store(Session* session, const Stored& stored) {
  // A failed batch that is sent again may come after its successors were skipped, never after they were stored.
  DIASPORA_CHECK(session->ring.empty() || session->ring.back().sequence < stored.sequence);
  session->last_stored = stored.sequence;
  session->last_seen = std::max(session->last_seen, stored.sequence);
  session->ring.push_back(stored);
  if (session->ring.size() > kRingSize) session->ring.pop_front();
}

SequenceTable::Session& SequenceTable::touch(const Uuid& session_id) {
  const auto found = sessions_.find(session_id);
  if (found != sessions_.end()) {
    uses_.splice(uses_.begin(), uses_, found->second.use);
    return found->second;
  }
  if (sessions_.size() >= sessions_max_) drop_least_used();
  uses_.push_front(session_id);
  Session& session = sessions_[session_id];
  session.use = uses_.begin();
  return session;
}

void SequenceTable::drop_least_used() {
  for (auto use = uses_.rbegin(); use != uses_.rend(); ++use) {
    const auto session = sessions_.find(*use);
    DIASPORA_CHECK(session != sessions_.end());
    if (!session->second.in_flight.empty()) continue;
    uses_.erase(std::next(use).base());
    sessions_.erase(session);
    return;
  }
  // Every session has batches in flight: their number is bounded by the callers' memory, so the table may exceed its
  // bound for that long.
}

}  // namespace diaspora::partition
