// Everything that differs between providers, as data: one row each. No other code asks for a provider's name.
//
// Rows that no machine of ours has (efa, cxi) come from libfabric's manual pages and sources; verbs was run on
// Soft-RoCE.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace diaspora::fabric {

// Where the descriptor to sleep on comes from.
enum class WaitObject {
  kNone,     // there is none: poll
  kQueue,    // from the completion queue; fi_trywait says when sleeping is safe
  kWaitSet,  // from a wait set that the queue belongs to: where fi_trywait does nothing
};

struct ProviderPolicy {
  std::string name;    // exact prov_name
  std::string option;  // what FabricOptions::provider may call it besides its name
  std::string family;
  size_t message_bytes_max = 0;
  int preference = 0;
  bool same_host_only = false;
  bool named_by_ip = false;  // its address is the interface's IP: ask fi_getinfo for that one
  WaitObject wait_object = WaitObject::kNone;
  bool automatic = true;          // `auto` may take it
  bool leaves_files = false;      // a killed process leaves files in /dev/shm
  bool needs_process_vm = false;  // useless where processes may not read each other's memory
  // Name a peer of this very process so that the provider takes it for one of another (see OfiEndpoint::connect).
  bool disguises_own_process = false;
  bool nameless_rma_errors = false;  // a read that fails at once is reported without its context
  // ofi_rxm leaves a closed endpoint in the wait list of its queue (rxm_ep_close, 1.17): fi_trywait would follow it.
  bool forgets_no_endpoint = false;
  // ofi_rxm gives memory that is registered for sending to the peer to read, for its rendezvous. Messages that never
  // take that way pass through its own memory, so theirs need not be registered for it.
  bool exposes_messages = false;
  bool own_address_table = false;  // one address table for each endpoint, else one for the domain
  // Sessions share no domain: see ProviderInfo::domain_per_session.
  bool domain_per_session = false;
  // See ProviderInfo. Not set where a registration belongs to an endpoint (cxi).
  bool registration_is_costly = false;
  size_t queue_size = 0;  // transmit and receive queue of an endpoint; 0 = the provider's default
};

// Rows for this version of libfabric, best first.
std::vector<ProviderPolicy> provider_policies(uint32_t library_version);

// The row that `name` (a provider's exact name) has, or a careful one for names that have none.
ProviderPolicy policy_for(uint32_t library_version, const std::string& name);

// Rows that `option` ("auto", an option name or an exact provider name) allows, best first.
std::vector<ProviderPolicy> policies_for_option(uint32_t library_version, const std::string& option);

}  // namespace diaspora::fabric
