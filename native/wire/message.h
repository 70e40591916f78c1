// Messages that cross the fabric: batches and their answers, credit, deliveries, fetches. Pure encode and decode.
//
//   message := header | fixed part | body
//   header (16 bytes, little endian):
//     u16 magic 0xD57A   u8 version   u8 type   u32 fixed_bytes   u32 crc   u32 body_bytes
//   fixed_bytes counts header and fixed part; crc is CRC-32C of the bytes from 12 to fixed_bytes. The body is covered
//   by checksums of its own (head_crc, data_crc). A message is at most the session's message_bytes long, never
//   fragmented.
// The normative grammar is docs/formats/wire.md. Only servers initiate RMA: a RemoteSegment is always client memory.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/ids.h"
#include "wire/batch_body.h"

namespace diaspora::wire {

inline constexpr uint16_t kMessageMagic = 0xD57A;
inline constexpr uint8_t kMessageVersion = 1;
inline constexpr size_t kMessageHeaderBytes = 16;

enum class MessageType : uint8_t {
  kPing = 1,               // client: opens the connection
  kPong = 2,               // server: the session is ready
  kBatch = 3,              // client: store these events
  kBatchDone = 4,          // server: answers to batches
  kCredit = 5,             // client: memory and deliveries that a subscription may use
  kDelivery = 6,           // server: events for a subscription
  kFetch = 7,              // client: write these ranges of an event's data into my memory
  kFetchDone = 8,          // server: the answer
  kSubscriptionError = 9,  // server: a partition of a subscription has failed
  kWindowsWanted = 10,     // server: a subscription has more to deliver than fits into messages; asked once a session
  kPartitionEnd = 11,      // server: a partition of a complete topic was delivered to its end
  kPartitionSkip = 12,     // server: events that would come next were dropped; the subscription goes on behind them
};

// Memory of the client: what RMA needs to reach it.
struct RemoteSegment {
  uint64_t address = 0;
  uint64_t key = 0;
  uint32_t bytes = 0;
};
inline constexpr size_t kRemoteSegmentBytes = 20;

// One run of a batch body. Runs are in body order; the first is the head (exactly head_bytes), the others are the data.
struct BatchRun {
  bool is_remote = false;  // false: the next `segment.bytes` bytes of the message's body
  RemoteSegment segment;
};
inline constexpr size_t kBatchRunBytes = 24;
inline constexpr size_t kBatchFixedBytes = kMessageHeaderBytes + 88;  // without runs

struct BatchMessage {
  uint64_t token = 0;  // chosen by the client, unique in its session; comes back in the answer
  Uuid topic;
  PartitionIndex partition;
  BodyShape shape;
  uint32_t head_crc = 0;
  Uuid producer_session;
  BatchSequence sequence;
  BatchSequence follows;
  std::vector<BatchRun> runs;
};

struct BatchAnswer {
  uint64_t token = 0;
  ErrorCode code = ErrorCode::kOk;
  EventId base_id;
  std::string detail;  // empty when ok; at most kDetailBytesMax
};
inline constexpr size_t kDetailBytesMax = 512;

struct BatchDoneMessage {
  std::vector<BatchAnswer> answers;
};

struct Window {
  uint32_t id = 0;  // chosen by the client, unique in the subscription
  RemoteSegment memory;
};

struct CreditMessage {
  uint32_t subscription = 0;
  uint32_t deliveries = 0;  // added to what the server may send
  std::vector<Window> windows;
};

// Where a part of a delivery is.
struct Placement {
  enum class Kind : uint8_t {
    kNone = 0,      // there is none, or it was not asked for
    kInline = 1,    // in the message's body: head first, then data
    kWindow = 2,    // written to window `window_id` at `offset` before this message was sent
    kDeferred = 3,  // data of one event, larger than a window: the client is to fetch it
  };
  Kind kind = Kind::kNone;
  uint32_t window_id = 0;
  uint64_t offset = 0;
};

struct DeliveryMessage {
  uint32_t subscription = 0;
  PartitionIndex partition;
  EventId first_id;
  BodyShape shape;  // of these events alone: ends in the table are re-based to the delivery
  uint32_t head_crc = 0;
  Placement head;  // kInline or kWindow
  Placement data;
  std::vector<uint32_t> retired_windows;  // the server will not write there again
};

struct DataRange {
  uint64_t offset = 0;  // from the start of the event's data
  uint64_t bytes = 0;
};

struct FetchMessage {
  uint64_t token = 0;
  Uuid topic;
  PartitionIndex partition;
  EventId event;
  std::vector<DataRange> ranges;  // none empty; total bytes equal those of `destinations`
  std::vector<RemoteSegment> destinations;
};

struct FetchDoneMessage {
  uint64_t token = 0;
  ErrorCode code = ErrorCode::kOk;
  uint32_t data_crc = 0;  // of the delivered bytes, in order
  std::string detail;
};

struct SubscriptionErrorMessage {
  uint32_t subscription = 0;
  PartitionIndex partition;
  ErrorCode code = ErrorCode::kOk;
  std::string detail;
};

struct WindowsWantedMessage {
  uint32_t subscription = 0;
};

// Comes behind the last delivery of the partition; nothing of it follows.
struct PartitionEndMessage {
  uint32_t subscription = 0;
  PartitionIndex partition;
  EventId next_id;  // one past its last event
};

// Sent only where the subscription allows it; in its place among the deliveries.
struct PartitionSkipMessage {
  uint32_t subscription = 0;
  PartitionIndex partition;
  EventId from;  // would have been next
  EventId to;    // is next; later than `from`
};

// Encoders append header and fixed part to `out` (cleared first); the caller appends `body_bytes` of body.
void encode_ping(MessageType type, std::vector<uint8_t>* out);  // kPing or kPong
void encode(const BatchMessage& message, uint32_t body_bytes, std::vector<uint8_t>* out);
void encode(const BatchDoneMessage& message, std::vector<uint8_t>* out);
void encode(const CreditMessage& message, std::vector<uint8_t>* out);
void encode(const DeliveryMessage& message, uint32_t body_bytes, std::vector<uint8_t>* out);
void encode(const FetchMessage& message, std::vector<uint8_t>* out);
void encode(const FetchDoneMessage& message, std::vector<uint8_t>* out);
void encode(const SubscriptionErrorMessage& message, std::vector<uint8_t>* out);
void encode(const WindowsWantedMessage& message, std::vector<uint8_t>* out);
void encode(const PartitionEndMessage& message, std::vector<uint8_t>* out);
void encode(const PartitionSkipMessage& message, std::vector<uint8_t>* out);

// A received message: type, fixed part (without header) and body, not copied.
struct MessageView {
  MessageType type = MessageType::kPing;
  std::span<const uint8_t> fixed;
  std::span<const uint8_t> body;
};

// Checks magic, version (VERSION_MISMATCH), lengths and checksum (PROTOCOL, CORRUPT_DATA).
Result<MessageView> parse_message(std::span<const uint8_t> bytes);

// Decoders check every count and sum; PROTOCOL when anything does not fit.
Result<BatchMessage> decode_batch(const MessageView& view);
Result<BatchDoneMessage> decode_batch_done(const MessageView& view);
Result<CreditMessage> decode_credit(const MessageView& view);
Result<DeliveryMessage> decode_delivery(const MessageView& view);
Result<FetchMessage> decode_fetch(const MessageView& view);
Result<FetchDoneMessage> decode_fetch_done(const MessageView& view);
Result<SubscriptionErrorMessage> decode_subscription_error(const MessageView& view);
Result<WindowsWantedMessage> decode_windows_wanted(const MessageView& view);
Result<PartitionEndMessage> decode_partition_end(const MessageView& view);
Result<PartitionSkipMessage> decode_partition_skip(const MessageView& view);

}  // namespace diaspora::wire
