// libfabric, opened at run time: the vendor's build with cxi or efa is the right one on a cluster, and a machine
// without any still runs the embedded driver.
//
// What it is not: it chooses no provider. Only a handful of symbols is looked up; everything else in <rdma/*> is
// inline, through the tables of the objects. Threads: any. Opened once in a process and never closed: threads may still
// be in it. Only ofi_*.cc include this file, so that no other code sees <rdma/*>.
#pragma once

#include <rdma/fabric.h>
#include <rdma/fi_errno.h>

#include <cstdint>
#include <string>

#include "base/error.h"

namespace diaspora::fabric {

struct Library {
  // These three are always of one symbol version, as they share struct fi_info.
  decltype(&::fi_getinfo) getinfo = nullptr;
  decltype(&::fi_freeinfo) freeinfo = nullptr;
  decltype(&::fi_dupinfo) dupinfo = nullptr;
  decltype(&::fi_fabric) open_fabric = nullptr;
  decltype(&::fi_strerror) strerror = nullptr;
  uint32_t version = 0;      // of the library, FI_VERSION(major, minor)
  uint32_t api_version = 0;  // what we ask for: 1.17, or the library's when that is older
  std::string path;

  std::string version_text() const;
  // Text for a result of an fi_ call, for example "Resource temporarily unavailable (-11)". The sign is ignored.
  std::string error_text(int64_t code) const;
};

// Tries $DIASPORA_LIBFABRIC (and nothing else when it is set), the system's libfabric.so.1, then one beside this code.
Result<const Library*> load_library();

}  // namespace diaspora::fabric
