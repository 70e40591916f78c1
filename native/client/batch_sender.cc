#include "client/batch_sender.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "client/batch_encoder.h"

namespace diaspora::client {

namespace {

constexpr int64_t kRetryMs = 20;

using State = Batch::State;

}  // namespace

BatchSender::BatchSender(Reactor* reactor, Connection* connection)
    : reactor_(reactor), connection_(connection), alive_(std::make_shared<bool>(true)) {}

BatchSender::~BatchSender() { *alive_ = false; }

void BatchSender::remove_lane(BatchLane* lane) {
  DIASPORA_CHECK(lane->queue.empty());
  std::erase(lanes_, lane);
  std::erase(turns_, lane);
  // Batches that were given up while their answers are under way.
  for (auto& [token, entry] : in_flight_) {
    if (entry.lane == lane) entry.lane = nullptr;
  }
}

void BatchSender::enqueue(BatchLane* lane, std::unique_ptr<Batch> batch) {
  lane->queue.push_back(std::move(batch));
  if (lane->aborted) {
    finish(lane->queue.back().get(), {ErrorCode::k_ABORTED, "the producer was destroyed"});
    return flush(lane);
  }
  list(lane);
  if (connection_->is_up()) {
    pump();
  } else {
    connection_->open();
  }
}

void BatchSender::abort(BatchLane* lane) {
  lane->aborted = true;
  const Status aborted(ErrorCode::k_ABORTED, "the producer was destroyed");
  for (const std::unique_ptr<Batch>& batch : lane->queue) {
    if (batch->state == State::kAnswered) continue;
    if (batch->state == State::kSent && !batch->exposed.empty()) {
      batch->aborted = true;
      continue;
    }
    forget(batch.get());
    finish(batch.get(), aborted);
  }
  flush(lane);
}

// It was sent; only its credit is awaited.
void BatchSender::forget(const Batch* batch) {
  for (auto& [token, entry] : in_flight_) {
    if (entry.batch == batch) entry.batch = nullptr;
  }
}

bool BatchSender::exposes_memory(const BatchLane& lane) {
  return std::any_of(lane.queue.begin(), lane.queue.end(),
                     [](const auto& batch) { return batch->state == State::kSent && !batch->exposed.empty(); });
}

void BatchSender::list(BatchLane* lane) {
  if (lane->listed || lane->holding_back) return;
  lane->listed = true;
  turns_.push_back(lane);
}

Batch* BatchSender::next_to_send(const BatchLane& lane) {
  for (const std::unique_ptr<Batch>& batch : lane.queue) {
    if (batch->state == State::kWaiting) return batch.get();
    // Its refusal is under way, as that of its session: what comes after it must not get before it in the new one.
    if (batch->state == State::kSent && batch->session != lane.session) return nullptr;
  }
  return nullptr;
}

void BatchSender::pump() {
  while (connection_->is_up() && !turns_.empty() && in_flight_.size() < connection_->limits().batch_credits) {
    BatchLane* lane = turns_.front();
    turns_.pop_front();
    lane->listed = false;
    Batch* batch = next_to_send(*lane);
    if (batch == nullptr) continue;
    send(lane, batch);
    if (!lane->queue.empty()) list(lane);
  }
}

// The sequence that a batch follows: the nearest before it in its session that was not refused for good.
BatchSequence BatchSender::predecessor(const BatchLane& lane, const Batch& batch) {
  BatchSequence result = batch.session == lane.session ? lane.last_accepted : BatchSequence{};
  for (const std::unique_ptr<Batch>& earlier : lane.queue) {
    if (earlier.get() == &batch) break;
    const bool refused = earlier->state == State::kAnswered && !earlier->status;
    if (!refused && earlier->session == batch.session) result = std::max(result, earlier->sequence);
  }
  return result;
}

// Will an earlier batch arrive after this one was sent?
bool BatchSender::predecessor_moved(const BatchLane& lane, const Batch& batch) {
  for (const std::unique_ptr<Batch>& earlier : lane.queue) {
    if (earlier.get() == &batch) break;
    if (earlier->state == State::kWaiting) return true;
    if (earlier->state == State::kSent && earlier->sent_order > batch.sent_order) return true;
  }
  return false;
}

void BatchSender::send(BatchLane* lane, Batch* batch) {
  if (batch->sequence.value == 0) {
    batch->session = lane->session;
    batch->sequence = BatchSequence(++lane->sequences);
  }
  batch->follows = predecessor(*lane, *batch);
  BatchTarget target;
  target.domain = connection_->domain();
  target.registrations = connection_->registrations();
  target.message_bytes = connection_->limits().message_bytes;
  target.topic = lane->topic;
  target.token = next_token_++;
  const Status encoded = encode_batch(target, batch, &encoded_);
  if (!encoded) {
    finish(batch, encoded);
    return flush(lane);
  }
  batch->state = State::kSent;
  batch->sent_order = next_order_++;
  if (batch->last_connection != connection_number_) ++batch->connections;
  batch->last_connection = connection_number_;
  in_flight_[target.token] = {lane, batch};
  connection_->send(encoded_);
}

Status BatchSender::on_answers(const wire::MessageView& view) {
  const Result<wire::BatchDoneMessage> message = wire::decode_batch_done(view);
  if (!message) return message.status();
  for (const wire::BatchAnswer& answer : message.value().answers) {
    const auto found = in_flight_.find(answer.token);
    if (found == in_flight_.end()) return {ErrorCode::k_PROTOCOL, "an answer to a batch that was not sent"};
    const InFlight entry = found->second;
    in_flight_.erase(found);
    if (entry.batch != nullptr) settle(entry.lane, entry.batch, answer);
  }
  pump();
  return {};
}

void BatchSender::settle(BatchLane* lane, Batch* batch, const wire::BatchAnswer& answer) {
  batch->exposed.withdraw();
  if (batch->aborted) {
    finish(batch, {ErrorCode::k_ABORTED, "the producer was destroyed"});
  } else if (answer.code == ErrorCode::kOk) {
    increase(&lane->counters->data_bytes_by_rma, batch->rma_data_bytes);
    batch->first_id = answer.base_id;
    if (batch->session == lane->session) lane->last_accepted = std::max(lane->last_accepted, batch->sequence);
    finish(batch, {});
  } else if (!try_again(lane, batch, answer.code)) {
    finish(batch, {answer.code, "partition " + std::to_string(lane->partition.value) + " at server " +
                                    connection_->name() + ": " + answer.detail});
  }
  flush(lane);
  if (!lane->queue.empty()) list(lane);
}

bool BatchSender::try_again(BatchLane* lane, Batch* batch, ErrorCode code) {
  switch (code) {
    case ErrorCode::k_RESOURCE_EXHAUSTED:
      return try_again_later(lane, batch);
    case ErrorCode::k_OUT_OF_ORDER:
      if (!predecessor_moved(*lane, *batch) && predecessor(*lane, *batch) == batch->follows) return false;
      break;
    case ErrorCode::k_UNKNOWN_SESSION:
      if (batch->connections > 1) return false;
      if (batch->session == lane->session) renew_session(lane);
      batch->sequence = {};
      break;
    default:
      return false;
  }
  batch->state = State::kWaiting;
  list(lane);
  return true;
}

bool BatchSender::try_again_later(BatchLane* lane, Batch* batch) {
  const int64_t now = monotonic_ms();
  if (batch->first_refused_ms == 0) batch->first_refused_ms = now;
  if (now - batch->first_refused_ms > connection_->options().reconnect_timeout_ms) return false;
  batch->state = State::kWaiting;
  lane->holding_back = true;
  std::erase(turns_, lane);
  lane->listed = false;
  reactor_->call_after_ms(kRetryMs, [this, alive = alive_, lane] {
    // The lane may be gone by now.
    if (!*alive || std::find(lanes_.begin(), lanes_.end(), lane) == lanes_.end()) return;
    lane->holding_back = false;
    list(lane);
    pump();
  });
  return true;
}

void BatchSender::renew_session(BatchLane* lane) {
  lane->session = Uuid::random();
  lane->sequences = 0;
  lane->last_accepted = {};
}

void BatchSender::finish(Batch* batch, Status status) {
  batch->state = State::kAnswered;
  batch->status = std::move(status);
}

void BatchSender::flush(BatchLane* lane) {
  while (!lane->queue.empty() && lane->queue.front()->state == State::kAnswered) {
    std::unique_ptr<Batch> batch = std::move(lane->queue.front());
    lane->queue.pop_front();
    lane->owner->batch_finished(std::move(batch));
  }
}

void BatchSender::on_up() {
  ++connection_number_;
  for (BatchLane* lane : lanes_) {
    if (!lane->queue.empty()) list(lane);
  }
  pump();
}

// The link is closed: nothing of what was exposed is touched any more.
void BatchSender::on_down() {
  in_flight_.clear();
  const std::vector<BatchLane*> lanes = lanes_;
  for (BatchLane* lane : lanes) {
    for (const std::unique_ptr<Batch>& batch : lane->queue) {
      if (batch->state != State::kSent) continue;
      batch->exposed.withdraw();
      batch->state = State::kWaiting;
      if (batch->aborted) finish(batch.get(), {ErrorCode::k_ABORTED, "the producer was destroyed"});
    }
    flush(lane);
  }
}

// What was sent may have been stored: a new session begins, so that later batches follow nothing uncertain.
void BatchSender::fail_all(const Error& error) {
  const std::vector<BatchLane*> lanes = lanes_;
  for (BatchLane* lane : lanes) fail(lane, error);
}

void BatchSender::fail(BatchLane* lane, const Error& error) {
  for (const std::unique_ptr<Batch>& batch : lane->queue) {
    if (batch->state == State::kAnswered) continue;
    forget(batch.get());
    finish(batch.get(), error);
  }
  renew_session(lane);
  flush(lane);
}

}  // namespace diaspora::client
