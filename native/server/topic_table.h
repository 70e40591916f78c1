// The topics of this server and its open partitions.
//
// Thread: the server's reactor (open_all: before the reactor runs). Owner: Core. Creating a topic and recovering its
// partitions blocks the reactor for some milliseconds: rare, and simpler than a half-created state.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "partition/storage.h"
#include "server/core.h"
#include "wire/control.h"

namespace diaspora::server {

// The first of the tokens that consumer groups give out at a time.
inline uint64_t token_of_time(int64_t wall_clock_ms) { return static_cast<uint64_t>(wall_clock_ms) << 16; }

// A subscription's place on a partition.
class PartitionReader {
 public:
  virtual ~PartitionReader() = default;
  virtual const std::string& consumer() const = 0;
  virtual uint64_t token() const = 0;  // 0: not a member of a group
  // Another member of the group owns the partition now.
  virtual void fenced() = 0;
};

// A partition that this server owns. Sessions share it; once `closing` is set its partition may not be called.
struct HostedPartition {
  // FENCED when `token` is of a former owner.
  Status check_token(const std::string& consumer, uint64_t token) const;
  // The owner with `token` has come: the former ones get nothing more. Refused with INVALID_ARGUMENT when no group can
  // have given it out.
  void raise_fence(const std::string& consumer, uint64_t token, partition::StatusCallback done);

  Uuid topic;
  std::string topic_name;
  PartitionIndex index;
  std::unique_ptr<partition::Partition> partition;
  bool closing = false;
  bool complete = false;        // takes no new batches
  int64_t retain_every_ms = 0;  // 0: nothing goes by age
  int64_t retain_at_ms = 0;     // monotonic
  std::vector<PartitionReader*> readers;
  // Fences that are being stored: nobody may pass them, and nobody is served with them yet.
  std::unordered_map<std::string, uint64_t> fences;
};

class TopicTable {
 public:
  explicit TopicTable(Core* core) : core_(core) {}

  // Opens every partition that the catalogue gives this server, and reports what recovery found.
  Status open_all();
  // TOPIC_EXISTS when another topic of that name is active or being deleted; one that was never finished is replaced.
  // TOPIC_DELETED when this one is being deleted.
  // A complete topic stays complete: TOPIC_COMPLETE. What is not here can't be completed: TOPIC_NOT_FOUND. Partitions
  // are only ever added: of the placement that is here and the one that is put the longer counts, and begins with the
  // other, else INVALID_ARGUMENT. (So puts of two clients that add partitions, and repeated ones, may come in any
  // order.)
  Status put(const wire::TopicRecord& record);
  // Closes the partitions (on_closing is called for each first), deletes their files and the entry, then answers.
  void remove(const Uuid& topic, partition::StatusCallback done);
  std::vector<wire::TopicRecord> list(const std::string& name) const;  // empty name: all
  Result<std::vector<wire::PartitionStatus>> status(const Uuid& topic) const;
  // Of one consumer name, or of all where it is empty.
  Result<std::vector<wire::CursorRow>> cursors(const Uuid& topic, const std::string& consumer) const;

  // Sets a cursor and gives it. INVALID_STATE while a consumer of that name reads the partition.
  void set_cursor(const wire::CursorSetFrame& frame, const partition::StatusCallback& done);
  // How many the topic has over all servers; 0: it is not here.
  size_t partition_count(const Uuid& topic) const;

  // TOPIC_NOT_FOUND, INVALID_PARTITION.
  Result<std::shared_ptr<HostedPartition>> find(const Uuid& topic, PartitionIndex index) const;
  size_t release_cache(size_t bytes);
  // Flushes and closes everything, after what is being removed; `done` gets the first error.
  void close_all(partition::StatusCallback done);

  // Sessions drop what they have on a partition when it is about to close.
  std::function<void(HostedPartition*)> on_closing;
  // A partition takes no more: subscriptions that are at its end tell their consumers.
  std::function<void()> on_complete;

 private:
  using Partitions = std::vector<std::shared_ptr<HostedPartition>>;  // by index; null: another server's
  Status merge(partition::TopicEntry* entry) const;
  Status open_partitions(const partition::TopicEntry& entry);
  void arm_retention();
  void retain();
  void close_partitions(const Partitions& partitions, partition::StatusCallback done);
  wire::TopicRecord to_record(const partition::TopicEntry& entry) const;

  Core* core_;
  std::unordered_map<Uuid, Partitions> open_;
  std::unordered_map<Uuid, std::vector<partition::StatusCallback>> removing_;  // who waits for it
  std::function<void()> all_removed_;                                          // close_all() does
  Reactor::TimerId retention_timer_ = 0;
};

}  // namespace diaspora::server
