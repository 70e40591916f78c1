// A partition: an append-only sequence of batches with dense event ids, owned by one thread.
//
// Two implementations: memory (memory_partition.*) and log (log_partition.*, over native/log). A partition knows
// nothing of sessions, networks or fabrics: it takes whole, verified batches and gives them back. Threads: every call
// is made on the owner's thread and every callback runs there (through the Executor). File work happens on the log's
// writer threads. Invariants: ids are dense and never reused; a callback runs exactly once; a batch is readable only
// after it is committed at the partition's durability; what was answered with success is kept.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/buffer_pool.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/executor.h"
#include "base/ids.h"
#include "base/retention.h"
#include "wire/batch_body.h"

namespace diaspora::partition {

// When an append is answered. Values are stored on disk: never renumber.
enum class Durability : uint8_t {
  kMemory = 0,  // held in server memory; written to disk soon after
  kOs = 1,      // written to the operating system: survives kill -9 of the server
  kSync = 2,    // synced to the device: survives power loss
};

// Bytes reserved in front of a batch body, in its buffer, for the log record's header.
inline constexpr size_t kRecordHeaderBytes = 128;

// A batch as it lies in memory: [kRecordHeaderBytes reserved | body]. Shared, and immutable once appended.
struct StoredBatch {
  BufferRef buffer;
  wire::BodyShape shape;
  uint32_t head_crc = 0;
  EventId base_id;           // id of its first event
  int64_t timestamp_ns = 0;  // wall clock at append; never before that of the batch before it

  const uint8_t* body() const { return buffer->data() + kRecordHeaderBytes; }
  const uint8_t* data() const { return body() + shape.data_offset(); }
};

// Identity of a batch for exactly-once storing.
struct ProducerPosition {
  Uuid session;
  BatchSequence sequence;  // of this batch; 1, 2, 3, ... per session and partition
  BatchSequence follows;   // the latest earlier batch of the session here that was not refused; 0 for none
};

struct AppendRequest {
  BufferRef buffer;  // laid out as in StoredBatch; its header bytes are the partition's to fill
  wire::BodyShape shape;
  uint32_t head_crc = 0;
  ProducerPosition producer;
};

struct AppendOutcome {
  EventId base_id;
  uint32_t event_count = 0;
  bool duplicate = false;  // it was stored before: base_id is the first answer's
};

using AppendCallback = std::function<void(Result<AppendOutcome>)>;
using ReadCallback = std::function<void(Result<StoredBatch>)>;
using IdCallback = std::function<void(Result<EventId>)>;
using StatusCallback = std::function<void(Status)>;

// What a batch of `producer` would be, asked before its data is fetched.
struct Admission {
  enum class Kind { kNew, kDuplicate, kInFlight, kRefused } kind = Kind::kNew;
  AppendOutcome outcome;  // kDuplicate
  Error error;            // kRefused: OUT_OF_ORDER (a gap), UNKNOWN_SESSION (its history was dropped)
};

// What a partition keeps for one consumer name. Fences and generations serve consumer groups (server/group.h).
struct ConsumerChange;
struct ConsumerState {
  std::optional<EventId> next_id;  // behind the last acknowledged event; nothing: never acknowledged
  uint64_t fence = 0;              // members with an older token no longer own the partition
  uint64_t generation = 0;         // no token above it was given out (kept with partition 0 of a topic)

  void apply(const ConsumerChange& change);
  bool operator==(const ConsumerState&) const = default;
};

// Fence and generation never sink; the cursor only where asked.
struct ConsumerChange {
  std::optional<EventId> next_id = std::nullopt;
  bool backwards = false;  // next_id is set, also to an older event
  uint64_t fence = 0;
  uint64_t generation = 0;
};

inline void ConsumerState::apply(const ConsumerChange& change) {
  if (change.next_id && (change.backwards || !next_id || *next_id < *change.next_id)) next_id = change.next_id;
  fence = std::max(fence, change.fence);
  generation = std::max(generation, change.generation);
}

// Told when the next id has moved, or nothing is pending any more. Must not call back into the partition synchronously
// for more than reads.
class CommitObserver {
 public:
  virtual ~CommitObserver() = default;
  virtual void on_commit() = 0;
};

class Partition {
 public:
  virtual ~Partition() = default;

  // kInFlight: the same batch is being stored (a resend on a new connection); append() it to wait for the one answer
  // (only `producer` is looked at then).
  virtual Admission admit(const ProducerPosition& producer) = 0;
  // Appends in call order. Ids are given at call time; the answer comes when the batch is durable. On a storage failure
  // this and all later ones are answered with the error and nothing of them is visible.
  virtual void append(AppendRequest request, AppendCallback done) = 0;
  // The sequence was refused by the caller (bad checksum, for example): later ones may follow it.
  virtual void skip(const ProducerPosition& producer) = 0;

  virtual EventId first_id() const = 0;  // oldest id still kept; moves when retention drops older ones
  virtual EventId next_id() const = 0;   // one past the newest committed id
  // Whether appends are unanswered: next_id may still move without a further one. Observers hear when it ends.
  virtual bool has_pending() const = 0;

  // The committed batch that contains `id`, from memory or disk, its head and the header verified against their
  // checksums (data is verified by whoever uses it, by the table's checksums). first_id <= id < next_id, else
  // OFFSET_OUT_OF_RANGE. From memory the callback may run before this returns.
  virtual void read(EventId id, ReadCallback done) = 0;
  // A hint: the batch with `id` is likely to be read next. An id that is not there is ignored.
  virtual void read_ahead(EventId id) = 0;

  // The first event of the oldest kept batch that was stored at `timestamp_ns` (wall clock) or later; the end as it is
  // now when there is none. From memory the callback may run before this returns.
  virtual void find_time(int64_t timestamp_ns, IdCallback done) = 0;

  virtual void add_observer(CommitObserver* observer) = 0;
  virtual void remove_observer(CommitObserver* observer) = 0;

  // What is kept for `consumer`: nothing but zeros when it is not known.
  virtual ConsumerState consumer(const std::string& consumer) const = 0;
  // All of them, by name; nothing is kept yet for those whose first change is being stored. Valid until the next
  // acknowledgement or change.
  virtual const std::unordered_map<std::string, ConsumerState>& consumers() const = 0;
  std::optional<EventId> cursor(const std::string& name) const { return consumer(name).next_id; }
  // Everything up to and including `id` is done for `consumer`. Never moves backwards (an older id is a success without
  // effect); an id at or past next_id is OFFSET_OUT_OF_RANGE. Durable at the partition's level when answered.
  virtual void acknowledge(const std::string& consumer, EventId id, StatusCallback done) = 0;

  // Sets what is kept for `consumer`, durable at the partition's level and visible when answered.
  // INVALID_NAME, RESOURCE_EXHAUSTED, OFFSET_OUT_OF_RANGE for a cursor past next_id.
  virtual void change_consumer(const std::string& consumer, const ConsumerChange& change, StatusCallback done) = 0;

  // Forgets cached batches that are on disk, oldest first, until about `bytes` were given back. Returns how many were.
  virtual size_t release_cache(size_t bytes) = 0;

  // Drops what is past the retention, now or soon. Bytes are looked after at each append; age needs this.
  virtual void retain() = 0;

  // Writes and syncs everything accepted, then answers. No call but the destructor may follow.
  virtual void close(StatusCallback done) = 0;
};

// What recovery found, for the server's log and for tests.
struct RecoveryReport {
  uint64_t batches = 0;
  uint64_t events = 0;
  uint64_t torn_bytes = 0;  // cut from the tail
  std::string detail;       // which segment and offset; empty when nothing was cut
};

struct MemoryPartitionOptions {
  // Bound on the bytes held. What happens at the bound:
  uint64_t bytes_max = uint64_t{1} << 30;
  bool drop_oldest = false;  // false: appends answer NO_SPACE; true: the oldest batches go
  Retention retention{};     // the newest batch stays, whatever its size
  std::function<int64_t()> clock_ns = wall_clock_ns;
};

std::unique_ptr<Partition> make_memory_partition(Executor* owner, const MemoryPartitionOptions& options);

}  // namespace diaspora::partition
