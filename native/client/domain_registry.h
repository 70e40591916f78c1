// The fabric domains of the progress thread: one for each provider and interface, shared by all clients of the process,
// except where the provider wants one for each session.
//
// Thread: progress. A domain is opened on first use and closed, by a reactor pass of its own (never inside its own
// progress call), when the last connection that uses it has gone.
#pragma once

#include <memory>
#include <string>

#include "base/reactor.h"
#include "client/registration_cache.h"
#include "fabric/fabric.h"
#include "session/link.h"

namespace diaspora::client {

class SharedDomain {
 public:
  SharedDomain(Reactor* reactor, std::unique_ptr<fabric::Domain> domain);
  ~SharedDomain();
  SharedDomain(const SharedDomain&) = delete;
  SharedDomain& operator=(const SharedDomain&) = delete;
  fabric::Domain* get() const { return domain_.get(); }
  // Null where registering costs nothing.
  RegistrationCache* registrations() const { return registrations_.get(); }

 private:
  Reactor* reactor_;
  std::unique_ptr<fabric::Domain> domain_;
  session::DomainPoller poller_;
  std::unique_ptr<RegistrationCache> registrations_;
};

Result<std::shared_ptr<SharedDomain>> share_domain(const fabric::ProviderInfo& provider,
                                                   const std::string& bind_address);

}  // namespace diaspora::client
