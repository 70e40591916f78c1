#include "node/sink.h"

#include <type_traits>
#include <variant>

namespace diaspora::node {

namespace {

constexpr uint64_t kOpenedBit = static_cast<uint64_t>(DriverEvent::kOpened);
constexpr uint64_t kClosedBit = static_cast<uint64_t>(DriverEvent::kClosed);

}  // namespace

void Sink::request_done(uint64_t request, Result<Value> result) {
  if ((request & kOpenedBit) != 0) {
    gate_->push({.kind = CompletionKind::kInternal}, DriverOpened{request & ~kOpenedBit, result.status(), 0, {}});
    return;
  }
  if ((request & kClosedBit) != 0) {
    gate_->push({.kind = CompletionKind::kInternal}, DriverClosed{request & ~kClosedBit});
    return;
  }
  const auto id = static_cast<double>(request);
  if (!result.ok()) {
    gate_->push_request(id, result.error());
    return;
  }
  gate_->push_request(
      id, std::visit([](auto&& value) -> Payload { return std::forward<decltype(value)>(value); }, result.take()));
}

void Sink::batch_done(uint32_t producer, PartitionIndex partition, uint64_t batch_number, EventId first_id,
                      const Status& status) {
  const Completion completion{.kind = CompletionKind::kBatch,
                              .target = static_cast<double>(producer),
                              .a = static_cast<double>(partition.value),
                              .b = static_cast<double>(batch_number),
                              .c = static_cast<double>(first_id.value)};
  if (status.ok()) {
    gate_->push(completion);
  } else {
    gate_->push(completion, status.error());
  }
}

void Sink::delivery_ready(uint32_t consumer) {
  gate_->push({.kind = CompletionKind::kDelivery, .target = static_cast<double>(consumer)});
}

void Sink::consumer_failed(uint32_t consumer, std::optional<PartitionIndex> partition, const Error& error) {
  const double index = partition ? static_cast<double>(partition->value) : -1;
  gate_->push({.kind = CompletionKind::kConsumerError, .target = static_cast<double>(consumer), .a = index}, error);
}

void Sink::consumer_assigned(uint32_t consumer, std::vector<PartitionIndex> granted,
                             std::vector<PartitionIndex> revoked) {
  gate_->push({.kind = CompletionKind::kAssignment, .target = static_cast<double>(consumer)},
              Assignment{std::move(granted), std::move(revoked)});
}

void Sink::partition_ended(uint32_t consumer, PartitionIndex partition, uint32_t seeks) {
  gate_->push({.kind = CompletionKind::kPartitionEnd,
               .target = static_cast<double>(consumer),
               .a = static_cast<double>(partition.value),
               .b = static_cast<double>(seeks)});
}

void Sink::server_lost(uint32_t driver, uint32_t server, uint32_t attempt, const Error& error) {
  gate_->push({.kind = CompletionKind::kServerLost,
               .target = static_cast<double>(driver),
               .a = static_cast<double>(server),
               .b = static_cast<double>(attempt)},
              error);
}

void Sink::server_up(uint32_t driver, uint32_t server) {
  gate_->push(
      {.kind = CompletionKind::kServerUp, .target = static_cast<double>(driver), .a = static_cast<double>(server)});
}

void Sink::warn(const std::string& line) { gate_->push({.kind = CompletionKind::kLog}, LogLine{true, line}); }

}  // namespace diaspora::node
