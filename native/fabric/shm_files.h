// The files that libfabric's shm provider leaves in /dev/shm when its process is killed: 5 to 13 MB for each endpoint.
//
// Threads: any.
#pragma once

#include <string>

namespace diaspora::fabric {

// Removes files of endpoints whose process, of this user, is dead. Returns how many.
int remove_stale_shm_files();

// A file of this process, to be removed should it exit without closing the endpoint.
void remember_shm_file(const std::string& name);
void forget_shm_file(const std::string& name);

}  // namespace diaspora::fabric
