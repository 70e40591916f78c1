// Owners of libfabric objects: closed when they go, in the reverse order of their declaration.
#pragma once

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>

#include <cstddef>
#include <memory>

#include "base/error.h"
#include "fabric/library.h"

namespace diaspora::fabric {

struct CloseFid {
  template <typename Fid>
  void operator()(Fid* object) const {
    // Busy means that something built on it is still open: an order that our types exclude. Other failures leave
    // nothing to do; the provider has logged them.
    const int closed = fi_close(&object->fid);
    DIASPORA_CHECK(closed != -FI_EBUSY);
  }
};

template <typename Fid>
using FidPtr = std::unique_ptr<Fid, CloseFid>;

struct FreeInfo {
  const Library* library;
  void operator()(fi_info* info) const { library->freeinfo(info); }
};

using InfoPtr = std::unique_ptr<fi_info, FreeInfo>;

// A structure that a newer library may believe to be longer than our headers do: it reads and writes zeros behind it.
template <typename T>
struct Padded {
  T value{};
  std::byte behind[64]{};
};

}  // namespace diaspora::fabric
