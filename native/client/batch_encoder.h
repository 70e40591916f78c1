// Turns a batch into its message: decides what travels inline and exposes the rest for the server to read.
//
// Thread: progress. What it is not: it sends nothing and knows no credit. Pure but for the registrations, which it
// records in the batch.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "client/batch.h"
#include "fabric/fabric.h"

namespace diaspora::client {

struct BatchTarget {
  fabric::Domain* domain = nullptr;
  RegistrationCache* registrations = nullptr;  // null: callers' memory is registered for each batch
  uint32_t message_bytes = 0;
  Uuid topic;
  uint64_t token = 0;
};

// Writes the whole message, body included, to `out`. FABRIC when memory cannot be registered; EVENT_TOO_LARGE when even
// the list of runs does not fit into a message of this session.
Status encode_batch(const BatchTarget& target, Batch* batch, std::vector<uint8_t>* out);

}  // namespace diaspora::client
