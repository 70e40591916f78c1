// The client core, free of JS: a Client is one driver's connections; producers and consumers hang on it.
//
// Threads: one process-wide progress thread (progress_thread()) runs everything behind these calls. Public calls come
// from any one thread at a time per object (a JS thread) and never block, except where said. Completions go to the
// CompletionSink given by the caller, called on the progress thread; sinks must be quick and must not call back.
// Invariants: each request and each sealed batch completes exactly once, also on failure, abort and close; the memory
// named by a push is not touched after its batch has completed (its endpoint is closed first when the peer is not known
// to be done).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/buffer_pool.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/reactor.h"
#include "wire/batch_body.h"
#include "wire/control.h"

namespace diaspora::client {

struct ServerAddress {
  std::string host;  // numeric or a name (resolved off the progress thread)
  uint16_t port = 0;
  Uuid server;  // nil: any
};

struct ClientOptions {
  std::vector<ServerAddress> servers;
  // Embedded: gives a connected socket to a server of this process; `servers` then has one dummy entry.
  std::function<int()> connect_local;
  const void* local_server = nullptr;  // tells such servers apart; alive as long as connect_local
  // One connection to each server for each rail, with these providers (comma-separated, best first): an adapter each,
  // over which partitions are spread.
  std::vector<std::string> rails = {"auto"};
  int64_t connect_timeout_ms = 5000;
  int64_t reconnect_timeout_ms = 30000;
  uint32_t zero_copy_threshold = 64 * 1024;
  uint64_t pending_bytes_max = uint64_t{256} << 20;
};

struct Counters {
  uint64_t data_bytes_by_rma = 0;
  uint64_t data_bytes_copied = 0;
  uint64_t data_bytes = 0;
  uint64_t events_produced = 0;
  uint64_t events_consumed = 0;
  uint64_t batches = 0;
  uint64_t reconnects = 0;
  uint64_t registrations = 0;
  std::vector<std::string> providers;  // of each server; "" while not connected
};

// Where completions go. Every call is on the progress thread.
class CompletionSink {
 public:
  using Value = std::variant<std::monostate, std::vector<wire::TopicRecord>, std::vector<wire::PartitionStatus>,
                             std::vector<wire::CursorRow>>;
  virtual ~CompletionSink() = default;
  virtual void request_done(uint64_t request, Result<Value> result) = 0;
  // first_id is meaningful when status is ok.
  virtual void batch_done(uint32_t producer, PartitionIndex partition, uint64_t batch_number, EventId first_id,
                          const Status& status) = 0;
  virtual void delivery_ready(uint32_t consumer) = 0;
  // partition: nullopt when the consumer as a whole has failed.
  virtual void consumer_failed(uint32_t consumer, std::optional<PartitionIndex> partition, const Error& error) = 0;
  // The topic is complete: nothing follows the deliveries of this partition that are there.
  virtual void partition_ended(uint32_t consumer, PartitionIndex partition, uint32_t seeks) = 0;
  virtual void server_lost(uint32_t driver, uint32_t server, uint32_t attempt, const Error& error) = 0;
  virtual void server_up(uint32_t driver, uint32_t server) = 0;
  // A member of a consumer group was given partitions, or is to give some back (release()).
  virtual void consumer_assigned(uint32_t consumer, std::vector<PartitionIndex> granted,
                                 std::vector<PartitionIndex> revoked) = 0;
  // A line for the operator.
  virtual void warn(const std::string& line) = 0;
};

// A run of consecutive events handed to a consumer.
struct Delivery {
  PartitionIndex partition;
  EventId first_id;
  wire::BodyShape shape;
  // head = table and metadata, data = all data; both verified. They keep their memory alive.
  std::shared_ptr<void> head_owner;
  std::span<const uint8_t> head;
  std::shared_ptr<void> data_owner;  // null: no data was asked for, or there is none
  std::span<const uint8_t> data;
};

// One segment of caller memory. `hold` keeps the memory itself alive (a backing store) until the batch is done.
struct DataSegment {
  const uint8_t* bytes = nullptr;
  size_t length = 0;
  std::shared_ptr<void> hold;
  bool must_copy = false;  // resizable or shared memory: never exposed
};

class Producer {
 public:
  struct Options {
    uint32_t id = 0;  // for the sink
    Uuid topic;
    std::vector<uint32_t> server_of_partition;
    uint32_t batch_events = 0;  // 0: adaptive
    uint32_t max_num_batches = 2;
    int compression_level = 0;  // of metadata, with zstd; 0: none
  };
  struct Pushed {
    ErrorCode code = ErrorCode::kOk;  // EVENT_TOO_LARGE, QUEUE_FULL, INVALID_STATE, INVALID_PARTITION
    uint32_t index = 0;               // in its batch; 0 = the batch was begun by this event
  };
  virtual ~Producer() = default;

  // The hot path, in three steps so that a caller can write metadata text straight into the open batch:
  //   reserve(partition, bytes) -> where to write at most `bytes` of metadata (valid until commit)
  //   commit(partition, bytes written, segments)
  // A failing reserve or commit leaves the batch as it was.
  virtual uint8_t* reserve(PartitionIndex partition, size_t metadata_bytes_max, ErrorCode* error) = 0;
  virtual Pushed commit(PartitionIndex partition, size_t metadata_bytes, std::span<DataSegment> data) = 0;

  virtual bool seal(PartitionIndex partition) = 0;
  virtual uint32_t in_flight(PartitionIndex partition) const = 0;
  struct Pending {
    uint64_t events = 0;
    uint64_t batches = 0;
    uint64_t bytes = 0;
  };
  virtual Pending pending() const = 0;
  // Everything pending completes with ABORTED. Idempotent.
  virtual void destroy() = 0;
};

class Consumer {
 public:
  struct Options {
    uint32_t id = 0;
    Uuid topic;
    std::string name;
    std::vector<uint32_t> server_of_partition;
    std::vector<wire::SubscribeFrame::Start> starts;
    // Shares the partitions with the other members of the group `name`; `starts` is empty then.
    bool member = false;
    uint32_t session_timeout_ms = 0;
    uint32_t rebalance_timeout_ms = 0;
    bool full_data = false;
    bool oldest_if_dropped = false;
    uint32_t batch_events = 0;
    uint64_t window_bytes = 0;
    uint32_t deliveries_ahead = 4;
  };
  virtual ~Consumer() = default;
  virtual std::optional<Delivery> take() = 0;
  // take() gives nothing because of CompletionSink::consumer_assigned with partitions to give back: see go_on().
  virtual bool held_back() = 0;
  struct Range {
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };
  // `destination` memory stays until the request is done.
  virtual void fetch(uint64_t request, PartitionIndex partition, EventId event, std::vector<Range> ranges,
                     std::vector<std::span<uint8_t>> destination, std::shared_ptr<void> hold) = 0;
  virtual void acknowledge(uint64_t request, PartitionIndex partition, EventId event) = 0;
  // Goes on at another position (as in wire::SubscribeFrame): take() gives nothing of before any more.
  virtual void seek(const wire::SubscribeFrame::Start& to) = 0;
  // A call of CompletionSink::consumer_assigned that had partitions to give back was taken notice of. Until then take()
  // gives nothing: what it gives may be of a partition that was taken away and given anew, and must not be taken for
  // what there was before.
  virtual void go_on() = 0;
  // A partition that was to be given back is free.
  virtual void release(PartitionIndex partition) = 0;
  virtual void destroy() = 0;
};

class Client {
 public:
  virtual ~Client() = default;
  virtual uint32_t id() const = 0;
  virtual void set_address(uint32_t server, std::string host, uint16_t port) = 0;
  virtual Counters counters() const = 0;
  // What each server said its uuid is, by server index; nil while it has never answered. Like counters(): any thread.
  virtual std::vector<Uuid> server_uuids() const = 0;
  virtual void topic_put(uint64_t request, uint32_t server, const wire::TopicRecord& record) = 0;
  virtual void topic_remove(uint64_t request, uint32_t server, const Uuid& topic) = 0;
  virtual void topic_list(uint64_t request, uint32_t server, const std::string& name) = 0;
  virtual void topic_status(uint64_t request, uint32_t server, const Uuid& topic) = 0;
  // Of one consumer name, or of all where it is empty.
  virtual void topic_cursors(uint64_t request, uint32_t server, const Uuid& topic, const std::string& consumer) = 0;
  virtual void cursor_set(uint64_t request, uint32_t server, const wire::CursorSetFrame& frame) = 0;
  virtual std::shared_ptr<Producer> open_producer(Producer::Options options) = 0;
  // `request` is done when every server has accepted the subscription, a member's when it was given its first
  // partitions (maybe none).
  virtual std::shared_ptr<Consumer> open_consumer(uint64_t request, Consumer::Options options) = 0;
  // Everything pending completes with ABORTED, endpoints are closed, then `request` (0: none) is done. After that no
  // memory of any caller is touched.
  virtual void close(uint64_t request) = 0;
  // The same, and waits for it (environment clean-up): bounded, as closing an endpoint does not wait for the peer.
  virtual void close_and_wait() = 0;
};

// Starts connecting; `request` is done when all servers are up, or fails with CONNECT_TIMEOUT and the address.
std::shared_ptr<Client> open_client(uint64_t request, ClientOptions options, std::shared_ptr<CompletionSink> sink);

// The one progress thread of the process; started on first use, joined never (it sleeps when idle).
Reactor& progress_thread();

}  // namespace diaspora::client
