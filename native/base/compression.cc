#include "base/compression.h"

#include <dlfcn.h>

#include <memory>
#include <string>

namespace diaspora {

namespace {

constexpr char kSoname[] = "libzstd.so.1";

// The part of zstd's stable interface (since 1.0) that is used: https://facebook.github.io/zstd/zstd_manual.html
struct Zstd {
  void* (*make_compressor)() = nullptr;
  size_t (*free_compressor)(void*) = nullptr;
  size_t (*compress)(void* context, void* to, size_t capacity, const void* from, size_t bytes, int level) = nullptr;
  void* (*make_decompressor)() = nullptr;
  size_t (*free_decompressor)(void*) = nullptr;
  size_t (*decompress)(void* context, void* to, size_t capacity, const void* from, size_t bytes) = nullptr;
  unsigned (*is_error)(size_t) = nullptr;
  std::string missing;  // why it cannot be used; empty: it can
};

template <typename Function>
void find(void* handle, const char* name, Zstd* zstd, Function* out) {
  *out = reinterpret_cast<Function>(dlsym(handle, name));
  if (*out == nullptr) zstd->missing = std::string(kSoname) + " has no " + name;
}

Zstd open_zstd() {
  Zstd zstd;
  void* const handle = dlopen(kSoname, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* const reason = dlerror();
    zstd.missing = reason == nullptr ? kSoname : reason;
    return zstd;
  }
  find(handle, "ZSTD_createCCtx", &zstd, &zstd.make_compressor);
  find(handle, "ZSTD_freeCCtx", &zstd, &zstd.free_compressor);
  find(handle, "ZSTD_compressCCtx", &zstd, &zstd.compress);
  find(handle, "ZSTD_createDCtx", &zstd, &zstd.make_decompressor);
  find(handle, "ZSTD_freeDCtx", &zstd, &zstd.free_decompressor);
  find(handle, "ZSTD_decompressDCtx", &zstd, &zstd.decompress);
  find(handle, "ZSTD_isError", &zstd, &zstd.is_error);
  return zstd;
}

const Zstd& library() {
  static const Zstd zstd = open_zstd();
  return zstd;
}

using Context = std::unique_ptr<void, size_t (*)(void*)>;

}  // namespace

Status compression_available() {
  if (library().missing.empty()) return {};
  return {ErrorCode::k_COMPRESSION_MISSING, "zstd could not be loaded: " + library().missing +
                                                "; install it (Debian, Ubuntu: libzstd1; Fedora, RHEL: libzstd)"};
}

size_t compress(std::span<const uint8_t> from, std::span<uint8_t> to, int level) {
  const Zstd& zstd = library();
  if (!zstd.missing.empty()) return 0;
  thread_local const Context context(zstd.make_compressor(), zstd.free_compressor);
  const size_t bytes = zstd.compress(context.get(), to.data(), to.size(), from.data(), from.size(), level);
  return zstd.is_error(bytes) != 0 ? 0 : bytes;
}

Status decompress(std::span<const uint8_t> from, std::span<uint8_t> to) {
  const Status available = compression_available();
  if (!available) return available;
  const Zstd& zstd = library();
  thread_local const Context context(zstd.make_decompressor(), zstd.free_decompressor);
  const size_t bytes = zstd.decompress(context.get(), to.data(), to.size(), from.data(), from.size());
  if (zstd.is_error(bytes) == 0 && bytes == to.size()) return {};
  return {ErrorCode::k_CORRUPT_DATA, "compressed metadata does not decompress to its length"};
}

}  // namespace diaspora
