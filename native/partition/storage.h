// What a server keeps: its identity, its topics and the files of its partitions, in one data directory.
//
//   DIR/lock                          held while a server uses DIR
//   DIR/identity                      server uuid and format version
//   DIR/catalogue                     the topics (catalogue.h)
//   DIR/topics/<topic uuid>/<index>/  one partition: segments, indexes, cursors (docs/formats/log.md)
//
// An empty directory name means storage in memory only: every partition is a memory partition and nothing is written.
// Threads: any; calls block on file work and exclude each other. Owner: the server. It must outlive every partition
// that it opened, and every Executor given to it must outlive it: its threads may still post to one. Invariants:
// directories are 0700, files 0600; no name from a client ever becomes part of a path; one process at a time holds a
// data directory.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/buffer_pool.h"
#include "base/error.h"
#include "base/executor.h"
#include "base/ids.h"
#include "partition/catalogue.h"
#include "partition/partition.h"

namespace diaspora::log {
class File;
class FileSystem;
class LogStore;
}  // namespace diaspora::log

namespace diaspora::partition {

struct StorageOptions {
  std::shared_ptr<BufferPool> pool;  // required: batches read back from disk are placed here
  uint64_t segment_bytes = uint64_t{256} << 20;
  size_t cache_bytes_max = size_t{64} << 20;  // newest batches of one log partition that stay in memory
  uint32_t writer_threads = 1;
  MemoryPartitionOptions memory;  // retention and clock are set for each partition
  std::function<int64_t()> clock_ns = wall_clock_ns;
  log::FileSystem* file_system = nullptr;  // for tests; null for the real one
};

// What open() put right.
struct StorageReport {
  bool created = false;                        // the data directory was new
  std::vector<std::string> leftovers_removed;  // directories of topics that the catalogue does not know
};

struct OpenedPartition {
  std::unique_ptr<Partition> partition;
  RecoveryReport report;
};

class Storage {
 public:
  // Creates the directory where it is missing. NOT_WRITABLE, DIRECTORY_LOCKED (names the holder's process id),
  // VERSION_MISMATCH, CORRUPT_LOG (identity or catalogue), STORAGE_FAILED.
  static Result<std::unique_ptr<Storage>> open(const std::string& data_dir, const StorageOptions& options);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  // Made at the first open and kept; in memory it is new each time.
  Uuid server_uuid() const { return server_uuid_; }
  bool in_memory() const { return data_dir_.empty(); }
  const StorageReport& report() const { return report_; }

  // The topic list. Durable when they answer ok.
  std::vector<TopicEntry> entries() const;
  Status put(const TopicEntry& entry);
  Status remove(const Uuid& topic);

  // Opens or creates one partition of a topic; `owner` is the thread that will call it. Blocks for recovery: the time
  // is bound by one segment, not by the history. CORRUPT_LOG when acknowledged events are damaged. A partition may be
  // opened once at a time. Memory partitions are empty each time.
  Result<OpenedPartition> open_partition(const TopicEntry& topic, PartitionIndex index, Executor* owner);
  // Deletes the files of all partitions of a topic; its partitions must be destroyed before. Success when there are
  // none.
  Status remove_partition_files(const Uuid& topic);

 private:
  Storage(std::string data_dir, const StorageOptions& options, Catalogue catalogue);
  static Result<std::unique_ptr<Storage>> open_in_memory(const StorageOptions& options);
  std::string topic_directory(const Uuid& topic) const;
  Status remove_leftovers();

  const std::string data_dir_;
  const StorageOptions options_;
  log::FileSystem* files_ = nullptr;  // null in memory
  Uuid server_uuid_;
  StorageReport report_;
  std::unique_ptr<log::File> lock_file_;
  std::unique_ptr<log::LogStore> log_store_;
  mutable std::mutex mutex_;
  Catalogue catalogue_;  // guarded by mutex_
};

}  // namespace diaspora::partition
