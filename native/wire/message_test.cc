#include "wire/message.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "base/limits.h"

namespace diaspora::wire {
namespace {

Uuid uuid_of(uint8_t first) {
  Uuid uuid;
  for (size_t i = 0; i < uuid.bytes.size(); ++i) uuid.bytes[i] = static_cast<uint8_t>(first + i);
  return uuid;
}

BatchMessage sample_batch() {
  BatchMessage batch;
  batch.token = 0x1122334455667788;
  batch.topic = uuid_of(0x10);
  batch.partition = PartitionIndex(3);
  batch.shape = {2, 8, 100};
  batch.head_crc = 0xCAFEBABE;
  batch.producer_session = uuid_of(0x40);
  batch.sequence = BatchSequence(5);
  batch.follows = BatchSequence(4);
  batch.runs = {{false, {0, 0, 40}}, {true, {0x7000, 0x99, 90}}, {false, {0, 0, 10}}};
  return batch;
}

DeliveryMessage sample_delivery() {
  DeliveryMessage delivery;
  delivery.subscription = 9;
  delivery.partition = PartitionIndex(2);
  delivery.first_id = EventId(1000);
  delivery.shape = {2, 8, 100};
  delivery.head_crc = 77;
  delivery.head = {Placement::Kind::kInline, 0, 0};
  delivery.data = {Placement::Kind::kWindow, 4, 4096};
  delivery.retired_windows = {1, 3};
  return delivery;
}

FetchMessage sample_fetch() {
  FetchMessage fetch;
  fetch.token = 8;
  fetch.topic = uuid_of(1);
  fetch.partition = PartitionIndex(1);
  fetch.event = EventId(12);
  fetch.ranges = {{0, 10}, {20, 30}};
  fetch.destinations = {{0x1000, 1, 15}, {0x2000, 2, 25}};
  return fetch;
}

void append_body(size_t bytes, std::vector<uint8_t>* message) {
  for (size_t i = 0; i < bytes; ++i) message->push_back(static_cast<uint8_t>(i));
}

// One encoded message of every type, with its decoder.
struct Sample {
  std::string name;
  std::vector<uint8_t> bytes;
  std::function<Status(const MessageView&)> decode;
};

std::vector<Sample> all_samples() {
  std::vector<Sample> samples;
  std::vector<uint8_t> bytes;
  encode(sample_batch(), 50, &bytes);
  append_body(50, &bytes);
  samples.push_back({"batch", bytes, [](const MessageView& view) { return decode_batch(view).status(); }});
  encode(BatchDoneMessage{{{1, ErrorCode::kOk, EventId(7), ""}, {2, ErrorCode::k_NO_SPACE, EventId(0), "full"}}},
         &bytes);
  samples.push_back({"batch done", bytes, [](const MessageView& view) { return decode_batch_done(view).status(); }});
  encode(CreditMessage{1, 2, {{3, {0x1000, 5, 1 << 20}}, {4, {0x2000, 6, 1 << 20}}}}, &bytes);
  samples.push_back({"credit", bytes, [](const MessageView& view) { return decode_credit(view).status(); }});
  encode(sample_delivery(), 40, &bytes);
  append_body(40, &bytes);
  samples.push_back({"delivery", bytes, [](const MessageView& view) { return decode_delivery(view).status(); }});
  encode(sample_fetch(), &bytes);
  samples.push_back({"fetch", bytes, [](const MessageView& view) { return decode_fetch(view).status(); }});
  encode(FetchDoneMessage{3, ErrorCode::k_CORRUPT_DATA, 4, "bad"}, &bytes);
  samples.push_back({"fetch done", bytes, [](const MessageView& view) { return decode_fetch_done(view).status(); }});
  encode(SubscriptionErrorMessage{3, PartitionIndex(4), ErrorCode::k_CORRUPT_LOG, "bad"}, &bytes);
  samples.push_back(
      {"subscription error", bytes, [](const MessageView& view) { return decode_subscription_error(view).status(); }});
  encode(WindowsWantedMessage{3}, &bytes);
  samples.push_back(
      {"windows wanted", bytes, [](const MessageView& view) { return decode_windows_wanted(view).status(); }});
  encode(PartitionEndMessage{3, PartitionIndex(4), EventId(5)}, &bytes);
  samples.push_back(
      {"partition end", bytes, [](const MessageView& view) { return decode_partition_end(view).status(); }});
  encode(PartitionSkipMessage{3, PartitionIndex(4), EventId(5), EventId(9)}, &bytes);
  samples.push_back(
      {"partition skip", bytes, [](const MessageView& view) { return decode_partition_skip(view).status(); }});
  return samples;
}

// Makes lengths and checksum right again after the fixed part was tampered with.
void repair(std::vector<uint8_t>* message) {
  const auto rest = crc32c(std::span(*message).subspan(12), crc32c(std::span(*message).first(8)));
  std::memcpy(message->data() + 8, &rest, 4);
}

template <typename Message>
MessageView encode_bare(const Message& message, std::vector<uint8_t>* bytes) {
  encode(message, bytes);
  return parse_message(*bytes).value();
}

ErrorCode batch_code(const BatchMessage& batch, uint32_t body_bytes) {
  std::vector<uint8_t> bytes;
  encode(batch, body_bytes, &bytes);
  append_body(body_bytes, &bytes);
  return decode_batch(parse_message(bytes).value()).status().code();
}

ErrorCode delivery_code(const DeliveryMessage& delivery, uint32_t body_bytes) {
  std::vector<uint8_t> bytes;
  encode(delivery, body_bytes, &bytes);
  append_body(body_bytes, &bytes);
  return decode_delivery(parse_message(bytes).value()).status().code();
}

ErrorCode fetch_code(const FetchMessage& fetch) {
  std::vector<uint8_t> bytes;
  return decode_fetch(encode_bare(fetch, &bytes)).status().code();
}

TEST(Message, PingHasItsGoldenBytes) {
  std::vector<uint8_t> bytes;
  encode_ping(MessageType::kPing, &bytes);
  ASSERT_EQ(bytes.size(), kMessageHeaderBytes);
  const std::vector<uint8_t> golden = {0x7A, 0xD5, 1, 1, 16, 0, 0, 0, 0xDD, 0x9B, 0x2F, 0x3B, 0, 0, 0, 0};
  EXPECT_EQ(bytes, golden);
  EXPECT_EQ(parse_message(bytes).value().type, MessageType::kPing);
}

TEST(Message, BatchHasItsGoldenBytes) {
  std::vector<uint8_t> bytes;
  encode(sample_batch(), 50, &bytes);
  ASSERT_EQ(bytes.size(), kBatchFixedBytes + 3 * kBatchRunBytes);
  const std::vector<uint8_t> golden = {
      0x7A,     0xD5,     1,         3,         176,  0,    0,    0,     // header
      bytes[8], bytes[9], bytes[10], bytes[11],                          // crc
      50,       0,        0,         0,                                  // body_bytes
      0x88,     0x77,     0x66,      0x55,      0x44, 0x33, 0x22, 0x11,  // token
      0x10,     0x11,     0x12,      0x13,      0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B,
      0x1C,     0x1D,     0x1E,      0x1F,  // topic
      3,        0,        0,         0,     // partition
      0xBE,     0xBA,     0xFE,      0xCA,  // head_crc
      2,        0,        0,         0,         8,    0,    0,    0,    100,  0,    0,    0,
      0,        0,        0,         0,  // shape
      0x40,     0x41,     0x42,      0x43,      0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x4B,
      0x4C,     0x4D,     0x4E,      0x4F,  // session
      5,        0,        0,         0,         0,    0,    0,    0,    4,    0,    0,    0,
      0,        0,        0,         0,                               // sequence, follows
      3,        0,        0,         0,         0,    0,    0,    0,  // runs, zero
      0,        0,        0,         0,         40,   0,    0,    0,    0,    0,    0,    0,
      0,        0,        0,         0,         0,    0,    0,    0,    0,    0,    0,    0,  // inline head
      1,        0,        0,         0,         90,   0,    0,    0,    0,    0x70, 0,    0,
      0,        0,        0,         0,         0x99, 0,    0,    0,    0,    0,    0,    0,  // remote
      0,        0,        0,         0,         10,   0,    0,    0,    0,    0,    0,    0,
      0,        0,        0,         0,         0,    0,    0,    0,    0,    0,    0,    0,  // inline
  };
  EXPECT_EQ(bytes, golden);
}

TEST(Message, BatchSurvivesARoundTrip) {
  std::vector<uint8_t> bytes;
  const BatchMessage sent = sample_batch();
  encode(sent, 50, &bytes);
  append_body(50, &bytes);
  const MessageView view = parse_message(bytes).value();
  EXPECT_EQ(view.body.size(), 50u);
  const Result<BatchMessage> got = decode_batch(view);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(got.value().token, sent.token);
  EXPECT_EQ(got.value().topic, sent.topic);
  EXPECT_EQ(got.value().partition, sent.partition);
  EXPECT_EQ(got.value().shape.data_bytes, 100u);
  EXPECT_EQ(got.value().producer_session, sent.producer_session);
  EXPECT_EQ(got.value().sequence, sent.sequence);
  EXPECT_EQ(got.value().follows, sent.follows);
  ASSERT_EQ(got.value().runs.size(), 3u);
  EXPECT_TRUE(got.value().runs[1].is_remote);
  EXPECT_EQ(got.value().runs[1].segment.address, 0x7000u);
  EXPECT_EQ(got.value().runs[1].segment.key, 0x99u);
}

TEST(Message, AnswersAndCreditSurviveARoundTrip) {
  std::vector<uint8_t> bytes;
  const BatchDoneMessage done{{{1, ErrorCode::kOk, EventId(7), ""}, {2, ErrorCode::k_NO_SPACE, EventId(0), "full"}}};
  const Result<BatchDoneMessage> answers = decode_batch_done(encode_bare(done, &bytes));
  ASSERT_TRUE(answers.ok());
  ASSERT_EQ(answers.value().answers.size(), 2u);
  EXPECT_EQ(answers.value().answers[0].base_id, EventId(7));
  EXPECT_EQ(answers.value().answers[1].code, ErrorCode::k_NO_SPACE);
  EXPECT_EQ(answers.value().answers[1].detail, "full");

  const Result<CreditMessage> credit = decode_credit(encode_bare(CreditMessage{1, 2, {{3, {64, 5, 128}}}}, &bytes));
  ASSERT_TRUE(credit.ok());
  EXPECT_EQ(credit.value().subscription, 1u);
  EXPECT_EQ(credit.value().deliveries, 2u);
  ASSERT_EQ(credit.value().windows.size(), 1u);
  EXPECT_EQ(credit.value().windows[0].id, 3u);
  EXPECT_EQ(credit.value().windows[0].memory.bytes, 128u);
}

TEST(Message, DeliveriesAndFetchesSurviveARoundTrip) {
  std::vector<uint8_t> bytes;
  encode(sample_delivery(), 40, &bytes);
  append_body(40, &bytes);
  const Result<DeliveryMessage> delivery = decode_delivery(parse_message(bytes).value());
  ASSERT_TRUE(delivery.ok()) << delivery.error().message;
  EXPECT_EQ(delivery.value().first_id, EventId(1000));
  EXPECT_EQ(delivery.value().data.window_id, 4u);
  EXPECT_EQ(delivery.value().data.offset, 4096u);
  EXPECT_EQ(delivery.value().retired_windows, (std::vector<uint32_t>{1, 3}));

  const Result<FetchMessage> fetch = decode_fetch(encode_bare(sample_fetch(), &bytes));
  ASSERT_TRUE(fetch.ok()) << fetch.error().message;
  EXPECT_EQ(fetch.value().ranges[1].offset, 20u);
  EXPECT_EQ(fetch.value().destinations[1].bytes, 25u);

  const Result<FetchDoneMessage> done =
      decode_fetch_done(encode_bare(FetchDoneMessage{3, ErrorCode::kOk, 4, ""}, &bytes));
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(done.value().data_crc, 4u);
}

TEST(Message, LongDetailsAreCut) {
  std::vector<uint8_t> bytes;
  const std::string text(kDetailBytesMax + 100, 'x');
  const Result<FetchDoneMessage> done =
      decode_fetch_done(encode_bare(FetchDoneMessage{3, ErrorCode::k_FABRIC, 4, text}, &bytes));
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(done.value().detail.size(), kDetailBytesMax);
}

TEST(Message, TruncationAtEveryByteIsRefused) {
  for (const Sample& sample : all_samples()) {
    ASSERT_TRUE(sample.decode(parse_message(sample.bytes).value()).ok()) << sample.name;
    for (size_t length = 0; length < sample.bytes.size(); ++length) {
      const std::vector<uint8_t> cut(sample.bytes.begin(), sample.bytes.begin() + static_cast<ptrdiff_t>(length));
      EXPECT_FALSE(parse_message(cut).ok()) << sample.name << " cut at " << length;
    }
  }
}

// The same with a header that fits: the decoders must notice.
TEST(Message, TruncatedFixedPartsWithARightHeaderAreRefused) {
  for (const Sample& sample : all_samples()) {
    uint32_t fixed_bytes = 0;
    std::memcpy(&fixed_bytes, sample.bytes.data() + 4, 4);
    for (uint32_t length = kMessageHeaderBytes; length < fixed_bytes; ++length) {
      std::vector<uint8_t> cut(sample.bytes.begin(), sample.bytes.begin() + length);
      std::memcpy(cut.data() + 4, &length, 4);
      std::memset(cut.data() + 12, 0, 4);
      repair(&cut);
      const Result<MessageView> view = parse_message(cut);
      ASSERT_TRUE(view.ok()) << view.error().message;
      EXPECT_FALSE(sample.decode(view.value()).ok()) << sample.name << " cut at " << length;
    }
  }
}

TEST(Message, EveryChangedBitOfHeaderAndFixedPartIsDetected) {
  for (Sample& sample : all_samples()) {
    uint32_t fixed_bytes = 0;
    std::memcpy(&fixed_bytes, sample.bytes.data() + 4, 4);
    for (size_t bit = 0; bit < size_t{fixed_bytes} * 8; ++bit) {
      sample.bytes[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
      EXPECT_FALSE(parse_message(sample.bytes).ok()) << sample.name << " bit " << bit;
      sample.bytes[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
    }
  }
}

// A hostile peer computes right checksums: nothing may crash, and what is accepted must add up.
TEST(Message, MutationsWithARightChecksumNeverBreakADecoder) {
  std::mt19937 random(20240229);
  const std::vector<Sample> samples = all_samples();
  for (int round = 0; round < 40000; ++round) {
    const Sample& sample = samples[random() % samples.size()];
    std::vector<uint8_t> bytes = sample.bytes;
    uint32_t fixed_bytes = 0;
    std::memcpy(&fixed_bytes, bytes.data() + 4, 4);
    const std::vector<uint8_t> body(bytes.begin() + fixed_bytes, bytes.end());
    for (uint32_t change = 0; change <= random() % 4; ++change) {
      if (fixed_bytes == kMessageHeaderBytes) break;
      const size_t at = kMessageHeaderBytes + random() % (fixed_bytes - kMessageHeaderBytes);
      bytes[at] = (random() % 2) != 0 ? 0xFF : static_cast<uint8_t>(random());
    }
    bytes.resize(fixed_bytes);
    repair(&bytes);
    bytes.insert(bytes.end(), body.begin(), body.end());
    const Result<MessageView> view = parse_message(bytes);
    ASSERT_TRUE(view.ok());
    static_cast<void>(sample.decode(view.value()).ok());
    const Result<BatchMessage> batch = decode_batch(view.value());
    if (!batch) continue;
    uint64_t total = 0;
    for (const BatchRun& run : batch.value().runs) total += run.segment.bytes;
    ASSERT_EQ(total, batch.value().shape.head_bytes() + batch.value().shape.data_bytes);
    ASSERT_LE(batch.value().shape.body_bytes(), kBatchBytesMax);
  }
}

TEST(Message, CountsAreCheckedBeforeAnythingIsAllocated) {
  // The count of answers, windows, retired windows and ranges: the first u32 of all ones would be 4 Gi elements.
  for (const Sample& sample : all_samples()) {
    if (sample.name != "batch done" && sample.name != "credit") continue;
    std::vector<uint8_t> bytes = sample.bytes;
    const size_t at = kMessageHeaderBytes + (sample.name == "credit" ? 8 : 0);
    std::memset(bytes.data() + at, 0xFF, 4);
    repair(&bytes);
    EXPECT_EQ(sample.decode(parse_message(bytes).value()).code(), ErrorCode::k_PROTOCOL) << sample.name;
  }
}

TEST(Message, OtherVersionsAreRefusedWithBothNamed) {
  std::vector<uint8_t> bytes;
  encode_ping(MessageType::kPing, &bytes);
  bytes[2] = 9;
  const Result<MessageView> view = parse_message(bytes);
  ASSERT_FALSE(view.ok());
  EXPECT_EQ(view.error().code, ErrorCode::k_VERSION_MISMATCH);
  EXPECT_NE(view.error().message.find("version 9"), std::string::npos);
  EXPECT_NE(view.error().message.find("version 1"), std::string::npos);
}

TEST(Message, BatchesThatDoNotAddUpAreRefused) {
  EXPECT_EQ(batch_code(sample_batch(), 50), ErrorCode::kOk);
  EXPECT_EQ(batch_code(sample_batch(), 49), ErrorCode::k_PROTOCOL);
  BatchMessage batch = sample_batch();
  batch.runs[0].segment.bytes = 39;
  batch.runs[1].segment.bytes = 91;
  EXPECT_EQ(batch_code(batch, 49), ErrorCode::k_PROTOCOL) << "first run is not the head";
  batch = sample_batch();
  batch.runs[1].segment.bytes = 91;
  EXPECT_EQ(batch_code(batch, 50), ErrorCode::k_PROTOCOL) << "too much data";
  batch = sample_batch();
  batch.runs[1].segment.address = ~uint64_t{0};
  EXPECT_EQ(batch_code(batch, 50), ErrorCode::k_PROTOCOL) << "address wraps around";
  batch = sample_batch();
  batch.follows = batch.sequence;
  EXPECT_EQ(batch_code(batch, 50), ErrorCode::k_PROTOCOL) << "follows itself";
  batch = sample_batch();
  batch.shape.data_bytes = kBatchBytesMax;
  EXPECT_EQ(batch_code(batch, 50), ErrorCode::k_EVENT_TOO_LARGE);
  batch = sample_batch();
  batch.runs.clear();
  EXPECT_EQ(batch_code(batch, 0), ErrorCode::k_PROTOCOL);
}

TEST(Message, DeliveriesThatDoNotAddUpAreRefused) {
  EXPECT_EQ(delivery_code(sample_delivery(), 40), ErrorCode::kOk);
  EXPECT_EQ(delivery_code(sample_delivery(), 41), ErrorCode::k_PROTOCOL);
  DeliveryMessage delivery = sample_delivery();
  delivery.head.kind = Placement::Kind::kNone;
  EXPECT_EQ(delivery_code(delivery, 0), ErrorCode::k_PROTOCOL);
  delivery = sample_delivery();
  delivery.data = {Placement::Kind::kDeferred, 0, 0};
  EXPECT_EQ(delivery_code(delivery, 40), ErrorCode::k_PROTOCOL) << "deferred with two events";
  delivery.shape = {1, 8, 100};
  EXPECT_EQ(delivery_code(delivery, 24), ErrorCode::kOk);
  delivery.shape.data_bytes = 0;
  EXPECT_EQ(delivery_code(delivery, 24), ErrorCode::k_PROTOCOL) << "no data to defer";
  delivery = sample_delivery();
  delivery.first_id = EventId(~uint64_t{0});
  EXPECT_EQ(delivery_code(delivery, 40), ErrorCode::k_PROTOCOL) << "ids overflow";
}

TEST(Message, FetchesThatDoNotAddUpAreRefused) {
  EXPECT_EQ(fetch_code(sample_fetch()), ErrorCode::kOk);
  FetchMessage fetch = sample_fetch();
  fetch.ranges[0].bytes = 11;
  EXPECT_EQ(fetch_code(fetch), ErrorCode::k_PROTOCOL);
  fetch = sample_fetch();
  fetch.ranges[0].offset = ~uint64_t{0} - 5;
  EXPECT_EQ(fetch_code(fetch), ErrorCode::k_PROTOCOL);
  fetch.ranges.assign(4, {0, kBatchBytesMax / 4});
  fetch.destinations.assign(4, {0x1000, 1, static_cast<uint32_t>(kBatchBytesMax / 4)});
  EXPECT_EQ(fetch_code(fetch), ErrorCode::kOk) << "ranges may overlap";
  fetch.ranges.push_back({0, 1});
  fetch.destinations.push_back({0x1000, 1, 1});
  EXPECT_EQ(fetch_code(fetch), ErrorCode::k_PROTOCOL) << "and ask for no more than the largest event has";
  fetch.ranges.clear();
  fetch.destinations.clear();
  EXPECT_EQ(fetch_code(fetch), ErrorCode::k_PROTOCOL);
}

}  // namespace
}  // namespace diaspora::wire
