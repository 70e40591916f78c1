#include "wire/control.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/limits.h"

namespace diaspora::wire {
namespace {

Uuid uuid_of(uint8_t first) {
  Uuid uuid;
  for (size_t i = 0; i < uuid.bytes.size(); ++i) uuid.bytes[i] = static_cast<uint8_t>(first + i);
  return uuid;
}

std::span<const uint8_t> payload_of(const std::vector<uint8_t>& frame) {
  return std::span(frame).subspan(kFrameHeaderBytes);
}

HelloFrame sample_hello() {
  HelloFrame hello;
  hello.rail = 3;
  hello.client = uuid_of(1);
  hello.expected_server = uuid_of(2);
  hello.process = uuid_of(7);
  hello.host_identity = "host";
  hello.message_bytes = 65536;
  hello.zero_copy_threshold = 4096;
  hello.providers = {{"net", "xnet"}, {"shm", "shm-1"}};
  return hello;
}

WelcomeFrame sample_welcome() {
  WelcomeFrame welcome;
  welcome.server = uuid_of(3);
  welcome.provider_family = "xnet";
  welcome.message_bytes = 65536;
  welcome.batch_credits = 16;
  welcome.fetch_credits = 8;
  welcome.endpoint_address = {1, 2, 3};
  return welcome;
}

TopicRecord sample_topic() {
  TopicRecord topic;
  topic.name = "collisions";
  topic.uuid = uuid_of(9);
  topic.state = TopicState::kCreating;
  topic.durability = 1;
  topic.manager = ManagerKind::kMemory;
  topic.placement = {uuid_of(20), uuid_of(40)};
  topic.config = "{}";
  topic.retention = {uint64_t{1} << 40, 86'400'000};
  return topic;
}

SubscribeFrame sample_subscribe() {
  SubscribeFrame frame;
  frame.subscription = 5;
  frame.topic = uuid_of(9);
  frame.consumer = "reader";
  frame.full_data = true;
  frame.oldest_if_dropped = true;
  frame.batch_events = 100;
  frame.starts = {
      {PartitionIndex(0), 17}, {PartitionIndex(3), kStartAtCursor}, {PartitionIndex(4), 99, 5, StartKind::kTime}};
  return frame;
}

GroupSyncFrame sample_sync() {
  GroupSyncFrame frame;
  frame.topic = uuid_of(9);
  frame.consumer = "reader";
  frame.member = uuid_of(8);
  frame.serial = 3;
  frame.view = 0x1122334455667788;
  frame.partitions = 4;
  frame.session_timeout_ms = 3000;
  frame.rebalance_timeout_ms = 30000;
  frame.held = {{PartitionIndex(0), 1}, {PartitionIndex(3), 2}};
  return frame;
}

struct Sample {
  std::string name;
  std::vector<uint8_t> frame;
  std::function<Status(std::span<const uint8_t>)> decode;
};

std::vector<Sample> all_samples() {
  using Bytes = std::span<const uint8_t>;
  return {
      {"hello", make_frame(sample_hello()), [](Bytes p) { return decode_hello(p).status(); }},
      {"welcome", make_frame(sample_welcome()), [](Bytes p) { return decode_welcome(p).status(); }},
      {"error", make_error_frame(3, {ErrorCode::k_NO_SPACE, "full"}), [](Bytes p) { return decode_error(p).status(); }},
      {"put", make_topic_put(4, sample_topic()), [](Bytes p) { return decode_topic_record(p).status(); }},
      {"remove", make_topic_remove(5, uuid_of(1)), [](Bytes p) { return decode_topic_uuid(p).status(); }},
      {"list", make_topic_list(6, "collisions"), [](Bytes p) { return decode_topic_name(p).status(); }},
      {"status", make_topic_status(7, uuid_of(1)), [](Bytes p) { return decode_topic_uuid(p).status(); }},
      {"subscribe", make_subscribe(8, sample_subscribe()), [](Bytes p) { return decode_subscribe(p).status(); }},
      {"subscribe reply", make_subscribe_reply(8, sample_subscribe().starts),
       [](Bytes p) { return decode_subscribe_reply(p).status(); }},
      {"unsubscribe", make_unsubscribe(9, {5, PartitionIndex(2)}),
       [](Bytes p) { return decode_unsubscribe(p).status(); }},
      {"acknowledge", make_acknowledge(10, {uuid_of(1), PartitionIndex(2), "reader", EventId(3)}),
       [](Bytes p) { return decode_acknowledge(p).status(); }},
      {"list reply", make_topic_list_reply(11, {sample_topic(), sample_topic()}),
       [](Bytes p) { return decode_topic_list_reply(p).status(); }},
      {"status reply", make_topic_status_reply(12, {{PartitionIndex(1), EventId(2), EventId(3)}}),
       [](Bytes p) { return decode_topic_status_reply(p).status(); }},
      {"cursors", make_topic_cursors(13, uuid_of(1), "reader"),
       [](Bytes p) { return decode_topic_cursors(p).status(); }},
      {"cursors reply", make_topic_cursors_reply(14, {{"reader", PartitionIndex(1), EventId(2)}}),
       [](Bytes p) { return decode_topic_cursors_reply(p).status(); }},
      {"cursor set", make_cursor_set(15, {uuid_of(1), PartitionIndex(2), "reader", 7}),
       [](Bytes p) { return decode_cursor_set(p).status(); }},
      {"group sync", make_group_sync(16, sample_sync()), [](Bytes p) { return decode_group_sync(p).status(); }},
      {"group sync reply", make_group_sync_reply(16, {1, 2, {{PartitionIndex(3), 4}}}),
       [](Bytes p) { return decode_group_sync_reply(p).status(); }},
  };
}

TEST(Control, FrameHeaderHasItsGoldenBytes) {
  const std::vector<uint8_t> frame = make_unsubscribe(0x0102030405060708, {0x11121314, std::nullopt});
  const std::vector<uint8_t> golden = {8, 0, 0, 0, 21,   0,    0,    0,    8,    7,    6,    5,
                                       4, 3, 2, 1, 0x14, 0x13, 0x12, 0x11, 0xFF, 0xFF, 0xFF, 0xFF};
  EXPECT_EQ(frame, golden);
  const Result<FrameHeader> header = parse_frame_header(std::span(frame).first(kFrameHeaderBytes));
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(header.value().type, FrameType::kUnsubscribe);
  EXPECT_EQ(header.value().payload_bytes, 8u);
  EXPECT_EQ(header.value().request_id, 0x0102030405060708u);
}

TEST(Control, HelloBeginsWithItsMagicVersionAndRail) {
  const std::vector<uint8_t> frame = make_frame(sample_hello());
  const std::vector<uint8_t> golden = {'D', 'I', 'S', 'P', 1, 0, 3, 0};
  const std::span<const uint8_t> begin = payload_of(frame).first(golden.size());
  EXPECT_EQ(std::vector<uint8_t>(begin.begin(), begin.end()), golden);
}

TEST(Control, HandshakeSurvivesARoundTrip) {
  const Result<HelloFrame> hello = decode_hello(payload_of(make_frame(sample_hello())));
  ASSERT_TRUE(hello.ok()) << hello.error().message;
  EXPECT_EQ(hello.value().rail, 3u);
  EXPECT_EQ(hello.value().client, uuid_of(1));
  EXPECT_EQ(hello.value().expected_server, uuid_of(2));
  EXPECT_EQ(hello.value().process, uuid_of(7));
  EXPECT_EQ(hello.value().host_identity, "host");
  EXPECT_EQ(hello.value().zero_copy_threshold, 4096u);
  ASSERT_EQ(hello.value().providers.size(), 2u);
  EXPECT_EQ(hello.value().providers[1].family, "shm-1");

  const Result<WelcomeFrame> welcome = decode_welcome(payload_of(make_frame(sample_welcome())));
  ASSERT_TRUE(welcome.ok()) << welcome.error().message;
  EXPECT_EQ(welcome.value().provider_family, "xnet");
  EXPECT_EQ(welcome.value().fetch_credits, 8u);
  EXPECT_EQ(welcome.value().endpoint_address, (std::vector<uint8_t>{1, 2, 3}));
}

TEST(Control, RequestsSurviveARoundTrip) {
  const Result<TopicRecord> topic = decode_topic_record(payload_of(make_topic_put(1, sample_topic())));
  ASSERT_TRUE(topic.ok()) << topic.error().message;
  EXPECT_EQ(topic.value().name, "collisions");
  EXPECT_EQ(topic.value().state, TopicState::kCreating);
  EXPECT_EQ(topic.value().durability, 1);
  EXPECT_EQ(topic.value().manager, ManagerKind::kMemory);
  EXPECT_EQ(topic.value().placement[1], uuid_of(40));
  EXPECT_EQ(topic.value().config, "{}");

  const Result<SubscribeFrame> subscribe = decode_subscribe(payload_of(make_subscribe(1, sample_subscribe())));
  ASSERT_TRUE(subscribe.ok()) << subscribe.error().message;
  EXPECT_TRUE(subscribe.value().full_data);
  EXPECT_EQ(subscribe.value().starts[1].partition, PartitionIndex(3));
  EXPECT_EQ(subscribe.value().starts[1].position, kStartAtCursor);

  const auto ack =
      decode_acknowledge(payload_of(make_acknowledge(1, {uuid_of(1), PartitionIndex(2), "r", EventId(3)})));
  ASSERT_TRUE(ack.ok());
  EXPECT_EQ(ack.value().event, EventId(3));
  EXPECT_EQ(decode_topic_name(payload_of(make_topic_list(1, ""))).value(), "");
  EXPECT_EQ(decode_topic_list_reply(payload_of(make_topic_list_reply(1, {}))).value().size(), 0u);
}

TEST(Control, TruncationAtEveryByteIsRefused) {
  for (const Sample& sample : all_samples()) {
    const std::span<const uint8_t> payload = payload_of(sample.frame);
    ASSERT_TRUE(sample.decode(payload).ok()) << sample.name;
    for (size_t length = 0; length < payload.size(); ++length) {
      const std::vector<uint8_t> cut(payload.begin(), payload.begin() + static_cast<ptrdiff_t>(length));
      EXPECT_FALSE(sample.decode(cut).ok()) << sample.name << " cut at " << length;
    }
    std::vector<uint8_t> longer(payload.begin(), payload.end());
    longer.push_back(0);
    EXPECT_FALSE(sample.decode(longer).ok()) << sample.name << " with a byte too many";
  }
}

TEST(Control, MutationsNeverBreakADecoder) {
  std::mt19937 random(19991231);
  const std::vector<Sample> samples = all_samples();
  for (int round = 0; round < 40000; ++round) {
    const Sample& sample = samples[random() % samples.size()];
    std::vector<uint8_t> payload(payload_of(sample.frame).begin(), payload_of(sample.frame).end());
    for (uint32_t change = 0; change <= random() % 4; ++change) {
      payload[random() % payload.size()] = (random() % 2) != 0 ? 0xFF : static_cast<uint8_t>(random());
    }
    const Status status = sample.decode(payload);
    if (!status.ok()) {
      EXPECT_TRUE(status.code() == ErrorCode::k_PROTOCOL || status.code() == ErrorCode::k_VERSION_MISMATCH ||
                  status.code() == ErrorCode::k_INVALID_NAME)
          << sample.name << ": " << status.error().message;
    }
  }
}

TEST(Control, OtherVersionsAreRefusedWithBothNamed) {
  HelloFrame hello = sample_hello();
  hello.version = 7;
  const Result<HelloFrame> refused = decode_hello(payload_of(make_frame(hello)));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::k_VERSION_MISMATCH);
  EXPECT_NE(refused.error().message.find("version 7"), std::string::npos);
  EXPECT_NE(refused.error().message.find("version 1"), std::string::npos);
  WelcomeFrame welcome = sample_welcome();
  welcome.version = 7;
  EXPECT_EQ(decode_welcome(payload_of(make_frame(welcome))).status().code(), ErrorCode::k_VERSION_MISMATCH);
}

TEST(Control, HeadersOutsideTheLimitsAreRefused) {
  std::vector<uint8_t> frame = make_frame(FrameType::kHeartbeat, 0);
  EXPECT_TRUE(parse_frame_header(frame).ok());
  EXPECT_FALSE(parse_frame_header(std::span(frame).first(kFrameHeaderBytes - 1)).ok());
  frame[4] = 99;
  EXPECT_EQ(parse_frame_header(frame).status().code(), ErrorCode::k_PROTOCOL) << "unknown type";
  frame = make_frame(FrameType::kHeartbeat, 0);
  const auto too_long = static_cast<uint32_t>(kControlFrameBytesMax + 1);
  std::memcpy(frame.data(), &too_long, 4);
  EXPECT_EQ(parse_frame_header(frame).status().code(), ErrorCode::k_PROTOCOL);
}

TEST(Control, LimitsOfAWelcomeAreChecked) {
  const auto code = [](WelcomeFrame welcome) {
    return decode_welcome(payload_of(make_frame(welcome))).status().code();
  };
  WelcomeFrame welcome = sample_welcome();
  EXPECT_EQ(code(welcome), ErrorCode::kOk);
  welcome.message_bytes = kMessageBytesMax + 1;
  EXPECT_EQ(code(welcome), ErrorCode::k_PROTOCOL);
  welcome.message_bytes = kMessageBytesMin - 1;
  EXPECT_EQ(code(welcome), ErrorCode::k_PROTOCOL);
  welcome = sample_welcome();
  welcome.batch_credits = 0;
  EXPECT_EQ(code(welcome), ErrorCode::k_PROTOCOL);
}

TEST(Control, ASubscriptionNamesEachPartitionOnce) {
  SubscribeFrame frame = sample_subscribe();
  frame.starts.push_back(frame.starts[0]);
  EXPECT_EQ(decode_subscribe(payload_of(make_subscribe(1, frame))).status().code(), ErrorCode::k_PROTOCOL);
  frame.starts.clear();
  EXPECT_EQ(decode_subscribe(payload_of(make_subscribe(1, frame))).status().code(), ErrorCode::k_PROTOCOL);
}

TEST(Control, AListThatDoesNotFitBecomesAnError) {
  TopicRecord topic = sample_topic();
  topic.config.assign(kTopicConfigBytesMax, ' ');
  const std::vector<uint8_t> frame = make_topic_list_reply(3, std::vector<TopicRecord>(9, topic));
  EXPECT_EQ(parse_frame_header(std::span(frame).first(kFrameHeaderBytes)).value().type, FrameType::kError);
  EXPECT_EQ(decode_error(payload_of(frame)).value().code, ErrorCode::k_RESOURCE_EXHAUSTED);
}

TEST(Control, NamesAreValidated) {
  EXPECT_TRUE(validate_name("a").ok());
  EXPECT_TRUE(validate_name("...").ok());
  EXPECT_TRUE(validate_name(std::string(kNameBytesMax, 'x')).ok());
  EXPECT_TRUE(validate_name("t\xC3\xB6pic with space").ok());
  using namespace std::string_view_literals;
  for (const std::string_view bad : {""sv, "."sv, ".."sv, "a/b"sv, "a\\b"sv, "a:b"sv, "a\nb"sv, "a\0b"sv, "\x7F"sv}) {
    EXPECT_EQ(validate_name(bad).code(), ErrorCode::k_INVALID_NAME) << bad;
  }
  EXPECT_EQ(validate_name(std::string(kNameBytesMax + 1, 'x')).code(), ErrorCode::k_INVALID_NAME);
  TopicRecord topic = sample_topic();
  topic.name = "a/b";
  EXPECT_EQ(decode_topic_record(payload_of(make_topic_put(1, topic))).status().code(), ErrorCode::k_INVALID_NAME);
}

}  // namespace
}  // namespace diaspora::wire
