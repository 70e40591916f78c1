#include "server/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>
#include <utility>

#include "base/address.h"
#include "server/core.h"
#include "server/group_table.h"
#include "server/session.h"
#include "server/topic_table.h"

namespace diaspora::server {

namespace {

constexpr int kListenBacklog = 1024;
// Sessions of one server: each costs 3 MiB of message buffers (resident: those used), one endpoint and two
// descriptors.
constexpr size_t kSessionsMax = 2048;

struct BoundSocket {
  int fd = -1;
  uint16_t port = 0;
};

Result<BoundSocket> listen_on(const std::string& host, uint16_t port) {
  sockaddr_storage address{};
  socklen_t length = 0;
  auto* in4 = reinterpret_cast<sockaddr_in*>(&address);
  auto* in6 = reinterpret_cast<sockaddr_in6*>(&address);
  if (inet_pton(AF_INET, host.c_str(), &in4->sin_addr) == 1) {
    in4->sin_family = AF_INET;
    in4->sin_port = htons(port);
    length = sizeof(sockaddr_in);
  } else if (inet_pton(AF_INET6, host.c_str(), &in6->sin6_addr) == 1) {
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    length = sizeof(sockaddr_in6);
  } else {
    return {ErrorCode::k_INVALID_ARGUMENT, "'" + host + "' is not a numeric IP address to listen on"};
  }
  const int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return {ErrorCode::k_RESOURCE_EXHAUSTED, "cannot make a socket: " + errno_text(errno)};
  const int on = 1;
  static_cast<void>(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), length) != 0 || listen(fd, kListenBacklog) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    const std::string why = errno_text(errno);
    close(fd);
    return {ErrorCode::k_ADDRESS_IN_USE, "cannot listen on " + host + ":" + std::to_string(port) + ": " + why +
                                             "; choose another port, or 0 for any free one"};
  }
  return BoundSocket{fd, ntohs(address.ss_family == AF_INET ? in4->sin_port : in6->sin6_port)};
}

// All providers of a comma-separated list, best first. An adapter that was named and can't be used is spoken of.
Result<std::vector<fabric::ProviderInfo>> find_providers(const ServerOptions& options) {
  std::multimap<int, fabric::ProviderInfo, std::greater<>> found;  // by preference; equals in the order of their names
  Error first_error;
  std::istringstream names(options.provider);
  for (std::string name; std::getline(names, name, ',');) {
    fabric::FabricOptions fabric_options;
    fabric_options.provider = name;
    if (!options.listen_host.empty()) fabric_options.bind_address = options.listen_host;
    auto some = fabric::discover_providers(fabric_options);
    if (some) {
      for (const fabric::ProviderInfo& provider : some.value()) found.emplace(provider.preference, provider);
      continue;
    }
    if (first_error.code == ErrorCode::kOk) first_error = some.error();
    if (options.log && name.find('@') != std::string::npos)
      options.log(true, name + " is not used: " + some.error().message);
  }
  if (found.empty() && first_error.code != ErrorCode::kOk) return first_error;
  std::vector<fabric::ProviderInfo> providers;
  for (const auto& [preference, provider] : found) providers.push_back(provider);
  return providers;
}

class ServerImpl : public Server {
 public:
  explicit ServerImpl(ServerOptions options) : core_(std::move(options)) {}
  ~ServerImpl() override { static_cast<void>(stop()); }

  Status open();

  const Uuid& uuid() const override { return uuid_; }
  uint16_t port() const override { return listener_.port; }
  std::vector<fabric::ProviderInfo> providers() const override { return core_.providers; }
  ServerCounters counters() const override;
  int connect_local() override;
  Status stop() override;

 private:
  void run();
  void on_connection();
  void add_session(int fd);
  void end_older_session(const Session* newer);
  void end_session(const Session* session);
  void begin_stop();
  void end_stop(const Status& status);

  Core core_;
  Uuid uuid_;
  BoundSocket listener_;
  std::list<std::unique_ptr<Session>> sessions_;
  std::thread thread_;
  std::mutex stop_mutex_;
  std::condition_variable stopped_changed_;
  bool stopping_ = false;  // guarded by stop_mutex_
  bool stopped_ = false;   // guarded by stop_mutex_
  Status stop_status_;     // guarded by stop_mutex_
};

Status ServerImpl::open() {
  auto providers = find_providers(core_.options);
  if (!providers) return providers.status();
  core_.providers = providers.take();
  core_.pool = BufferPool::create(core_.options.memory_bytes);
  partition::StorageOptions storage_options;
  storage_options.pool = core_.pool;
  // A memory partition may not take all: batches in flight and the tails of logs need room too.
  storage_options.memory.bytes_max = core_.options.memory_bytes / 4 * 3;
  auto storage = partition::Storage::open(core_.options.data_directory, storage_options);
  if (!storage) return storage.status();
  core_.storage = storage.take();
  uuid_ = core_.storage->server_uuid();
  for (const std::string& leftover : core_.storage->report().leftovers_removed) {
    core_.log(true, "removed the files of a topic that was never created or is deleted: " + leftover);
  }
  core_.topics = std::make_unique<TopicTable>(&core_);
  core_.topics->on_closing = [this](HostedPartition* hosted) {
    for (const std::unique_ptr<Session>& session : sessions_) session->drop(hosted);
    if (hosted->index == PartitionIndex(0)) {
      core_.groups->drop(hosted->topic, {ErrorCode::k_TOPIC_DELETED, "topic '" + hosted->topic_name + "' was deleted"});
    }
  };
  core_.groups = std::make_unique<GroupTable>(&core_);
  core_.topics->on_complete = [this] {
    for (const std::unique_ptr<Session>& session : sessions_) session->pump();
  };
  const Status opened = core_.topics->open_all();
  if (!opened) return opened;
  if (!core_.options.listen_host.empty()) {
    auto bound = listen_on(core_.options.listen_host, core_.options.listen_port);
    if (!bound) return bound.status();
    listener_ = bound.take();
    core_.reactor.watch(listener_.fd, EPOLLIN, [this](uint32_t) { on_connection(); });
  }
  thread_ = std::thread([this] { run(); });
  return {};
}

void ServerImpl::run() {
  pthread_setname_np(pthread_self(), "diaspora-serv");
  // Signals are the host program's business, on its own threads.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  core_.reactor.run();
}

void ServerImpl::on_connection() {
  while (true) {
    const int fd = accept4(listener_.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      add_session(fd);
    } else if (errno != EINTR && errno != ECONNABORTED) {
      if (errno != EAGAIN && errno != EWOULDBLOCK) core_.log(true, "accepting a client failed: " + errno_text(errno));
      return;
    }
  }
}

void ServerImpl::add_session(int fd) {
  if (sessions_.size() >= kSessionsMax) {
    core_.log(true, "refused a client: " + std::to_string(kSessionsMax) + " sessions are open");
    close(fd);
    return;
  }
  Session::Hooks hooks;
  hooks.on_identified = [this](Session* session) { end_older_session(session); };
  hooks.on_closed = [this](Session* session) { end_session(session); };
  sessions_.push_back(std::make_unique<Session>(&core_, fd, local_host_of(fd), std::move(hooks)));
}

// A client that comes back has given up its old session: what is in flight there must not be stored after what it
// sends now.
void ServerImpl::end_older_session(const Session* newer) {
  for (auto it = sessions_.begin(); it != sessions_.end();) {
    const auto current = it++;
    if (current->get() == newer || (*current)->client() != newer->client()) continue;
    (*current)->close({ErrorCode::k_CONNECTION_LOST, "the client has connected anew"});
  }
}

void ServerImpl::end_session(const Session* session) {
  sessions_.remove_if([&](const std::unique_ptr<Session>& s) { return s.get() == session; });
}

int ServerImpl::connect_local() {
  int fds[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) return -1;
  const std::lock_guard<std::mutex> lock(stop_mutex_);
  if (stopping_) {
    close(fds[0]);
    close(fds[1]);
    return -1;
  }
  core_.reactor.post([this, fd = fds[0]] { add_session(fd); });
  return fds[1];
}

ServerCounters ServerImpl::counters() const {
  const AtomicCounters& from = core_.counters;
  ServerCounters counters;
  counters.data_bytes_by_rma = from.data_bytes_by_rma;
  counters.data_bytes_copied = from.data_bytes_copied;
  counters.data_bytes = from.data_bytes;
  counters.events_produced = from.events_produced;
  counters.events_consumed = from.events_consumed;
  counters.batches = from.batches;
  counters.sessions = from.sessions;
  counters.registrations = from.registrations;
  return counters;
}

Status ServerImpl::stop() {
  std::unique_lock<std::mutex> lock(stop_mutex_);
  if (thread_.joinable() && !stopping_) {
    stopping_ = true;
    core_.reactor.post([this] { begin_stop(); });
    stopped_changed_.wait(lock, [this] { return stopped_; });
    thread_.join();
    // The data directory is free from here on, not only when this object goes.
    core_.topics.reset();
    core_.storage.reset();
  }
  if (listener_.fd >= 0) close(std::exchange(listener_.fd, -1));
  return stop_status_;
}

// On the reactor: no new clients, sessions end, partitions are written and synced, then the reactor ends.
void ServerImpl::begin_stop() {
  if (listener_.fd >= 0) core_.reactor.unwatch(listener_.fd);
  for (const std::unique_ptr<Session>& session : sessions_) session->say_goodbye();
  sessions_.clear();
  core_.groups.reset();
  core_.topics->on_closing = nullptr;
  core_.topics->close_all([this](const Status& status) { end_stop(status); });
}

void ServerImpl::end_stop(const Status& status) {
  core_.reactor.post([this, status] {
    core_.domains.clear();
    core_.reactor.stop();
    const std::lock_guard<std::mutex> lock(stop_mutex_);
    stop_status_ = status;
    stopped_ = true;
    stopped_changed_.notify_all();
  });
}

}  // namespace

Result<std::unique_ptr<Server>> Server::start(ServerOptions options) {
  auto server = std::make_unique<ServerImpl>(std::move(options));
  const Status opened = server->open();
  if (!opened) return opened;
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace diaspora::server
