#include "client/acknowledger.h"

#include <algorithm>
#include <utility>

namespace diaspora::client {

void Acknowledger::acknowledge(uint64_t request, PartitionIndex index, EventId event, uint64_t token,
                               RequestTable* server) {
  Partition& partition = partitions_[index.value];
  partition.server = server;
  partition.token = token;
  partition.highest = partition.waiting.empty() ? event : std::max(partition.highest, event);
  partition.waiting.push_back(request);
  if (partition.sent.empty()) send(index.value, &partition);
}

void Acknowledger::send(uint32_t index, Partition* partition) {
  partition->sent = std::exchange(partition->waiting, {});
  const wire::AcknowledgeFrame frame{topic_, PartitionIndex(index), consumer_, partition->highest, partition->token};
  partition->server->add_kept([&](uint64_t id) { return wire::make_acknowledge(id, frame); },
                              [this, alive = alive_, index](const Result<std::span<const uint8_t>>& reply) {
                                if (*alive) answered(index, reply.status());
                              });
}

void Acknowledger::answered(uint32_t index, const Status& status) {
  Partition& partition = partitions_[index];
  std::vector<uint64_t> requests = std::exchange(partition.sent, {});
  // What waits behind a server that was given up fails with it, instead of starting over.
  if (status.code() == ErrorCode::k_CONNECTION_LOST || status.code() == ErrorCode::k_CONNECT_TIMEOUT) {
    requests.insert(requests.end(), partition.waiting.begin(), partition.waiting.end());
    partition.waiting.clear();
  }
  if (!partition.waiting.empty()) send(index, &partition);
  for (const uint64_t request : requests) done_(request, status);
}

void Acknowledger::fail_all(const Status& status) {
  const std::map<uint32_t, Partition> failed = std::exchange(partitions_, {});
  *alive_ = false;  // answers that are still under way concern nobody
  alive_ = std::make_shared<bool>(true);
  for (const auto& [index, partition] : failed) {
    for (const uint64_t request : partition.sent) done_(request, status);
    for (const uint64_t request : partition.waiting) done_(request, status);
  }
}

}  // namespace diaspora::client
