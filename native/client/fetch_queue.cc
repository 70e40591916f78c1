#include "client/fetch_queue.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/crc32c.h"
#include "base/limits.h"

namespace diaspora::client {

namespace {

// How often an answer may not match its checksum before the data counts as corrupt.
constexpr uint32_t kMismatchesMax = 3;

// Bytes of a range and of a destination in a fetch message.
constexpr size_t kPieceBytes = 36;
constexpr size_t kFetchFixedBytes = 64;

const Status& cancelled() {
  static const auto* const status = new Status(ErrorCode::k_ABORTED, "the consumer was destroyed");
  return *status;
}

}  // namespace

void FetchQueue::add(std::unique_ptr<FetchJob> job) {
  waiting_.push_back(std::move(job));
  if (connection_->is_up()) {
    pump();
  } else {
    connection_->open();
  }
}

void FetchQueue::cancel(const void* owner) {
  std::deque<std::unique_ptr<FetchJob>> kept;
  std::vector<std::unique_ptr<FetchJob>> dropped;
  for (std::unique_ptr<FetchJob>& job : waiting_) {
    if (job->owner == owner) {
      dropped.push_back(std::move(job));
    } else {
      kept.push_back(std::move(job));
    }
  }
  waiting_ = std::move(kept);
  for (const auto& [token, job] : asked_) job->cancelled = job->cancelled || job->owner == owner;
  for (const std::unique_ptr<FetchJob>& job : dropped) job->done(cancelled());
}

bool FetchQueue::has_asked_for(const ClientCounters* client) const {
  return std::any_of(asked_.begin(), asked_.end(), [&](const auto& entry) { return entry.second->counters == client; });
}

void FetchQueue::pump() {
  while (connection_->is_up() && !waiting_.empty() && asked_.size() < connection_->limits().fetch_credits) {
    std::unique_ptr<FetchJob> job = std::move(waiting_.front());
    waiting_.pop_front();
    const uint64_t token = next_token_++;
    const Status status = ask(job.get(), token);
    if (status) {
      asked_[token] = std::move(job);
    } else {
      job->exposed.withdraw();
      job->done(status);
    }
  }
}

// One message: as many pieces as it holds and a server takes at a time. Neighbours in memory are one destination.
Status FetchQueue::ask(FetchJob* job, uint64_t token) {
  wire::FetchMessage message;
  message.token = token;
  message.topic = job->topic;
  message.partition = job->partition;
  message.event = job->event;
  const size_t most = (connection_->limits().message_bytes - kFetchFixedBytes) / kPieceBytes;
  std::vector<std::span<uint8_t>> memory;
  job->asked = 0;
  uint64_t bytes = 0;
  for (size_t i = job->fetched; i < job->pieces.size() && job->asked < most; ++i, ++job->asked) {
    const FetchPiece& piece = job->pieces[i];
    bytes += piece.memory.size();
    if (bytes > kBatchBytesMax && job->asked > 0) break;
    message.ranges.push_back({piece.offset, piece.memory.size()});
    if (!memory.empty() && memory.back().data() + memory.back().size() == piece.memory.data()) {
      memory.back() = {memory.back().data(), memory.back().size() + piece.memory.size()};
    } else {
      memory.push_back(piece.memory);
    }
  }
  for (const std::span<uint8_t> part : memory) {
    auto segment = job->exposed.expose(connection_->domain(), part.data(), part.size(), fabric::Access::kRemoteWrite);
    if (!segment) return segment.status();
    message.destinations.push_back(segment.value());
  }
  wire::encode(message, &encoded_);
  connection_->send(encoded_);
  return {};
}

Status FetchQueue::check(FetchJob* job, const wire::FetchDoneMessage& answer) {
  if (answer.code != ErrorCode::kOk) return {answer.code, answer.detail};
  uint32_t crc = 0;
  uint64_t bytes = 0;
  for (size_t i = job->fetched; i < job->fetched + job->asked; ++i) {
    crc = crc32c(job->pieces[i].memory, crc);
    bytes += job->pieces[i].memory.size();
  }
  if (crc == answer.data_crc) {
    job->fetched += job->asked;
    increase(&job->counters->data_bytes_by_rma, bytes);
    return {};
  }
  if (++job->mismatches < kMismatchesMax) return {};
  return {ErrorCode::k_CORRUPT_DATA, "the data of event " + std::to_string(job->event.value) + " of partition " +
                                         std::to_string(job->partition.value) +
                                         " did not arrive as the server sent it"};
}

Status FetchQueue::on_answer(const wire::MessageView& view) {
  const Result<wire::FetchDoneMessage> answer = wire::decode_fetch_done(view);
  if (!answer) return answer.status();
  const auto found = asked_.find(answer.value().token);
  if (found == asked_.end()) return {ErrorCode::k_PROTOCOL, "an answer to a fetch that was not sent"};
  std::unique_ptr<FetchJob> job = std::move(found->second);
  asked_.erase(found);
  job->exposed.withdraw();
  const Status status = job->cancelled ? cancelled() : check(job.get(), answer.value());
  job->asked = 0;
  if (!status || job->fetched == job->pieces.size()) {
    job->done(status);
  } else {
    waiting_.push_front(std::move(job));
  }
  pump();
  return {};
}

void FetchQueue::on_down() {
  auto asked = std::exchange(asked_, {});
  for (auto& [token, job] : asked) {
    job->exposed.withdraw();
    job->asked = 0;
    if (job->cancelled) {
      job->done(cancelled());
    } else {
      waiting_.push_front(std::move(job));
    }
  }
}

void FetchQueue::fail_all(const Error& error) {
  const std::deque<std::unique_ptr<FetchJob>> failed = std::exchange(waiting_, {});
  for (const std::unique_ptr<FetchJob>& job : failed) job->done(error);
}

}  // namespace diaspora::client
