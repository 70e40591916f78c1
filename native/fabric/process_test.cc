// What needs a second process: peers that die or hang, signal handlers as a fresh process has them, files left behind.
//
// A helper process is this program again, running one of the DISABLED_ tests below. It is started with posix_spawn:
// plain fork after libfabric is loaded is not supported by its providers.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>

#include "base/bytes.h"
#include "fabric/fabric_test_pair.h"
#include "fabric/shm_files.h"
#include "fabric/signal_guard.h"

extern char** environ;

namespace diaspora::fabric {
namespace {

constexpr size_t kExposedBytes = size_t{1} << 20;
constexpr char kProviderVariable[] = "DIASPORA_TEST_PROVIDER";
constexpr char kPipeVariable[] = "DIASPORA_TEST_PIPE";

// This program, running one of its disabled tests; killed when it goes out of scope.
class Helper {
 public:
  Helper(const std::string& test, const std::string& provider) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    read_end_ = ends[0];
    EXPECT_EQ(fcntl(read_end_, F_SETFD, FD_CLOEXEC), 0);
    std::vector<std::string> variables;
    for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
    variables.push_back(std::string(kProviderVariable) + "=" + provider);
    variables.push_back(std::string(kPipeVariable) + "=" + std::to_string(ends[1]));
    std::vector<std::string> arguments{"fabric_tests", "--gtest_filter=" + test, "--gtest_also_run_disabled_tests",
                                       "--gtest_brief=1"};
    EXPECT_EQ(posix_spawn(&pid_, "/proc/self/exe", nullptr, nullptr, pointers(&arguments).data(),
                          pointers(&variables).data()),
              0);
    close(ends[1]);
  }
  ~Helper() {
    if (pid_ > 0) {
      kill_and_reap();
      remove_stale_shm_files();
    }
    close(read_end_);
  }
  Helper(const Helper&) = delete;
  Helper& operator=(const Helper&) = delete;

  pid_t pid() const { return pid_; }

  // What the helper writes first: a length and that many bytes.
  std::vector<uint8_t> read_block() {
    uint32_t length = 0;
    read_exactly(&length, sizeof(length));
    std::vector<uint8_t> block(length);
    read_exactly(block.data(), block.size());
    return block;
  }

  void stop() {
    ASSERT_EQ(kill(pid_, SIGSTOP), 0);
    int status = 0;
    ASSERT_EQ(waitpid(pid_, &status, WUNTRACED), pid_);
    ASSERT_TRUE(WIFSTOPPED(status));
  }
  void go_on() { ASSERT_EQ(kill(pid_, SIGCONT), 0); }
  void kill_and_reap() {
    ASSERT_EQ(kill(pid_, SIGKILL), 0);
    ASSERT_EQ(waitpid(pid_, nullptr, 0), pid_);
    pid_ = -1;
  }
  // Exit code, or -1.
  int wait_for_exit() {
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  static std::vector<char*> pointers(std::vector<std::string>* texts) {
    std::vector<char*> result;
    for (std::string& text : *texts) result.push_back(text.data());
    result.push_back(nullptr);
    return result;
  }
  void read_exactly(void* to, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
      const ssize_t got = read(read_end_, static_cast<char*>(to) + done, bytes - done);
      ASSERT_GT(got, 0) << "the helper ended early";
      done += static_cast<size_t>(got);
    }
  }

  pid_t pid_ = -1;
  int read_end_ = -1;
};

// The other process: exposes memory, says where, and serves until it is killed.
TEST(HelperProcess, DISABLED_ServesReads) {
  const Result<ProviderInfo> provider = find_provider(std::getenv(kProviderVariable));
  ASSERT_TRUE(provider.ok()) << provider.error().message;
  Result<Side> side = open_side(provider.value());
  ASSERT_TRUE(side.ok()) << side.error().message;
  std::vector<uint8_t> exposed(kExposedBytes);
  fill_pattern(&exposed, 7);
  const auto region = side.value().domain->register_memory(exposed.data(), exposed.size(), Access::kRemoteRead).take();
  std::vector<uint8_t> block(4);
  ByteWriter writer(&block);
  writer.u64(region->remote_address(exposed.data()));
  writer.u64(region->key());
  writer.bytes(side.value().endpoint->address().value());
  const auto length = static_cast<uint32_t>(block.size() - 4);
  std::memcpy(block.data(), &length, sizeof(length));
  const int pipe_end = std::atoi(std::getenv(kPipeVariable));
  ASSERT_EQ(write(pipe_end, block.data(), block.size()), static_cast<ssize_t>(block.size()));
  // An orphan ends by itself.
  while (getppid() != 1) side.value().domain->progress();
}

// A helper that serves, and an endpoint of this process that is connected to it.
class Connected {
 public:
  explicit Connected(const std::string& provider) : helper("HelperProcess.DISABLED_ServesReads", provider) {
    const Result<ProviderInfo> info = find_provider(provider);
    EXPECT_TRUE(info.ok());
    if (!info) return;
    Result<Side> opened = open_side(info.value());
    EXPECT_TRUE(opened.ok());
    if (!opened) return;
    side = opened.take();
    const std::vector<uint8_t> block = helper.read_block();
    ByteReader reader(block);
    remote_address = reader.u64();
    key = reader.u64();
    EXPECT_TRUE(side.endpoint->connect(reader.bytes(reader.remaining())).ok());
  }

  PostResult post_read(TestOperation* operation, std::vector<uint8_t>* local) {
    PostResult posted = PostResult::kBusy;
    EXPECT_TRUE(run_until(
        [&] {
          posted = side.endpoint->post_read(operation, local->data(), local->size(), nullptr, remote_address, key);
          side.domain->progress();
        },
        [&] { return posted != PostResult::kBusy; }));
    return posted;
  }

  void read_well() {
    std::vector<uint8_t> local(kExposedBytes);
    std::vector<uint8_t> expected(kExposedBytes);
    fill_pattern(&expected, 7);
    TestOperation operation;
    ASSERT_EQ(post_read(&operation, &local), PostResult::kPosted);
    ASSERT_TRUE(run_until([&] { side.domain->progress(); }, [&] { return operation.completions > 0; }));
    ASSERT_EQ(operation.result.code, ErrorCode::kOk) << operation.result.detail;
    ASSERT_EQ(local, expected);
  }

  Helper helper;
  Side side;
  uint64_t remote_address = 0;
  uint64_t key = 0;
};

TEST(Process, ReadsFromAKilledPeerFailOnTcp) {
  Connected connected("tcp");
  ASSERT_NO_FATAL_FAILURE(connected.read_well());
  connected.helper.stop();
  std::deque<TestOperation> reads(8);
  std::deque<std::vector<uint8_t>> buffers(8, std::vector<uint8_t>(kExposedBytes));
  for (size_t i = 0; i < reads.size(); ++i) {
    ASSERT_EQ(connected.post_read(&reads[i], &buffers[i]), PostResult::kPosted);
  }
  for (int i = 0; i < 100; ++i) connected.side.domain->progress();
  ASSERT_EQ(connected.side.endpoint->in_flight(), 8u);
  connected.helper.kill_and_reap();
  EXPECT_TRUE(
      run_until([&] { connected.side.domain->progress(); }, [&] { return connected.side.endpoint->in_flight() == 0; }));
  for (const TestOperation& read : reads) {
    EXPECT_EQ(read.completions, 1);
    EXPECT_EQ(read.result.code, ErrorCode::k_FABRIC);
    EXPECT_NE(read.result.detail, "");
  }
}

TEST(Process, ClosingCancelsTheReadsFromAHungPeer) {
  Connected connected("tcp");
  ASSERT_NO_FATAL_FAILURE(connected.read_well());
  connected.helper.stop();
  auto reads = std::make_unique<std::deque<TestOperation>>(8);
  auto buffers = std::make_unique<std::deque<std::vector<uint8_t>>>(8, std::vector<uint8_t>(kExposedBytes));
  for (size_t i = 0; i < reads->size(); ++i) {
    ASSERT_EQ(connected.post_read(&(*reads)[i], &(*buffers)[i]), PostResult::kPosted);
  }
  connected.side.endpoint->close();
  for (const TestOperation& read : *reads) EXPECT_EQ(read.result.code, ErrorCode::k_ABORTED);
  reads.reset();
  buffers.reset();
  connected.helper.go_on();
  // The peer answers reads that nobody waits for any more.
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(connected.side.domain->progress(), 0u);
}

TEST(Process, ShmReadsFromAnotherProcessAndItsFilesAreCleanedOnceItIsDead) {
  Connected connected("shm");
  ASSERT_NO_FATAL_FAILURE(connected.read_well());
  const std::string file = "/dev/shm/" + std::to_string(connected.helper.pid()) + ":" + std::to_string(getuid()) + ":";
  // Index 0 and 1 were the self-test's.
  const auto exists = [&] {
    for (int i = 0; i < 8; ++i) {
      if (access((file + std::to_string(i)).c_str(), F_OK) == 0) return true;
    }
    return false;
  };
  EXPECT_TRUE(exists());
  remove_stale_shm_files();
  EXPECT_TRUE(exists()) << "removed from under a living process";
  connected.helper.kill_and_reap();
  remove_stale_shm_files();  // or another process did, which starts now
  EXPECT_FALSE(exists());
}

TEST(Process, AnImpossibleShmReadFailsAndDoesNotHang) {
  Connected connected("shm");
  ASSERT_NO_FATAL_FAILURE(connected.read_well());
  std::vector<uint8_t> local(kExposedBytes);
  TestOperation operation;
  connected.remote_address = 4096;  // nothing is mapped there
  const PostResult posted = connected.post_read(&operation, &local);
  if (posted == PostResult::kFailed) {
    EXPECT_EQ(connected.side.endpoint->failure().code, ErrorCode::k_FABRIC);
    EXPECT_EQ(operation.completions, 0);
    return;
  }
  EXPECT_TRUE(run_until([&] { connected.side.domain->progress(); }, [&] { return operation.completions > 0; }));
  EXPECT_EQ(operation.result.code, ErrorCode::k_FABRIC);
  EXPECT_NE(operation.result.detail, "");
}

TEST(HelperProcess, DISABLED_LeavesAnShmEndpointOpenAndExits) {
  Result<Side> side = open_side(find_provider("shm").value());
  ASSERT_TRUE(side.ok());
  static Side kept = side.take();
  std::exit(0);
}

TEST(Process, AnShmEndpointLeftOpenAtExitLeavesNoFile) {
  Helper helper("HelperProcess.DISABLED_LeavesAnShmEndpointOpenAndExits", "shm");
  const std::string prefix = "/dev/shm/" + std::to_string(helper.pid()) + ":" + std::to_string(getuid()) + ":";
  EXPECT_EQ(helper.wait_for_exit(), 0);
  for (int i = 0; i < 8; ++i) EXPECT_NE(access((prefix + std::to_string(i)).c_str(), F_OK), 0) << prefix << i;
}

// Added by the C library on every call; not part of what the program chose.
constexpr int kRestorerFlag = 0x04000000;

extern "C" void handle_nothing(int) {}

// In a process that has not loaded libfabric yet.
TEST(HelperProcess, DISABLED_LoadsLibfabricAndComparesHandlers) {
  struct sigaction own{};
  own.sa_handler = handle_nothing;
  // Two of ours, the rest as the system gave them.
  ASSERT_EQ(sigaction(SIGINT, &own, nullptr), 0);
  ASSERT_EQ(sigaction(SIGBUS, &own, nullptr), 0);
  std::array<struct sigaction, SignalGuard::kSignals.size()> before{};
  for (size_t i = 0; i < before.size(); ++i) sigaction(SignalGuard::kSignals[i], nullptr, &before[i]);
  ASSERT_TRUE(library_info().ok());
  for (const char* provider : {"tcp", "shm"}) {
    Pair pair(provider);
    ASSERT_TRUE(pair.ok());
    exchange_message(&pair, &pair.a, &pair.b, 100);
  }
  for (size_t i = 0; i < before.size(); ++i) {
    struct sigaction now{};
    sigaction(SignalGuard::kSignals[i], nullptr, &now);
    EXPECT_EQ(now.sa_handler, before[i].sa_handler) << "signal " << SignalGuard::kSignals[i];
    EXPECT_EQ(now.sa_flags & ~kRestorerFlag, before[i].sa_flags & ~kRestorerFlag)
        << "signal " << SignalGuard::kSignals[i];
  }
}

TEST(Process, SignalHandlersAreAsTheyWereAfterLoadingAndAfterAnShmEndpoint) {
  Helper helper("HelperProcess.DISABLED_LoadsLibfabricAndComparesHandlers", "shm");
  EXPECT_EQ(helper.wait_for_exit(), 0);
}

TEST(HelperProcess, DISABLED_HasNoLibfabric) {
  ASSERT_EQ(setenv("DIASPORA_LIBFABRIC", "/nonexistent/libfabric.so.1", 1), 0);
  const Result<LibraryInfo> library = library_info();
  ASSERT_FALSE(library.ok());
  EXPECT_EQ(library.error().code, ErrorCode::k_LIBFABRIC_MISSING);
  EXPECT_NE(library.error().message.find("libfabric1"), std::string::npos);
  EXPECT_FALSE(find_provider("auto").ok());
  EXPECT_TRUE(find_provider("local").ok());
}

TEST(Process, WithoutLibfabricThePackageIsNamedAndLocalStillWorks) {
  Helper helper("HelperProcess.DISABLED_HasNoLibfabric", "local");
  EXPECT_EQ(helper.wait_for_exit(), 0);
}

TEST(Discovery, AutoListsTheFastestFirstAndNeverLocal) {
  FabricOptions options;
  Result<std::vector<ProviderInfo>> found = discover_providers(options);
  ASSERT_TRUE(found.ok()) << found.error().message;
  ASSERT_FALSE(found.value().empty());
  for (size_t i = 1; i < found.value().size(); ++i) {
    EXPECT_GT(found.value()[i - 1].preference, found.value()[i].preference);
  }
  for (const ProviderInfo& provider : found.value()) {
    EXPECT_NE(provider.name, "local");
    EXPECT_FALSE(provider.fabric_version.empty());
  }
}

TEST(Discovery, TcpIsTheNativeProviderWhateverItsName) {
  const Result<ProviderInfo> tcp = find_provider("tcp");
  ASSERT_TRUE(tcp.ok());
  EXPECT_EQ(tcp.value().family, "xnet");
  EXPECT_EQ(tcp.value().name.find("ofi_rxm"), std::string::npos);
  EXPECT_TRUE(tcp.value().has_wait_fd);
}

TEST(Discovery, AnUnknownProviderOrAddressIsRefused) {
  EXPECT_EQ(find_provider("carrier-pigeon").error().code, ErrorCode::k_PROVIDER_UNAVAILABLE);
  FabricOptions options;
  options.provider = "tcp";
  options.bind_address = "192.0.2.1";  // reserved for documentation: no interface has it
  EXPECT_EQ(discover_providers(options).error().code, ErrorCode::k_PROVIDER_UNAVAILABLE);
}

}  // namespace
}  // namespace diaspora::fabric
