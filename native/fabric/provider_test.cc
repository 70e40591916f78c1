// One suite over every provider: what fabric.h promises.
#include <dirent.h>
#include <poll.h>

#include <deque>
#include <memory>

#include "base/crc32c.h"
#include "base/limits.h"
#include "fabric/fabric_test_pair.h"

namespace diaspora::fabric {
namespace {

class ProviderTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    pair_ = std::make_unique<Pair>(GetParam());
    ASSERT_TRUE(pair_->ok());
  }

  // b reads or writes a's memory.
  PostResult read(TestOperation* operation, std::vector<uint8_t>* local, uint64_t address, uint64_t key) {
    local_region_ = pair_->local_region(pair_->b.domain.get(), local);
    return pair_->post([&] {
      return pair_->b.endpoint->post_read(operation, local->data(), local->size(), local_region_.get(), address, key);
    });
  }

  std::unique_ptr<MemoryRegion> expose(std::vector<uint8_t>* bytes, Access access) {
    return pair_->a.domain->register_memory(bytes->data(), bytes->size(), access).take();
  }

  std::unique_ptr<Pair> pair_;
  std::unique_ptr<MemoryRegion> local_region_;  // of the latest read
};

TEST_P(ProviderTest, MessagesArriveBothWays) {
  for (const size_t bytes : {size_t{1}, size_t{64}, size_t{128}, size_t{129}, size_t{4096}, size_t{4097}}) {
    exchange_message(pair_.get(), &pair_->a, &pair_->b, bytes);
    exchange_message(pair_.get(), &pair_->b, &pair_->a, bytes);
  }
}

TEST_P(ProviderTest, TheLargestMessageArrives) {
  const size_t bytes = pair_->a.domain->provider().message_bytes_max;
  ASSERT_GE(bytes, size_t{8192});
  ASSERT_LE(bytes, kMessageBytesMax);
  exchange_message(pair_.get(), &pair_->a, &pair_->b, bytes);
}

TEST_P(ProviderTest, ReadsEveryLength) {
  for (const size_t bytes :
       {size_t{1}, size_t{7}, size_t{4096}, size_t{65536}, size_t{1} << 20, (size_t{1} << 24) + 3}) {
    std::vector<uint8_t> exposed(bytes + 100);
    std::vector<uint8_t> local(bytes);
    fill_pattern(&exposed, bytes);
    const auto region = expose(&exposed, Access::kRemoteRead);
    TestOperation operation;
    ASSERT_EQ(read(&operation, &local, region->remote_address(exposed.data() + 99), region->key()),
              PostResult::kPosted);
    EXPECT_EQ(operation.completions, 0);
    ASSERT_TRUE(pair_->wait_for(operation));
    ASSERT_EQ(operation.result.code, ErrorCode::kOk) << operation.result.detail;
    EXPECT_EQ(crc32c(local), crc32c({exposed.data() + 99, bytes}));
  }
}

TEST_P(ProviderTest, WritesEveryLength) {
  for (const size_t bytes :
       {size_t{1}, size_t{7}, size_t{4096}, size_t{65536}, size_t{1} << 20, (size_t{1} << 24) + 3}) {
    std::vector<uint8_t> exposed(bytes + 100, 0);
    std::vector<uint8_t> local(bytes);
    fill_pattern(&local, bytes);
    const auto region = expose(&exposed, Access::kRemoteWrite);
    const auto local_region = pair_->local_region(pair_->b.domain.get(), &local);
    TestOperation operation;
    ASSERT_EQ(pair_->post([&] {
      return pair_->b.endpoint->post_write(&operation, local.data(), bytes, local_region.get(),
                                           region->remote_address(exposed.data() + 99), region->key());
    }),
              PostResult::kPosted);
    ASSERT_TRUE(pair_->wait_for(operation));
    ASSERT_EQ(operation.result.code, ErrorCode::kOk) << operation.result.detail;
    EXPECT_EQ(crc32c(local), crc32c({exposed.data() + 99, bytes}));
    EXPECT_EQ(exposed[98], 0);
  }
}

TEST_P(ProviderTest, ManyOperationsInFlightCompleteOnceEach) {
  constexpr size_t kOperations = 500;
  constexpr size_t kBytes = 10000;
  std::vector<uint8_t> exposed(kOperations * kBytes);
  std::vector<uint8_t> local(exposed.size(), 0);
  fill_pattern(&exposed, 1);
  const auto region = expose(&exposed, Access::kRemoteRead);
  const auto local_region = pair_->local_region(pair_->b.domain.get(), &local);
  std::deque<TestOperation> operations(kOperations);
  for (size_t i = 0; i < kOperations; ++i) {
    const PostResult posted = pair_->post([&] {
      return pair_->b.endpoint->post_read(&operations[i], local.data() + i * kBytes, kBytes, local_region.get(),
                                          region->remote_address(exposed.data() + i * kBytes), region->key());
    });
    ASSERT_EQ(posted, PostResult::kPosted);
  }
  ASSERT_TRUE(pair_->wait([&] { return pair_->b.domain->active_operations() == 0; }));
  for (const TestOperation& operation : operations) {
    EXPECT_EQ(operation.completions, 1);
    EXPECT_EQ(operation.result.code, ErrorCode::kOk) << operation.result.detail;
  }
  EXPECT_EQ(local, exposed);
  EXPECT_EQ(pair_->b.endpoint->in_flight(), 0u);
}

TEST_P(ProviderTest, MessagesAboveThePostedReceivesArriveOnceReceivesAre) {
  constexpr size_t kMessages = 3000;
  std::deque<TestOperation> sends(kMessages);
  std::deque<TestOperation> receives(kMessages);
  constexpr size_t kReceiveBytes = 200;
  std::vector<uint8_t> buffers(kMessages * kReceiveBytes);
  const auto buffers_region = pair_->local_region(pair_->b.domain.get(), &buffers, Access::kMessages);
  std::vector<uint8_t> message(200);
  size_t sent = 0;
  size_t posted_receives = 0;
  const auto step = [&] {
    if (sent < kMessages) {
      message[0] = static_cast<uint8_t>(sent);
      // 64 bytes are below every inject size: the one buffer may be changed for the next message.
      if (pair_->a.endpoint->post_send(&sends[sent], message.data(), 64, nullptr) == PostResult::kPosted) ++sent;
    }
    pair_->a.domain->progress();
    if (pair_->b.domain->progress() == 0 && posted_receives < kMessages) {
      const PostResult posted =
          pair_->b.endpoint->post_receive(&receives[posted_receives], buffers.data() + posted_receives * kReceiveBytes,
                                          kReceiveBytes, buffers_region.get());
      ASSERT_NE(posted, PostResult::kFailed);
      if (posted == PostResult::kPosted) ++posted_receives;
    }
  };
  ASSERT_TRUE(run_until(step, [&] { return receives.back().completions > 0; }));
  ASSERT_TRUE(pair_->wait_for(sends.back()));
  for (size_t i = 0; i < kMessages; ++i) {
    ASSERT_EQ(receives[i].completions, 1);
    ASSERT_EQ(receives[i].result.code, ErrorCode::kOk) << receives[i].result.detail;
    ASSERT_EQ(buffers[i * kReceiveBytes], static_cast<uint8_t>(i));
  }
}

TEST_P(ProviderTest, ClosingCompletesEverythingOnceAndLetsGoOfTheMemory) {
  for (int round = 0; round < 20; ++round) {
    Pair pair(GetParam());
    ASSERT_TRUE(pair.ok());
    exchange_message(&pair, &pair.a, &pair.b, 100);
    auto exposed = std::make_unique<std::vector<uint8_t>>(size_t{1} << 20);
    auto region = pair.a.domain->register_memory(exposed->data(), exposed->size(), Access::kRemoteRead).take();
    std::vector<std::unique_ptr<TestOperation>> operations;
    std::vector<std::unique_ptr<std::vector<uint8_t>>> buffers;
    std::vector<std::unique_ptr<MemoryRegion>> buffer_regions;
    int aborted = 0;
    int completed = 0;
    const auto next = [&] {
      operations.push_back(std::make_unique<TestOperation>());
      buffers.push_back(std::make_unique<std::vector<uint8_t>>(size_t{1} << 20));
      buffer_regions.push_back(pair.local_region(pair.b.domain.get(), buffers.back().get()));
      TestOperation* operation = operations.back().get();
      operation->then = [operation, &aborted, &completed] {
        ++completed;
        if (operation->result.code == ErrorCode::k_ABORTED) ++aborted;
      };
      return operation;
    };
    for (int i = 0; i < 8; ++i) {
      TestOperation* receive = next();
      ASSERT_EQ(pair.b.endpoint->post_receive(receive, buffers.back()->data(), 65536, buffer_regions.back().get()),
                PostResult::kPosted);
    }
    for (int i = 0; i < 8; ++i) {
      TestOperation* operation = next();
      ASSERT_EQ(pair.post([&] {
        return pair.b.endpoint->post_read(operation, buffers.back()->data(), size_t{1} << 20,
                                          buffer_regions.back().get(), region->remote_address(exposed->data()),
                                          region->key());
      }),
                PostResult::kPosted);
    }
    for (int i = 0; i < round % 4; ++i) pair.progress();
    pair.b.endpoint->close();
    EXPECT_EQ(completed, 16);
    EXPECT_GE(aborted, 8) << "the receives at least";
    EXPECT_EQ(pair.b.endpoint->in_flight(), 0u);
    EXPECT_EQ(pair.b.domain->active_operations(), 0u);
    pair.b.endpoint->close();
    // Whatever is still queued for them must not be followed.
    operations.clear();
    buffer_regions.clear();
    buffers.clear();
    for (int i = 0; i < 50; ++i) pair.progress();
    EXPECT_EQ(completed, 16);
    TestOperation late;
    uint8_t byte = 0;
    EXPECT_EQ(pair.b.endpoint->post_receive(&late, &byte, 1, nullptr), PostResult::kFailed);
    EXPECT_NE(pair.b.endpoint->failure().code, ErrorCode::kOk);
  }
}

TEST_P(ProviderTest, AnEndpointMayBeDestroyedByACompletionOfItsOwn) {
  std::vector<uint8_t> buffers(size_t{3} * 64);
  const auto region = pair_->local_region(pair_->b.domain.get(), &buffers, Access::kMessages);
  TestOperation receives[3];
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(pair_->b.endpoint->post_receive(&receives[i], buffers.data() + i * 64, 64, region.get()),
              PostResult::kPosted);
    receives[i].then = [this] { pair_->b.endpoint.reset(); };
  }
  TestOperation sends[3];
  std::vector<uint8_t> message(32);
  for (TestOperation& send : sends) {
    ASSERT_EQ(pair_->post([&] { return pair_->a.endpoint->post_send(&send, message.data(), 32, nullptr); }),
              PostResult::kPosted);
  }
  ASSERT_TRUE(pair_->wait_for(receives[0]));
  for (const TestOperation& receive : receives) EXPECT_EQ(receive.completions, 1);
  EXPECT_EQ(receives[2].result.code, ErrorCode::k_ABORTED);
}

TEST_P(ProviderTest, AnEndpointMayBeClosedWithMessagesThatNobodyHasTakenIn) {
  constexpr size_t kMessages = 20;
  exchange_message(pair_.get(), &pair_->a, &pair_->b, 64);
  std::vector<uint8_t> buffers(kMessages * 64);
  const auto region = pair_->local_region(pair_->b.domain.get(), &buffers, Access::kMessages);
  std::vector<std::unique_ptr<TestOperation>> receives;
  std::vector<std::unique_ptr<TestOperation>> sends;
  const std::vector<uint8_t> message(64);
  for (size_t i = 0; i < kMessages; ++i) {
    receives.push_back(std::make_unique<TestOperation>());
    ASSERT_EQ(pair_->b.endpoint->post_receive(receives.back().get(), buffers.data() + i * 64, 64, region.get()),
              PostResult::kPosted);
  }
  for (size_t i = 0; i < kMessages; ++i) {
    sends.push_back(std::make_unique<TestOperation>());
    while (pair_->a.endpoint->post_send(sends.back().get(), message.data(), 64, nullptr) == PostResult::kBusy) {
      pair_->a.domain->progress();
    }
  }
  while (sends.back()->completions == 0) pair_->a.domain->progress();
  pair_->b.endpoint->close();
  for (const auto& receive : receives) EXPECT_EQ(receive->completions, 1);
}

TEST_P(ProviderTest, SleepingOnTheDescriptorWakesForAMessage) {
  if (!pair_->a.domain->provider().has_wait_fd) {
    EXPECT_EQ(pair_->b.domain->wait_fd(), -1);
    return;
  }
  exchange_message(pair_.get(), &pair_->a, &pair_->b, 100);
  exchange_message(pair_.get(), &pair_->b, &pair_->a, 100);
  for (int i = 0; i < 50; ++i) {
    std::vector<uint8_t> received(64);
    std::vector<uint8_t> message(64, static_cast<uint8_t>(i));
    TestOperation receive;
    TestOperation send;
    const auto region = pair_->local_region(pair_->b.domain.get(), &received, Access::kMessages);
    ASSERT_EQ(pair_->b.endpoint->post_receive(&receive, received.data(), 64, region.get()), PostResult::kPosted);
    ASSERT_TRUE(run_until([&] { pair_->progress(); }, [&] { return pair_->b.domain->prepare_wait(); }));
    pollfd entry{pair_->b.domain->wait_fd(), POLLIN, 0};
    ASSERT_EQ(pair_->post([&] { return pair_->a.endpoint->post_send(&send, message.data(), 64, nullptr); }),
              PostResult::kPosted);
    while (send.completions == 0) pair_->a.domain->progress();
    // Wake-ups that carry nothing are allowed; sleeping through the message is not.
    while (receive.completions == 0) {
      ASSERT_EQ(poll(&entry, 1, 10000), 1) << "slept through a message";
      while (pair_->b.domain->progress() > 0 || (receive.completions == 0 && !pair_->b.domain->prepare_wait())) {
      }
    }
    EXPECT_EQ(received, message);
  }
}

TEST_P(ProviderTest, AnIdleDomainMaySleep) {
  if (!pair_->a.domain->provider().has_wait_fd) return;
  exchange_message(pair_.get(), &pair_->a, &pair_->b, 100);
  for (int i = 0; i < 20; ++i) pair_->progress();
  pollfd entry{pair_->b.domain->wait_fd(), POLLIN, 0};
  // Spurious wake-ups are allowed, but they must come to an end.
  ASSERT_TRUE(run_until([&] { pair_->progress(); },
                        [&] { return pair_->b.domain->prepare_wait() && poll(&entry, 1, 20) == 0; }));
}

TEST_P(ProviderTest, ADomainMayBeAskedToSleepAfterAnEndpointWasClosed) {
  exchange_message(pair_.get(), &pair_->a, &pair_->b, 100);
  pair_->b.endpoint->close();
  for (int i = 0; i < 50; ++i) static_cast<void>(pair_->b.domain->prepare_wait());
  pair_->b.endpoint = pair_->b.domain->create_endpoint().take();
  for (int i = 0; i < 50; ++i) static_cast<void>(pair_->b.domain->prepare_wait());
}

int open_descriptors() {
  int count = 0;
  DIR* directory = opendir("/proc/self/fd");
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

TEST_P(ProviderTest, EndpointsCreatedAgainAndAgainLeakNoDescriptors) {
  const auto round = [&] {
    for (Side* side : {&pair_->a, &pair_->b}) {
      Result<std::unique_ptr<Endpoint>> fresh = side->domain->create_endpoint();
      ASSERT_TRUE(fresh.ok()) << fresh.error().message;
      side->endpoint = fresh.take();
    }
    ASSERT_TRUE(pair_->b.endpoint->connect(pair_->a.endpoint->address().value()).ok());
    ASSERT_TRUE(pair_->a.endpoint->connect(pair_->b.endpoint->address().value()).ok());
    exchange_message(pair_.get(), &pair_->b, &pair_->a, 100);
    exchange_message(pair_.get(), &pair_->a, &pair_->b, 100);
  };
  for (int i = 0; i < 10; ++i) round();
  for (int i = 0; i < 50; ++i) pair_->progress();
  const int before = open_descriptors();
  // A connection of verbs takes 0.3 s on Soft-RoCE in an emulated machine.
  const int rounds = GetParam() == "verbs" ? 10 : 200;
  for (int i = 0; i < rounds; ++i) {
    round();
    if (HasFatalFailure()) return;
  }
  for (int i = 0; i < 50; ++i) pair_->progress();
  EXPECT_LE(open_descriptors(), before + 4);
}

TEST_P(ProviderTest, AMalformedAddressIsRefused) {
  EXPECT_FALSE(pair_->a.endpoint->connect({}).ok());
  const std::vector<uint8_t> text{'x', 'y', 'z'};
  EXPECT_FALSE(pair_->a.endpoint->connect(text).ok());
  std::vector<uint8_t> longer = pair_->b.endpoint->address().value();
  longer.resize(longer.size() + 300, 'a');
  EXPECT_FALSE(pair_->a.endpoint->connect(longer).ok());
}

TEST_P(ProviderTest, WithoutAPeerPostsFailAndSayWhy) {
  Endpoint* lonely = nullptr;
  auto endpoint = pair_->a.domain->create_endpoint().take();
  lonely = endpoint.get();
  TestOperation operation;
  uint8_t byte = 0;
  EXPECT_EQ(lonely->post_send(&operation, &byte, 1, nullptr), PostResult::kFailed);
  EXPECT_FALSE(lonely->failure().message.empty());
  EXPECT_EQ(operation.completions, 0);
}

// shm protects nothing (a wrong key reads fine), so this is for the others.
class ProtectedProviderTest : public ProviderTest {};

TEST_P(ProtectedProviderTest, AWrongKeyFails) {
  std::vector<uint8_t> exposed(1000, 7);
  std::vector<uint8_t> local(100, 0);
  const auto region = expose(&exposed, Access::kRemoteRead);
  TestOperation operation;
  ASSERT_EQ(read(&operation, &local, region->remote_address(exposed.data()), region->key() ^ 1), PostResult::kPosted);
  ASSERT_TRUE(pair_->wait_for(operation));
  EXPECT_EQ(operation.result.code, ErrorCode::k_FABRIC);
  EXPECT_FALSE(operation.result.detail.empty());
  EXPECT_EQ(local, std::vector<uint8_t>(100, 0));
}

TEST_P(ProtectedProviderTest, ReadingAClosedRegionOrOutOfBoundsFails) {
  std::vector<uint8_t> exposed(1000, 7);
  std::vector<uint8_t> local(100, 0);
  auto region = expose(&exposed, Access::kRemoteRead);
  const uint64_t address = region->remote_address(exposed.data());
  const uint64_t key = region->key();
  for (const uint64_t outside : {uint64_t{901}, uint64_t{1000}, ~uint64_t{0} - 50}) {
    TestOperation operation;
    ASSERT_EQ(read(&operation, &local, address + outside, key), PostResult::kPosted);
    ASSERT_TRUE(pair_->wait_for(operation));
    EXPECT_EQ(operation.result.code, ErrorCode::k_FABRIC) << outside;
  }
  region.reset();
  TestOperation operation;
  ASSERT_EQ(read(&operation, &local, address, key), PostResult::kPosted);
  ASSERT_TRUE(pair_->wait_for(operation));
  EXPECT_EQ(operation.result.code, ErrorCode::k_FABRIC);
}

class RandomKeyTest : public ProviderTest {};

TEST_P(RandomKeyTest, KeysAreRandom) {
  std::vector<uint8_t> exposed(1000);
  const auto first = expose(&exposed, Access::kRemoteRead);
  const auto second = expose(&exposed, Access::kRemoteRead);
  EXPECT_NE(first->key(), second->key());
  EXPECT_GT(first->key() | second->key(), uint64_t{1} << 32);
}

std::string name_of(const testing::TestParamInfo<std::string>& provider) { return provider.param; }

INSTANTIATE_TEST_SUITE_P(Providers, ProviderTest, testing::ValuesIn(with_verbs({"local", "tcp", "shm"})), name_of);
INSTANTIATE_TEST_SUITE_P(Providers, ProtectedProviderTest, testing::ValuesIn(with_verbs({"local", "tcp"})), name_of);
// Adapters choose their keys themselves.
INSTANTIATE_TEST_SUITE_P(Providers, RandomKeyTest, testing::Values(std::string("local"), std::string("tcp")), name_of);

}  // namespace
}  // namespace diaspora::fabric
