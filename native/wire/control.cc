#include "wire/control.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/limits.h"
#include "wire/control_layout.h"

namespace diaspora::wire {

namespace {

constexpr size_t kProvidersMax = 64;               // offered in one hello; libfabric knows about twenty
constexpr size_t kEndpointAddressBytesMax = 4096;  // the largest provider's is below 100
constexpr size_t kTopicRecordBytesMin = 48;
constexpr size_t kStatusRowBytes = 20;
constexpr size_t kCursorRowBytesMin = 16;
constexpr size_t kStartBytes = 21;
constexpr size_t kReplyStartBytes = 12;
constexpr size_t kHoldingBytes = 12;
// As signed nanoseconds.
constexpr uint64_t kStartTimeMax = ~uint64_t{0} >> 1;

Error malformed(std::string_view what) {
  return {ErrorCode::k_PROTOCOL, "malformed control frame: " + std::string(what)};
}

Error version_mismatch(uint16_t theirs) {
  return {ErrorCode::k_VERSION_MISMATCH, "the peer speaks protocol version " + std::to_string(theirs) +
                                             ", this side speaks version " + std::to_string(kProtocolVersion)};
}

bool read_count(ByteReader* reader, size_t element_bytes_min, size_t count_max, uint32_t* count) {
  *count = reader->u32();
  return reader->ok() && *count <= count_max && *count <= reader->remaining() / element_bytes_min;
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
