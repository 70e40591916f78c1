// A producer: builders on the pushing thread, lanes on the progress thread, and the hand-over between them.
//
// Threads: reserve, commit, seal, in_flight, pending and destroy on the caller's; the rest on the progress thread.
// Fields are grouped by thread. Owner: shared by the caller's handle and ClientCore, which lets go when everything is
// answered. Hand-over: sealed batches go through an inbox under a mutex; the first one in wakes the progress thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "client/batch_builder.h"
#include "client/batch_sender.h"
#include "client/client.h"

namespace diaspora::client {

class ProducerCore final : public Producer, public LaneOwner, public std::enable_shared_from_this<ProducerCore> {
 public:
  // The longest metadata that reserve() makes room for: the limit and what a caller's text conversion adds.
  static constexpr size_t kReserveBytesMax = (size_t{1} << 20) + 4096;
  // Adaptive batches go out at the first pair of bounds while fewer than max_num_batches are in flight: what fits into
  // one message, and data that a server takes in about a millisecond. While the server does not keep up they grow to
  // the second pair: fewer, larger batches cost both sides less.
  static constexpr uint64_t kAdaptiveHeadBytes = uint64_t{60} << 10;
  static constexpr uint64_t kAdaptiveDataBytes = uint64_t{4} << 20;
  static constexpr uint64_t kAdaptiveHeadBytesMax = uint64_t{512} << 10;
  static constexpr uint64_t kAdaptiveDataBytesMax = uint64_t{16} << 20;
  // Gathered data of an adaptive batch: larger reads gain nothing, and its memory is kept for reuse.
  static constexpr uint64_t kAdaptiveGatheredBytes = uint64_t{1} << 20;
  // Batches of a fixed number of events: what one batch may cost in memory.
  static constexpr uint64_t kFixedHeadBytes = uint64_t{4} << 20;
  static constexpr uint64_t kFixedDataBytes = uint64_t{64} << 20;

  struct Shared {
    Reactor* reactor = nullptr;
    std::shared_ptr<CompletionSink> sink;
    std::shared_ptr<ClientCounters> counters;
    uint32_t zero_copy_threshold = 0;
    uint64_t pending_bytes_max = 0;
  };
  ProducerCore(Shared shared, Options options);

  uint8_t* reserve(PartitionIndex partition, size_t metadata_bytes_max, ErrorCode* error) override;
  Pushed commit(PartitionIndex partition, size_t metadata_bytes, std::span<DataSegment> data) override;
  bool seal(PartitionIndex partition) override;
  uint32_t in_flight(PartitionIndex partition) const override;
  Pending pending() const override;
  void destroy() override;

  // Progress thread. `senders` by server index; they outlive the attachment. `released` runs, in a pass of its own,
  // when the producer is destroyed and nothing of it is pending: the lanes are detached then.
  void attach(const std::vector<BatchSender*>& senders, std::function<void()> released);
  // Before the senders go away, when exposes_memory_to() none of them: what is queued in them fails with `error`. What
  // is pushed later completes with ABORTED.
  void detach(const Error& error);
  // May the server behind `sender` be reading memory that a batch names?
  bool exposes_memory_to(const BatchSender& sender) const;
  const Options& options() const { return options_; }

  void batch_finished(std::unique_ptr<Batch> batch) override;

 private:
  struct Partition;
  bool should_seal(const Partition& partition) const;
  struct Partition {
    Partition(const BatchBuilder::Limits& limits, ClientCounters* counters) : builder(limits, counters) {}
    // Pushing thread.
    BatchBuilder builder;
    uint64_t begun = 0;
    uint64_t sealed = 0;
    uint64_t open_pending_bytes = 0;
    // Written by the progress thread.
    std::atomic<uint64_t> done{0};
    // Progress thread.
    BatchLane lane;
    BatchSender* sender = nullptr;
  };

  ErrorCode check(PartitionIndex partition, const BatchBuilder::Event& event) const;
  void seal_open(Partition* partition, uint32_t index, size_t pending_metadata_bytes);
  void submit(std::unique_ptr<Batch> batch);
  std::unique_ptr<Batch> take_spare();
  void drain_inbox();
  void abort();
  void release_if_drained();

  const Shared shared_;
  const Options options_;
  std::vector<std::unique_ptr<Partition>> partitions_;

  // Pushing thread.
  bool destroyed_ = false;
  uint64_t events_pushed_ = 0;
  uint64_t bytes_pushed_ = 0;
  uint64_t batches_begun_ = 0;
  uint64_t open_bytes_ = 0;  // of events in open batches

  // Written by the progress thread.
  std::atomic<uint64_t> events_done_{0};
  std::atomic<uint64_t> bytes_done_{0};
  std::atomic<uint64_t> batches_done_{0};

  std::mutex mutex_;
  std::vector<std::unique_ptr<Batch>> inbox_;   // guarded by mutex_
  std::vector<std::unique_ptr<Batch>> spares_;  // guarded by mutex_

  // Progress thread.
  bool attached_ = false;
  bool detached_ = false;
  bool aborted_ = false;
  std::function<void()> released_;
};

}  // namespace diaspora::client
