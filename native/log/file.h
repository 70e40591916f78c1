// The file seam: every file operation of the log, the catalogue and the storage goes through these two interfaces, so
// that tests can inject errors and power cuts at each call (native/testing/faulty_file.h).
//
// An operation either did all of its work or reports an Error: writes are never short. NO_SPACE stands for ENOSPC and
// EDQUOT, NOT_WRITABLE for missing permission, STORAGE_FAILED for everything else; messages name path, call and errno.
// Threads: any; one File is used by one thread at a time, except read(), which may run beside anything.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"

namespace diaspora::log {

class File {
 public:
  virtual ~File() = default;

  // Writes the pieces one after the other at `offset`. At most kWritePiecesMax.
  virtual Status write(uint64_t offset, std::span<const std::span<const uint8_t>> pieces) = 0;
  // Reads until `out` is full or the file ends; how much was read.
  virtual Result<size_t> read(uint64_t offset, std::span<uint8_t> out) const = 0;
  // Everything written before is on the device (fdatasync). After a failure what was written since the last success is
  // of unknown fate, and calling again proves nothing.
  virtual Status sync_data() = 0;
  // Space for [offset, offset + bytes) is set aside, the file grows to its end, and new bytes read as zero. A file
  // system that cannot do it answers ok without doing it.
  virtual Status reserve(uint64_t offset, uint64_t bytes) = 0;
  virtual Status truncate(uint64_t bytes) = 0;
  virtual Result<uint64_t> size() const = 0;
  // Takes the whole-file lock that belongs to this open file; false when another open file has it.
  virtual Result<bool> try_lock() = 0;

  // 1024, IOV_MAX on Linux.
  static constexpr size_t kWritePiecesMax = 1024;
};

enum class OpenMode : uint8_t {
  kRead,          // must exist
  kReadWrite,     // must exist
  kReplace,       // made, or emptied
  kOpenOrCreate,  // made when missing
};

// kDirect: past the page cache. Offsets, lengths and addresses must then be multiples of kDirectAlignment. A file
// system without it opens the file through the cache.
enum class Caching : uint8_t { kCached, kDirect };
inline constexpr size_t kDirectAlignment = 4096;

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  // New files are 0600 and never inherited by child processes.
  virtual Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode, Caching caching) = 0;
  virtual Status rename(const std::string& from, const std::string& to) = 0;
  virtual Status remove_file(const std::string& path) = 0;
  virtual Status remove_directory(const std::string& path) = 0;  // must be empty
  virtual Status sync_directory(const std::string& path) = 0;
  // 0700; true when it was made, false when it was there.
  virtual Result<bool> make_directory(const std::string& path) = 0;
  virtual Result<bool> exists(const std::string& path) = 0;
  // Names in a directory, sorted, without "." and "..".
  virtual Result<std::vector<std::string>> list(const std::string& path) = 0;
};

// The operating system's.
FileSystem& posix_file_system();

Status write_all(File& file, uint64_t offset, std::span<const uint8_t> bytes);
// The whole file, refused with STORAGE_FAILED above `bytes_max`.
Result<std::vector<uint8_t>> read_whole_file(FileSystem& files, const std::string& path, uint64_t bytes_max);
// `path` holds `bytes` and is on the device, or keeps what it held: temporary file, sync, rename, directory sync.
Status replace_file(FileSystem& files, const std::string& path, std::span<const uint8_t> bytes);
// Makes a directory and its missing parents, each synced into its parent. True when the last one is new.
Result<bool> make_directories(FileSystem& files, const std::string& path);
// Removes a directory with everything in it; success when there is none.
Status remove_tree(FileSystem& files, const std::string& path);
std::string parent_directory(const std::string& path);

// The Error for a failed call: chooses the code by errno.
Error file_error(const std::string& call, const std::string& path, int error_number);

// The suffix of files being made; what is found with it at start is removed.
inline constexpr char kTemporarySuffix[] = ".tmp";

}  // namespace diaspora::log
