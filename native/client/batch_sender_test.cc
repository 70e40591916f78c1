// What the sender sends after refusals, against a server that a test plays. All of it runs on the progress thread.
#include "client/batch_sender.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/batch_test_kit.h"
#include "session/control_channel.h"
#include "session/link.h"

namespace diaspora::client {
namespace {

// One session: the handshake, and then what the test makes of batches.
class PlayedServer {
 public:
  using OnBatch = std::function<void(const wire::BatchMessage&)>;
  explicit PlayedServer(OnBatch on_batch)
      : domain_(open_local_domain()), poller_(domain_.get()), on_batch_(std::move(on_batch)) {
    progress_thread().add_poller(&poller_);
  }
  ~PlayedServer() {
    if (link_ != nullptr) link_->close();
    link_.reset();
    control_.reset();
    progress_thread().remove_poller(&poller_);
  }
  // The client's end of a new connection.
  int connect() {
    int fds[2] = {-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    session::ControlChannel::Handler handler;
    handler.on_frame = [this](const wire::FrameHeader& header, std::span<const uint8_t> payload) {
      if (header.type == wire::FrameType::kHello) welcome();
      if (header.type == wire::FrameType::kAttach) attach(payload);
    };
    handler.on_doorbell = [] {};
    handler.on_closed = [](const Error&) {};
    control_ = std::make_unique<session::ControlChannel>(&progress_thread(), fds[0], std::move(handler));
    return fds[1];
  }
  void answer(const wire::BatchMessage& message, ErrorCode code) {
    wire::encode(wire::BatchDoneMessage{{{message.token, code, EventId(), ""}}}, &encoded_);
    link_->send(encoded_);
  }

 private:
  static constexpr uint32_t kMessageBytes = 4096;

  void welcome() {
    session::Link::Handler handler;
    handler.on_message = [this](std::span<const uint8_t> bytes) { on_message(bytes); };
    handler.on_failed = [](const Error&) {};
    link_ = std::make_unique<session::Link>(&progress_thread(), domain_.get(), std::move(handler));
    wire::WelcomeFrame frame;
    frame.server = Uuid::random();
    frame.provider_family = domain_->provider().family;
    frame.message_bytes = kMessageBytes;
    frame.batch_credits = 12;
    frame.fetch_credits = 1;
    frame.endpoint_address = link_->open().value();
    control_->send(wire::make_frame(frame));
  }
  void attach(std::span<const uint8_t> address) {
    session::Link::Options options;
    options.message_bytes = kMessageBytes;
    options.receives = 16;
    EXPECT_TRUE(link_->start(address, options, control_.get()).ok());
    control_->send(wire::make_frame(wire::FrameType::kAttached, 0));
  }
  void on_message(std::span<const uint8_t> bytes) {
    const auto view = wire::parse_message(bytes);
    ASSERT_TRUE(view.ok());
    if (view.value().type == wire::MessageType::kPing) {
      wire::encode_ping(wire::MessageType::kPong, &encoded_);
      return link_->send(encoded_);
    }
    const auto message = wire::decode_batch(view.value());
    ASSERT_TRUE(message.ok());
    on_batch_(message.value());
  }

  std::unique_ptr<fabric::Domain> domain_;
  session::DomainPoller poller_;
  OnBatch on_batch_;
  std::unique_ptr<session::ControlChannel> control_;
  std::unique_ptr<session::Link> link_;
  std::vector<uint8_t> encoded_;
};

// A producer of one partition, whose batch n has n events.
class Producing : public LaneOwner, public Connection::Handler {
 public:
  explicit Producing(PlayedServer* server) {
    ConnectionOptions options;
    options.connect_local = [server] { return server->connect(); };
    options.provider = "local";
    options.connect_timeout_ms = 10'000;
    connection_ = std::make_unique<Connection>(&progress_thread(), std::move(options), ServerAddress{}, this);
    sender_ = std::make_unique<BatchSender>(&progress_thread(), connection_.get());
    lane_.owner = this;
    lane_.counters = &counters_;
    lane_.topic = Uuid::random();
    sender_->add_lane(&lane_);
  }
  ~Producing() override {
    sender_->abort(&lane_);
    connection_->close();
    sender_->remove_lane(&lane_);
  }
  void push(uint32_t number) {
    BatchBuilder builder(test_limits(1000), &counters_);
    for (uint32_t i = 0; i < number; ++i) add_event(&builder, "{}");
    sender_->enqueue(&lane_, builder.take());
  }

  void batch_finished(std::unique_ptr<Batch> batch) override {
    EXPECT_TRUE(batch->status.ok()) << batch->status.error().message;
    if (on_finished) on_finished(batch->shape.event_count);
  }
  void on_up() override { sender_->on_up(); }
  void on_down() override { sender_->on_down(); }
  void on_lost(uint32_t, const Error& error) override { ADD_FAILURE() << error.message; }
  void on_warning(const std::string&) override {}
  void on_given_up(const Error& error) override { ADD_FAILURE() << error.message; }
  void on_reply(const wire::FrameHeader&, std::span<const uint8_t>) override {}
  Status on_message(const wire::MessageView& view) override { return sender_->on_answers(view); }

  std::function<void(uint32_t)> on_finished;

 private:
  ClientCounters counters_;
  BatchLane lane_;
  std::unique_ptr<Connection> connection_;
  std::unique_ptr<BatchSender> sender_;
};

// Runs `work` on the progress thread and waits for it.
void on_progress_thread(const std::function<void()>& work) {
  std::promise<void> done;
  progress_thread().post([&] {
    work();
    done.set_value();
  });
  done.get_future().wait();
}

// The server has forgotten the session and says so of one batch after the other; meanwhile the producer goes on.
TEST(BatchSender, KeepsTheOrderWhileRefusalsOfAForgottenSessionCome) {
  std::unique_ptr<PlayedServer> server;
  std::unique_ptr<Producing> producing;
  std::vector<wire::BatchMessage> refused;
  std::vector<uint32_t> stored;
  std::promise<void> all_stored;
  const auto on_batch = [&](const wire::BatchMessage& message) {
    if (refused.empty() || message.producer_session == refused[0].producer_session) {
      refused.push_back(message);
      if (refused.size() == 2) server->answer(refused[0], ErrorCode::k_UNKNOWN_SESSION);
      return;
    }
    stored.push_back(message.shape.event_count);
    server->answer(message, ErrorCode::kOk);
    if (stored.size() > 1) return;
    progress_thread().post([&] {
      producing->push(3);
      server->answer(refused[1], ErrorCode::k_UNKNOWN_SESSION);
    });
  };
  on_progress_thread([&] {
    server = std::make_unique<PlayedServer>(on_batch);
    producing = std::make_unique<Producing>(server.get());
    producing->on_finished = [&](uint32_t number) {
      if (number == 3) all_stored.set_value();
    };
    producing->push(1);
    producing->push(2);
  });
  EXPECT_EQ(all_stored.get_future().wait_for(std::chrono::seconds(60)), std::future_status::ready) << "watchdog";
  on_progress_thread([&] {
    producing.reset();
    server.reset();
  });
  EXPECT_EQ(stored, (std::vector<uint32_t>{1, 2, 3}));
}

}  // namespace
}  // namespace diaspora::client
