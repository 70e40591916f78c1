// What only the local provider does: endpoints of one process on different threads, closed in the middle of a copy.
#include <poll.h>

#include <atomic>
#include <deque>
#include <thread>

#include "fabric/fabric_test_pair.h"

namespace diaspora::fabric {
namespace {

// Progress, then sleep on the descriptor until something comes.
void drive(Domain* domain, const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + kWatchdog;
  while (std::chrono::steady_clock::now() < end) {
    const bool idle = domain->progress() == 0;
    if (done()) return;
    if (!idle || !domain->prepare_wait()) continue;
    pollfd entry{domain->wait_fd(), POLLIN, 0};
    ASSERT_GE(poll(&entry, 1, 5000), 0);
  }
}

// One side of a ping-pong: posts a receive, sends, waits for the answer, in its own thread.
void play(Side* side, bool serves, int rounds, std::atomic<int>* finished) {
  std::vector<uint8_t> buffer(64);
  std::vector<uint8_t> message(64);
  for (int i = 0; i < rounds; ++i) {
    TestOperation receive;
    TestOperation send;
    ASSERT_EQ(side->endpoint->post_receive(&receive, buffer.data(), buffer.size(), nullptr), PostResult::kPosted);
    message[0] = static_cast<uint8_t>(i);
    const auto send_one = [&] {
      // A busy peer pokes this domain when it posts its receive.
      drive(side->domain.get(), [&] {
        return side->endpoint->post_send(&send, message.data(), message.size(), nullptr) == PostResult::kPosted;
      });
      drive(side->domain.get(), [&] { return send.completions == 1; });
    };
    if (serves) send_one();
    drive(side->domain.get(), [&] { return receive.completions == 1; });
    ASSERT_EQ(receive.completions, 1) << "a wake-up was lost";
    ASSERT_EQ(buffer[0], static_cast<uint8_t>(i));
    if (!serves) send_one();
    ASSERT_EQ(send.result.code, ErrorCode::kOk);
  }
  ++*finished;
}

TEST(Local, TwoSleepingThreadsLoseNoWakeUp) {
  Pair pair("local");
  ASSERT_TRUE(pair.ok());
  std::atomic<int> finished{0};
  std::thread a([&] { play(&pair.a, true, 3000, &finished); });
  std::thread b([&] { play(&pair.b, false, 3000, &finished); });
  a.join();
  b.join();
  EXPECT_EQ(finished, 2);
}

TEST(Local, AnEndpointClosedWhileThePeerCopiesLeavesItsMemoryAlone) {
  constexpr size_t kBytes = size_t{1} << 20;
  for (int round = 0; round < 30; ++round) {
    Pair pair("local");
    ASSERT_TRUE(pair.ok());
    auto exposed = std::make_unique<std::vector<uint8_t>>(kBytes, 1);
    auto region = pair.a.domain->register_memory(exposed->data(), kBytes, Access::kRemoteWrite).take();
    const uint64_t address = region->remote_address(exposed->data());
    const uint64_t key = region->key();
    std::atomic<int> copied{0};
    std::thread writer([&] {
      std::vector<uint8_t> local(kBytes, 2);
      while (true) {
        TestOperation operation;
        ASSERT_EQ(pair.b.endpoint->post_write(&operation, local.data(), kBytes, nullptr, address, key),
                  PostResult::kPosted);
        pair.b.domain->progress();
        ASSERT_EQ(operation.completions, 1);
        if (operation.result.code != ErrorCode::kOk) break;
        ++copied;
      }
    });
    while (copied < 1 + round % 3) std::this_thread::yield();
    if (round % 2 == 0) {
      pair.a.endpoint->close();
      // The region is still registered, but its memory is the owner's again: a late copy is a race that TSan reports.
      std::fill(exposed->begin(), exposed->end(), 3);
      region.reset();
    } else {
      region.reset();
    }
    exposed.reset();
    writer.join();
  }
}

TEST(Local, OperationsTowardsAClosedPeerFail) {
  Pair pair("local");
  ASSERT_TRUE(pair.ok());
  std::vector<uint8_t> exposed(100);
  std::vector<uint8_t> local(100);
  const auto region = pair.a.domain->register_memory(exposed.data(), 100, Access::kRemoteRead).take();
  pair.a.endpoint->close();
  TestOperation read;
  TestOperation send;
  ASSERT_EQ(pair.b.endpoint->post_read(&read, local.data(), 100, nullptr, region->remote_address(exposed.data()),
                                       region->key()),
            PostResult::kPosted);
  ASSERT_EQ(pair.b.endpoint->post_send(&send, local.data(), 100, nullptr), PostResult::kPosted);
  pair.b.domain->progress();
  EXPECT_EQ(read.result.code, ErrorCode::k_FABRIC);
  EXPECT_EQ(send.result.code, ErrorCode::k_FABRIC);
}

TEST(Local, AccessIsWhatTheRegionAllows) {
  Pair pair("local");
  ASSERT_TRUE(pair.ok());
  std::vector<uint8_t> exposed(100, 1);
  std::vector<uint8_t> local(100, 2);
  const auto readable = pair.a.domain->register_memory(exposed.data(), 100, Access::kRemoteRead).take();
  TestOperation write;
  ASSERT_EQ(pair.b.endpoint->post_write(&write, local.data(), 100, nullptr, 0, readable->key()), PostResult::kPosted);
  pair.b.domain->progress();
  EXPECT_EQ(write.result.code, ErrorCode::k_FABRIC);
  EXPECT_EQ(exposed[0], 1);
}

TEST(Local, AMessageLongerThanTheReceiveFailsTheReceiveOnly) {
  Pair pair("local");
  ASSERT_TRUE(pair.ok());
  std::vector<uint8_t> buffer(10);
  std::vector<uint8_t> message(11);
  TestOperation receive;
  TestOperation send;
  ASSERT_EQ(pair.a.endpoint->post_receive(&receive, buffer.data(), 10, nullptr), PostResult::kPosted);
  ASSERT_EQ(pair.b.endpoint->post_send(&send, message.data(), 11, nullptr), PostResult::kPosted);
  pair.progress();
  EXPECT_EQ(receive.result.code, ErrorCode::k_FABRIC);
  EXPECT_EQ(send.result.code, ErrorCode::kOk);
}

TEST(Local, ASendWithoutAPostedReceiveIsBusy) {
  Pair pair("local");
  ASSERT_TRUE(pair.ok());
  std::vector<uint8_t> message(11);
  TestOperation send;
  EXPECT_EQ(pair.b.endpoint->post_send(&send, message.data(), 11, nullptr), PostResult::kBusy);
  EXPECT_EQ(pair.b.endpoint->in_flight(), 0u);
}

TEST(Local, HostIdentityIsStable) {
  EXPECT_EQ(host_identity(), host_identity());
  EXPECT_GT(host_identity().size(), 36u);
}

}  // namespace
}  // namespace diaspora::fabric
