// Control channel and link between two reactors of one process, over a socket pair and the `local` provider.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "fabric/fabric.h"
#include "session/control_channel.h"
#include "session/link.h"

namespace diaspora::session {
namespace {

using namespace std::chrono_literals;

// One end: a reactor on its own thread with a domain of the local provider, a channel and a link.
class End {
 public:
  End() {
    fabric::FabricOptions options;
    options.provider = "local";
    auto providers = fabric::discover_providers(options);
    EXPECT_TRUE(providers);
    auto domain = fabric::open_domain(providers.value().front(), options);
    EXPECT_TRUE(domain);
    domain_ = domain.take();
    poller_ = std::make_unique<DomainPoller>(domain_.get());
    reactor.add_poller(poller_.get());
    thread_ = std::thread([this] { reactor.run(); });
  }
  ~End() {
    run([this] {
      link.reset();
      channel.reset();
      reactor.remove_poller(poller_.get());
    });
    reactor.stop();
    thread_.join();
  }

  void run(std::function<void()> work) {
    std::promise<void> done;
    reactor.post([&] {
      work();
      done.set_value();
    });
    done.get_future().wait();
  }

  void open_channel(int fd) {
    run([this, fd] {
      ControlChannel::Handler handler;
      handler.on_frame = [this](const wire::FrameHeader& header, std::span<const uint8_t> payload) {
        frames.emplace_back(header.request_id, std::vector<uint8_t>(payload.begin(), payload.end()));
        if (on_frame) on_frame();
      };
      handler.on_doorbell = [this] { ++doorbells; };
      handler.on_closed = [this](const Error& error) { closed.set_value(error); };
      channel = std::make_unique<ControlChannel>(&reactor, fd, std::move(handler));
    });
  }

  std::vector<uint8_t> open_link() {
    std::vector<uint8_t> address;
    run([&] {
      Link::Handler handler;
      handler.on_message = [this](std::span<const uint8_t> message) {
        messages.emplace_back(message.begin(), message.end());
        if (on_message) on_message();
      };
      handler.on_failed = [this](const Error& error) { link_failed.set_value(error); };
      link = std::make_unique<Link>(&reactor, domain_.get(), std::move(handler));
      address = link->open().take();
    });
    return address;
  }

  void start_link(const std::vector<uint8_t>& peer) {
    run([&] {
      Link::Options options;
      options.message_bytes = 4096;
      options.receives = 4;
      EXPECT_TRUE(link->start(peer, options, channel.get()));
    });
  }

  fabric::Domain& domain() { return *domain_; }

  Reactor reactor;
  std::unique_ptr<ControlChannel> channel;
  std::unique_ptr<Link> link;
  std::vector<std::pair<uint64_t, std::vector<uint8_t>>> frames;
  std::vector<std::vector<uint8_t>> messages;
  std::function<void()> on_frame;
  std::function<void()> on_message;
  std::promise<Error> closed;
  std::promise<Error> link_failed;
  int doorbells = 0;

 private:
  std::unique_ptr<fabric::Domain> domain_;
  std::unique_ptr<DomainPoller> poller_;
  std::thread thread_;
};

class SessionTest : public ::testing::Test {
 protected:
  SessionTest() {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    a_.open_channel(fds[0]);
    b_.open_channel(fds[1]);
  }
  void join_links() {
    const std::vector<uint8_t> a = a_.open_link();
    const std::vector<uint8_t> b = b_.open_link();
    a_.start_link(b);
    b_.start_link(a);
  }

  End a_;
  End b_;
};

TEST_F(SessionTest, frames_of_every_size_arrive_whole_and_in_order) {
  constexpr size_t kFrames = 60;
  std::promise<void> all;
  b_.run([&] {
    b_.on_frame = [&] {
      if (b_.frames.size() == kFrames) all.set_value();
    };
  });
  a_.run([&] {
    for (size_t i = 0; i < kFrames; ++i) {
      const std::vector<uint8_t> payload(i * i * 50, static_cast<uint8_t>(i));
      a_.channel->send(wire::make_frame(wire::FrameType::kReply, i, payload));
    }
  });
  ASSERT_EQ(all.get_future().wait_for(20s), std::future_status::ready);
  for (size_t i = 0; i < kFrames; ++i) {
    EXPECT_EQ(b_.frames[i].first, i);
    EXPECT_EQ(b_.frames[i].second, std::vector<uint8_t>(i * i * 50, static_cast<uint8_t>(i)));
  }
}

TEST_F(SessionTest, a_closed_peer_is_reported_once) {
  a_.run([&] { a_.channel.reset(); });
  auto closed = b_.closed.get_future();
  ASSERT_EQ(closed.wait_for(20s), std::future_status::ready);
  EXPECT_EQ(closed.get().code, ErrorCode::k_CONNECTION_LOST);
}

TEST_F(SessionTest, a_frame_above_the_limit_ends_the_connection) {
  a_.run([&] {
    std::vector<uint8_t> frame = wire::make_frame(wire::FrameType::kReply, 1);
    frame[3] = 0x7F;  // payload length far above the bound
    a_.channel->send(std::move(frame));
  });
  auto closed = b_.closed.get_future();
  ASSERT_EQ(closed.wait_for(20s), std::future_status::ready);
  EXPECT_EQ(closed.get().code, ErrorCode::k_PROTOCOL);
}

TEST_F(SessionTest, doorbells_are_limited_to_one_a_millisecond) {
  a_.run([&] {
    for (int i = 0; i < 1000; ++i) a_.channel->ring_doorbell();
    a_.channel->send(wire::make_frame(wire::FrameType::kReply, 1));
  });
  std::promise<void> seen;
  b_.run([&] {
    b_.on_frame = [&] { seen.set_value(); };
    if (!b_.frames.empty()) seen.set_value();
  });
  ASSERT_EQ(seen.get_future().wait_for(20s), std::future_status::ready);
  b_.run([&] {
    EXPECT_GE(b_.doorbells, 1);
    EXPECT_LT(b_.doorbells, 1000);
  });
}

// More messages than send slots and posted receives: the queue keeps order and nothing is lost.
TEST_F(SessionTest, messages_beyond_all_slots_arrive_in_order) {
  join_links();
  constexpr uint32_t kMessages = 500;
  std::promise<void> all;
  b_.run([&] {
    b_.on_message = [&] {
      if (b_.messages.size() == kMessages) all.set_value();
    };
  });
  a_.run([&] {
    for (uint32_t i = 0; i < kMessages; ++i) {
      const uint8_t head[4] = {static_cast<uint8_t>(i), static_cast<uint8_t>(i >> 8), 0, 0};
      const std::vector<uint8_t> body(i * 7, static_cast<uint8_t>(i));
      a_.link->send(head, body);
    }
  });
  ASSERT_EQ(all.get_future().wait_for(20s), std::future_status::ready);
  for (uint32_t i = 0; i < kMessages; ++i) {
    const std::vector<uint8_t>& message = b_.messages[i];
    ASSERT_EQ(message.size(), 4 + i * 7);
    EXPECT_EQ(message[0] + 256 * message[1], static_cast<int>(i));
    if (i > 0) {
      EXPECT_EQ(message.back(), static_cast<uint8_t>(i));
    }
  }
}

TEST_F(SessionTest, transfers_above_the_piece_size_move_every_byte_both_ways) {
  join_links();
  constexpr size_t kBytes = 3 * Link::kPieceBytes + 12'345;
  std::vector<uint8_t> remote(kBytes);
  std::iota(remote.begin(), remote.end(), 0);
  std::vector<uint8_t> local(kBytes);
  std::unique_ptr<fabric::MemoryRegion> readable;
  std::unique_ptr<fabric::MemoryRegion> writable;
  a_.run([&] {
    readable = a_.domain().register_memory(remote.data(), kBytes, fabric::Access::kRemoteRead).take();
    writable = a_.domain().register_memory(remote.data(), kBytes, fabric::Access::kRemoteWrite).take();
  });
  std::promise<Error> read_done;
  std::vector<size_t> arrived;
  b_.run([&] {
    b_.link->read(
        nullptr, local, readable->remote_address(remote.data()), readable->key(),
        [&](size_t bytes) {
          arrived.push_back(bytes);
          EXPECT_TRUE(std::equal(local.begin(), local.begin() + static_cast<ptrdiff_t>(bytes), remote.begin()));
        },
        [&](const Error& error) { read_done.set_value(error); });
  });
  EXPECT_EQ(read_done.get_future().get().code, ErrorCode::kOk);
  ASSERT_FALSE(arrived.empty());
  EXPECT_TRUE(std::is_sorted(arrived.begin(), arrived.end()));
  EXPECT_EQ(arrived.back(), kBytes);
  EXPECT_EQ(local, remote);
  for (uint8_t& byte : local) byte ^= 0x55;
  std::promise<Error> write_done;
  b_.run([&] {
    b_.link->write(nullptr, local, writable->remote_address(remote.data()), writable->key(),
                   [&](const Error& error) { write_done.set_value(error); });
  });
  EXPECT_EQ(write_done.get_future().get().code, ErrorCode::kOk);
  EXPECT_EQ(local, remote);
  b_.run([&] { EXPECT_EQ(b_.link->rma_bytes_in_flight(), 0U); });
  a_.run([&] {
    readable.reset();
    writable.reset();
  });
}

TEST_F(SessionTest, a_wrong_key_fails_the_transfer_and_the_link) {
  join_links();
  std::vector<uint8_t> local(1000);
  std::promise<Error> done;
  b_.run([&] { b_.link->read(nullptr, local, 0, 0xDEADBEEF, {}, [&](const Error& error) { done.set_value(error); }); });
  EXPECT_NE(done.get_future().get().code, ErrorCode::kOk);
  auto failed = b_.link_failed.get_future();
  ASSERT_EQ(failed.wait_for(20s), std::future_status::ready);
  EXPECT_EQ(failed.get().code, ErrorCode::k_FABRIC);
}

// The peer has an endpoint, but nothing posts its receives: as with a peer whose network is gone, no error comes.
TEST_F(SessionTest, a_link_on_which_nothing_moves_fails) {
  const std::vector<uint8_t> b = b_.open_link();
  static_cast<void>(a_.open_link());
  a_.run([&] {
    Link::Options options;
    options.message_bytes = 4096;
    options.receives = 4;
    options.stuck_ms = 50;
    ASSERT_TRUE(a_.link->start(b, options, a_.channel.get()));
    const std::vector<uint8_t> message(4096);
    for (int i = 0; i < 20'000; ++i) a_.link->send(message);
  });
  auto failed = a_.link_failed.get_future();
  ASSERT_EQ(failed.wait_for(20s), std::future_status::ready);
  const Error error = failed.get();
  EXPECT_EQ(error.code, ErrorCode::k_FABRIC);
  EXPECT_NE(error.message.find("nothing moved"), std::string::npos) << error.message;
}

TEST_F(SessionTest, closing_completes_what_is_in_flight_exactly_once) {
  join_links();
  std::vector<uint8_t> remote(size_t{64} << 20);
  std::vector<uint8_t> local(remote.size());
  std::unique_ptr<fabric::MemoryRegion> region;
  a_.run(
      [&] { region = a_.domain().register_memory(remote.data(), remote.size(), fabric::Access::kRemoteRead).take(); });
  int completions = 0;
  b_.run([&] {
    b_.link->read(nullptr, local, region->remote_address(remote.data()), region->key(), {}, [&](const Error& error) {
      ++completions;
      EXPECT_EQ(error.code, ErrorCode::k_ABORTED);
    });
    b_.link->close();
    b_.link->close();
  });
  b_.run([&] { EXPECT_EQ(completions, 1); });
  a_.run([&] { region.reset(); });
}

}  // namespace
}  // namespace diaspora::session
