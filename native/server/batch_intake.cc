#include "server/batch_intake.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "base/crc32c.h"

namespace diaspora::server {

namespace {

partition::ProducerPosition position_of(const wire::BatchMessage& message) {
  return {message.producer_session, message.sequence, message.follows};
}

}  // namespace

struct BatchIntake::Incoming {
  wire::BatchMessage message;
  std::shared_ptr<HostedPartition> hosted;
  BufferRef buffer;  // null: a resend of a batch that is being stored
  std::vector<std::shared_ptr<fabric::MemoryRegion>> regions;
  size_t reads_left = 0;
  bool ready = false;
  Error error;

  // Verification follows the bytes as they arrive, while they are in the cache and the next ones are under way.
  std::vector<uint64_t> run_bytes;  // of each run, arrived without a gap
  size_t runs_verified = 0;         // all runs before it have arrived and were looked at
  uint64_t data_before = 0;         // bytes of data in those
  uint64_t data_arrived = 0;        // and with those of the run after them
  uint32_t event = 0;               // being verified
  uint64_t data_verified = 0;
  uint32_t crc = 0;  // of the part of `event` before data_verified

  void run_arrived(size_t run, uint64_t bytes);
  Status check_head(std::span<const uint8_t> head) const;
  void verify_data();
  std::span<uint8_t> body() const {
    return {buffer->data() + partition::kRecordHeaderBytes, message.shape.body_bytes()};
  }
  LaneKey lane() const { return {message.producer_session, message.topic, message.partition.value}; }
};

// `bytes` of `run` are there, from its start on.
void BatchIntake::Incoming::run_arrived(size_t run, uint64_t bytes) {
  run_bytes[run] = bytes;
  while (runs_verified < run_bytes.size() && error.code == ErrorCode::kOk) {
    const uint64_t whole = message.runs[runs_verified].segment.bytes;
    const uint64_t there = run_bytes[runs_verified];
    if (runs_verified > 0) {
      data_arrived = data_before + there;
      verify_data();
    }
    if (there < whole) return;
    if (runs_verified == 0) {
      const Status head_ok = check_head(body().first(whole));
      if (!head_ok) error = head_ok.error();
    } else {
      data_before += whole;
    }
    ++runs_verified;
  }
}

// Compressed metadata is stored as it came, but only what everybody can read.
Status BatchIntake::Incoming::check_head(std::span<const uint8_t> head) const {
  const Status valid = wire::validate_head(message.shape, head, message.head_crc);
  if (!valid || !message.shape.compressed) return valid;
  std::vector<uint8_t> expanded(message.shape.table_bytes() + wire::expanded_metadata_bytes(message.shape, head));
  return wire::expand_head(message.shape, head, expanded);
}

void BatchIntake::Incoming::verify_data() {
  const std::span<const uint8_t> head = body().first(message.shape.head_bytes());
  const std::span<const uint8_t> data = body().subspan(message.shape.data_offset());
  while (data_verified < data_arrived) {
    const wire::EventExtent extent = wire::event_extent(head, event);
    const uint64_t end = extent.data_offset + extent.data_bytes;
    const uint64_t arrived = std::min(end, data_arrived);
    crc = crc32c(data.subspan(data_verified, arrived - data_verified), crc);
    data_verified = arrived;
    if (data_verified < end) return;
    if (crc != extent.data_crc && extent.data_bytes > 0) {
      error = {ErrorCode::k_DATA_CHANGED,
               "the data of event " + std::to_string(event) +
                   " of its batch no longer matches the checksum taken at push: it must not be written to before the "
                   "event is acknowledged"};
      return;
    }
    ++event;
    crc = 0;
  }
}

BatchIntake::BatchIntake(Core* core, ServedDomain* domain, session::Link* link, Answer answer)
    : core_(core),
      domain_(domain),
      link_(link),
      answer_([this, answer = std::move(answer)](wire::BatchAnswer given) {
        --unanswered_;
        answer(std::move(given));
      }),
      alive_(std::make_shared<bool>(true)) {}

BatchIntake::~BatchIntake() {
  *alive_ = false;
  if (retry_timer_ != 0) core_->reactor.cancel(retry_timer_);
}

Status BatchIntake::receive(const wire::MessageView& view) {
  Result<wire::BatchMessage> message = wire::decode_batch(view);
  if (!message) return message.status();
  if (unanswered_ == kCredits) return {ErrorCode::k_PROTOCOL, "a batch for which there was no credit"};
  ++unanswered_;
  if (stalled_.empty() && begin(message.value(), view.body)) return {};
  stalled_.push_back({message.take(), {view.body.begin(), view.body.end()}, monotonic_ms()});
  arm_retry();
  return {};
}

void BatchIntake::refuse(const wire::BatchMessage& message, const Error& error) {
  wire::BatchAnswer answer;
  answer.token = message.token;
  answer.code = error.code;
  answer.detail = error.message.substr(0, wire::kDetailBytesMax);
  answer_(std::move(answer));
}

// Duplicates and refusals need no memory and no transfer. A gap can only be judged when nothing of the lane is pending.
// A complete topic answers duplicates, and those who wait for a batch that is being stored.
bool BatchIntake::answered_at_once(const wire::BatchMessage& message, const HostedPartition& hosted, bool lane_empty) {
  const partition::Admission admission = hosted.partition->admit(position_of(message));
  if (admission.kind == partition::Admission::Kind::kDuplicate) {
    wire::BatchAnswer answer;
    answer.token = message.token;
    answer.base_id = admission.outcome.base_id;
    answer_(std::move(answer));
    return true;
  }
  if (hosted.complete && admission.kind != partition::Admission::Kind::kInFlight) {
    refuse(message, {ErrorCode::k_TOPIC_COMPLETE, "topic '" + hosted.topic_name + "' is complete"});
    return true;
  }
  if (admission.kind == partition::Admission::Kind::kRefused && lane_empty) {
    refuse(message, admission.error);
    return true;
  }
  return false;
}

bool BatchIntake::begin(const wire::BatchMessage& message, std::span<const uint8_t> body) {
  auto hosted = core_->topics->find(message.topic, message.partition);
  if (!hosted) {
    refuse(message, hosted.error());
    return true;
  }
  const LaneKey key{message.producer_session, message.topic, message.partition.value};
  const auto lane = lanes_.find(key);
  if (answered_at_once(message, *hosted.value(), lane == lanes_.end())) return true;
  Result<BufferRef> buffer = core_->allocate(partition::kRecordHeaderBytes + message.shape.body_bytes());
  if (!buffer) {
    const bool for_ever = partition::kRecordHeaderBytes + message.shape.body_bytes() > core_->pool->bytes_max();
    if (!for_ever) return false;
    refuse(message, {ErrorCode::k_EVENT_TOO_LARGE, "the batch is larger than the server's memory for batches"});
    return true;
  }
  auto incoming = std::make_shared<Incoming>();
  incoming->message = message;
  incoming->hosted = hosted.take();
  incoming->buffer = buffer.take();
  lanes_[key].push_back(incoming);
  place_runs(incoming, body);
  return true;
}

// Copies inline runs and starts a read for each remote one. decode_batch has checked that the runs fill the body
// exactly.
void BatchIntake::place_runs(const std::shared_ptr<Incoming>& incoming, std::span<const uint8_t> inline_bytes) {
  const wire::BodyShape& shape = incoming->message.shape;
  const std::span<uint8_t> body = incoming->body();
  if (shape.data_bytes > 0) {
    std::memset(body.data() + shape.head_bytes(), 0, shape.data_offset() - shape.head_bytes());
  }
  incoming->reads_left = 1;  // this function itself
  incoming->run_bytes.resize(incoming->message.runs.size());
  size_t at = 0;
  for (size_t i = 0; i < incoming->message.runs.size(); ++i) {
    const wire::RemoteSegment& segment = incoming->message.runs[i].segment;
    const std::span<uint8_t> target = body.subspan(at, segment.bytes);
    const bool is_data = i > 0;
    if (incoming->message.runs[i].is_remote) {
      if (is_data) core_->counters.data_bytes_by_rma += segment.bytes;
      if (!fetch(incoming, i, target)) break;
    } else {
      std::memcpy(target.data(), inline_bytes.data(), target.size());
      inline_bytes = inline_bytes.subspan(target.size());
      if (is_data) core_->counters.data_bytes_copied += target.size();
      incoming->run_arrived(i, target.size());
    }
    at = is_data ? at + segment.bytes : shape.data_offset();
  }
  fetched(incoming);
}

// Starts the read of a remote run. False, with an error, when the memory cannot be registered.
bool BatchIntake::fetch(const std::shared_ptr<Incoming>& incoming, size_t run, std::span<uint8_t> target) {
  std::shared_ptr<fabric::MemoryRegion> temporary;
  auto region = domain_->regions.region_of(*incoming->buffer, &temporary);
  if (!region) {
    incoming->error = region.error();
    return false;
  }
  if (temporary != nullptr) incoming->regions.push_back(std::move(temporary));
  ++incoming->reads_left;
  const wire::RemoteSegment& segment = incoming->message.runs[run].segment;
  const auto arrived = [this, incoming, run](size_t bytes) {
    if (!abandoned_) incoming->run_arrived(run, bytes);
  };
  // A transfer that failed has failed the link: the session ends, and the client sends the batch again on a new one. To
  // refuse it here, and skip its sequence, would make that the copy of a batch that nobody remembers.
  const auto done = [this, incoming](const Error& error) {
    if (!abandoned_ && error.code == ErrorCode::kOk) fetched(incoming);
  };
  link_->read(region.value(), target, segment.address, segment.key, arrived, done);
  return true;
}

void BatchIntake::fetched(const std::shared_ptr<Incoming>& incoming) {
  if (--incoming->reads_left > 0) return;
  incoming->regions.clear();
  incoming->ready = true;
  drain(incoming->lane());
}

void BatchIntake::drain(const LaneKey& key) {
  const auto it = lanes_.find(key);
  while (!it->second.empty() && it->second.front()->ready) {
    const std::shared_ptr<Incoming> incoming = std::move(it->second.front());
    it->second.pop_front();
    finish(incoming);
  }
  if (it->second.empty()) lanes_.erase(it);
}

void BatchIntake::finish(const std::shared_ptr<Incoming>& incoming) {
  const wire::BatchMessage& message = incoming->message;
  if (incoming->hosted->closing) {
    refuse(message, {ErrorCode::k_TOPIC_DELETED, "topic '" + incoming->hosted->topic_name + "' was deleted"});
  } else if (incoming->error.code != ErrorCode::kOk) {
    incoming->hosted->partition->skip(position_of(message));
    refuse(message, incoming->error);
  } else if (!answered_at_once(message, *incoming->hosted, true)) {
    append(incoming);
  }
}

void BatchIntake::append(const std::shared_ptr<Incoming>& incoming) {
  const wire::BatchMessage& message = incoming->message;
  partition::AppendRequest request;
  request.buffer = incoming->buffer;
  request.shape = message.shape;
  request.head_crc = message.head_crc;
  request.producer = position_of(message);
  core_->counters.batches += 1;
  core_->counters.events_produced += message.shape.event_count;
  core_->counters.data_bytes += message.shape.data_bytes;
  incoming->hosted->partition->append(
      std::move(request), [this, alive = alive_, token = message.token](Result<partition::AppendOutcome> outcome) {
        if (!*alive) return;
        wire::BatchAnswer answer;
        answer.token = token;
        if (outcome) {
          answer.base_id = outcome.value().base_id;
        } else {
          answer.code = outcome.error().code;
          answer.detail = outcome.error().message.substr(0, wire::kDetailBytesMax);
        }
        answer_(std::move(answer));
      });
}

void BatchIntake::arm_retry() {
  if (retry_timer_ != 0) return;
  retry_timer_ = core_->reactor.call_after_ms(kMemoryRetryMs, [this] {
    retry_timer_ = 0;
    retry_stalled();
  });
}

void BatchIntake::retry_stalled() {
  while (!stalled_.empty() && !abandoned_) {
    const Stalled& front = stalled_.front();
    if (!begin(front.message, front.body)) {
      if (monotonic_ms() - front.since_ms < kNoMemoryMs) break;
      const auto hosted = core_->topics->find(front.message.topic, front.message.partition);
      if (hosted) hosted.value()->partition->skip(position_of(front.message));
      refuse(front.message, {ErrorCode::k_NO_SPACE,
                             "the server's memory for batches is full; start it with more, or "
                             "let consumers and the disk catch up and push again"});
    }
    stalled_.pop_front();
  }
  if (!stalled_.empty()) arm_retry();
}

}  // namespace diaspora::server
