#include "fabric/ofi_discovery.h"

#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "base/address.h"
#include "fabric/library.h"
#include "fabric/ofi_domain.h"
#include "fabric/ofi_probe.h"
#include "fabric/shm_files.h"
#include "fabric/signal_guard.h"

namespace diaspora::fabric {

namespace {

// What we can work with; the provider answers with what it needs of it.
void fill_hints(fi_info* hints, const ProviderPolicy& policy) {
  hints->caps = FI_MSG | FI_RMA;
  hints->mode = FI_CONTEXT | FI_CONTEXT2;
  hints->ep_attr->type = FI_EP_RDM;
  hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT;
  hints->domain_attr->threading = FI_THREAD_DOMAIN;
  hints->domain_attr->control_progress = FI_PROGRESS_MANUAL;
  hints->domain_attr->data_progress = FI_PROGRESS_MANUAL;
  hints->domain_attr->av_type = FI_AV_TABLE;
  hints->tx_attr->size = policy.queue_size;
  hints->rx_attr->size = policy.queue_size;
  hints->fabric_attr->prov_name = strdup(policy.name.c_str());  // fi_freeinfo frees it
}

bool is_any_address(const std::string& address) { return address.empty() || address == "0.0.0.0" || address == "::"; }

// Does `info` belong to the interface with this address? verbs, asked for an address that no adapter has (127.0.0.1),
// offers all adapters.
bool has_address(const fi_info& info, const std::string& address) {
  if (info.src_addr == nullptr) return false;
  return address.substr(0, address.find('%')) ==
         numeric_host(static_cast<const sockaddr*>(info.src_addr), info.src_addrlen);
}

// The provider's fi_info for `domain` or, without one, for the interface that `bind_address` names. The provider's name
// must match exactly: asking 1.17 for "tcp" also gives "tcp;ofi_rxm". A domain with several addresses: best the one
// that peers come to.
Result<ProviderChoice> choose(const Library& library, const ProviderPolicy& policy, const std::string& domain,
                              const std::string& bind_address) {
  const FreeInfo free_info{&library};
  const InfoPtr hints(library.dupinfo(nullptr), free_info);
  if (hints == nullptr) return {ErrorCode::k_RESOURCE_EXHAUSTED, "no memory for a provider's description"};
  fill_hints(hints.get(), policy);
  if (!domain.empty()) hints->domain_attr->name = strdup(domain.c_str());  // not every provider heeds it
  const SignalGuard guard;
  fi_info* found = nullptr;
  const bool by_ip = domain.empty() && policy.named_by_ip && !is_any_address(bind_address);
  const int rc =
      by_ip ? library.getinfo(library.api_version, bind_address.c_str(), nullptr, FI_SOURCE, hints.get(), &found)
            : library.getinfo(library.api_version, nullptr, nullptr, 0, hints.get(), &found);
  if (rc != 0) return {ErrorCode::k_PROVIDER_UNAVAILABLE, policy.name + ": " + library.error_text(rc)};
  const InfoPtr list(found, free_info);
  const fi_info* best = nullptr;
  std::set<std::string> domains;
  for (const fi_info* info = list.get(); info != nullptr; info = info->next) {
    if (policy.name != info->fabric_attr->prov_name) continue;
    if (by_ip && !has_address(*info, bind_address)) continue;
    const std::string name = info->domain_attr->name;
    domains.insert(name);
    if (!domain.empty() && name != domain) continue;
    if (best == nullptr || has_address(*info, bind_address)) best = info;
    if (domain.empty()) break;
  }
  if (best != nullptr) {
    ProviderChoice choice{&library, policy, InfoPtr(library.dupinfo(best), free_info)};
    if (choice.info == nullptr) return {ErrorCode::k_RESOURCE_EXHAUSTED, "no memory for a provider's description"};
    return choice;
  }
  std::string why = by_ip ? ": no device at " + bind_address : ": not in this libfabric";
  if (!domains.empty()) why = ": no domain '" + domain + "'; there are:";
  for (const std::string& name : domains) why += " " + name;
  return {ErrorCode::k_PROVIDER_UNAVAILABLE, policy.name + why};
}

bool has_ptrace_capability() {
  constexpr int kPtraceBit = 19;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("CapEff:")) continue;
    return ((std::strtoull(line.c_str() + 7, nullptr, 16) >> kPtraceBit) & 1) != 0;
  }
  return false;
}

// May processes of one user read each other's memory? Containers and Yama forbid it at times.
bool can_read_other_processes() {
  char from = 1;
  char to = 0;
  const iovec local{&to, 1};
  const iovec remote{&from, 1};
  if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != 1) return false;
  int scope = 0;
  std::ifstream yama("/proc/sys/kernel/yama/ptrace_scope");
  if (!(yama >> scope)) return true;  // a kernel without Yama
  return scope == 0 || has_ptrace_capability();
}

Result<ProviderInfo> try_provider(const Library& library, const ProviderPolicy& policy, const std::string& domain_name,
                                  const std::string& bind_address) {
  if (policy.needs_process_vm && !can_read_other_processes()) {
    return {ErrorCode::k_PROVIDER_UNAVAILABLE, policy.name + ": this system forbids reading other processes' memory"};
  }
  if (policy.leaves_files) remove_stale_shm_files();
  Result<ProviderChoice> choice = choose(library, policy, domain_name, bind_address);
  if (!choice) return choice.status();
  Result<std::unique_ptr<OfiDomain>> domain = OfiDomain::open(choice.take());
  if (!domain) return domain.status();
  if (const Status works = probe_provider(domain.value().get()); !works) return works;
  ProviderInfo provider = domain.value()->provider();
  provider.domain = domain_name;
  return provider;
}

// Answers of try_provider by provider, domain and address. The mutex also makes threads wait for the first answer.
struct Tried {
  std::mutex mutex;
  std::map<std::tuple<std::string, std::string, std::string>, Result<ProviderInfo>> answers;
};

Tried& tried() {
  static auto* instance = new Tried();
  return *instance;
}

Result<ProviderInfo> try_once(const Library& library, const ProviderPolicy& policy, const std::string& domain,
                              const std::string& bind_address) {
  Tried& memory = tried();
  const std::lock_guard<std::mutex> lock(memory.mutex);
  const auto key = std::make_tuple(policy.name, domain, bind_address);
  auto found = memory.answers.find(key);
  if (found == memory.answers.end()) {
    found = memory.answers.emplace(key, try_provider(library, policy, domain, bind_address)).first;
  }
  return found->second;
}

}  // namespace

Result<std::vector<ProviderInfo>> discover_ofi_providers(const FabricOptions& options) {
  const Result<const Library*> library = load_library();
  if (!library) return library.status();
  std::vector<ProviderInfo> working;
  std::string reasons;
  const size_t at = options.provider.rfind('@');
  const std::string domain = at == std::string::npos ? "" : options.provider.substr(at + 1);
  for (const ProviderPolicy& policy : policies_for_option(library.value()->version, options.provider.substr(0, at))) {
    Result<ProviderInfo> answer = try_once(*library.value(), policy, domain, options.bind_address);
    if (answer.ok()) {
      working.push_back(answer.take());
    } else {
      reasons += (reasons.empty() ? "" : "; ") + answer.error().message;
    }
  }
  if (!working.empty()) return working;
  return {ErrorCode::k_PROVIDER_UNAVAILABLE,
          "no provider works for '" + options.provider + "' on " +
              (is_any_address(options.bind_address) ? "any interface" : options.bind_address) + " with libfabric " +
              library.value()->version_text() + ": " + reasons};
}

Result<std::unique_ptr<Domain>> open_ofi_domain(const ProviderInfo& provider, const FabricOptions& options) {
  const Result<const Library*> library = load_library();
  if (!library) return library.status();
  const ProviderPolicy policy = policy_for(library.value()->version, provider.name);
  Result<ProviderChoice> choice = choose(*library.value(), policy, provider.domain, options.bind_address);
  if (!choice) return choice.status();
  Result<std::unique_ptr<OfiDomain>> domain = OfiDomain::open(choice.take());
  if (!domain) return domain.status();
  return std::unique_ptr<Domain>(domain.take());
}

Result<LibraryInfo> ofi_library_info() {
  const Result<const Library*> library = load_library();
  if (!library) return library.status();
  return LibraryInfo{library.value()->path, library.value()->version_text()};
}

}  // namespace diaspora::fabric
