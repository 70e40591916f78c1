// Turns what the client core reports into records of one environment's gate.
//
// Threads: called on the progress thread; holds nothing but the gate. Open and close of a driver are requests with
// numbers of the environment's own (driver_request), because JS learns of them only after the environment has acted.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "client/client.h"
#include "node/completion_gate.h"

namespace diaspora::node {

enum class DriverEvent : uint64_t {
  kOpened = uint64_t{1} << 62,
  kClosed = uint64_t{1} << 61,
};

// Request number for the core. JS numbers its own requests below 2^53, so they never meet.
constexpr uint64_t driver_request(DriverEvent event, uint64_t driver) { return static_cast<uint64_t>(event) | driver; }

class Sink final : public client::CompletionSink {
 public:
  explicit Sink(std::shared_ptr<CompletionGate> gate) : gate_(std::move(gate)) {}

  void request_done(uint64_t request, Result<Value> result) override;
  void batch_done(uint32_t producer, PartitionIndex partition, uint64_t batch_number, EventId first_id,
                  const Status& status) override;
  void delivery_ready(uint32_t consumer) override;
  void consumer_failed(uint32_t consumer, std::optional<PartitionIndex> partition, const Error& error) override;
  void consumer_assigned(uint32_t consumer, std::vector<PartitionIndex> granted,
                         std::vector<PartitionIndex> revoked) override;
  void partition_ended(uint32_t consumer, PartitionIndex partition, uint32_t seeks) override;
  void server_lost(uint32_t driver, uint32_t server, uint32_t attempt, const Error& error) override;
  void server_up(uint32_t driver, uint32_t server) override;
  void warn(const std::string& line) override;

 private:
  const std::shared_ptr<CompletionGate> gate_;
};

}  // namespace diaspora::node
