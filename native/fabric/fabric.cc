// Which implementation serves a provider name, and the identity of the host.
#include "fabric/fabric.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "fabric/local_domain.h"
#include "fabric/ofi_discovery.h"

namespace diaspora::fabric {

namespace {

// What a symbolic link says, or nothing where /proc is not mounted.
std::string link_target(const char* path) {
  std::array<char, 256> target{};
  const ssize_t length = readlink(path, target.data(), target.size());
  return length > 0 ? std::string(target.data(), static_cast<size_t>(length)) : std::string();
}

}  // namespace

Result<std::vector<ProviderInfo>> discover_providers(const FabricOptions& options) {
  if (options.provider == "local") return std::vector<ProviderInfo>{local_provider()};
  return discover_ofi_providers(options);
}

Result<std::unique_ptr<Domain>> open_domain(const ProviderInfo& provider, const FabricOptions& options) {
  if (provider.name == "local") return open_local_domain();
  return open_ofi_domain(provider, options);
}

Result<LibraryInfo> library_info() { return ofi_library_info(); }

std::string host_identity() {
  std::string boot_id;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot_id);
  // shm needs the same /dev/shm and, as it protects nothing, the same user.
  struct stat shm{};
  const bool has_shm = stat("/dev/shm", &shm) == 0;
  return boot_id + "/" + link_target("/proc/self/ns/pid") + "/" + link_target("/proc/self/ns/ipc") + "/" +
         (has_shm ? std::to_string(shm.st_dev) : std::string("none")) + "/" + std::to_string(geteuid());
}

}  // namespace diaspora::fabric
