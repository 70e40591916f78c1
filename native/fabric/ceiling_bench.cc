// The raw ceilings that the product is compared with: one provider, two processes, nothing but fabric.h between them.
//
//   ceiling_bench --provider tcp --test read --bytes 1048576 --seconds 1 [--wait poll|sleep] [--hosts CLIENT,SERVER]
//
// read, write: this process (the server of the product, which is the only initiator there) moves `bytes` at a time
// between its 64 MiB ring and a 64 MiB window of the other process; both poll. What is read from is ordinary memory, as
// a program's buffers are; the rest has huge pages, as the product's own. rtt: a message of `bytes` and its answer;
// both sleep on the wait descriptor where the provider has one, else poll. One line of JSON on standard output. The
// other process is this program again, started with --peer-fd; addresses go over a socket pair.
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/buffer_pool.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "fabric/fabric.h"

extern char** environ;

namespace diaspora::fabric {
namespace {

constexpr size_t kWindowBytes = size_t{64} << 20;
constexpr size_t kLatenciesMax = 4'000'000;
constexpr int kWarmUpRounds = 200;

struct Options {
  std::string provider = "tcp";
  std::string test = "read";
  size_t bytes = size_t{1} << 20;
  double seconds = 1;
  bool sleeps = false;
  int peer_fd = -1;
  std::string client_host;  // addresses of the interfaces of the other process (client) and of this one; empty: any
  std::string server_host;
};

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "ceiling_bench: %s\n", what.c_str());
  std::exit(1);
}

template <typename T>
T must(Result<T> result) {
  if (!result) die(result.error().message);
  return result.take();
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Blocks of bytes over the socket pair.
void send_block(int fd, const std::vector<uint8_t>& block) {
  if (send(fd, block.data(), block.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(block.size())) die("the peer is gone");
}

std::vector<uint8_t> receive_block(int fd) {
  std::vector<uint8_t> block(1024);
  const ssize_t got = recv(fd, block.data(), block.size(), 0);
  if (got <= 0) die("the peer is gone");
  block.resize(static_cast<size_t>(got));
  return block;
}

// One operation in flight, used again and again.
class Step final : public Operation {
 public:
  void on_complete(const OperationResult& result) override {
    if (result.code != ErrorCode::kOk && result.code != ErrorCode::k_ABORTED) die(result.detail);
    busy = false;
    done_ns = monotonic_ns();
  }
  bool busy = false;
  int64_t posted_ns = 0;
  int64_t done_ns = 0;
};

// One of the two processes: its endpoint and its 64 MiB.
struct Process {
  Process(const Options& options, Access access) {
    const bool is_client = access != Access::kLocal;
    if (access == Access::kRemoteRead) {
      ordinary.resize(kWindowBytes);
      memory = ordinary.data();
    } else {
      pool = BufferPool::create(2 * kWindowBytes);
      pooled = must(pool->allocate(kWindowBytes));
      memory = pooled->data();
    }
    std::memset(memory, 1, kWindowBytes);
    FabricOptions fabric;
    fabric.provider = options.provider;
    const std::string& host = is_client ? options.client_host : options.server_host;
    if (!host.empty()) fabric.bind_address = host;
    const ProviderInfo provider = must(discover_providers(fabric)).front();
    name = provider.name;
    domain = must(open_domain(provider, fabric));
    endpoint = must(domain->create_endpoint());
    region = must(domain->register_memory(memory, kWindowBytes, access));
  }

  void connect(std::span<const uint8_t> peer_address) {
    if (const Status connected = endpoint->connect(peer_address); !connected) die(connected.error().message);
  }
  // Posts until it is accepted.
  template <typename Post>
  void post(Step* step, Post post_once) {
    step->busy = true;
    step->posted_ns = monotonic_ns();
    while (true) {
      const PostResult posted = post_once();
      if (posted == PostResult::kPosted) return;
      if (posted == PostResult::kFailed) die(endpoint->failure().message);
      domain->progress();
    }
  }
  void send(Step* step, size_t bytes) {
    post(step, [&] { return endpoint->post_send(step, memory, bytes, region.get()); });
  }
  void receive(Step* step, size_t bytes) {
    post(step, [&] { return endpoint->post_receive(step, memory + kWindowBytes / 2, bytes, region.get()); });
  }

  std::string name;
  std::shared_ptr<BufferPool> pool;
  BufferRef pooled;
  std::vector<uint8_t> ordinary;
  uint8_t* memory = nullptr;
  std::unique_ptr<Domain> domain;
  std::unique_ptr<MemoryRegion> region;
  std::unique_ptr<Endpoint> endpoint;
};

// Progress; when there was none, perhaps sleep on the fabric's descriptor and on the other process's socket. True when
// that socket has something.
bool drive(Domain* domain, const Options& options) {
  if (domain->progress() > 0 || !options.sleeps) return false;
  if (domain->wait_fd() < 0 || !domain->prepare_wait()) return false;
  pollfd entries[2] = {{domain->wait_fd(), POLLIN, 0}, {options.peer_fd, POLLIN, 0}};
  poll(entries, 2, 1000);
  return entries[1].revents != 0;
}

bool has_input(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return poll(&entry, 1, 0) > 0;
}

// The other process: serves until it is told to stop, then tells its CPU time.
void serve_memory(Process* process, const Options& options) {
  for (uint64_t i = 0;; ++i) {
    if (drive(process->domain.get(), options)) return;
    if (i % 4096 == 0 && has_input(options.peer_fd)) return;
  }
}

void serve_echo(Process* process, const Options& options) {
  Step receive;
  Step answer;
  process->receive(&receive, options.bytes);
  for (uint64_t i = 0;; ++i) {
    bool stop = drive(process->domain.get(), options);
    // Without a descriptor nothing sleeps, so the stop is looked for now and then.
    if (process->domain->wait_fd() < 0 && i % 4096 == 0) stop = has_input(options.peer_fd);
    if (stop) break;
    if (receive.busy) continue;
    process->receive(&receive, options.bytes);
    while (answer.busy) process->domain->progress();
    process->send(&answer, options.bytes);
  }
  process->endpoint->close();  // the receive is still posted
}

int run_peer(const Options& options) {
  Process process(options, options.test == "write" ? Access::kRemoteWrite : Access::kRemoteRead);
  std::vector<uint8_t> hello;
  ByteWriter writer(&hello);
  writer.u64(process.region->remote_address(process.memory));
  writer.u64(process.region->key());
  writer.bytes(must(process.endpoint->address()));
  send_block(options.peer_fd, hello);
  process.connect(receive_block(options.peer_fd));
  const double cpu_before = cpu_seconds();
  if (options.test == "rtt") {
    serve_echo(&process, options);
  } else {
    serve_memory(&process, options);
  }
  const double cpu = cpu_seconds() - cpu_before;
  receive_block(options.peer_fd);
  std::vector<uint8_t> farewell;
  ByteWriter(&farewell).u64(static_cast<uint64_t>(cpu * 1e6));
  send_block(options.peer_fd, farewell);
  return 0;
}

struct Measurement {
  std::vector<int64_t> latencies_ns;
  uint64_t operations = 0;
  double seconds = 0;
  double cpu = 0;

  void count(const Step& step) {
    ++operations;
    if (latencies_ns.size() < kLatenciesMax) latencies_ns.push_back(step.done_ns - step.posted_ns);
  }
  double quantile_us(double q) {
    if (latencies_ns.empty()) return 0;
    std::sort(latencies_ns.begin(), latencies_ns.end());
    return static_cast<double>(latencies_ns[static_cast<size_t>(q * static_cast<double>(latencies_ns.size() - 1))]) /
           1e3;
  }
};

struct Peer {
  uint64_t address;
  uint64_t key;
};

Measurement measure_rma(Process* process, const Options& options, const Peer& peer) {
  const size_t depth = options.bytes >= size_t{1} << 20 ? 16 : 64;
  const size_t pieces = kWindowBytes / options.bytes;
  std::vector<std::unique_ptr<Step>> steps;
  for (size_t i = 0; i < depth; ++i) steps.push_back(std::make_unique<Step>());
  uint64_t posted = 0;
  const auto start = [&](Step* step) {
    const size_t offset = posted++ % pieces * options.bytes;
    uint8_t* local = process->memory + offset;
    process->post(step, [&] {
      return options.test == "read" ? process->endpoint->post_read(step, local, options.bytes, process->region.get(),
                                                                   peer.address + offset, peer.key)
                                    : process->endpoint->post_write(step, local, options.bytes, process->region.get(),
                                                                    peer.address + offset, peer.key);
    });
  };
  for (const auto& read : steps) start(read.get());
  Measurement result;
  int64_t begin_ns = 0;
  double cpu_before = 0;
  for (uint64_t warm_up = depth;;) {
    drive(process->domain.get(), options);
    for (const auto& done : steps) {
      if (done->busy) continue;
      if (warm_up > 0 && --warm_up == 0) {
        begin_ns = monotonic_ns();
        cpu_before = cpu_seconds();
      } else if (warm_up == 0) {
        result.count(*done);
      }
      start(done.get());
    }
    result.seconds = static_cast<double>(monotonic_ns() - begin_ns) / 1e9;
    if (warm_up == 0 && result.seconds >= options.seconds) break;
  }
  result.cpu = cpu_seconds() - cpu_before;
  while (process->domain->active_operations() > 0) process->domain->progress();
  return result;
}

Measurement measure_rtt(Process* process, const Options& options) {
  Measurement result;
  Step send;
  Step receive;
  int64_t begin_ns = 0;
  double cpu_before = 0;
  for (int64_t i = -kWarmUpRounds;; ++i) {
    if (i == 0) {
      begin_ns = monotonic_ns();
      cpu_before = cpu_seconds();
    }
    process->receive(&receive, options.bytes);
    process->send(&send, options.bytes);
    while (receive.busy || send.busy) drive(process->domain.get(), options);
    if (i < 0) continue;
    receive.posted_ns = send.posted_ns;
    result.count(receive);
    result.seconds = static_cast<double>(monotonic_ns() - begin_ns) / 1e9;
    if (result.seconds >= options.seconds) break;
  }
  result.cpu = cpu_seconds() - cpu_before;
  return result;
}

pid_t start_peer(char** argv, int fd) {
  std::vector<char*> arguments;
  for (char** argument = argv; *argument != nullptr; ++argument) arguments.push_back(*argument);
  std::string flag = "--peer-fd";
  std::string value = std::to_string(fd);
  arguments.insert(arguments.end(), {flag.data(), value.data(), nullptr});
  pid_t pid = -1;
  if (posix_spawn(&pid, "/proc/self/exe", nullptr, nullptr, arguments.data(), environ) != 0) die("cannot start a peer");
  return pid;
}

int run(Options options, char** argv) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) != 0) die("cannot make a socket pair");
  const pid_t pid = start_peer(argv, ends[1]);
  close(ends[1]);
  options.peer_fd = ends[0];
  Measurement result;
  std::string provider;
  {
    Process process(options, Access::kLocal);
    provider = process.name;
    const std::vector<uint8_t> hello = receive_block(ends[0]);
    ByteReader reader(hello);
    const Peer peer{reader.u64(), reader.u64()};
    process.connect(reader.bytes(reader.remaining()));
    send_block(ends[0], must(process.endpoint->address()));
    result = options.test == "rtt" ? measure_rtt(&process, options) : measure_rma(&process, options, peer);
    process.endpoint->close();
  }
  send_block(ends[0], {0});
  const std::vector<uint8_t> farewell = receive_block(ends[0]);
  const double peer_cpu = static_cast<double>(ByteReader(farewell).u64()) / 1e6;
  int status = 0;
  if (waitpid(pid, &status, 0) != pid || status != 0) die("the peer failed");
  const bool is_rtt = options.test == "rtt";
  const double megabytes = static_cast<double>(result.operations) * static_cast<double>(options.bytes) / 1e6;
  std::printf(
      "{\"test\":\"%s\",\"provider\":\"%s\",\"bytes\":%zu,\"mb_per_s\":%.1f,\"operations_per_s\":%.0f,"
      "\"p50_us\":%.2f,\"p99_us\":%.2f,\"seconds\":%.3f,\"cpu_s_client\":%.3f,\"cpu_s_server\":%.3f}\n",
      options.test.c_str(), provider.c_str(), options.bytes, megabytes / result.seconds,
      static_cast<double>(result.operations) / result.seconds, result.quantile_us(0.5), result.quantile_us(0.99),
      result.seconds, is_rtt ? result.cpu : peer_cpu, is_rtt ? peer_cpu : result.cpu);
  return 0;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const char* value = argv[i + 1];
    if (flag == "--provider") {
      options.provider = value;
    } else if (flag == "--test") {
      options.test = value;
    } else if (flag == "--bytes") {
      options.bytes = std::strtoull(value, nullptr, 10);
    } else if (flag == "--seconds") {
      options.seconds = std::strtod(value, nullptr);
    } else if (flag == "--wait") {
      options.sleeps = std::string(value) == "sleep";
    } else if (flag == "--hosts") {
      const std::string hosts = value;
      options.client_host = hosts.substr(0, hosts.find(','));
      options.server_host = hosts.substr(hosts.find(',') + 1);
    } else if (flag == "--peer-fd") {
      options.peer_fd = std::atoi(value);
    } else {
      die("unknown option " + flag);
    }
  }
  if (options.test == "rtt") options.sleeps = true;
  const bool is_known = options.test == "read" || options.test == "write" || options.test == "rtt";
  if (argc % 2 == 0 || !is_known || options.bytes == 0 || options.bytes > kWindowBytes / 2) {
    die("usage: --provider tcp|shm --test read|write|rtt --bytes 1.." + std::to_string(kWindowBytes / 2) +
        " --seconds 1 [--wait poll|sleep] [--hosts CLIENT,SERVER]");
  }
  return options;
}

}  // namespace
}  // namespace diaspora::fabric

int main(int argc, char** argv) {
  const auto options = diaspora::fabric::parse(argc, argv);
  return options.peer_fd >= 0 ? diaspora::fabric::run_peer(options) : diaspora::fabric::run(options, argv);
}
