// Answers fetches: writes chosen ranges of one event's data into the consumer's memory.
//
// Only the selected bytes cross the network. The event's whole data is checked against its checksum here, because the
// client, who sees a part, could not; the answer carries the checksum of what was delivered.
// Thread: the server's reactor. Owner: Session, which closes its link before it destroys this.
#pragma once

#include <memory>
#include <vector>

#include "server/core.h"
#include "server/topic_table.h"
#include "session/link.h"
#include "wire/message.h"

namespace diaspora::server {

class FetchService {
 public:
  static constexpr uint32_t kCredits = 12;  // fetches that a client may have unanswered

  FetchService(Core* core, ServedDomain* domain, session::Link* link);
  ~FetchService();
  FetchService(const FetchService&) = delete;
  FetchService& operator=(const FetchService&) = delete;

  // PROTOCOL: the session is to be ended. Everything else is answered to the client.
  Status receive(const wire::MessageView& view);

 private:
  struct Fetch;
  void loaded(const std::shared_ptr<Fetch>& fetch, Result<partition::StoredBatch> batch);
  Status check_ranges(const Fetch& fetch, uint64_t data_bytes) const;
  void write_ranges(const std::shared_ptr<Fetch>& fetch, const partition::StoredBatch& batch, uint64_t event_offset);
  void answer(const std::shared_ptr<Fetch>& fetch);

  Core* core_;
  ServedDomain* domain_;
  session::Link* link_;
  uint32_t unanswered_ = 0;
  std::vector<uint8_t> encoded_;
  std::shared_ptr<bool> alive_;
};

}  // namespace diaspora::server
