#include "base/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

namespace diaspora {

std::string numeric_host(const sockaddr* address, size_t bytes) {
  char text[INET6_ADDRSTRLEN] = {};
  if (address->sa_family == AF_INET && bytes >= sizeof(sockaddr_in)) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text, sizeof(text));
  } else if (address->sa_family == AF_INET6 && bytes >= sizeof(sockaddr_in6)) {
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text, sizeof(text));
  }
  return text;
}

std::string local_host_of(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return "127.0.0.1";
  const std::string host = numeric_host(reinterpret_cast<const sockaddr*>(&address), length);
  return host.empty() ? "127.0.0.1" : host;
}

}  // namespace diaspora
