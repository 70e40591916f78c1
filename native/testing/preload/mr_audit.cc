// Loaded with LD_PRELOAD: notes with what rights a process registers memory with an RDMA adapter. Each registration is
// one line "ACCESS BYTES" (flags of ibv_access_flags, in decimal) in the file that DIASPORA_MR_AUDIT names.
//
// libfabric's verbs provider calls one of these two entry points of libibverbs; <infiniband/verbs.h> is not needed for
// their types, which are pointers here.
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

void note(unsigned access, size_t bytes) {
  const char* const path = std::getenv("DIASPORA_MR_AUDIT");
  if (path == nullptr) return;
  const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  char line[64];
  const int length = std::snprintf(line, sizeof(line), "%u %zu\n", access, bytes);
  // What cannot be noted must not pass for harmless.
  if (fd < 0 || write(fd, line, static_cast<size_t>(length)) != length) std::abort();
  close(fd);
}

// libfabric has it loaded, not in the global scope.
template <typename Function>
Function* real(const char* name) {
  void* const library = dlopen("libibverbs.so.1", RTLD_LAZY | RTLD_NOLOAD);
  return reinterpret_cast<Function*>(dlsym(library, name));
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) void* ibv_reg_mr(void* domain, void* address, size_t bytes, int access) {
  note(static_cast<unsigned>(access), bytes);
  return real<void*(void*, void*, size_t, int)>("ibv_reg_mr")(domain, address, bytes, access);
}

__attribute__((visibility("default"))) void* ibv_reg_mr_iova2(void* domain, void* address, size_t bytes,
                                                              uint64_t remote_address, unsigned access) {
  note(access, bytes);
  return real<void*(void*, void*, size_t, uint64_t, unsigned)>("ibv_reg_mr_iova2")(domain, address, bytes,
                                                                                   remote_address, access);
}

}  // extern "C"
