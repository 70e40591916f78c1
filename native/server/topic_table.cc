#include "server/topic_table.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "base/clock.h"

namespace diaspora::server {

namespace {

std::vector<uint8_t> pack_placement(const std::vector<Uuid>& placement) {
  std::vector<uint8_t> bytes;
  for (const Uuid& server : placement) bytes.insert(bytes.end(), server.bytes.begin(), server.bytes.end());
  return bytes;
}

std::vector<Uuid> unpack_placement(const std::vector<uint8_t>& bytes) {
  std::vector<Uuid> placement(bytes.size() / sizeof(Uuid::bytes));
  for (size_t i = 0; i < placement.size(); ++i) {
    std::memcpy(placement[i].bytes.data(), bytes.data() + i * sizeof(Uuid::bytes), sizeof(Uuid::bytes));
  }
  return placement;
}

partition::TopicEntry to_entry(const wire::TopicRecord& record) {
  partition::TopicEntry entry;
  entry.name = record.name;
  entry.uuid = record.uuid;
  entry.state = static_cast<partition::TopicState>(record.state);
  entry.kind = static_cast<partition::PartitionKind>(record.manager);
  entry.durability = static_cast<partition::Durability>(record.durability);
  entry.partition_count = static_cast<uint32_t>(record.placement.size());
  entry.placement = pack_placement(record.placement);
  entry.config = record.config;
  entry.retention = record.retention;
  return entry;
}

// How often a partition is asked to drop what is too old: an eighth of the age, and no less than 20 ms, so that nothing
// is kept much longer; twice a minute is enough for any age.
int64_t retain_every_ms(const Retention& retention) {
  if (retention.age_ms == 0) return 0;
  return static_cast<int64_t>(std::clamp<uint64_t>(retention.age_ms / 8, 20, 30'000));
}

// The longer placement counts; a partition never moves.
Status merge_placement(const partition::TopicEntry& known, partition::TopicEntry* entry) {
  const size_t common = std::min(known.placement.size(), entry->placement.size());
  if (!std::equal(known.placement.begin(), known.placement.begin() + static_cast<ptrdiff_t>(common),
                  entry->placement.begin())) {
    return {ErrorCode::k_INVALID_ARGUMENT, "topic '" + entry->name + "' has other partitions on this server"};
  }
  if (known.placement.size() > entry->placement.size()) {
    entry->placement = known.placement;
    entry->partition_count = known.partition_count;
  }
  return {};
}

// The answer to what is put of a topic that goes; several may delete it.
Status put_while_deleted(const partition::TopicEntry& entry) {
  if (entry.state == partition::TopicState::kDeleting) return {};
  return {ErrorCode::k_TOPIC_DELETED, "topic '" + entry.name + "' is being deleted"};
}

// Answers `done` once, after `left` more parts, with the first error.
struct Gather {
  size_t left = 0;
  Status status;
  partition::StatusCallback done;
  void part(const Status& result) {
    if (status.ok()) status = result;
    if (--left == 0) done(status);
  }
};

}  // namespace

Status HostedPartition::check_token(const std::string& consumer, uint64_t token) const {
  const auto rising = fences.find(consumer);
  const uint64_t fence = std::max(partition->consumer(consumer).fence, rising == fences.end() ? 0 : rising->second);
  if (token == 0 || token >= fence) return {};
  return {ErrorCode::k_FENCED, "another member of consumer group '" + consumer + "' owns partition " +
                                   std::to_string(index.value) + " of topic '" + topic_name + "' now"};
}

void HostedPartition::raise_fence(const std::string& consumer, uint64_t token, partition::StatusCallback done) {
  constexpr int64_t kClockMs = 24 * 60 * 60 * 1000;  // by which the clocks of two servers may differ
  if (token > token_of_time(wall_clock_ns() / 1'000'000 + kClockMs)) {
    return done({ErrorCode::k_INVALID_ARGUMENT, "no consumer group gives out the token " + std::to_string(token)});
  }
  uint64_t& fence = fences[consumer];
  fence = std::max(fence, token);
  partition->change_consumer(consumer, {.fence = token},
                             [this, consumer, token, done = std::move(done)](Status status) {
                               // Stored, or not: then nobody was served with it, and who has come with it tries again.
                               const auto rising = fences.find(consumer);
                               if (rising != fences.end() && rising->second == token) fences.erase(rising);
                               done(std::move(status));
                             });
  const std::vector<PartitionReader*> present = readers;
  for (PartitionReader* reader : present) {
    const bool is_former = reader->consumer() == consumer && reader->token() != 0 && reader->token() < token;
    if (is_former) reader->fenced();
  }
}

wire::TopicRecord TopicTable::to_record(const partition::TopicEntry& entry) const {
  wire::TopicRecord record;
  record.name = entry.name;
  record.uuid = entry.uuid;
  record.state = static_cast<wire::TopicState>(entry.state);
  record.manager = static_cast<wire::ManagerKind>(entry.kind);
  record.durability = static_cast<uint8_t>(entry.durability);
  record.placement = unpack_placement(entry.placement);
  record.config = entry.config;
  record.retention = entry.retention;
  return record;
}

Status TopicTable::open_all() {
  for (const partition::TopicEntry& entry : core_->storage->entries()) {
    const Status opened = open_partitions(entry);
    if (!opened) return opened;
  }
  return {};
}

Status TopicTable::open_partitions(const partition::TopicEntry& entry) {
  const std::vector<Uuid> placement = unpack_placement(entry.placement);
  Partitions& partitions = open_[entry.uuid];
  partitions.resize(placement.size());
  for (uint32_t i = 0; i < placement.size(); ++i) {
    if (placement[i] != core_->storage->server_uuid() || partitions[i] != nullptr) continue;
    auto opened = core_->storage->open_partition(entry, PartitionIndex(i), &core_->reactor);
    if (!opened) return opened.status();
    const partition::RecoveryReport& report = opened.value().report;
    if (report.torn_bytes > 0) {
      core_->log(true, "topic " + entry.name + " partition " + std::to_string(i) + ": cut a torn tail of " +
                           std::to_string(report.torn_bytes) + " bytes; " + report.detail);
    }
    auto hosted = std::make_shared<HostedPartition>();
    hosted->topic = entry.uuid;
    hosted->topic_name = entry.name;
    hosted->index = PartitionIndex(i);
    hosted->complete = entry.state == partition::TopicState::kComplete;
    hosted->partition = std::move(opened.value().partition);
    hosted->retain_every_ms = retain_every_ms(entry.retention);
    partitions[i] = std::move(hosted);
  }
  if (entry.retention.age_ms > 0) arm_retention();
  return {};
}

// Wakes for the partition that is due first; without one that drops by age there is no timer.
void TopicTable::arm_retention() {
  constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
  int64_t next_ms = kNever;
  for (const auto& [topic, partitions] : open_) {
    for (const std::shared_ptr<HostedPartition>& hosted : partitions) {
      if (hosted != nullptr && hosted->retain_every_ms > 0) next_ms = std::min(next_ms, hosted->retain_at_ms);
    }
  }
  if (retention_timer_ != 0) core_->reactor.cancel(std::exchange(retention_timer_, 0));
  if (next_ms == kNever) return;
  retention_timer_ = core_->reactor.call_after_ms(std::max<int64_t>(next_ms - monotonic_ms(), 0), [this] {
    retention_timer_ = 0;
    retain();
  });
}

void TopicTable::retain() {
  const int64_t now_ms = monotonic_ms();
  for (const auto& [topic, partitions] : open_) {
    for (const std::shared_ptr<HostedPartition>& hosted : partitions) {
      if (hosted == nullptr || hosted->retain_every_ms == 0 || hosted->retain_at_ms > now_ms) continue;
      hosted->partition->retain();
      hosted->retain_at_ms = now_ms + hosted->retain_every_ms;
    }
  }
  arm_retention();
}

// Whether the catalogue may take the entry; makes it what it is together with the one that is there.
Status TopicTable::merge(partition::TopicEntry* entry) const {
  using partition::TopicState;
  bool known = false;
  for (const partition::TopicEntry& other : core_->storage->entries()) {
    if (other.uuid == entry->uuid) {
      known = other.state != TopicState::kDeleting;
      const Status allowed = known ? Status() : put_while_deleted(*entry);
      if (!allowed) return allowed;
      if (other.state == TopicState::kComplete && entry->state == TopicState::kActive) {
        return {ErrorCode::k_TOPIC_COMPLETE, "topic '" + entry->name + "' is complete"};
      }
      const Status merged = merge_placement(other, entry);
      if (!merged) return merged;
    } else if (other.name == entry->name && other.state != TopicState::kCreating) {  // never finished: the name is free
      return {ErrorCode::k_TOPIC_EXISTS, "topic '" + entry->name + "' exists already"};
    }
  }
  if (known || entry->state != TopicState::kComplete) return {};
  return {ErrorCode::k_TOPIC_NOT_FOUND, "topic '" + entry->name + "' does not exist on this server (any more)"};
}

Status TopicTable::put(const wire::TopicRecord& record) {
  const Status valid = wire::validate_name(record.name);
  if (!valid) return valid;
  partition::TopicEntry entry = to_entry(record);
  if (removing_.contains(entry.uuid)) return put_while_deleted(entry);
  const Status allowed = merge(&entry);
  if (!allowed) return allowed;
  const Status stored = core_->storage->put(entry);
  if (!stored || entry.state == partition::TopicState::kDeleting) return stored;
  const Status opened = open_partitions(entry);
  if (!opened || entry.state != partition::TopicState::kComplete) return opened;
  for (const std::shared_ptr<HostedPartition>& hosted : open_[entry.uuid]) {
    if (hosted != nullptr) hosted->complete = true;
  }
  if (on_complete) on_complete();
  return {};
}

void TopicTable::remove(const Uuid& topic, partition::StatusCallback done) {
  std::vector<partition::StatusCallback>& waiting = removing_[topic];
  waiting.push_back(std::move(done));
  if (waiting.size() > 1) return;  // under way
  Partitions partitions;
  const auto it = open_.find(topic);
  if (it != open_.end()) {
    partitions = std::move(it->second);
    open_.erase(it);
  }
  close_partitions(partitions, [this, topic](const Status& closed) {
    // What could not be written any more is deleted anyway.
    static_cast<void>(closed);
    Status removed = core_->storage->remove(topic);
    if (removed) removed = core_->storage->remove_partition_files(topic);
    const std::vector<partition::StatusCallback> answers = std::move(removing_.extract(topic).mapped());
    for (const partition::StatusCallback& answer : answers) answer(removed);
    if (removing_.empty() && all_removed_) std::exchange(all_removed_, nullptr)();
  });
}

void TopicTable::close_partitions(const Partitions& partitions, partition::StatusCallback done) {
  auto gather = std::make_shared<Gather>();
  gather->left = 1;
  gather->done = std::move(done);
  for (const std::shared_ptr<HostedPartition>& hosted : partitions) {
    if (hosted == nullptr) continue;
    // First: readers that go now take themselves off the partition's observers, which `closing` forbids.
    if (on_closing) on_closing(hosted.get());
    hosted->closing = true;
    ++gather->left;
    hosted->partition->close([gather, hosted, reactor = &core_->reactor](const Status& status) {
      // From a pass of its own: a partition may not be destroyed inside its callback.
      reactor->post([gather, hosted, status] {
        hosted->partition.reset();
        gather->part(status);
      });
    });
  }
  gather->part({});
}

std::vector<wire::TopicRecord> TopicTable::list(const std::string& name) const {
  std::vector<wire::TopicRecord> records;
  for (const partition::TopicEntry& entry : core_->storage->entries()) {
    if (name.empty() || entry.name == name) records.push_back(to_record(entry));
  }
  return records;
}

Result<std::vector<wire::PartitionStatus>> TopicTable::status(const Uuid& topic) const {
  const auto it = open_.find(topic);
  if (it == open_.end()) return {ErrorCode::k_TOPIC_NOT_FOUND, "the topic is not on this server"};
  std::vector<wire::PartitionStatus> rows;
  for (const std::shared_ptr<HostedPartition>& hosted : it->second) {
    if (hosted == nullptr) continue;
    rows.push_back({hosted->index, hosted->partition->first_id(), hosted->partition->next_id()});
  }
  return rows;
}

Result<std::vector<wire::CursorRow>> TopicTable::cursors(const Uuid& topic, const std::string& consumer) const {
  const auto it = open_.find(topic);
  if (it == open_.end()) return {ErrorCode::k_TOPIC_NOT_FOUND, "the topic is not on this server"};
  std::vector<wire::CursorRow> rows;
  for (const std::shared_ptr<HostedPartition>& hosted : it->second) {
    if (hosted == nullptr) continue;
    for (const auto& [name, state] : hosted->partition->consumers()) {
      if (state.next_id && (consumer.empty() || name == consumer)) {
        rows.push_back({name, hosted->index, *state.next_id});
      }
    }
  }
  return rows;
}

void TopicTable::set_cursor(const wire::CursorSetFrame& frame, const partition::StatusCallback& done) {
  const auto found = find(frame.topic, frame.partition);
  if (!found) return done(found.status());
  const HostedPartition& hosted = *found.value();
  const bool is_read = std::any_of(hosted.readers.begin(), hosted.readers.end(),
                                   [&](const PartitionReader* reader) { return reader->consumer() == frame.consumer; });
  if (is_read) {
    return done({ErrorCode::k_INVALID_STATE, "consumer '" + frame.consumer + "' reads partition " +
                                                 std::to_string(frame.partition.value) + " now: close it first"});
  }
  partition::Partition& partition = *hosted.partition;
  EventId next(frame.position);
  if (frame.position == wire::kStartAtBeginning) next = partition.first_id();
  if (frame.position == wire::kStartAtEnd) next = partition.next_id();
  partition.change_consumer(frame.consumer, {.next_id = next, .backwards = true}, done);
}

size_t TopicTable::partition_count(const Uuid& topic) const {
  const auto it = open_.find(topic);
  return it == open_.end() ? 0 : it->second.size();
}

Result<std::shared_ptr<HostedPartition>> TopicTable::find(const Uuid& topic, PartitionIndex index) const {
  const auto it = open_.find(topic);
  if (it == open_.end()) return {ErrorCode::k_TOPIC_NOT_FOUND, "the topic does not exist on this server (any more)"};
  if (index.value >= it->second.size() || it->second[index.value] == nullptr) {
    return {ErrorCode::k_INVALID_PARTITION, "partition " + std::to_string(index.value) + " is not on this server"};
  }
  return it->second[index.value];
}

size_t TopicTable::release_cache(size_t bytes) {
  size_t released = 0;
  for (auto& [topic, partitions] : open_) {
    for (const std::shared_ptr<HostedPartition>& hosted : partitions) {
      if (released >= bytes) return released;
      if (hosted != nullptr) released += hosted->partition->release_cache(bytes - released);
    }
  }
  return released;
}

void TopicTable::close_all(partition::StatusCallback done) {
  Partitions all;
  for (auto& [topic, partitions] : open_) all.insert(all.end(), partitions.begin(), partitions.end());
  open_.clear();
  arm_retention();
  // Who is told that all is closed lets go of the storage, which topics that are being removed still need.
  close_partitions(all, [this, done = std::move(done)](const Status& status) {
    if (removing_.empty()) return done(status);
    all_removed_ = [done, status] { done(status); };
  });
}

}  // namespace diaspora::server
