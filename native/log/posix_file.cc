// The operating system's files behind log/file.h. Loops on short transfers and EINTR; reads every return value.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "log/file.h"

namespace diaspora::log {

namespace {

// Calls until it is not interrupted.
template <typename Call>
auto retry_interrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

class PosixFile final : public File {
 public:
  PosixFile(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
  // Nothing depends on close: what must last was synced before, and Linux frees the descriptor whatever it returns.
  ~PosixFile() override { static_cast<void>(::close(descriptor_)); }

  Status write(uint64_t offset, std::span<const std::span<const uint8_t>> pieces) override {
    DIASPORA_CHECK(pieces.size() <= kWritePiecesMax);
    std::vector<iovec> rest;
    rest.reserve(pieces.size());
    for (const std::span<const uint8_t> piece : pieces) {
      rest.push_back({const_cast<uint8_t*>(piece.data()), piece.size()});
    }
    size_t first = 0;
    while (true) {
      while (first < rest.size() && rest[first].iov_len == 0) ++first;
      if (first == rest.size()) return {};
      const ssize_t written = retry_interrupted([&] {
        return pwritev(descriptor_, &rest[first], static_cast<int>(rest.size() - first), static_cast<off_t>(offset));
      });
      if (written < 0) return file_error("write", path_, errno);
      if (written == 0) return {ErrorCode::k_STORAGE_FAILED, "write of " + path_ + " made no progress"};
      offset += static_cast<uint64_t>(written);
      first = advance(&rest, first, static_cast<size_t>(written));
    }
  }

  Result<size_t> read(uint64_t offset, std::span<uint8_t> out) const override {
    size_t done = 0;
    while (done < out.size()) {
      const ssize_t got = retry_interrupted(
          [&] { return pread(descriptor_, &out[done], out.size() - done, static_cast<off_t>(offset + done)); });
      // A direct read that ended at an odd place has met the end of the file: going on from there is refused.
      const bool odd = done % kDirectAlignment != 0;
      if (got == 0 || (got < 0 && errno == EINVAL && odd)) break;
      if (got < 0) return file_error("read", path_, errno);
      done += static_cast<size_t>(got);
    }
    return done;
  }

  Status sync_data() override {
    if (retry_interrupted([&] { return fdatasync(descriptor_); }) != 0) return file_error("fdatasync", path_, errno);
    return {};
  }

  Status reserve(uint64_t offset, uint64_t bytes) override {
    const int result = retry_interrupted(
        [&] { return fallocate(descriptor_, 0, static_cast<off_t>(offset), static_cast<off_t>(bytes)); });
    if (result != 0 && errno != EOPNOTSUPP && errno != ENOSYS) return file_error("fallocate", path_, errno);
    return {};
  }

  Status truncate(uint64_t bytes) override {
    if (retry_interrupted([&] { return ftruncate(descriptor_, static_cast<off_t>(bytes)); }) != 0) {
      return file_error("ftruncate", path_, errno);
    }
    return {};
  }

  Result<uint64_t> size() const override {
    struct stat info{};
    if (fstat(descriptor_, &info) != 0) return file_error("fstat", path_, errno);
    return static_cast<uint64_t>(info.st_size);
  }

  Result<bool> try_lock() override {
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (retry_interrupted([&] { return fcntl(descriptor_, F_OFD_SETLK, &lock); }) == 0) return true;
    if (errno == EAGAIN || errno == EACCES) return false;
    return file_error("lock", path_, errno);
  }

 private:
  // Takes `written` bytes off the front; the index of the first piece that is not finished.
  static size_t advance(std::vector<iovec>* rest, size_t first, size_t written) {
    while (written > 0) {
      iovec& piece = (*rest)[first];
      const size_t taken = std::min(written, piece.iov_len);
      piece.iov_base = static_cast<uint8_t*>(piece.iov_base) + taken;
      piece.iov_len -= taken;
      written -= taken;
      if (piece.iov_len == 0) ++first;
    }
    return first;
  }

  const int descriptor_;
  const std::string path_;
};

int open_flags(OpenMode mode) {
  switch (mode) {
    case OpenMode::kRead:
      return O_RDONLY;
    case OpenMode::kReadWrite:
      return O_RDWR;
    case OpenMode::kReplace:
      return O_RDWR | O_CREAT | O_TRUNC;
    case OpenMode::kOpenOrCreate:
      return O_RDWR | O_CREAT;
  }
  DIASPORA_CHECK(false);
}

class PosixFileSystem final : public FileSystem {
 public:
  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode, Caching caching) override {
    const int flags = open_flags(mode) | O_CLOEXEC | O_NOFOLLOW;
    const auto open_with = [&](int extra) {
      return retry_interrupted([&] { return ::open(path.c_str(), flags | extra, 0600); });
    };
    int descriptor = open_with(caching == Caching::kDirect ? O_DIRECT : 0);
    if (descriptor < 0 && errno == EINVAL && caching == Caching::kDirect) descriptor = open_with(0);
    if (descriptor < 0) return file_error("open", path, errno);
    return std::unique_ptr<File>(std::make_unique<PosixFile>(descriptor, path));
  }

  Status rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return file_error("rename", to, errno);
    return {};
  }

  Status remove_file(const std::string& path) override {
    if (unlink(path.c_str()) != 0) return file_error("unlink", path, errno);
    return {};
  }

  Status remove_directory(const std::string& path) override {
    if (rmdir(path.c_str()) != 0) return file_error("rmdir", path, errno);
    return {};
  }

  Status sync_directory(const std::string& path) override {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return file_error("open", path, errno);
    const int result = retry_interrupted([&] { return fsync(descriptor); });
    const int error_number = errno;
    static_cast<void>(::close(descriptor));  // opened for reading: nothing can be lost
    if (result != 0) return file_error("fsync", path, error_number);
    return {};
  }

  Result<bool> make_directory(const std::string& path) override {
    if (mkdir(path.c_str(), 0700) == 0) return true;
    if (errno == EEXIST) return false;
    return file_error("mkdir", path, errno);
  }

  Result<bool> exists(const std::string& path) override {
    struct stat info{};
    if (lstat(path.c_str(), &info) == 0) return true;
    if (errno == ENOENT) return false;
    return file_error("stat", path, errno);
  }

  Result<std::vector<std::string>> list(const std::string& path) override {
    DIR* directory = opendir(path.c_str());
    if (directory == nullptr) return file_error("opendir", path, errno);
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = readdir(directory)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
      errno = 0;
    }
    const int error_number = errno;
    static_cast<void>(closedir(directory));  // opened for reading: nothing can be lost
    if (error_number != 0) return file_error("readdir", path, error_number);
    std::sort(names.begin(), names.end());
    return names;
  }
};

}  // namespace

FileSystem& posix_file_system() {
  static PosixFileSystem files;
  return files;
}

}  // namespace diaspora::log
