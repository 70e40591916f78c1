#include "log/file.h"

#include <algorithm>
#include <cerrno>

namespace diaspora::log {

Error file_error(const std::string& call, const std::string& path, int error_number) {
  ErrorCode code = ErrorCode::k_STORAGE_FAILED;
  if (error_number == ENOSPC || error_number == EDQUOT) code = ErrorCode::k_NO_SPACE;
  if (error_number == EACCES || error_number == EPERM || error_number == EROFS) code = ErrorCode::k_NOT_WRITABLE;
  return {code, call + " of " + path + " failed: " + errno_text(error_number)};
}

Status write_all(File& file, uint64_t offset, std::span<const uint8_t> bytes) {
  const std::span<const uint8_t> pieces[] = {bytes};
  return file.write(offset, pieces);
}

Result<std::vector<uint8_t>> read_whole_file(FileSystem& files, const std::string& path, uint64_t bytes_max) {
  Result<std::unique_ptr<File>> file = files.open(path, OpenMode::kRead, Caching::kCached);
  if (!file) return file.status();
  const Result<uint64_t> size = file.value()->size();
  if (!size) return size.status();
  if (size.value() > bytes_max) {
    return {ErrorCode::k_STORAGE_FAILED,
            path + " has " + std::to_string(size.value()) + " bytes, more than it can have"};
  }
  std::vector<uint8_t> bytes(size.value());
  const Result<size_t> got = file.value()->read(0, bytes);
  if (!got) return got.status();
  bytes.resize(got.value());
  return bytes;
}

Status replace_file(FileSystem& files, const std::string& path, std::span<const uint8_t> bytes) {
  const std::string temporary = path + kTemporarySuffix;
  {
    Result<std::unique_ptr<File>> file = files.open(temporary, OpenMode::kReplace, Caching::kCached);
    if (!file) return file.status();
    const Status written = write_all(*file.value(), 0, bytes);
    if (!written) return written;
    const Status synced = file.value()->sync_data();
    if (!synced) return synced;
  }
  const Status renamed = files.rename(temporary, path);
  if (!renamed) return renamed;
  return files.sync_directory(parent_directory(path));
}

Result<bool> make_directories(FileSystem& files, const std::string& path) {
  const Result<bool> there = files.exists(path);
  if (!there) return there.status();
  if (there.value()) return false;
  const std::string parent = parent_directory(path);
  const Result<bool> parents = make_directories(files, parent);
  if (!parents) return parents;
  const Result<bool> made = files.make_directory(path);
  if (!made) return made;
  const Status synced = files.sync_directory(parent);
  if (!synced) return synced;
  return made;
}

Status remove_tree(FileSystem& files, const std::string& path) {
  const Result<bool> there = files.exists(path);
  if (!there) return there.status();
  if (!there.value()) return {};
  const Result<std::vector<std::string>> names = files.list(path);
  if (!names) return files.remove_file(path);  // not a directory
  for (const std::string& name : names.value()) {
    std::string inner = path;
    inner.append("/").append(name);
    const Status removed = remove_tree(files, inner);
    if (!removed) return removed;
  }
  return files.remove_directory(path);
}

std::string parent_directory(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace diaspora::log
