#include "client/domain_registry.h"

#include <map>
#include <tuple>
#include <utility>

#include "client/client.h"

namespace diaspora::client {

namespace {

using Key = std::tuple<std::string, std::string, std::string>;  // provider, its domain, bind address

// Leaked like the progress thread that it belongs to.
std::map<Key, std::weak_ptr<SharedDomain>>& registry() {
  static auto* const domains = new std::map<Key, std::weak_ptr<SharedDomain>>();
  return *domains;
}

}  // namespace

SharedDomain::SharedDomain(Reactor* reactor, std::unique_ptr<fabric::Domain> domain)
    : reactor_(reactor), domain_(std::move(domain)), poller_(domain_.get()) {
  reactor_->add_poller(&poller_);
  static const uint64_t bytes_max = RegistrationCache::bytes_from_environment();
  if (!domain_->provider().registration_is_costly || bytes_max == 0) return;
  registrations_ = std::make_unique<RegistrationCache>(reactor_, domain_.get(), bytes_max);
}

SharedDomain::~SharedDomain() { reactor_->remove_poller(&poller_); }

Result<std::shared_ptr<SharedDomain>> share_domain(const fabric::ProviderInfo& provider,
                                                   const std::string& bind_address) {
  std::weak_ptr<SharedDomain>& known = registry()[{provider.name, provider.domain, bind_address}];
  if (std::shared_ptr<SharedDomain> domain = known.lock(); domain && !provider.domain_per_session) return domain;
  fabric::FabricOptions options;
  options.provider = provider.name;
  options.bind_address = bind_address;
  auto opened = fabric::open_domain(provider, options);
  if (!opened) return opened.error();
  Reactor* const reactor = &progress_thread();
  std::shared_ptr<SharedDomain> shared(new SharedDomain(reactor, opened.take()),
                                       [reactor](SharedDomain* domain) { reactor->post([domain] { delete domain; }); });
  known = shared;
  return shared;
}

}  // namespace diaspora::client
