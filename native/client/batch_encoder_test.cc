#include "client/batch_encoder.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/compression.h"
#include "base/crc32c.h"
#include "client/batch_test_kit.h"
#include "wire/message.h"

namespace diaspora::client {
namespace {

class BatchEncoderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    domain_ = open_local_domain();
    ASSERT_NE(domain_, nullptr);
  }
  // Encodes and decodes again; the encoded message stays in encoded_.
  wire::BatchMessage encode(Batch* batch, uint32_t message_bytes) {
    batch->session = Uuid::random();
    batch->sequence = BatchSequence(1);
    BatchTarget target;
    target.domain = domain_.get();
    target.message_bytes = message_bytes;
    target.token = 5;
    const Status status = encode_batch(target, batch, &encoded_);
    EXPECT_TRUE(status.ok()) << status.error().message;
    EXPECT_LE(encoded_.size(), message_bytes);
    const auto view = wire::parse_message(encoded_);
    EXPECT_TRUE(view.ok());
    auto message = wire::decode_batch(view.value());
    EXPECT_TRUE(message.ok()) << message.error().message;
    return message.ok() ? message.take() : wire::BatchMessage();
  }
  static std::string kinds(const wire::BatchMessage& message) {
    std::string text;
    for (const wire::BatchRun& run : message.runs) text += run.is_remote ? 'r' : 'i';
    return text;
  }

  ClientCounters counters_;
  std::unique_ptr<fabric::Domain> domain_;
  std::vector<uint8_t> encoded_;
};

TEST_F(BatchEncoderTest, WhatFitsTravelsInline) {
  BatchBuilder builder(test_limits(1000), &counters_);
  const std::string small = "small";
  const std::string large(2000, 'L');
  add_event(&builder, "a", {segment_of(small), segment_of(large), segment_of(small)});
  const std::unique_ptr<Batch> batch = builder.take();
  const wire::BatchMessage message = encode(batch.get(), 4096);
  EXPECT_EQ(kinds(message), "iiri");
  EXPECT_EQ(message.head_crc, crc32c(batch->metadata.bytes(), crc32c(batch->table.bytes())));
  EXPECT_EQ(batch->rma_data_bytes, 2000u);
  EXPECT_EQ(counters_.registrations, 1u);
  const std::string tail(encoded_.end() - 11, encoded_.end());
  EXPECT_EQ(tail, "asmallsmall") << "inline bytes follow in body order";
  batch->exposed.withdraw();
  EXPECT_EQ(counters_.registrations, 0u);
}

TEST_F(BatchEncoderTest, GatheredDataThatDoesNotFitIsExposedInOnePiece) {
  BatchBuilder builder(test_limits(1000), &counters_);
  const std::string small(900, 's');
  const std::string large(2000, 'L');
  for (int i = 0; i < 3; ++i) add_event(&builder, "m", {segment_of(small), segment_of(large)});
  const std::unique_ptr<Batch> batch = builder.take();
  const wire::BatchMessage message = encode(batch.get(), 2048);
  EXPECT_EQ(kinds(message), "irrrrrr");
  EXPECT_EQ(counters_.registrations, 4u) << "the gathered block and three segments";
  EXPECT_EQ(message.runs[1].segment.key, message.runs[3].segment.key);
  EXPECT_EQ(message.runs[3].segment.address, message.runs[1].segment.address + 900);
  EXPECT_EQ(batch->rma_data_bytes, 3u * 2900);
}

TEST_F(BatchEncoderTest, AHeadThatDoesNotFitIsExposed) {
  BatchBuilder builder(test_limits(1000), &counters_);
  const std::string small = "small";
  add_event(&builder, std::string(5000, 'm'), {segment_of(small)});
  const std::unique_ptr<Batch> batch = builder.take();
  const wire::BatchMessage message = encode(batch.get(), 2048);
  EXPECT_EQ(kinds(message), "ri");
  EXPECT_EQ(message.runs[0].segment.bytes, batch->shape.head_bytes());
  EXPECT_EQ(batch->rma_data_bytes, 0u) << "metadata is not data";
}

TEST_F(BatchEncoderTest, TooManyRunsForTheMessageAreRefused) {
  BatchBuilder builder(test_limits(1), &counters_);
  const std::vector<std::string> texts(100, "t");
  std::vector<DataSegment> segments;
  for (const std::string& text : texts) segments.push_back(segment_of(text));
  add_event(&builder, "m", segments);
  const std::unique_ptr<Batch> batch = builder.take();
  BatchTarget target;
  target.domain = domain_.get();
  target.message_bytes = 1024;
  EXPECT_EQ(encode_batch(target, batch.get(), &encoded_).code(), ErrorCode::k_EVENT_TOO_LARGE);
  EXPECT_EQ(counters_.registrations, 0u);
}

TEST_F(BatchEncoderTest, MetadataIsCompressedOnceWhereItPays) {
  if (!compression_available()) GTEST_SKIP() << compression_available().error().message;
  BatchBuilder builder(test_limits(1000), &counters_);
  for (int i = 0; i < 500; ++i) add_event(&builder, "{\"detector\":\"east\",\"frame\":" + std::to_string(i) + "}");
  const std::unique_ptr<Batch> batch = builder.take();
  const std::string before(batch->metadata.bytes().begin(), batch->metadata.bytes().end());
  batch->compression_level = 1;
  const wire::BatchMessage message = encode(batch.get(), 65536);
  EXPECT_TRUE(message.shape.compressed);
  EXPECT_LT(message.shape.metadata_bytes, before.size() / 4);
  const std::vector<uint8_t> first = encoded_;
  EXPECT_EQ(encode(batch.get(), 65536).head_crc, message.head_crc) << "the same when it is sent again";
  std::vector<uint8_t> head(batch->table.bytes().begin(), batch->table.bytes().end());
  head.insert(head.end(), batch->metadata.bytes().begin(), batch->metadata.bytes().end());
  ASSERT_TRUE(wire::validate_head(message.shape, head, message.head_crc).ok());
  std::vector<uint8_t> expanded(message.shape.table_bytes() + before.size());
  ASSERT_TRUE(wire::expand_head(message.shape, head, expanded).ok());
  EXPECT_EQ(std::string(expanded.begin() + static_cast<ptrdiff_t>(message.shape.table_bytes()), expanded.end()),
            before);

  BatchBuilder small(test_limits(1000), &counters_);
  add_event(&small, "{}");
  const std::unique_ptr<Batch> tiny = small.take();
  tiny->compression_level = 1;
  EXPECT_FALSE(encode(tiny.get(), 65536).shape.compressed);
}

}  // namespace
}  // namespace diaspora::client
