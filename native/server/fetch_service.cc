#include "server/fetch_service.h"

#include <algorithm>
#include <utility>

#include "base/crc32c.h"

namespace diaspora::server {

struct FetchService::Fetch {
  wire::FetchMessage message;
  Error error;
  uint32_t data_crc = 0;
  size_t writes_left = 0;
  BufferRef buffer;
  std::shared_ptr<fabric::MemoryRegion> region;
};

FetchService::FetchService(Core* core, ServedDomain* domain, session::Link* link)
    : core_(core), domain_(domain), link_(link), alive_(std::make_shared<bool>(true)) {}

FetchService::~FetchService() { *alive_ = false; }

Status FetchService::receive(const wire::MessageView& view) {
  Result<wire::FetchMessage> message = wire::decode_fetch(view);
  if (!message) return message.status();
  if (unanswered_ == kCredits) return {ErrorCode::k_PROTOCOL, "a fetch for which there was no credit"};
  ++unanswered_;
  auto fetch = std::make_shared<Fetch>();
  fetch->message = message.take();
  core_->read(fetch->message.topic, fetch->message.partition, fetch->message.event,
              [this, alive = alive_, fetch](Result<partition::StoredBatch> batch) {
                if (*alive) loaded(fetch, std::move(batch));
              });
  return {};
}

void FetchService::loaded(const std::shared_ptr<Fetch>& fetch, Result<partition::StoredBatch> batch) {
  if (!batch) {
    fetch->error = batch.error();
    return answer(fetch);
  }
  const partition::StoredBatch& stored = batch.value();
  const auto index = static_cast<uint32_t>(fetch->message.event.value - stored.base_id.value);
  const wire::EventExtent extent = wire::event_extent({stored.body(), stored.shape.head_bytes()}, index);
  const std::span<const uint8_t> data(stored.data() + extent.data_offset, extent.data_bytes);
  const Status ranges_ok = check_ranges(*fetch, extent.data_bytes);
  if (!ranges_ok) {
    fetch->error = ranges_ok.error();
  } else if (extent.data_bytes > 0 && crc32c(data) != extent.data_crc) {
    fetch->error = {
        ErrorCode::k_CORRUPT_DATA,
        "the stored data of event " + std::to_string(fetch->message.event.value) + " does not match its checksum"};
  } else {
    write_ranges(fetch, stored, extent.data_offset);
    return;
  }
  answer(fetch);
}

Status FetchService::check_ranges(const Fetch& fetch, uint64_t data_bytes) const {
  for (const wire::DataRange& range : fetch.message.ranges) {
    if (range.offset > data_bytes || range.bytes > data_bytes - range.offset) {
      return {ErrorCode::k_INVALID_DESCRIPTOR, "bytes " + std::to_string(range.offset) + " to " +
                                                   std::to_string(range.offset + range.bytes) +
                                                   " were asked of an event with " + std::to_string(data_bytes)};
    }
  }
  return {};
}

// Walks ranges and destinations together; decode_fetch has checked that both have the same total.
void FetchService::write_ranges(const std::shared_ptr<Fetch>& fetch, const partition::StoredBatch& batch,
                                uint64_t event_offset) {
  fetch->buffer = batch.buffer;
  const auto region = domain_->regions.region_of(*batch.buffer, &fetch->region);
  if (!region) {
    fetch->error = region.error();
    return answer(fetch);
  }
  fetch->writes_left = 1;  // this function itself
  size_t destination_index = 0;
  uint64_t destination_used = 0;
  for (const wire::DataRange& range : fetch->message.ranges) {
    const uint8_t* from = batch.data() + event_offset + range.offset;
    fetch->data_crc = crc32c({from, range.bytes}, fetch->data_crc);
    for (uint64_t left = range.bytes; left > 0;) {
      const wire::RemoteSegment& destination = fetch->message.destinations[destination_index];
      const uint64_t bytes = std::min<uint64_t>(left, destination.bytes - destination_used);
      if (bytes > 0) {
        ++fetch->writes_left;
        core_->counters.data_bytes_by_rma += bytes;
        core_->counters.data_bytes += bytes;
        link_->write(region.value(), {from, bytes}, destination.address + destination_used, destination.key,
                     [this, alive = alive_, fetch](const Error& error) {
                       if (!*alive || error.code != ErrorCode::kOk) return;  // the link has failed: the session ends
                       if (--fetch->writes_left == 0) answer(fetch);
                     });
      }
      from += bytes;
      left -= bytes;
      destination_used += bytes;
      if (destination_used == destination.bytes) {
        ++destination_index;
        destination_used = 0;
      }
    }
  }
  if (--fetch->writes_left == 0) answer(fetch);
}

void FetchService::answer(const std::shared_ptr<Fetch>& fetch) {
  --unanswered_;
  wire::FetchDoneMessage done;
  done.token = fetch->message.token;
  done.code = fetch->error.code;
  done.data_crc = fetch->data_crc;
  done.detail = fetch->error.message.substr(0, wire::kDetailBytesMax);
  wire::encode(done, &encoded_);
  link_->send(encoded_);
}

}  // namespace diaspora::server
