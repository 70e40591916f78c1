#include "wire/message.h"

#include <limits>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/limits.h"

namespace diaspora::wire {

namespace {

constexpr size_t kCrcOffset = 8;
constexpr size_t kBodyBytesOffset = 12;
constexpr size_t kAnswerBytesMin = 24;  // token, code, zero, base id, length of an empty detail
constexpr size_t kWindowBytes = 4 + kRemoteSegmentBytes;
constexpr size_t kDataRangeBytes = 16;
constexpr uint32_t kInlineRun = 0;
constexpr uint32_t kRemoteRun = 1;

Error malformed(std::string_view what) { return {ErrorCode::k_PROTOCOL, "malformed message: " + std::string(what)}; }

// --- encoding ---

void begin_message(MessageType type, std::vector<uint8_t>* out) {
  out->clear();
  ByteWriter writer(out);
  writer.u16(kMessageMagic);
  writer.u8(kMessageVersion);
  writer.u8(static_cast<uint8_t>(type));
  writer.u32(0);  // fixed_bytes, crc and body_bytes: finish_message
  writer.u32(0);
  writer.u32(0);
}

void set_u32(std::vector<uint8_t>* out, size_t offset, uint32_t value) {
  std::memcpy(out->data() + offset, &value, sizeof(value));
}

// Everything but the checksum itself.
uint32_t message_crc(std::span<const uint8_t> header_and_fixed) {
  return crc32c(header_and_fixed.subspan(kBodyBytesOffset), crc32c(header_and_fixed.first(kCrcOffset)));
}

void finish_message(uint32_t body_bytes, std::vector<uint8_t>* out) {
  set_u32(out, 4, static_cast<uint32_t>(out->size()));
  set_u32(out, kBodyBytesOffset, body_bytes);
  set_u32(out, kCrcOffset, message_crc(*out));
}

void put_segment(const RemoteSegment& segment, ByteWriter* writer) {
  writer->u64(segment.address);
  writer->u64(segment.key);
  writer->u32(segment.bytes);
}

void put_shape(const BodyShape& shape, ByteWriter* writer) {
  writer->u32(encode_count(shape));
  writer->u32(shape.metadata_bytes);
  writer->u64(shape.data_bytes);
}

void put_code(ErrorCode code, ByteWriter* writer) {
  writer->u16(static_cast<uint16_t>(code));
  writer->u16(0);
}

void put_detail(std::string_view detail, ByteWriter* writer) { writer->string(detail.substr(0, kDetailBytesMax)); }

void put_placement(const Placement& placement, ByteWriter* writer) {
  writer->u32(static_cast<uint32_t>(placement.kind));
  writer->u32(placement.window_id);
  writer->u64(placement.offset);
}

// --- decoding ---

// A count that the rest of the message can hold: checked before anything is allocated.
bool read_count(ByteReader* reader, size_t element_bytes_min, uint32_t* count) {
  *count = reader->u32();
  return reader->ok() && *count <= reader->remaining() / element_bytes_min;
}

bool read_zero_u16(ByteReader* reader) { return reader->u16() == 0; }

RemoteSegment read_segment(ByteReader* reader) {
  RemoteSegment segment;
  segment.address = reader->u64();
  segment.key = reader->u64();
  segment.bytes = reader->u32();
  return segment;
}

bool segment_valid(const RemoteSegment& segment) {
  return segment.bytes > 0 && segment.address <= std::numeric_limits<uint64_t>::max() - segment.bytes;
}

BodyShape read_shape(ByteReader* reader) {
  BodyShape shape;
  decode_count(reader->u32(), &shape);
  shape.metadata_bytes = reader->u32();
  shape.data_bytes = reader->u64();
  return shape;
}

bool read_code(ByteReader* reader, ErrorCode* code) {
  *code = error_code_from_wire(reader->u16());
  return read_zero_u16(reader);
}

bool read_placement(ByteReader* reader, Placement* placement) {
  const uint32_t kind = reader->u32();
  placement->window_id = reader->u32();
  placement->offset = reader->u64();
  if (kind > static_cast<uint32_t>(Placement::Kind::kDeferred)) return false;
  placement->kind = static_cast<Placement::Kind>(kind);
  // What a kind does not use is zero, so that one placement has one encoding.
  return placement->kind == Placement::Kind::kWindow || (placement->window_id == 0 && placement->offset == 0);
}

bool has_type(const MessageView& view, MessageType type) { return view.type == type; }
// Only batches and deliveries have a body.
bool is_bare(const MessageView& view, MessageType type) { return view.type == type && view.body.empty(); }

bool known_type(uint8_t type) {
  return type >= static_cast<uint8_t>(MessageType::kPing) && type <= static_cast<uint8_t>(MessageType::kPartitionSkip);
}

bool read_run(ByteReader* reader, BatchRun* run) {
  const uint32_t kind = reader->u32();
  run->segment.bytes = reader->u32();
  run->segment.address = reader->u64();
  run->segment.key = reader->u64();
  run->is_remote = kind == kRemoteRun;
  if (run->is_remote) return segment_valid(run->segment);
  return kind == kInlineRun && run->segment.bytes > 0 && run->segment.address == 0 && run->segment.key == 0;
}

// The first run is the head, the others sum up to the data, the inline ones to the body.
Status check_runs(const BatchMessage& message, size_t body_bytes) {
  if (message.runs.empty() || message.runs.front().segment.bytes != message.shape.head_bytes()) {
    return malformed("the first run of a batch is not its head");
  }
  uint64_t total = 0;
  uint64_t inline_total = 0;
  for (const BatchRun& run : message.runs) {
    total += run.segment.bytes;
    if (!run.is_remote) inline_total += run.segment.bytes;
  }
  if (total != message.shape.head_bytes() + message.shape.data_bytes) {
    return malformed("the runs of a batch do not add up to its data");
  }
  if (inline_total != body_bytes) return malformed("the inline runs of a batch do not add up to its body");
  return {};
}

Status check_delivery(const DeliveryMessage& message, size_t body_bytes) {
  using Kind = Placement::Kind;
  if (message.head.kind != Kind::kInline && message.head.kind != Kind::kWindow) {
    return malformed("a delivery without its head");
  }
  if (message.shape.data_bytes == 0 && message.data.kind != Kind::kNone) {
    return malformed("a delivery places data that it does not have");
  }
  if (message.data.kind == Kind::kDeferred && message.shape.event_count != 1) {
    return malformed("a deferred delivery of several events");
  }
  uint64_t expected = 0;
  if (message.head.kind == Kind::kInline) expected += message.shape.head_bytes();
  if (message.data.kind == Kind::kInline) expected += message.shape.data_bytes;
  if (expected != body_bytes) return malformed("the body of a delivery has the wrong length");
  if (message.first_id.value > std::numeric_limits<uint64_t>::max() - message.shape.event_count) {
    return malformed("event ids of a delivery overflow");
  }
  return {};
}

Status check_fetch(const FetchMessage& message) {
  uint64_t asked = 0;
  for (const DataRange& range : message.ranges) {
    if (range.bytes == 0 || range.bytes > kBatchBytesMax || range.offset > kBatchBytesMax - range.bytes) {
      return malformed("a range of a fetch is empty or beyond the largest event");
    }
    asked += range.bytes;  // at most some thousand ranges of 1 GiB: no overflow
  }
  uint64_t given = 0;
  for (const RemoteSegment& segment : message.destinations) {
    if (!segment_valid(segment)) return malformed("a destination of a fetch is empty or wraps around");
    given += segment.bytes;
  }
  if (asked == 0 || asked != given) return malformed("ranges and destinations of a fetch differ in size");
  // Ranges may overlap; without this bound one message could ask for terabytes.
  if (asked > kBatchBytesMax) return malformed("a fetch asks for more than the largest event has");
  return {};
}

}  // namespace

void encode_ping(MessageType type, std::vector<uint8_t>* out) {
  DIASPORA_CHECK(type == MessageType::kPing || type == MessageType::kPong);
  begin_message(type, out);
  finish_message(0, out);
}

void encode(const BatchMessage& message, uint32_t body_bytes, std::vector<uint8_t>* out) {
  begin_message(MessageType::kBatch, out);
  ByteWriter writer(out);
  writer.u64(message.token);
  writer.uuid(message.topic);
  writer.u32(message.partition.value);
  writer.u32(message.head_crc);
  put_shape(message.shape, &writer);
  writer.uuid(message.producer_session);
  writer.u64(message.sequence.value);
  writer.u64(message.follows.value);
  writer.u32(static_cast<uint32_t>(message.runs.size()));
  writer.u32(0);
  DIASPORA_CHECK(out->size() == kBatchFixedBytes);
  for (const BatchRun& run : message.runs) {
    writer.u32(run.is_remote ? kRemoteRun : kInlineRun);
    writer.u32(run.segment.bytes);
    writer.u64(run.is_remote ? run.segment.address : 0);
    writer.u64(run.is_remote ? run.segment.key : 0);
  }
  finish_message(body_bytes, out);
}

void encode(const BatchDoneMessage& message, std::vector<uint8_t>* out) {
  begin_message(MessageType::kBatchDone, out);
  ByteWriter writer(out);
  writer.u32(static_cast<uint32_t>(message.answers.size()));
  for (const BatchAnswer& answer : message.answers) {
    writer.u64(answer.token);
    put_code(answer.code, &writer);
    writer.u64(answer.base_id.value);
    put_detail(answer.detail, &writer);
  }
  finish_message(0, out);
}

void encode(const CreditMessage& message, std::vector<uint8_t>* out) {
  begin_message(MessageType::kCredit, out);
  ByteWriter writer(out);
  writer.u32(message.subscription);
  writer.u32(message.deliveries);
  writer.u32(static_cast<uint32_t>(message.windows.size()));
  for (const Window& window : message.windows) {
    writer.u32(window.id);
    put_segment(window.memory, &writer);
  }
  finish_message(0, out);
}

void encode(const DeliveryMessage& message, uint32_t body_bytes, std::vector<uint8_t>* out) {
  begin_message(MessageType::kDelivery, out);
  ByteWriter writer(out);
  writer.u32(message.subscription);
  writer.u32(message.partition.value);
  writer.u64(message.first_id.value);
  put_shape(message.shape, &writer);
  writer.u32(message.head_crc);
  put_placement(message.head, &writer);
  put_placement(message.data, &writer);
  writer.u32(static_cast<uint32_t>(message.retired_windows.size()));
  for (const uint32_t window : message.retired_windows) writer.u32(window);
  finish_message(body_bytes, out);
}

void encode(const FetchMessage& message, std::vector<uint8_t>* out) {
  begin_message(MessageType::kFetch, out);
  ByteWriter writer(out);
  writer.u64(message.token);
  writer.uuid(message.topic);
  writer.u32(message.partition.value);
  writer.u64(message.event.value);
  writer.u32(static_cast<uint32_t>(message.ranges.size()));
  for (const DataRange& range : message.ranges) {
    writer.u64(range.offset);
    writer.u64(range.bytes);
  }
  writer.u32(static_cast<uint32_t>(message.destinations.size()));
  for (const RemoteSegment& segment : message.destinations) put_segment(segment, &writer);
  finish_message(0, out);
}

void encode(const FetchDoneMessage& message, std::vector<uint8_t>* out) {
  begin_message(MessageType::kFetchDone, out);
  ByteWriter writer(out);
  writer.u64(message.token);
  put_code(message.code, &writer);
  writer.u32(message.data_crc);
  put_detail(message.detail, &writer);
  finish_message(0, out);
}

void encode(const WindowsWantedMessage& message, std::vector<uint8_t>* out) {
  begin_message(MessageType::kWindowsWanted, out);
  ByteWriter(out).u32(message.subscription);
  finish_message(0, out);
}

void encode(const PartitionEndMessage& message, std::vector<uint8_t>* out) {
  begin_message(MessageType::kPartitionEnd, out);
  ByteWriter writer(out);
  writer.u32(message.subscription);
  writer.u32(message.partition.value);
  writer.u64(message.next_id.value);
  finish_message(0, out);
}

void encode(const PartitionSkipMessage& message, std::vector<uint8_t>* out) {
  begin_message(MessageType::kPartitionSkip, out);
  ByteWriter writer(out);
  writer.u32(message.subscription);
  writer.u32(message.partition.value);
  writer.u64(message.from.value);
  writer.u64(message.to.value);
  finish_message(0, out);
}

void encode(const SubscriptionErrorMessage& message, std::vector<uint8_t>* out) {
  begin_message(MessageType::kSubscriptionError, out);
  ByteWriter writer(out);
  writer.u32(message.subscription);
  writer.u32(message.partition.value);
  put_code(message.code, &writer);
  put_detail(message.detail, &writer);
  finish_message(0, out);
}

Result<MessageView> parse_message(std::span<const uint8_t> bytes) {
  if (bytes.size() < kMessageHeaderBytes) return malformed("shorter than its header");
  ByteReader reader(bytes);
  if (reader.u16() != kMessageMagic) return malformed("wrong magic number");
  const uint8_t version = reader.u8();
  if (version != kMessageVersion) {
    return Error{ErrorCode::k_VERSION_MISMATCH, "the peer sends messages of version " + std::to_string(version) +
                                                    ", this side speaks version " + std::to_string(kMessageVersion)};
  }
  const uint8_t type = reader.u8();
  const uint32_t fixed_bytes = reader.u32();
  const uint32_t crc = reader.u32();
  const uint32_t body_bytes = reader.u32();
  if (fixed_bytes < kMessageHeaderBytes || uint64_t{fixed_bytes} + body_bytes != bytes.size()) {
    return malformed("its lengths do not add up");
  }
  if (message_crc(bytes.first(fixed_bytes)) != crc) {
    return Error{ErrorCode::k_CORRUPT_DATA, "the checksum of a message does not match"};
  }
  if (!known_type(type)) return malformed("unknown type " + std::to_string(type));
  MessageView view;
  view.type = static_cast<MessageType>(type);
  view.fixed = bytes.subspan(kMessageHeaderBytes, fixed_bytes - kMessageHeaderBytes);
  view.body = bytes.subspan(fixed_bytes);
  const bool is_ping = view.type == MessageType::kPing || view.type == MessageType::kPong;
  if (is_ping && bytes.size() != kMessageHeaderBytes) return malformed("a ping with content");
  return view;
}

Result<BatchMessage> decode_batch(const MessageView& view) {
  if (!has_type(view, MessageType::kBatch)) return malformed("not a batch");
  ByteReader reader(view.fixed);
  BatchMessage message;
  message.token = reader.u64();
  message.topic = reader.uuid();
  message.partition = PartitionIndex(reader.u32());
  message.head_crc = reader.u32();
  message.shape = read_shape(&reader);
  message.producer_session = reader.uuid();
  message.sequence = BatchSequence(reader.u64());
  message.follows = BatchSequence(reader.u64());
  const uint32_t run_count = reader.u32();
  const uint32_t zero = reader.u32();
  if (!reader.ok() || zero != 0 || run_count != reader.remaining() / kBatchRunBytes) return malformed("batch");
  if (const Status status = validate_shape(message.shape); !status) return status;
  if (message.sequence.value == 0 || message.follows >= message.sequence) return malformed("sequence of a batch");
  message.runs.resize(run_count);
  for (BatchRun& run : message.runs) {
    if (!read_run(&reader, &run)) return malformed("run of a batch");
  }
  if (!reader.finished()) return malformed("batch");
  if (const Status status = check_runs(message, view.body.size()); !status) return status;
  return message;
}

Result<BatchDoneMessage> decode_batch_done(const MessageView& view) {
  if (!is_bare(view, MessageType::kBatchDone)) return malformed("not a batch answer");
  ByteReader reader(view.fixed);
  uint32_t count = 0;
  if (!read_count(&reader, kAnswerBytesMin, &count)) return malformed("batch answer");
  BatchDoneMessage message;
  message.answers.resize(count);
  for (BatchAnswer& answer : message.answers) {
    answer.token = reader.u64();
    if (!read_code(&reader, &answer.code)) return malformed("batch answer");
    answer.base_id = EventId(reader.u64());
    answer.detail = reader.string(kDetailBytesMax);
  }
  if (!reader.finished()) return malformed("batch answer");
  return message;
}

Result<CreditMessage> decode_credit(const MessageView& view) {
  if (!is_bare(view, MessageType::kCredit)) return malformed("not credit");
  ByteReader reader(view.fixed);
  CreditMessage message;
  message.subscription = reader.u32();
  message.deliveries = reader.u32();
  uint32_t count = 0;
  if (!read_count(&reader, kWindowBytes, &count)) return malformed("credit");
  message.windows.resize(count);
  for (Window& window : message.windows) {
    window.id = reader.u32();
    window.memory = read_segment(&reader);
    if (!segment_valid(window.memory)) return malformed("window of a credit");
  }
  if (!reader.finished()) return malformed("credit");
  return message;
}

Result<DeliveryMessage> decode_delivery(const MessageView& view) {
  if (!has_type(view, MessageType::kDelivery)) return malformed("not a delivery");
  ByteReader reader(view.fixed);
  DeliveryMessage message;
  message.subscription = reader.u32();
  message.partition = PartitionIndex(reader.u32());
  message.first_id = EventId(reader.u64());
  message.shape = read_shape(&reader);
  message.head_crc = reader.u32();
  if (!read_placement(&reader, &message.head) || !read_placement(&reader, &message.data)) {
    return malformed("placement of a delivery");
  }
  uint32_t count = 0;
  if (!read_count(&reader, sizeof(uint32_t), &count)) return malformed("delivery");
  message.retired_windows.resize(count);
  for (uint32_t& window : message.retired_windows) window = reader.u32();
  if (!reader.finished()) return malformed("delivery");
  if (const Status status = validate_shape(message.shape); !status) return status;
  if (const Status status = check_delivery(message, view.body.size()); !status) return status;
  return message;
}

Result<FetchMessage> decode_fetch(const MessageView& view) {
  if (!is_bare(view, MessageType::kFetch)) return malformed("not a fetch");
  ByteReader reader(view.fixed);
  FetchMessage message;
  message.token = reader.u64();
  message.topic = reader.uuid();
  message.partition = PartitionIndex(reader.u32());
  message.event = EventId(reader.u64());
  uint32_t count = 0;
  if (!read_count(&reader, kDataRangeBytes, &count)) return malformed("fetch");
  message.ranges.resize(count);
  for (DataRange& range : message.ranges) {
    range.offset = reader.u64();
    range.bytes = reader.u64();
  }
  if (!read_count(&reader, kRemoteSegmentBytes, &count)) return malformed("fetch");
  message.destinations.resize(count);
  for (RemoteSegment& segment : message.destinations) segment = read_segment(&reader);
  if (!reader.finished()) return malformed("fetch");
  if (const Status status = check_fetch(message); !status) return status;
  return message;
}

Result<FetchDoneMessage> decode_fetch_done(const MessageView& view) {
  if (!is_bare(view, MessageType::kFetchDone)) return malformed("not a fetch answer");
  ByteReader reader(view.fixed);
  FetchDoneMessage message;
  message.token = reader.u64();
  if (!read_code(&reader, &message.code)) return malformed("fetch answer");
  message.data_crc = reader.u32();
  message.detail = reader.string(kDetailBytesMax);
  if (!reader.finished()) return malformed("fetch answer");
  return message;
}

Result<WindowsWantedMessage> decode_windows_wanted(const MessageView& view) {
  if (!is_bare(view, MessageType::kWindowsWanted)) return malformed("not a request for windows");
  ByteReader reader(view.fixed);
  WindowsWantedMessage message;
  message.subscription = reader.u32();
  if (!reader.finished()) return malformed("request for windows");
  return message;
}

Result<PartitionEndMessage> decode_partition_end(const MessageView& view) {
  if (!is_bare(view, MessageType::kPartitionEnd)) return malformed("not the end of a partition");
  ByteReader reader(view.fixed);
  PartitionEndMessage message;
  message.subscription = reader.u32();
  message.partition = PartitionIndex(reader.u32());
  message.next_id = EventId(reader.u64());
  if (!reader.finished()) return malformed("end of a partition");
  return message;
}

Result<PartitionSkipMessage> decode_partition_skip(const MessageView& view) {
  if (!is_bare(view, MessageType::kPartitionSkip)) return malformed("not a skip of a partition");
  ByteReader reader(view.fixed);
  PartitionSkipMessage message;
  message.subscription = reader.u32();
  message.partition = PartitionIndex(reader.u32());
  message.from = EventId(reader.u64());
  message.to = EventId(reader.u64());
  if (!reader.finished() || message.from >= message.to) return malformed("skip of a partition");
  return message;
}

Result<SubscriptionErrorMessage> decode_subscription_error(const MessageView& view) {
  if (!is_bare(view, MessageType::kSubscriptionError)) return malformed("not a subscription error");
  ByteReader reader(view.fixed);
  SubscriptionErrorMessage message;
  message.subscription = reader.u32();
  message.partition = PartitionIndex(reader.u32());
  if (!read_code(&reader, &message.code)) return malformed("subscription error");
  message.detail = reader.string(kDetailBytesMax);
  if (!reader.finished()) return malformed("subscription error");
  return message;
}

}  // namespace diaspora::wire
