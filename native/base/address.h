// Numeric texts of socket addresses.
#pragma once

#include <sys/socket.h>

#include <string>

namespace diaspora {

// "10.0.0.1" or "fe80::1", without port and scope; empty for other families and addresses cut short.
std::string numeric_host(const sockaddr* address, size_t bytes);
// Of this side of a connection: where the fabric is to listen for this peer. 127.0.0.1 when it has none.
std::string local_host_of(int fd);

}  // namespace diaspora
