#include "partition/storage.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "log/file.h"
#include "log/log_writer.h"
#include "partition/log_partition.h"

namespace diaspora::partition {

namespace {

// "DSID" in file order.
constexpr uint32_t kIdentityMagic = 0x44495344;
// Of the data directory as a whole: raised when a file in it changes its meaning.
constexpr uint16_t kFormatVersion = 1;
constexpr uint64_t kIdentityBytes = 28;
constexpr uint64_t kLockFileBytesMax = 4096;

std::vector<uint8_t> encode_identity(const Uuid& server) {
  std::vector<uint8_t> file;
  ByteWriter out(&file);
  out.u32(kIdentityMagic);
  out.u16(kFormatVersion);
  out.u16(0);
  out.uuid(server);
  out.u32(crc32c(file));
  return file;
}

Result<Uuid> decode_identity(std::span<const uint8_t> file, const std::string& path) {
  ByteReader in(file);
  const uint32_t magic = in.u32();
  const uint16_t version = in.u16();
  in.u16();
  const Uuid server = in.uuid();
  const uint32_t crc = in.u32();
  const bool whole = in.finished() && magic == kIdentityMagic && crc == crc32c(file.first(kIdentityBytes - 4));
  if (!whole) return {ErrorCode::k_CORRUPT_LOG, "the identity file " + path + " is damaged; restore it from a copy"};
  if (version != kFormatVersion) {
    return {ErrorCode::k_VERSION_MISMATCH, "the data directory has format version " + std::to_string(version) + " (" +
                                               path + "); this program uses version " + std::to_string(kFormatVersion)};
  }
  return server;
}

// A new identity is made only in a directory that holds nothing of a server yet.
Result<Uuid> load_identity(log::FileSystem& files, const std::string& directory, bool* created) {
  const std::string path = directory + "/identity";
  const Result<bool> there = files.exists(path);
  if (!there) return there.status();
  if (there.value()) {
    const Result<std::vector<uint8_t>> file = log::read_whole_file(files, path, kLockFileBytesMax);
    if (!file) return file.status();
    return decode_identity(file.value(), path);
  }
  for (const char* name : {"/catalogue", "/topics"}) {
    const Result<bool> used = files.exists(directory + name);
    if (!used) return used.status();
    if (used.value()) {
      return {ErrorCode::k_CORRUPT_LOG, directory + " holds topics but no identity file; restore it from a copy"};
    }
  }
  const Uuid server = Uuid::random();
  const Status written = log::replace_file(files, path, encode_identity(server));
  if (!written) return written;
  *created = true;
  return server;
}

// The holder's process id stands in the file: the kernel does not tell who has a lock of this kind.
Result<std::unique_ptr<log::File>> lock_directory(log::FileSystem& files, const std::string& directory) {
  const std::string path = directory + "/lock";
  Result<std::unique_ptr<log::File>> file = files.open(path, log::OpenMode::kOpenOrCreate, log::Caching::kCached);
  if (!file) return file;
  const Result<bool> locked = file.value()->try_lock();
  if (!locked) return locked.status();
  if (!locked.value()) {
    const Result<std::vector<uint8_t>> text = log::read_whole_file(files, path, kLockFileBytesMax);
    const std::string holder = text ? std::string(text.value().begin(), text.value().end()) : "unknown";
    return {ErrorCode::k_DIRECTORY_LOCKED,
            "the data directory " + directory + " is in use by the server with process id " + holder};
  }
  const std::string text = std::to_string(getpid());
  const Status emptied = file.value()->truncate(0);
  if (!emptied) return emptied;
  const Status written = log::write_all(*file.value(), 0, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  if (!written) return written;
  return file;
}

// Partitions of one topic differ in their last four bytes, so that no file of one passes for a file of another.
Uuid partition_uuid(const Uuid& topic, PartitionIndex index) {
  Uuid uuid = topic;
  for (size_t i = 0; i < sizeof(index.value); ++i) {
    uuid.bytes[uuid.bytes.size() - 1 - i] ^= static_cast<uint8_t>(index.value >> (8 * i));
  }
  return uuid;
}

Error not_writable(const std::string& directory, const Error& cause) {
  return {ErrorCode::k_NOT_WRITABLE, "the data directory " + directory + " cannot be used: " + cause.message};
}

}  // namespace

Storage::Storage(std::string data_dir, const StorageOptions& options, Catalogue catalogue)
    : data_dir_(std::move(data_dir)), options_(options), catalogue_(std::move(catalogue)) {}

Storage::~Storage() = default;

Result<std::unique_ptr<Storage>> Storage::open_in_memory(const StorageOptions& options) {
  Result<Catalogue> catalogue = Catalogue::open(nullptr, "");
  if (!catalogue) return catalogue.status();
  std::unique_ptr<Storage> storage(new Storage("", options, catalogue.take()));
  storage->server_uuid_ = Uuid::random();
  return storage;
}

Result<std::unique_ptr<Storage>> Storage::open(const std::string& data_dir, const StorageOptions& options) {
  DIASPORA_CHECK(options.pool != nullptr);
  if (data_dir.empty()) return open_in_memory(options);
  log::FileSystem& files = options.file_system != nullptr ? *options.file_system : log::posix_file_system();
  const Result<bool> made = log::make_directories(files, data_dir);
  if (!made) return not_writable(data_dir, made.error());
  Result<std::unique_ptr<log::File>> lock = lock_directory(files, data_dir);
  if (!lock)
    return lock.error().code == ErrorCode::k_NOT_WRITABLE ? not_writable(data_dir, lock.error()) : lock.error();
  StorageReport report;
  const Result<Uuid> server = load_identity(files, data_dir, &report.created);
  if (!server) return server.status();
  Result<Catalogue> catalogue = Catalogue::open(&files, data_dir);
  if (!catalogue) return catalogue.status();

  std::unique_ptr<Storage> storage(new Storage(data_dir, options, catalogue.take()));
  storage->files_ = &files;
  storage->server_uuid_ = server.value();
  storage->report_ = std::move(report);
  storage->lock_file_ = lock.take();
  storage->log_store_ = std::make_unique<log::LogStore>(options.writer_threads);
  const Result<bool> topics = log::make_directories(files, data_dir + "/topics");
  if (!topics) return topics.status();
  const Status removed = storage->remove_leftovers();
  if (!removed) return removed;
  return storage;
}

// A crash between making a topic's files and entering it, or between dropping its entry and removing its files, leaves
// directories that nothing refers to.
Status Storage::remove_leftovers() {
  const Result<std::vector<std::string>> names = files_->list(data_dir_ + "/topics");
  if (!names) return names.status();
  for (const std::string& name : names.value()) {
    const auto& entries = catalogue_.entries();
    const bool known = std::any_of(entries.begin(), entries.end(),
                                   [&](const TopicEntry& entry) { return entry.uuid.to_string() == name; });
    if (known) continue;
    const Status removed = log::remove_tree(*files_, data_dir_ + "/topics/" + name);
    if (!removed) return removed;
    report_.leftovers_removed.push_back(data_dir_ + "/topics/" + name);
  }
  return {};
}

std::vector<TopicEntry> Storage::entries() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return catalogue_.entries();
}

Status Storage::put(const TopicEntry& entry) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return catalogue_.put(entry);
}

Status Storage::remove(const Uuid& topic) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return catalogue_.remove(topic);
}

std::string Storage::topic_directory(const Uuid& topic) const { return data_dir_ + "/topics/" + topic.to_string(); }

Result<OpenedPartition> Storage::open_partition(const TopicEntry& topic, PartitionIndex index, Executor* owner) {
  if (index.value >= topic.partition_count) {
    return {ErrorCode::k_INVALID_PARTITION, "topic \"" + topic.name + "\" has " +
                                                std::to_string(topic.partition_count) +
                                                " partitions, not a partition " + std::to_string(index.value)};
  }
  if (in_memory() || topic.kind == PartitionKind::kMemory) {
    MemoryPartitionOptions memory = options_.memory;
    memory.retention = topic.retention;
    memory.clock_ns = options_.clock_ns;
    return OpenedPartition{make_memory_partition(owner, memory), {}};
  }
  LogPartitionOptions options;
  options.directory = topic_directory(topic.uuid) + "/" + std::to_string(index.value);
  options.uuid = partition_uuid(topic.uuid, index);
  options.label = "partition " + std::to_string(index.value) + " of topic \"" + topic.name + "\"";
  options.durability = topic.durability;
  options.segment_bytes = options_.segment_bytes;
  options.retention = topic.retention;
  options.clock_ns = options_.clock_ns;
  options.cache_bytes_max = options_.cache_bytes_max;
  options.pool = options_.pool;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const Result<bool> made = log::make_directories(*files_, options.directory);
    if (!made) return made.status();
  }
  return LogPartition::open(*files_, *log_store_, owner, options);
}

Status Storage::remove_partition_files(const Uuid& topic) {
  if (in_memory()) return {};
  const std::lock_guard<std::mutex> lock(mutex_);
  const std::string directory = topic_directory(topic);
  const Status removed = log::remove_tree(*files_, directory);
  if (!removed) return removed;
  return files_->sync_directory(log::parent_directory(directory));
}

}  // namespace diaspora::partition
