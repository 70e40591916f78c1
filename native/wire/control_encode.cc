#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "base/limits.h"
#include "wire/control.h"
#include "wire/control_layout.h"

namespace diaspora::wire {

namespace {

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

void put_holdings(const std::vector<GroupHolding>& holdings, ByteWriter* writer) {
  writer->u32(static_cast<uint32_t>(holdings.size()));
  for (const GroupHolding& holding : holdings) {
    writer->u32(holding.partition.value);
    writer->u64(holding.token);
  }
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

}  // namespace diaspora::wire
