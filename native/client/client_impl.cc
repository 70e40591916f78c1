// The public face of a client: every call becomes work for the progress thread.
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "client/client.h"
#include "client/client_core.h"

namespace diaspora::client {

namespace {

CompletionSink::Value nothing() { return {}; }

class ClientImpl final : public Client {
 public:
  explicit ClientImpl(std::shared_ptr<ClientCore> core) : core_(std::move(core)) {}
  ~ClientImpl() override { close(0); }
  ClientImpl(const ClientImpl&) = delete;
  ClientImpl& operator=(const ClientImpl&) = delete;

  uint32_t id() const override { return core_->id(); }
  Counters counters() const override { return core_->counters(); }
  std::vector<Uuid> server_uuids() const override { return core_->server_uuids(); }

  void set_address(uint32_t server, std::string host, uint16_t port) override {
    run([server, host = std::move(host), port](ClientCore& core) { core.set_address(server, host, port); });
  }
  void topic_put(uint64_t request, uint32_t server, const wire::TopicRecord& record) override;
  void topic_remove(uint64_t request, uint32_t server, const Uuid& topic) override;
  void topic_list(uint64_t request, uint32_t server, const std::string& name) override;
  void topic_status(uint64_t request, uint32_t server, const Uuid& topic) override;
  void topic_cursors(uint64_t request, uint32_t server, const Uuid& topic, const std::string& consumer) override;
  void cursor_set(uint64_t request, uint32_t server, const wire::CursorSetFrame& frame) override;
  std::shared_ptr<Producer> open_producer(Producer::Options options) override;
  std::shared_ptr<Consumer> open_consumer(uint64_t request, Consumer::Options options) override;
  void close(uint64_t request) override;
  void close_and_wait() override;

 private:
  template <typename Work>
  void run(Work work) {
    progress_thread().post([core = core_, work = std::move(work)] { work(*core); });
  }

  const std::shared_ptr<ClientCore> core_;
};

void ClientImpl::topic_put(uint64_t request, uint32_t server, const wire::TopicRecord& record) {
  run([request, server, record](ClientCore& core) {
    core.request(
        request, server, [&](uint64_t id) { return wire::make_topic_put(id, record); },
        [](std::span<const uint8_t>) -> Result<CompletionSink::Value> { return nothing(); });
  });
}

void ClientImpl::topic_remove(uint64_t request, uint32_t server, const Uuid& topic) {
  run([request, server, topic](ClientCore& core) {
    core.request(
        request, server, [&](uint64_t id) { return wire::make_topic_remove(id, topic); },
        [](std::span<const uint8_t>) -> Result<CompletionSink::Value> { return nothing(); },
        ErrorCode::k_TOPIC_NOT_FOUND);
  });
}

void ClientImpl::topic_list(uint64_t request, uint32_t server, const std::string& name) {
  run([request, server, name](ClientCore& core) {
    core.request(
        request, server, [&](uint64_t id) { return wire::make_topic_list(id, name); },
        [](std::span<const uint8_t> payload) -> Result<CompletionSink::Value> {
          auto records = wire::decode_topic_list_reply(payload);
          if (!records) return records.error();
          return CompletionSink::Value(records.take());
        });
  });
}

void ClientImpl::topic_status(uint64_t request, uint32_t server, const Uuid& topic) {
  run([request, server, topic](ClientCore& core) {
    core.request(
        request, server, [&](uint64_t id) { return wire::make_topic_status(id, topic); },
        [](std::span<const uint8_t> payload) -> Result<CompletionSink::Value> {
          auto rows = wire::decode_topic_status_reply(payload);
          if (!rows) return rows.error();
          return CompletionSink::Value(rows.take());
        });
  });
}

void ClientImpl::topic_cursors(uint64_t request, uint32_t server, const Uuid& topic, const std::string& consumer) {
  run([request, server, topic, consumer](ClientCore& core) {
    core.request(
        request, server, [&](uint64_t id) { return wire::make_topic_cursors(id, topic, consumer); },
        [](std::span<const uint8_t> payload) -> Result<CompletionSink::Value> {
          auto rows = wire::decode_topic_cursors_reply(payload);
          if (!rows) return rows.error();
          return CompletionSink::Value(rows.take());
        });
  });
}

void ClientImpl::cursor_set(uint64_t request, uint32_t server, const wire::CursorSetFrame& frame) {
  run([request, server, frame](ClientCore& core) {
    core.request(
        request, server, [&](uint64_t id) { return wire::make_cursor_set(id, frame); },
        [](std::span<const uint8_t>) -> Result<CompletionSink::Value> { return nothing(); });
  });
}

// The caller's last reference destroys: what is pending then has nobody who waits for it.
template <typename Face, typename Core>
std::shared_ptr<Face> destroyed_with_its_handle(std::shared_ptr<Core> core) {
  Face* const face = core.get();
  return std::shared_ptr<Face>(face, [core = std::move(core)](Face* owned) { owned->destroy(); });
}

std::shared_ptr<Producer> ClientImpl::open_producer(Producer::Options options) {
  options.server_of_partition = core_->spread(options.server_of_partition);
  ProducerCore::Shared shared;
  shared.reactor = &progress_thread();
  shared.sink = core_->sink();
  shared.counters = core_->shared_counters();
  shared.zero_copy_threshold = core_->options().zero_copy_threshold;
  shared.pending_bytes_max = core_->options().pending_bytes_max;
  auto producer = std::make_shared<ProducerCore>(std::move(shared), std::move(options));
  run([producer](ClientCore& core) { core.add_producer(producer); });
  return destroyed_with_its_handle<Producer>(std::move(producer));
}

std::shared_ptr<Consumer> ClientImpl::open_consumer(uint64_t request, Consumer::Options options) {
  options.server_of_partition = core_->spread(options.server_of_partition);
  ConsumerCore::Shared shared;
  shared.reactor = &progress_thread();
  shared.sink = core_->sink();
  shared.counters = core_->shared_counters();
  shared.zero_copy_threshold = core_->options().zero_copy_threshold;
  auto consumer = std::make_shared<ConsumerCore>(std::move(shared), std::move(options));
  run([request, consumer](ClientCore& core) { core.add_consumer(request, consumer); });
  return destroyed_with_its_handle<Consumer>(std::move(consumer));
}

void ClientImpl::close(uint64_t request) {
  run([request](ClientCore& core) {
    core.close([sink = core.sink(), request] {
      if (request != 0) sink->request_done(request, nothing());
    });
  });
}

void ClientImpl::close_and_wait() {
  struct Closing {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
  };
  const auto closing = std::make_shared<Closing>();
  run([closing](ClientCore& core) {
    core.close([closing] {
      const std::lock_guard<std::mutex> lock(closing->mutex);
      closing->done = true;
      closing->changed.notify_all();
    });
  });
  std::unique_lock<std::mutex> lock(closing->mutex);
  closing->changed.wait(lock, [&] { return closing->done; });
}

}  // namespace

std::shared_ptr<Client> open_client(uint64_t request, ClientOptions options, std::shared_ptr<CompletionSink> sink) {
  static std::atomic<uint32_t> next_id{1};
  auto core = std::make_shared<ClientCore>(next_id.fetch_add(1), std::move(options), std::move(sink));
  progress_thread().post([core, request] { core->open(request); });
  return std::make_shared<ClientImpl>(std::move(core));
}

}  // namespace diaspora::client
