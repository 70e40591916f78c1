// A batch intake between a real link and a real memory partition; this file plays the client.
#include "server/batch_intake.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/compression.h"
#include "base/crc32c.h"
#include "fabric/fabric.h"
#include "server/core.h"
#include "server/topic_table.h"
#include "session/control_channel.h"
#include "session/link.h"
#include "testing/batch_maker.h"

namespace diaspora::server {
namespace {

constexpr auto kWatchdog = std::chrono::seconds(60);

class BatchIntakeTest : public ::testing::Test {
 protected:
  BatchIntakeTest() {
    fabric::FabricOptions options;
    options.provider = "local";
    core_.providers = fabric::discover_providers(options).take();
    core_.pool = BufferPool::create(uint64_t{256} << 20);
    partition::StorageOptions storage_options;
    storage_options.pool = core_.pool;
    core_.storage = partition::Storage::open("", storage_options).take();
    core_.topics = std::make_unique<TopicTable>(&core_);
    core_.topics->on_closing = [](HostedPartition*) {};
    wire::TopicRecord record;
    record.name = "events";
    record.uuid = topic_;
    record.manager = wire::ManagerKind::kMemory;
    record.durability = 0;
    record.placement = {core_.storage->server_uuid()};
    record.config = "{}";
    EXPECT_TRUE(core_.topics->put(record));
    hosted_ = core_.topics->find(topic_, PartitionIndex(0)).take();
    thread_ = std::thread([this] { core_.reactor.run(); });
  }
  ~BatchIntakeTest() override {
    part();
    std::promise<void> closed;
    run([&] { core_.topics->close_all([&](const Status&) { closed.set_value(); }); });
    closed.get_future().wait();
    run([&] { core_.domains.clear(); });
    core_.reactor.stop();
    thread_.join();
  }

  // On the reactor, where everything here happens.
  void run(const std::function<void()>& work) {
    std::promise<void> done;
    core_.reactor.post([&] {
      work();
      done.set_value();
    });
    done.get_future().wait();
  }
  void wait(const std::function<bool()>& condition) {
    std::unique_lock<std::mutex> lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, kWatchdog, condition)) << "watchdog";
  }
  template <typename Change>
  void note(Change change) {
    const std::lock_guard<std::mutex> lock(mutex_);
    change();
    changed_.notify_all();
  }

  // A client connects: links of both sides, and the server's intake on its own.
  void join() {
    int fds[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    run([&] {
      domain_ = core_.domain(core_.providers.front(), "").take();
      auto client = fabric::open_domain(core_.providers.front(), {.provider = "local"});
      client_domain_ = std::make_unique<ServedDomain>(&core_.reactor, client.take(), &core_.counters.registrations);
      session::Link::Handler handler;
      handler.on_failed = [this](const Error& error) { note([&] { failed_ = error; }); };
      link_ = std::make_unique<session::Link>(&core_.reactor, domain_->domain.get(), handler);
      client_link_ = std::make_unique<session::Link>(&core_.reactor, client_domain_->domain.get(),
                                                     session::Link::Handler{[](auto) {}, [](const Error&) {}});
      const std::vector<uint8_t> here = link_->open().take();
      const std::vector<uint8_t> there = client_link_->open().take();
      channel_ = make_channel(fds[0]);
      client_channel_ = make_channel(fds[1]);
      const session::Link::Options options{.message_bytes = 4096, .receives = 4};
      EXPECT_TRUE(link_->start(there, options, channel_.get()));
      EXPECT_TRUE(client_link_->start(here, options, client_channel_.get()));
      intake_ = std::make_unique<BatchIntake>(
          &core_, domain_.get(), link_.get(),
          [this](const wire::BatchAnswer& answer) { note([&] { answers_.push_back(answer); }); });
    });
  }
  // The session ends, as Session does it.
  void part() {
    run([&] {
      if (intake_ != nullptr) intake_->abandon();
      if (link_ != nullptr) link_->close();
      intake_.reset();
      link_.reset();
      client_link_.reset();
      channel_.reset();
      client_channel_.reset();
      memory_.reset();
    });
    // Not inside a poll of theirs.
    run([&] {
      client_domain_.reset();
      domain_.reset();
    });
  }
  std::unique_ptr<session::ControlChannel> make_channel(int fd) {
    session::ControlChannel::Handler handler;
    handler.on_frame = [](const wire::FrameHeader&, std::span<const uint8_t>) {};
    handler.on_doorbell = [] {};
    handler.on_closed = [](const Error&) {};
    return std::make_unique<session::ControlChannel>(&core_.reactor, fd, std::move(handler));
  }

  // The client sends `batch`: its head in the message, its data to be read with `key`.
  void receive(const partition::AppendRequest& batch, uint64_t address, uint64_t key) {
    EXPECT_TRUE(try_receive(batch, address, key).ok());
  }
  Status try_receive(const partition::AppendRequest& batch, uint64_t address, uint64_t key) {
    wire::BatchMessage message;
    message.token = 7;
    message.topic = topic_;
    message.shape = batch.shape;
    message.head_crc = batch.head_crc;
    message.producer_session = batch.producer.session;
    message.sequence = batch.producer.sequence;
    message.follows = batch.producer.follows;
    message.runs = {{false, {0, 0, static_cast<uint32_t>(batch.shape.head_bytes())}},
                    {true, {address, key, static_cast<uint32_t>(batch.shape.data_bytes)}}};
    const uint8_t* const head = batch.buffer->data() + partition::kRecordHeaderBytes;
    std::vector<uint8_t> bytes;
    wire::encode(message, static_cast<uint32_t>(batch.shape.head_bytes()), &bytes);
    bytes.insert(bytes.end(), head, head + batch.shape.head_bytes());
    Status status;
    run([&] { status = intake_->receive(wire::parse_message(bytes).take()); });
    return status;
  }
  std::span<uint8_t> data_of(const partition::AppendRequest& batch) {
    return {batch.buffer->data() + partition::kRecordHeaderBytes + batch.shape.data_offset(), batch.shape.data_bytes};
  }

  Core core_{ServerOptions{}};
  const Uuid topic_ = Uuid::random();
  std::shared_ptr<HostedPartition> hosted_;
  std::thread thread_;
  std::shared_ptr<ServedDomain> domain_;
  std::unique_ptr<ServedDomain> client_domain_;
  std::unique_ptr<session::ControlChannel> channel_;
  std::unique_ptr<session::ControlChannel> client_channel_;
  std::unique_ptr<session::Link> link_;
  std::unique_ptr<session::Link> client_link_;
  std::unique_ptr<fabric::MemoryRegion> memory_;
  std::unique_ptr<BatchIntake> intake_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<wire::BatchAnswer> answers_;  // guarded by mutex_
  Error failed_;                            // guarded by mutex_
};

// The client connects anew and sends the same batch again: its place in the producer's sequence must still be free.
TEST_F(BatchIntakeTest, a_batch_whose_transfer_fails_with_the_link_is_neither_answered_nor_skipped) {
  const partition::ProducerPosition position{Uuid::random(), BatchSequence(1), BatchSequence(0)};
  const auto batch = testing::make_batch(*core_.pool, {{"{}", std::string(100'000, 'x')}}, position);
  const std::span<uint8_t> data = data_of(batch);
  join();
  receive(batch, 0, 0xBAD'C0DE);
  wait([&] { return failed_.code != ErrorCode::kOk; });
  part();
  EXPECT_TRUE(answers_.empty());
  run([&] { EXPECT_EQ(hosted_->partition->admit(position).kind, partition::Admission::Kind::kNew); });

  join();
  run([&] {
    memory_ = client_domain_->domain->register_memory(data.data(), data.size(), fabric::Access::kRemoteRead).take();
  });
  receive(batch, memory_->remote_address(data.data()), memory_->key());
  wait([&] { return !answers_.empty(); });
  EXPECT_EQ(answers_.front().code, ErrorCode::kOk) << answers_.front().detail;
  EXPECT_EQ(answers_.front().token, 7U);
  run([&] { EXPECT_EQ(hosted_->partition->next_id().value, 1U); });
}

// What the producer wrote to after push is refused for good: the batches after it need not wait for it.
TEST_F(BatchIntakeTest, a_batch_with_changed_data_is_refused_and_skipped) {
  const Uuid session = Uuid::random();
  const auto changed = testing::make_batch(*core_.pool, {{"{}", std::string(100'000, 'x')}},
                                           {session, BatchSequence(1), BatchSequence(0)});
  const auto next = testing::make_batch(*core_.pool, {{"{}", std::string(100'000, 'y')}},
                                        {session, BatchSequence(2), BatchSequence(0)});
  join();
  const auto send = [&](const partition::AppendRequest& batch) {
    const std::span<uint8_t> data = data_of(batch);
    run([&] {
      memory_ = client_domain_->domain->register_memory(data.data(), data.size(), fabric::Access::kRemoteRead).take();
    });
    receive(batch, memory_->remote_address(data.data()), memory_->key());
  };
  data_of(changed)[99'999] = 'z';
  send(changed);
  wait([&] { return answers_.size() == 1; });
  EXPECT_EQ(answers_[0].code, ErrorCode::k_DATA_CHANGED);
  send(next);
  wait([&] { return answers_.size() == 2; });
  EXPECT_EQ(answers_[1].code, ErrorCode::kOk) << answers_[1].detail;
}

// The client did not hear that its batch was stored, and asks again.
TEST_F(BatchIntakeTest, a_complete_topic_answers_duplicates_and_takes_nothing_new) {
  const Uuid session = Uuid::random();
  const auto stored = testing::make_batch(*core_.pool, {{"{}", std::string(100'000, 'x')}},
                                          {session, BatchSequence(1), BatchSequence(0)});
  const auto next = testing::make_batch(*core_.pool, {{"{}", std::string(100'000, 'y')}},
                                        {session, BatchSequence(2), BatchSequence(1)});
  join();
  const std::span<uint8_t> data = data_of(stored);
  run([&] {
    memory_ = client_domain_->domain->register_memory(data.data(), data.size(), fabric::Access::kRemoteRead).take();
  });
  receive(stored, memory_->remote_address(data.data()), memory_->key());
  wait([&] { return answers_.size() == 1; });
  run([&] {
    wire::TopicRecord record = core_.topics->list("events").at(0);
    record.state = wire::TopicState::kComplete;
    EXPECT_TRUE(core_.topics->put(record));
  });
  receive(stored, 0, 0xBAD'C0DE);
  wait([&] { return answers_.size() == 2; });
  EXPECT_EQ(answers_[1].code, ErrorCode::kOk) << answers_[1].detail;
  EXPECT_EQ(answers_[1].base_id, answers_[0].base_id);
  receive(next, 0, 0xBAD'C0DE);
  wait([&] { return answers_.size() == 3; });
  EXPECT_EQ(answers_[2].code, ErrorCode::k_TOPIC_COMPLETE);
  run([&] { EXPECT_EQ(hosted_->partition->next_id(), EventId(1)); });
}

// They wait for memory, of which there is none; a client that sends more all the same is not served.
TEST_F(BatchIntakeTest, no_more_batches_wait_than_there_is_credit) {
  const partition::ProducerPosition position{Uuid::random(), BatchSequence(1), BatchSequence(0)};
  const auto batch = testing::make_batch(*core_.pool, {{"{}", std::string(100'000, 'x')}}, position);
  const std::span<uint8_t> data = data_of(batch);
  BufferRef rest = core_.pool->allocate(core_.pool->bytes_max() - core_.pool->bytes_used()).take();
  join();
  run([&] {
    memory_ = client_domain_->domain->register_memory(data.data(), data.size(), fabric::Access::kRemoteRead).take();
  });
  const auto send = [&] { return try_receive(batch, memory_->remote_address(data.data()), memory_->key()); };
  for (uint32_t i = 0; i < BatchIntake::kCredits; ++i) ASSERT_TRUE(send().ok());
  EXPECT_EQ(send().code(), ErrorCode::k_PROTOCOL);
  EXPECT_TRUE(answers_.empty());
  rest.reset();
  wait([&] { return answers_.size() == BatchIntake::kCredits; });
  for (const wire::BatchAnswer& answer : answers_) EXPECT_EQ(answer.code, ErrorCode::kOk) << answer.detail;
  EXPECT_TRUE(send().ok()) << "answers give credit back";
}

// Nobody could read it; what follows it is taken.
TEST_F(BatchIntakeTest, metadata_that_does_not_expand_is_refused) {
  join();
  wire::BatchMessage message;
  message.token = 7;
  message.topic = topic_;
  message.shape = {1, 5, 0, true};
  message.producer_session = Uuid::random();
  message.sequence = BatchSequence(1);
  std::vector<uint8_t> head(message.shape.table_bytes());
  wire::encode_event_entry({40, 0, 0}, head.data());
  for (const char c : std::string("frame")) head.push_back(static_cast<uint8_t>(c));
  message.head_crc = crc32c(head);
  message.runs = {{false, {0, 0, static_cast<uint32_t>(head.size())}}};
  std::vector<uint8_t> bytes;
  wire::encode(message, static_cast<uint32_t>(head.size()), &bytes);
  bytes.insert(bytes.end(), head.begin(), head.end());
  run([&] { EXPECT_TRUE(intake_->receive(wire::parse_message(bytes).take())); });
  wait([&] { return answers_.size() == 1; });
  const ErrorCode expected = compression_available() ? ErrorCode::k_CORRUPT_DATA : ErrorCode::k_COMPRESSION_MISSING;
  EXPECT_EQ(answers_[0].code, expected) << answers_[0].detail;
  run([&] { EXPECT_EQ(hosted_->partition->next_id(), EventId(0)); });
}

}  // namespace
}  // namespace diaspora::server
