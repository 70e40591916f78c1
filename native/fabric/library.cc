#include "fabric/library.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "fabric/signal_guard.h"

namespace diaspora::fabric {

namespace {

constexpr char kSoname[] = "libfabric.so.1";

// The directory of the shared object (or program) that holds this code.
std::string own_directory() {
  Dl_info found{};
  if (dladdr(reinterpret_cast<void*>(&load_library), &found) == 0 || found.dli_fname == nullptr) return {};
  const std::string path = found.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string(".") : path.substr(0, slash);
}

std::vector<std::string> candidate_paths() {
  if (const char* chosen = std::getenv("DIASPORA_LIBFABRIC"); chosen != nullptr && *chosen != 0) return {chosen};
  return {kSoname, own_directory() + "/" + kSoname};
}

// Settings that libfabric reads from the environment only, while it starts. The user's win.
void set_environment_defaults() {
  // The registration cache patches munmap or needs privileges: both are a poor fit inside Node, and we register
  // explicitly. efa cannot give a wait descriptor while it uses shm inside.
  constexpr int kKeepExisting = 0;
  DIASPORA_CHECK(setenv("FI_MR_CACHE_MONITOR", "disabled", kKeepExisting) == 0);
  DIASPORA_CHECK(setenv("FI_EFA_ENABLE_SHM_TRANSFER", "0", kKeepExisting) == 0);
  // How many peers an endpoint is to expect. Ours have one. ofi_rxm makes the completion queue of an endpoint 256 times
  // this long, pinned on real adapters; its default of 256 is more than Soft-RoCE can have (32767 entries).
  DIASPORA_CHECK(setenv("FI_UNIVERSE_SIZE", "16", kKeepExisting) == 0);
  // Where receives belong to the connection, closing an endpoint of ofi_rxm while messages come in crashes:
  // rxm_close_conn (1.17) frees the connection, then takes what is left in the queue and posts each receive again, on
  // what it has freed. Where they are shared they outlive it. As many as a connection would have: the default of shared
  // ones, 4096 of 16 KiB, is 64 MiB an endpoint; our credit allows fewer messages.
  DIASPORA_CHECK(setenv("FI_OFI_RXM_USE_SRX", "1", kKeepExisting) == 0);
  DIASPORA_CHECK(setenv("FI_OFI_RXM_MSG_RX_SIZE", "128", kKeepExisting) == 0);
}

template <typename Function>
bool find_symbol(void* handle, const char* name, const char* version, Function* out) {
  void* symbol = version != nullptr ? dlvsym(handle, name, version) : dlsym(handle, name);
  *out = reinterpret_cast<Function>(symbol);
  return symbol != nullptr;
}

bool find_info_calls(void* handle, const char* version, Library* library) {
  return find_symbol(handle, "fi_getinfo", version, &library->getinfo) &&
         find_symbol(handle, "fi_freeinfo", version, &library->freeinfo) &&
         find_symbol(handle, "fi_dupinfo", version, &library->dupinfo);
}

std::string path_of(void* symbol, const std::string& fallback) {
  Dl_info found{};
  return dladdr(symbol, &found) != 0 && found.dli_fname != nullptr ? std::string(found.dli_fname) : fallback;
}

Status find_symbols(void* handle, const std::string& path, Library* library) {
  decltype(&::fi_version) version = nullptr;
  // FABRIC_1.3: the layout of fi_info that 1.9 to 1.18 use and 2.x keeps; a build without symbol versions has one only.
  const bool complete = (find_info_calls(handle, "FABRIC_1.3", library) || find_info_calls(handle, nullptr, library)) &&
                        (find_symbol(handle, "fi_fabric", "FABRIC_1.1", &library->open_fabric) ||
                         find_symbol(handle, "fi_fabric", nullptr, &library->open_fabric)) &&
                        find_symbol(handle, "fi_strerror", nullptr, &library->strerror) &&
                        find_symbol(handle, "fi_version", nullptr, &version);
  if (!complete) return {ErrorCode::k_LIBFABRIC_MISSING, path + " is not a usable libfabric: symbols are missing"};
  library->version = version();
  library->api_version = std::min<uint32_t>(library->version, FI_VERSION(1, 17));
  library->path = path_of(reinterpret_cast<void*>(version), path);
  return {};
}

Result<const Library*> open_library() {
  remember_loaded_objects();
  set_environment_defaults();
  const SignalGuard guard;
  std::string tried;
  for (const std::string& path : candidate_paths()) {
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      const char* reason = dlerror();
      tried += (tried.empty() ? "" : "; ") + std::string(reason != nullptr ? reason : path.c_str());
      continue;
    }
    auto library = std::make_unique<Library>();
    if (const Status found = find_symbols(handle, path, library.get()); !found) return found;
    return static_cast<const Library*>(library.release());
  }
  return {ErrorCode::k_LIBFABRIC_MISSING,
          "libfabric could not be loaded (" + tried +
              "); install the package libfabric1 (Debian, Ubuntu) or libfabric (RHEL, Fedora, SUSE), or name the "
              "library in DIASPORA_LIBFABRIC"};
}

}  // namespace

std::string Library::version_text() const {
  return std::to_string(FI_MAJOR(version)) + "." + std::to_string(FI_MINOR(version));
}

std::string Library::error_text(int64_t code) const {
  const int positive = static_cast<int>(code < 0 ? -code : code);
  return std::string(strerror(positive)) + " (" + std::to_string(positive) + ")";
}

Result<const Library*> load_library() {
  static const auto* loaded = new Result<const Library*>(open_library());
  return *loaded;
}

}  // namespace diaspora::fabric
