#include "wire/control.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/limits.h"

namespace diaspora::wire {

namespace {

constexpr size_t kProvidersMax = 64;               // offered in one hello; libfabric knows about twenty
constexpr size_t kTextBytesMax = 4096;             // host identity, provider names, error texts
constexpr size_t kEndpointAddressBytesMax = 4096;  // the largest provider's is below 100
constexpr size_t kTopicRecordBytesMin = 48;
constexpr size_t kStatusRowBytes = 20;
constexpr size_t kCursorRowBytesMin = 16;
constexpr size_t kStartBytes = 21;
constexpr size_t kReplyStartBytes = 12;
constexpr size_t kHoldingBytes = 12;
// In place of a partition: all of them.
constexpr uint32_t kWholeSubscription = ~uint32_t{0};

// As signed nanoseconds.
constexpr uint64_t kStartTimeMax = ~uint64_t{0} >> 1;

// Flags of a subscription.
constexpr uint32_t kFullData = 1;
constexpr uint32_t kOldestIfDropped = 2;

Error malformed(std::string_view what) {
  return {ErrorCode::k_PROTOCOL, "malformed control frame: " + std::string(what)};
}

Error version_mismatch(uint16_t theirs) {
  return {ErrorCode::k_VERSION_MISMATCH, "the peer speaks protocol version " + std::to_string(theirs) +
                                             ", this side speaks version " + std::to_string(kProtocolVersion)};
}

// Builds a frame in place; the length is set by finish().
class FrameWriter {
 public:
  FrameWriter(FrameType type, uint64_t request_id) : writer_(&frame_) {
    writer_.u32(0);
    writer_.u16(static_cast<uint16_t>(type));
    writer_.u16(0);
    writer_.u64(request_id);
  }

  ByteWriter& fields() { return writer_; }
  size_t payload_bytes() const { return frame_.size() - kFrameHeaderBytes; }

  std::vector<uint8_t> finish() {
    const auto payload = static_cast<uint32_t>(payload_bytes());
    DIASPORA_CHECK(payload <= kControlFrameBytesMax);
    std::memcpy(frame_.data(), &payload, sizeof(payload));
    return std::move(frame_);
  }

 private:
  std::vector<uint8_t> frame_;
  ByteWriter writer_;
};

bool read_count(ByteReader* reader, size_t element_bytes_min, size_t count_max, uint32_t* count) {
  *count = reader->u32();
  return reader->ok() && *count <= count_max && *count <= reader->remaining() / element_bytes_min;
}

void put_topic_record(const TopicRecord& record, ByteWriter* writer) {
  writer->string(record.name);
  writer->uuid(record.uuid);
  writer->u8(static_cast<uint8_t>(record.state));
  writer->u8(record.durability);
  writer->u8(static_cast<uint8_t>(record.manager));
  writer->u8(0);
  writer->u32(static_cast<uint32_t>(record.placement.size()));
  for (const Uuid& server : record.placement) writer->uuid(server);
  writer->string(record.config);
  writer->u64(record.retention.bytes);
  writer->u64(record.retention.age_ms);
}

Status read_topic_record(ByteReader* reader, TopicRecord* record) {
  record->name = reader->string(kTextBytesMax);
  record->uuid = reader->uuid();
  const uint8_t state = reader->u8();
  record->durability = reader->u8();
  const uint8_t manager = reader->u8();
  const uint8_t zero = reader->u8();
  uint32_t count = 0;
  if (!read_count(reader, sizeof(Uuid), kPartitionsMax, &count) || count == 0)
    return malformed("partitions of a topic");
  record->placement.resize(count);
  for (Uuid& server : record->placement) server = reader->uuid();
  record->config = reader->string(kTopicConfigBytesMax);
  record->retention.bytes = reader->u64();
  record->retention.age_ms = reader->u64();
  if (!reader->ok() || state > static_cast<uint8_t>(TopicState::kComplete) || record->durability > 2 ||
      manager > static_cast<uint8_t>(ManagerKind::kLog) || zero != 0 || record->retention.age_ms > kRetentionAgeMsMax) {
    return malformed("topic");
  }
  record->state = static_cast<TopicState>(state);
  record->manager = static_cast<ManagerKind>(manager);
  return validate_name(record->name);
}

bool starts_distinct(const std::vector<SubscribeFrame::Start>& starts) {
  std::vector<uint32_t> partitions;
  partitions.reserve(starts.size());
  for (const SubscribeFrame::Start& start : starts) partitions.push_back(start.partition.value);
  std::sort(partitions.begin(), partitions.end());
  return std::adjacent_find(partitions.begin(), partitions.end()) == partitions.end();
}

void put_holdings(const std::vector<GroupHolding>& holdings, ByteWriter* writer) {
  writer->u32(static_cast<uint32_t>(holdings.size()));
  for (const GroupHolding& holding : holdings) {
    writer->u32(holding.partition.value);
    writer->u64(holding.token);
  }
}

bool read_holdings(ByteReader* reader, std::vector<GroupHolding>* holdings) {
  uint32_t count = 0;
  if (!read_count(reader, kHoldingBytes, kPartitionsMax, &count)) return false;
  holdings->resize(count);
  for (GroupHolding& holding : *holdings) {
    holding.partition = PartitionIndex(reader->u32());
    holding.token = reader->u64();
  }
  return reader->ok();
}

bool known_type(uint16_t type) {
  switch (static_cast<FrameType>(type)) {
    case FrameType::kHello:
    case FrameType::kWelcome:
    case FrameType::kAttach:
    case FrameType::kAttached:
    case FrameType::kError:
    case FrameType::kHeartbeat:
    case FrameType::kDoorbell:
    case FrameType::kGoodbye:
    case FrameType::kTopicPut:
    case FrameType::kTopicRemove:
    case FrameType::kTopicList:
    case FrameType::kTopicStatus:
    case FrameType::kTopicCursors:
    case FrameType::kGroupSync:
    case FrameType::kCursorSet:
    case FrameType::kSubscribe:
    case FrameType::kUnsubscribe:
    case FrameType::kAcknowledge:
    case FrameType::kReply:
      return true;
  }
  return false;
}

}  // namespace

std::vector<uint8_t> make_frame(FrameType type, uint64_t request_id, std::span<const uint8_t> payload) {
  FrameWriter frame(type, request_id);
  frame.fields().bytes(payload);
  return frame.finish();
}

std::vector<uint8_t> make_frame(const HelloFrame& hello) {
  FrameWriter frame(FrameType::kHello, 0);
  ByteWriter& fields = frame.fields();
  fields.u32(kHelloMagic);
  fields.u16(hello.version);
  fields.u16(hello.rail);
  fields.uuid(hello.client);
  fields.uuid(hello.expected_server);
  fields.uuid(hello.process);
  fields.u32(hello.message_bytes);
  fields.u32(hello.zero_copy_threshold);
  fields.string(hello.host_identity);
  fields.u32(static_cast<uint32_t>(hello.providers.size()));
  for (const OfferedProvider& provider : hello.providers) {
    fields.string(provider.name);
    fields.string(provider.family);
  }
  return frame.finish();
}

std::vector<uint8_t> make_frame(const WelcomeFrame& welcome) {
  FrameWriter frame(FrameType::kWelcome, 0);
  ByteWriter& fields = frame.fields();
  fields.u16(welcome.version);
  fields.u16(0);
  fields.uuid(welcome.server);
  fields.string(welcome.provider_family);
  fields.u32(welcome.message_bytes);
  fields.u32(welcome.batch_credits);
  fields.u32(welcome.fetch_credits);
  fields.u32(static_cast<uint32_t>(welcome.endpoint_address.size()));
  fields.bytes(welcome.endpoint_address);
  return frame.finish();
}

std::vector<uint8_t> make_error_frame(uint64_t request_id, const Error& error) {
  FrameWriter frame(FrameType::kError, request_id);
  frame.fields().u16(static_cast<uint16_t>(error.code));
  frame.fields().u16(0);
  frame.fields().string(std::string_view(error.message).substr(0, kTextBytesMax));
  return frame.finish();
}

std::vector<uint8_t> make_topic_put(uint64_t request_id, const TopicRecord& record) {
  FrameWriter frame(FrameType::kTopicPut, request_id);
  put_topic_record(record, &frame.fields());
  return frame.finish();
}

std::vector<uint8_t> make_topic_remove(uint64_t request_id, const Uuid& topic) {
  return make_frame(FrameType::kTopicRemove, request_id, topic.bytes);
}

std::vector<uint8_t> make_topic_list(uint64_t request_id, std::string_view name) {
  FrameWriter frame(FrameType::kTopicList, request_id);
  frame.fields().string(name);
  return frame.finish();
}

std::vector<uint8_t> make_topic_status(uint64_t request_id, const Uuid& topic) {
  return make_frame(FrameType::kTopicStatus, request_id, topic.bytes);
}

std::vector<uint8_t> make_subscribe(uint64_t request_id, const SubscribeFrame& subscribe) {
  FrameWriter frame(FrameType::kSubscribe, request_id);
  ByteWriter& fields = frame.fields();
  fields.u32(subscribe.subscription);
  fields.uuid(subscribe.topic);
  fields.string(subscribe.consumer);
  fields.u32((subscribe.full_data ? kFullData : 0) | (subscribe.oldest_if_dropped ? kOldestIfDropped : 0));
  fields.u32(subscribe.batch_events);
  fields.u32(static_cast<uint32_t>(subscribe.starts.size()));
  for (const SubscribeFrame::Start& start : subscribe.starts) {
    fields.u32(start.partition.value);
    fields.u64(start.position);
    fields.u64(start.token);
    fields.u8(static_cast<uint8_t>(start.kind));
  }
  return frame.finish();
}

std::vector<uint8_t> make_subscribe_reply(uint64_t request_id, const std::vector<SubscribeFrame::Start>& starts) {
  FrameWriter frame(FrameType::kReply, request_id);
  frame.fields().u32(static_cast<uint32_t>(starts.size()));
  for (const SubscribeFrame::Start& start : starts) {
    frame.fields().u32(start.partition.value);
    frame.fields().u64(start.position);
  }
  return frame.finish();
}

std::vector<uint8_t> make_unsubscribe(uint64_t request_id, const UnsubscribeFrame& unsubscribe) {
  FrameWriter frame(FrameType::kUnsubscribe, request_id);
  frame.fields().u32(unsubscribe.subscription);
  frame.fields().u32(unsubscribe.partition ? unsubscribe.partition->value : kWholeSubscription);
  return frame.finish();
}

std::vector<uint8_t> make_acknowledge(uint64_t request_id, const AcknowledgeFrame& acknowledge) {
  FrameWriter frame(FrameType::kAcknowledge, request_id);
  ByteWriter& fields = frame.fields();
  fields.uuid(acknowledge.topic);
  fields.u32(acknowledge.partition.value);
  fields.string(acknowledge.consumer);
  fields.u64(acknowledge.event.value);
  fields.u64(acknowledge.token);
  return frame.finish();
}

std::vector<uint8_t> make_cursor_set(uint64_t request_id, const CursorSetFrame& cursor) {
  FrameWriter frame(FrameType::kCursorSet, request_id);
  ByteWriter& fields = frame.fields();
  fields.uuid(cursor.topic);
  fields.u32(cursor.partition.value);
  fields.string(cursor.consumer);
  fields.u64(cursor.position);
  return frame.finish();
}

std::vector<uint8_t> make_group_sync(uint64_t request_id, const GroupSyncFrame& sync) {
  FrameWriter frame(FrameType::kGroupSync, request_id);
  ByteWriter& fields = frame.fields();
  fields.uuid(sync.topic);
  fields.string(sync.consumer);
  fields.uuid(sync.member);
  fields.u64(sync.serial);
  fields.u64(sync.view);
  fields.u32(sync.leaving ? 1 : 0);
  fields.u32(sync.partitions);
  fields.u32(sync.session_timeout_ms);
  fields.u32(sync.rebalance_timeout_ms);
  put_holdings(sync.held, &fields);
  return frame.finish();
}

std::vector<uint8_t> make_group_sync_reply(uint64_t request_id, const GroupView& view) {
  FrameWriter frame(FrameType::kReply, request_id);
  frame.fields().u64(view.serial);
  frame.fields().u64(view.view);
  put_holdings(view.partitions, &frame.fields());
  return frame.finish();
}

std::vector<uint8_t> make_topic_list_reply(uint64_t request_id, const std::vector<TopicRecord>& records) {
  FrameWriter frame(FrameType::kReply, request_id);
  frame.fields().u32(static_cast<uint32_t>(records.size()));
  for (const TopicRecord& record : records) {
    put_topic_record(record, &frame.fields());
    if (frame.payload_bytes() > kControlFrameBytesMax) {
      return make_error_frame(request_id, {ErrorCode::k_RESOURCE_EXHAUSTED,
                                           "the topic list is larger than a control frame: list topics by name"});
    }
  }
  return frame.finish();
}

std::vector<uint8_t> make_topic_cursors(uint64_t request_id, const Uuid& topic, const std::string& consumer) {
  FrameWriter frame(FrameType::kTopicCursors, request_id);
  frame.fields().uuid(topic);
  frame.fields().string(consumer);
  return frame.finish();
}

std::vector<uint8_t> make_topic_cursors_reply(uint64_t request_id, const std::vector<CursorRow>& rows) {
  FrameWriter frame(FrameType::kReply, request_id);
  frame.fields().u32(static_cast<uint32_t>(rows.size()));
  for (const CursorRow& row : rows) {
    frame.fields().string(row.consumer);
    frame.fields().u32(row.partition.value);
    frame.fields().u64(row.next_id.value);
    if (frame.payload_bytes() > kControlFrameBytesMax) {
      return make_error_frame(request_id,
                              {ErrorCode::k_RESOURCE_EXHAUSTED,
                               "the list of consumers is larger than a control frame: ask for one by name"});
    }
  }
  return frame.finish();
}

std::vector<uint8_t> make_topic_status_reply(uint64_t request_id, const std::vector<PartitionStatus>& rows) {
  FrameWriter frame(FrameType::kReply, request_id);
  frame.fields().u32(static_cast<uint32_t>(rows.size()));
  for (const PartitionStatus& row : rows) {
    frame.fields().u32(row.partition.value);
    frame.fields().u64(row.first_id.value);
    frame.fields().u64(row.next_id.value);
  }
  return frame.finish();
}

Result<FrameHeader> parse_frame_header(std::span<const uint8_t> bytes) {
  ByteReader reader(bytes);
  FrameHeader header;
  header.payload_bytes = reader.u32();
  const uint16_t type = reader.u16();
  const uint16_t zero = reader.u16();
  header.request_id = reader.u64();
  if (!reader.ok() || zero != 0) return malformed("header");
  if (header.payload_bytes > kControlFrameBytesMax) {
    return malformed("a payload of " + std::to_string(header.payload_bytes) + " bytes is above the limit");
  }
  if (!known_type(type)) return malformed("unknown type " + std::to_string(type));
  header.type = static_cast<FrameType>(type);
  return header;
}

Result<HelloFrame> decode_hello(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  HelloFrame hello;
  const uint32_t magic = reader.u32();
  hello.version = reader.u16();
  if (!reader.ok() || magic != kHelloMagic) return malformed("the peer is not a diaspora-stream client");
  if (hello.version != kProtocolVersion) return version_mismatch(hello.version);
  hello.rail = reader.u16();
  hello.client = reader.uuid();
  hello.expected_server = reader.uuid();
  hello.process = reader.uuid();
  hello.message_bytes = reader.u32();
  hello.zero_copy_threshold = reader.u32();
  hello.host_identity = reader.string(kTextBytesMax);
  uint32_t count = 0;
  if (!read_count(&reader, 8, kProvidersMax, &count)) return malformed("providers of a hello");
  hello.providers.resize(count);
  for (OfferedProvider& provider : hello.providers) {
    provider.name = reader.string(kTextBytesMax);
    provider.family = reader.string(kTextBytesMax);
  }
  if (!reader.finished() || hello.message_bytes < kMessageBytesMin) return malformed("hello");
  return hello;
}

Result<WelcomeFrame> decode_welcome(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  WelcomeFrame welcome;
  welcome.version = reader.u16();
  if (!reader.ok()) return malformed("welcome");
  if (welcome.version != kProtocolVersion) return version_mismatch(welcome.version);
  const uint16_t zero = reader.u16();
  welcome.server = reader.uuid();
  welcome.provider_family = reader.string(kTextBytesMax);
  welcome.message_bytes = reader.u32();
  welcome.batch_credits = reader.u32();
  welcome.fetch_credits = reader.u32();
  const uint32_t address_bytes = reader.u32();
  if (address_bytes > kEndpointAddressBytesMax) return malformed("address of a welcome");
  const std::span<const uint8_t> address = reader.bytes(address_bytes);
  if (!reader.finished() || zero != 0) return malformed("welcome");
  if (welcome.message_bytes < kMessageBytesMin || welcome.message_bytes > kMessageBytesMax ||
      welcome.batch_credits == 0 || welcome.fetch_credits == 0) {
    return malformed("limits of a welcome");
  }
  welcome.endpoint_address.assign(address.begin(), address.end());
  return welcome;
}

Result<ErrorFrame> decode_error(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  ErrorFrame frame;
  frame.code = error_code_from_wire(reader.u16());
  const uint16_t zero = reader.u16();
  frame.message = reader.string(kTextBytesMax);
  // An error that says "ok" would be taken for success.
  if (!reader.finished() || zero != 0 || frame.code == ErrorCode::kOk) return malformed("error");
  return frame;
}

Result<TopicRecord> decode_topic_record(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  TopicRecord record;
  if (const Status status = read_topic_record(&reader, &record); !status) return status;
  if (!reader.finished()) return malformed("topic");
  return record;
}

Result<Uuid> decode_topic_uuid(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  const Uuid uuid = reader.uuid();
  if (!reader.finished()) return malformed("topic identity");
  return uuid;
}

Result<std::string> decode_topic_name(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  std::string name = reader.string(kTextBytesMax);
  if (!reader.finished()) return malformed("topic name");
  return name;
}

Result<SubscribeFrame> decode_subscribe(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  SubscribeFrame frame;
  frame.subscription = reader.u32();
  frame.topic = reader.uuid();
  frame.consumer = reader.string(kTextBytesMax);
  const uint32_t flags = reader.u32();
  frame.batch_events = reader.u32();
  uint32_t count = 0;
  if (!read_count(&reader, kStartBytes, kPartitionsMax, &count) || count == 0) {
    return malformed("partitions of a subscription");
  }
  frame.starts.resize(count);
  for (SubscribeFrame::Start& start : frame.starts) {
    start.partition = PartitionIndex(reader.u32());
    start.position = reader.u64();
    start.token = reader.u64();
    const uint8_t kind = reader.u8();
    if (kind > static_cast<uint8_t>(StartKind::kTime)) return malformed("start of a subscription");
    start.kind = static_cast<StartKind>(kind);
    const bool is_time = start.kind == StartKind::kTime;
    if (is_time && start.position > kStartTimeMax) return malformed("time of a subscription");
  }
  if (!reader.finished() || flags > (kFullData | kOldestIfDropped)) return malformed("subscription");
  if (!starts_distinct(frame.starts)) return malformed("a subscription names a partition twice");
  frame.full_data = (flags & kFullData) != 0;
  frame.oldest_if_dropped = (flags & kOldestIfDropped) != 0;
  if (const Status status = validate_name(frame.consumer); !status) return status;
  return frame;
}

Result<std::vector<SubscribeFrame::Start>> decode_subscribe_reply(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  uint32_t count = 0;
  if (!read_count(&reader, kReplyStartBytes, kPartitionsMax, &count)) return malformed("answer to a subscription");
  std::vector<SubscribeFrame::Start> starts(count);
  for (SubscribeFrame::Start& start : starts) {
    start.partition = PartitionIndex(reader.u32());
    start.position = reader.u64();
  }
  if (!reader.finished()) return malformed("answer to a subscription");
  return starts;
}

Result<UnsubscribeFrame> decode_unsubscribe(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  UnsubscribeFrame frame;
  frame.subscription = reader.u32();
  const uint32_t partition = reader.u32();
  if (!reader.finished()) return malformed("end of a subscription");
  if (partition != kWholeSubscription) frame.partition = PartitionIndex(partition);
  return frame;
}

Result<AcknowledgeFrame> decode_acknowledge(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  AcknowledgeFrame frame;
  frame.topic = reader.uuid();
  frame.partition = PartitionIndex(reader.u32());
  frame.consumer = reader.string(kTextBytesMax);
  frame.event = EventId(reader.u64());
  frame.token = reader.u64();
  if (!reader.finished()) return malformed("acknowledgement");
  if (const Status status = validate_name(frame.consumer); !status) return status;
  return frame;
}

Result<CursorSetFrame> decode_cursor_set(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  CursorSetFrame frame;
  frame.topic = reader.uuid();
  frame.partition = PartitionIndex(reader.u32());
  frame.consumer = reader.string(kTextBytesMax);
  frame.position = reader.u64();
  if (!reader.finished() || frame.position == kStartAtCursor) return malformed("cursor");
  if (const Status status = validate_name(frame.consumer); !status) return status;
  return frame;
}

Result<GroupSyncFrame> decode_group_sync(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  GroupSyncFrame frame;
  frame.topic = reader.uuid();
  frame.consumer = reader.string(kTextBytesMax);
  frame.member = reader.uuid();
  frame.serial = reader.u64();
  frame.view = reader.u64();
  const uint32_t leaving = reader.u32();
  frame.partitions = reader.u32();
  frame.session_timeout_ms = reader.u32();
  frame.rebalance_timeout_ms = reader.u32();
  if (!read_holdings(&reader, &frame.held) || !reader.finished() || leaving > 1 || frame.partitions > kPartitionsMax) {
    return malformed("member of a group");
  }
  frame.leaving = leaving == 1;
  if (const Status status = validate_name(frame.consumer); !status) return status;
  return frame;
}

Result<GroupView> decode_group_sync_reply(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  GroupView view;
  view.serial = reader.u64();
  view.view = reader.u64();
  if (!read_holdings(&reader, &view.partitions) || !reader.finished()) return malformed("view of a group");
  return view;
}

Result<std::vector<TopicRecord>> decode_topic_list_reply(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  uint32_t count = 0;
  if (!read_count(&reader, kTopicRecordBytesMin, kControlFrameBytesMax, &count)) return malformed("topic list");
  std::vector<TopicRecord> records(count);
  for (TopicRecord& record : records) {
    if (const Status status = read_topic_record(&reader, &record); !status) return status;
  }
  if (!reader.finished()) return malformed("topic list");
  return records;
}

Result<TopicCursorsFrame> decode_topic_cursors(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  TopicCursorsFrame frame;
  frame.topic = reader.uuid();
  frame.consumer = reader.string(kTextBytesMax);
  if (!reader.finished()) return malformed("request for cursors");
  return frame;
}

Result<std::vector<CursorRow>> decode_topic_cursors_reply(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  uint32_t count = 0;
  if (!read_count(&reader, kCursorRowBytesMin, kControlFrameBytesMax, &count)) return malformed("list of cursors");
  std::vector<CursorRow> rows(count);
  for (CursorRow& row : rows) {
    row.consumer = reader.string(kTextBytesMax);
    row.partition = PartitionIndex(reader.u32());
    row.next_id = EventId(reader.u64());
  }
  if (!reader.finished()) return malformed("list of cursors");
  return rows;
}

Result<std::vector<PartitionStatus>> decode_topic_status_reply(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  uint32_t count = 0;
  if (!read_count(&reader, kStatusRowBytes, kPartitionsMax, &count)) return malformed("topic status");
  std::vector<PartitionStatus> rows(count);
  for (PartitionStatus& row : rows) {
    row.partition = PartitionIndex(reader.u32());
    row.first_id = EventId(reader.u64());
    row.next_id = EventId(reader.u64());
    if (row.first_id > row.next_id) return malformed("ids of a topic status");
  }
  if (!reader.finished()) return malformed("topic status");
  return rows;
}

Status validate_name(std::string_view name) {
  if (name.empty() || name.size() > kNameBytesMax) {
    return {ErrorCode::k_INVALID_NAME, "a name has " + std::to_string(name.size()) + " bytes; 1 to " +
                                           std::to_string(kNameBytesMax) + " are allowed"};
  }
  if (name == "." || name == "..") return {ErrorCode::k_INVALID_NAME, "a name must not be '.' or '..'"};
  for (const char character : name) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte < 0x20 || byte == 0x7F || byte == '/' || byte == '\\' || byte == ':') {
      return {ErrorCode::k_INVALID_NAME, "a name must not contain '/', '\\', ':' or control characters"};
    }
  }
  return {};
}

}  // namespace diaspora::wire
