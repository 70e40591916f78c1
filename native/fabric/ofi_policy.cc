#include "fabric/ofi_policy.h"

#include <rdma/fabric.h>

#include "base/limits.h"

namespace diaspora::fabric {

namespace {

// Over ofi_rxm a message above the eager size (16 KiB) is fetched by the receiver out of the sender's memory.
constexpr size_t kRxmMessageBytes = 16 * 1024;
// The eager size that efa handles best, and below the rendezvous threshold of cxi.
constexpr size_t kNicMessageBytes = 8 * 1024;
// shm of 2.x sizes its shared memory by its queues: 256 instead of 1024 makes an endpoint 3 times cheaper (0.3 ms,
// 0.4 MB), and a session never has as many operations. In 1.17 it makes it dearer (6 instead of 3 ms, 7.5 instead of
// 5.3 MB), so that one keeps its default.
constexpr size_t kShm2Queue = 256;
// The defaults of ofi_rxm cost 70 MB an endpoint.
constexpr size_t kRxmQueue = 128;

ProviderPolicy nic(const char* name, const char* option, int preference) {
  ProviderPolicy policy;
  policy.name = name;
  policy.option = option;
  policy.family = name;
  policy.message_bytes_max = kNicMessageBytes;
  policy.preference = preference;
  policy.wait_object = WaitObject::kQueue;
  return policy;
}

ProviderPolicy verbs() {
  ProviderPolicy policy = nic("verbs;ofi_rxm", "verbs", 80);
  policy.message_bytes_max = kRxmMessageBytes;
  policy.named_by_ip = true;
  policy.queue_size = kRxmQueue;
  policy.forgets_no_endpoint = true;
  policy.exposes_messages = true;
  policy.domain_per_session = true;
  policy.registration_is_costly = true;
  return policy;
}

ProviderPolicy shm(uint32_t library_version) {
  ProviderPolicy policy;
  policy.name = "shm";
  policy.option = "shm";
  // 1.x and 2.x cannot talk to each other: they hang.
  policy.family = "shm-" + std::to_string(FI_MAJOR(library_version));
  policy.message_bytes_max = kMessageBytesMax;
  policy.preference = 60;
  policy.same_host_only = true;
  // Only by name. Whoever posts to a peer takes a spin lock in the peer's shared memory, which a process that is killed
  // at the wrong moment leaves locked: a server that posts to it then spins for ever (1.17: about one in thirty
  // consumers that were killed in the middle of deliveries; 2.x has locks there too). A dead client must not stop the
  // others.
  policy.automatic = false;
  policy.leaves_files = true;
  // 1.x copies through shared memory instead, at half the speed; 2.x stalls.
  policy.needs_process_vm = FI_MAJOR(library_version) >= 2;
  policy.nameless_rma_errors = true;
  policy.disguises_own_process = FI_MAJOR(library_version) >= 2;
  policy.own_address_table = true;
  policy.queue_size = FI_MAJOR(library_version) >= 2 ? kShm2Queue : 0;
  return policy;
}

// The native tcp provider. It was called `net` in 1.16 and 1.17, where `tcp` as an RDM provider means tcp;ofi_rxm:
// another wire, on which the two would hang without an error.
ProviderPolicy xnet(uint32_t library_version) {
  ProviderPolicy policy;
  policy.name = FI_VERSION_GE(library_version, FI_VERSION(1, 18)) ? "tcp" : "net";
  policy.option = "tcp";
  policy.family = "xnet";
  policy.message_bytes_max = kMessageBytesMax;
  policy.preference = 40;
  policy.named_by_ip = true;
  // Up to 1.18.1 fi_trywait returns 0 without doing anything: after the first completion the queue's descriptor would
  // stay readable for ever and the sleeper would spin. Waiting on a set does what fi_trywait should.
  policy.wait_object = FI_VERSION_GE(library_version, FI_VERSION(1, 19)) ? WaitObject::kQueue : WaitObject::kWaitSet;
  policy.own_address_table = true;
  // An endpoint that dies in the middle of a transfer makes 1.17 free the transfer's entry twice; what the domain hands
  // out from then on is shared by unrelated operations. A domain costs 0.7 ms, 10 descriptors and 260 KiB.
  policy.domain_per_session = true;
  return policy;
}

ProviderPolicy tcp_over_rxm(bool automatic) {
  ProviderPolicy policy;
  policy.name = "tcp;ofi_rxm";
  policy.option = automatic ? "tcp" : "";
  policy.family = policy.name;
  policy.message_bytes_max = kRxmMessageBytes;
  policy.preference = 20;
  policy.named_by_ip = true;
  policy.wait_object = WaitObject::kQueue;
  policy.automatic = automatic;
  policy.queue_size = kRxmQueue;
  policy.forgets_no_endpoint = true;
  policy.exposes_messages = true;
  policy.domain_per_session = true;
  return policy;
}

}  // namespace

std::vector<ProviderPolicy> provider_policies(uint32_t library_version) {
  const bool has_xnet = FI_VERSION_GE(library_version, FI_VERSION(1, 16));
  std::vector<ProviderPolicy> rows{nic("cxi", "cxi", 100), nic("efa", "efa", 90), verbs(), shm(library_version)};
  if (has_xnet) rows.push_back(xnet(library_version));
  rows.push_back(tcp_over_rxm(!has_xnet));
  return rows;
}

ProviderPolicy policy_for(uint32_t library_version, const std::string& name) {
  for (const ProviderPolicy& row : provider_policies(library_version)) {
    if (row.name == name) return row;
  }
  ProviderPolicy unknown = nic(name.c_str(), "", 1);
  unknown.automatic = false;
  return unknown;
}

std::vector<ProviderPolicy> policies_for_option(uint32_t library_version, const std::string& option) {
  std::vector<ProviderPolicy> allowed;
  for (const ProviderPolicy& row : provider_policies(library_version)) {
    if (option == "auto" ? row.automatic : row.option == option) allowed.push_back(row);
  }
  if (allowed.empty()) allowed.push_back(policy_for(library_version, option));
  return allowed;
}

}  // namespace diaspora::fabric
