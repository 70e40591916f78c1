// Frames of the control connection (plain TCP or a socket pair beside the fabric): handshake, liveness, requests.
//
//   frame := u32 payload_bytes | u16 type | u16 zero | u64 request_id | payload       (little endian)
// Request frames carry an id chosen by the client; the answer is a kReply or a kError with the same id. request_id 0:
// belongs to the session itself. Handshake:
//   client kHello -> server kWelcome -> client kAttach -> server kAttached -> client fabric kPing -> server fabric
//   kPong
// Either side sends kHeartbeat every kHeartbeatMs and gives up after kPeerSilenceMs without any frame or message.
// kDoorbell wakes a peer whose provider has no wait descriptor.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/ids.h"
#include "base/retention.h"

namespace diaspora::wire {

inline constexpr uint32_t kHelloMagic = 0x50534944;  // "DISP"
inline constexpr uint16_t kProtocolVersion = 1;
inline constexpr size_t kFrameHeaderBytes = 16;
inline constexpr int64_t kHeartbeatMs = 2000;
inline constexpr int64_t kPeerSilenceMs = 10000;
// Smallest message size of a session: every message with one run, window or answer and a full detail text fits.
inline constexpr uint32_t kMessageBytesMin = 1024;
// Configuration of one topic: schemas are large, but a listing must fit into one frame.
inline constexpr size_t kTopicConfigBytesMax = 1024 * 1024;

enum class FrameType : uint16_t {
  kHello = 1,
  kWelcome = 2,
  kAttach = 3,    // payload: the client's endpoint address
  kAttached = 4,  // empty
  kError = 5,
  kHeartbeat = 6,
  kDoorbell = 7,
  kGoodbye = 8,
  kTopicPut = 16,
  kTopicRemove = 17,
  kTopicList = 18,
  kTopicStatus = 19,
  kSubscribe = 20,
  kUnsubscribe = 21,
  kAcknowledge = 22,
  kTopicCursors = 23,
  kGroupSync = 24,
  kCursorSet = 25,
  kReply = 32,
};

struct OfferedProvider {
  std::string name;
  std::string family;
};

struct HelloFrame {
  uint16_t version = kProtocolVersion;
  uint16_t rail = 0;                       // which of several adapters; the server takes its own of this number
  Uuid client;                             // one per connection of a process, kept over reconnects
  Uuid expected_server;                    // nil: any
  Uuid process;                            // process_identity(): providers between processes do not serve within one
  std::string host_identity;               // fabric::host_identity()
  uint32_t message_bytes = 0;              // largest message that the client takes
  uint32_t zero_copy_threshold = 0;        // data at and above it is written by RMA, never inline
  std::vector<OfferedProvider> providers;  // best first
};

struct WelcomeFrame {
  uint16_t version = kProtocolVersion;
  Uuid server;
  std::string provider_family;  // chosen
  uint32_t message_bytes = 0;   // for both directions
  uint32_t batch_credits = 0;   // unanswered batches that the client may have
  uint32_t fetch_credits = 0;   // unanswered fetches
  std::vector<uint8_t> endpoint_address;
};

struct ErrorFrame {
  ErrorCode code = ErrorCode::k_INTERNAL;
  std::string message;
};

enum class TopicState : uint8_t { kCreating = 0, kActive = 1, kDeleting = 2, kComplete = 3 };
enum class ManagerKind : uint8_t { kMemory = 0, kLog = 1 };

// A topic as every server that owns a partition of it keeps it.
struct TopicRecord {
  std::string name;
  Uuid uuid;
  TopicState state = TopicState::kActive;
  uint8_t durability = 2;  // partition::Durability
  ManagerKind manager = ManagerKind::kLog;
  std::vector<Uuid> placement;  // server of each partition; its length is the number of partitions
  std::string config;           // JSON that only clients interpret
  Retention retention;
};

struct PartitionStatus {
  PartitionIndex partition;
  EventId first_id;
  EventId next_id;
};

// How far a consumer name has acknowledged a partition.
struct CursorRow {
  std::string consumer;
  PartitionIndex partition;
  EventId next_id;
};

// Where a subscription begins on one partition.
inline constexpr uint64_t kStartAtCursor = ~uint64_t{0};  // behind the consumer's cursor, the oldest when it has none
inline constexpr uint64_t kStartAtEnd = ~uint64_t{0} - 1;
inline constexpr uint64_t kStartAtBeginning = ~uint64_t{0} - 2;  // the oldest kept

// What the position of a start is: an id or one of the above, or a time in nanoseconds since 1970: the first event
// stored then or later, the end when there is none.
enum class StartKind : uint8_t { kPosition = 0, kTime = 1 };

struct SubscribeFrame {
  uint32_t subscription = 0;  // chosen by the client, unique in its session
  Uuid topic;
  std::string consumer;
  bool full_data = false;
  bool oldest_if_dropped = false;  // where the next event was dropped, go on at the oldest kept
  uint32_t batch_events = 0;       // most events in a delivery; 0: any number
  struct Start {
    PartitionIndex partition;
    uint64_t position = kStartAtCursor;  // an event id or one of the constants above
    uint64_t token = 0;                  // of a group's member; 0: not in a group
    StartKind kind = StartKind::kPosition;
  };
  std::vector<Start> starts;
};

// Ends a subscription, or its part of one partition.
struct UnsubscribeFrame {
  uint32_t subscription = 0;
  std::optional<PartitionIndex> partition;
};

struct AcknowledgeFrame {
  Uuid topic;
  PartitionIndex partition;
  std::string consumer;
  EventId event;
  uint64_t token = 0;  // as in SubscribeFrame::Start
};

// Sets a cursor, also backwards. Refused with INVALID_STATE while a consumer of that name reads the partition.
struct CursorSetFrame {
  Uuid topic;
  PartitionIndex partition;
  std::string consumer;
  uint64_t position = kStartAtBeginning;  // not kStartAtCursor
};

// A partition that a member of a consumer group owns, and the proof of it: whoever owns it next has a higher token.
struct GroupHolding {
  PartitionIndex partition;
  uint64_t token = 0;
  friend bool operator==(const GroupHolding&, const GroupHolding&) = default;
};

// A member of a consumer group tells the server of partition 0 what it holds. The answer comes when it should hold
// something else than `view` said, or when the member has sent a newer one.
struct GroupSyncFrame {
  Uuid topic;
  std::string consumer;  // the group
  Uuid member;
  uint64_t serial = 0;  // 1, 2, 3, ... of this member; the answer carries it
  uint64_t view = 0;    // of the latest answer; 0: none yet
  bool leaving = false;
  uint32_t partitions = 0;  // of the topic, as this member knows it
  uint32_t session_timeout_ms = 0;
  uint32_t rebalance_timeout_ms = 0;
  std::vector<GroupHolding> held;
};

struct GroupView {
  uint64_t serial = 0;
  uint64_t view = 0;
  std::vector<GroupHolding> partitions;  // what it should hold: the others are to be given back
};

// Each returns a whole frame.
std::vector<uint8_t> make_frame(FrameType type, uint64_t request_id, std::span<const uint8_t> payload = {});
std::vector<uint8_t> make_frame(const HelloFrame& frame);
std::vector<uint8_t> make_frame(const WelcomeFrame& frame);
std::vector<uint8_t> make_error_frame(uint64_t request_id, const Error& error);
std::vector<uint8_t> make_topic_put(uint64_t request_id, const TopicRecord& record);
std::vector<uint8_t> make_topic_remove(uint64_t request_id, const Uuid& topic);
std::vector<uint8_t> make_topic_list(uint64_t request_id, std::string_view name);
std::vector<uint8_t> make_topic_status(uint64_t request_id, const Uuid& topic);
std::vector<uint8_t> make_subscribe(uint64_t request_id, const SubscribeFrame& frame);
// The positions that the subscription begins at, as event ids.
std::vector<uint8_t> make_subscribe_reply(uint64_t request_id, const std::vector<SubscribeFrame::Start>& starts);
std::vector<uint8_t> make_unsubscribe(uint64_t request_id, const UnsubscribeFrame& frame);
std::vector<uint8_t> make_acknowledge(uint64_t request_id, const AcknowledgeFrame& frame);
std::vector<uint8_t> make_cursor_set(uint64_t request_id, const CursorSetFrame& frame);
std::vector<uint8_t> make_group_sync(uint64_t request_id, const GroupSyncFrame& frame);
std::vector<uint8_t> make_group_sync_reply(uint64_t request_id, const GroupView& view);
// RESOURCE_EXHAUSTED as an error frame when the records do not fit into one frame.
std::vector<uint8_t> make_topic_list_reply(uint64_t request_id, const std::vector<TopicRecord>& records);
// The cursors of one consumer name, or with an empty name all.
std::vector<uint8_t> make_topic_cursors(uint64_t request_id, const Uuid& topic, const std::string& consumer);
std::vector<uint8_t> make_topic_cursors_reply(uint64_t request_id, const std::vector<CursorRow>& rows);
std::vector<uint8_t> make_topic_status_reply(uint64_t request_id, const std::vector<PartitionStatus>& rows);

struct FrameHeader {
  FrameType type = FrameType::kError;
  uint32_t payload_bytes = 0;
  uint64_t request_id = 0;
};

// The first kFrameHeaderBytes of a frame. PROTOCOL when the length is above kControlFrameBytesMax.
Result<FrameHeader> parse_frame_header(std::span<const uint8_t> bytes);

// Payload decoders. VERSION_MISMATCH names both versions; INVALID_NAME: a topic or consumer name; anything else that is
// malformed is PROTOCOL. An error frame never carries kOk.
Result<HelloFrame> decode_hello(std::span<const uint8_t> payload);
Result<WelcomeFrame> decode_welcome(std::span<const uint8_t> payload);
Result<ErrorFrame> decode_error(std::span<const uint8_t> payload);
Result<TopicRecord> decode_topic_record(std::span<const uint8_t> payload);
Result<Uuid> decode_topic_uuid(std::span<const uint8_t> payload);         // kTopicRemove, kTopicStatus
Result<std::string> decode_topic_name(std::span<const uint8_t> payload);  // kTopicList; empty: all topics
Result<SubscribeFrame> decode_subscribe(std::span<const uint8_t> payload);
Result<std::vector<SubscribeFrame::Start>> decode_subscribe_reply(std::span<const uint8_t> payload);
Result<UnsubscribeFrame> decode_unsubscribe(std::span<const uint8_t> payload);
Result<AcknowledgeFrame> decode_acknowledge(std::span<const uint8_t> payload);
Result<CursorSetFrame> decode_cursor_set(std::span<const uint8_t> payload);
Result<GroupSyncFrame> decode_group_sync(std::span<const uint8_t> payload);
Result<GroupView> decode_group_sync_reply(std::span<const uint8_t> payload);
Result<std::vector<TopicRecord>> decode_topic_list_reply(std::span<const uint8_t> payload);
struct TopicCursorsFrame {
  Uuid topic;
  std::string consumer;
};
Result<TopicCursorsFrame> decode_topic_cursors(std::span<const uint8_t> payload);
Result<std::vector<CursorRow>> decode_topic_cursors_reply(std::span<const uint8_t> payload);
Result<std::vector<PartitionStatus>> decode_topic_status_reply(std::span<const uint8_t> payload);

// INVALID_NAME unless 1 .. kNameBytesMax bytes without '/', '\', ':', control characters, and not "." or "..".
Status validate_name(std::string_view name);

}  // namespace diaspora::wire
