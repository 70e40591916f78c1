// The durable list of topics of one server: a single file with a checksum, replaced atomically.
//
// It holds what must survive a restart about a topic besides its events. It does not know the meaning of `placement`
// and `config`: those belong to the server layer and to the clients. Threads: none of its own; Storage calls it under
// its mutex. Invariant: when put() or remove() answers ok the change is on the device; when it fails the file on disk
// holds either the old list or the new one, never anything else, and entries() holds the old one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/ids.h"
#include "partition/partition.h"

namespace diaspora::log {
class FileSystem;
}

namespace diaspora::partition {

// Where a topic's partitions live. Values are stored on disk: never renumber.
enum class PartitionKind : uint8_t { kMemory = 0, kLog = 1 };
// kComplete: takes no more events, and stays.
enum class TopicState : uint8_t { kCreating = 0, kActive = 1, kDeleting = 2, kComplete = 3 };

struct TopicEntry {
  std::string name;  // unique among the entries that are not being deleted
  Uuid uuid;         // new for every creation: a re-created topic is another topic
  TopicState state = TopicState::kCreating;
  PartitionKind kind = PartitionKind::kLog;
  Durability durability = Durability::kSync;
  uint32_t partition_count = 1;
  std::vector<uint8_t> placement;  // opaque: which server owns which partition
  std::string config;              // opaque JSON text: validator, partition selector, serializer
  Retention retention;

  friend bool operator==(const TopicEntry&, const TopicEntry&) = default;
};

class Catalogue {
 public:
  // Reads `directory`/catalogue; a missing file is an empty list. CORRUPT_LOG when its checksum does not match,
  // VERSION_MISMATCH for another format. With a null `files` nothing is stored.
  static Result<Catalogue> open(log::FileSystem* files, const std::string& directory);

  const std::vector<TopicEntry>& entries() const { return entries_; }
  // Adds the entry or replaces the one with its uuid. TOPIC_EXISTS when another live entry has its name.
  Status put(const TopicEntry& entry);
  // Success without effect when there is none.
  Status remove(const Uuid& uuid);

 private:
  Catalogue(log::FileSystem* files, std::string directory) : files_(files), directory_(std::move(directory)) {}
  Status replace(std::vector<TopicEntry> entries);

  log::FileSystem* files_;
  std::string directory_;
  std::vector<TopicEntry> entries_;
};

}  // namespace diaspora::partition
