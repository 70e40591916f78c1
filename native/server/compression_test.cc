// Compressed metadata from producer to consumer: whole batches, parts of them, with data, from the log; and what no
// producer of ours sends.
#include "base/compression.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "server/end_to_end_test_kit.h"

namespace diaspora::server {
namespace {

using client::Consumer;
using client::Producer;

class CompressedMetadata : public EndToEnd {
 protected:
  void SetUp() override {
    EndToEnd::SetUp();
    if (!compression_available()) GTEST_SKIP() << compression_available().error().message;
  }
  void open_compressing_producer(uint32_t batch_events) {
    Producer::Options options;
    options.id = 7;
    options.topic = topic_.uuid;
    options.server_of_partition = server_of_partition();
    options.batch_events = batch_events;
    options.compression_level = 1;
    producer_ = client_->open_producer(std::move(options));
  }
  static std::string metadata_of(uint64_t n) {
    return "{\"detector\":\"east\",\"exposure\":0.25,\"frame\":" + std::to_string(n) + "}";
  }
  // Events n, n + 1, ... with `data_bytes` of data each.
  void produce(uint64_t count, size_t data_bytes) {
    std::vector<std::shared_ptr<std::string>> memory;
    for (uint64_t n = 0; n < count; ++n) {
      std::vector<client::DataSegment> data;
      if (data_bytes > 0) {
        memory.push_back(std::make_shared<std::string>(pattern(data_bytes, static_cast<uint32_t>(n))));
        data.push_back(segment_of(*memory.back(), memory.back()));
      }
      ASSERT_EQ(push(*producer_, 0, metadata_of(n), std::move(data)).code, ErrorCode::kOk);
    }
    flush();
  }
  void expect_events(const Consumer::Options& options, uint64_t first, uint64_t count, size_t data_bytes) {
    const auto seen = take_events(open_consumer(options), count);
    ASSERT_EQ(seen.size(), 1U);
    const std::vector<SeenEvent>& events = seen.at(0);
    for (size_t i = 0; i < events.size(); ++i) {
      ASSERT_EQ(events[i].id, first + i);
      ASSERT_EQ(events[i].metadata, metadata_of(first + i));
      const std::string data = options.full_data ? pattern(data_bytes, static_cast<uint32_t>(first + i)) : "";
      ASSERT_TRUE(events[i].data == data);
    }
  }
};

TEST_P(CompressedMetadata, ComesBackWholeAndInParts) {
  begin();
  put_topic(1);
  open_compressing_producer(1000);
  produce(5000, 0);
  Consumer::Options options = consumer_options(false);
  expect_events(options, 0, 5000, 0);
  options.starts[0].position = 4321;
  expect_events(options, 4321, 679, 0);
  options.starts[0].position = 0;
  options.batch_events = 7;
  expect_events(options, 0, 5000, 0);
  options.starts[0].position = 999;
  expect_events(options, 999, 2001, 0);
}

TEST_P(CompressedMetadata, ComesBackWithDataInlineAndByRma) {
  begin();
  put_topic(1);
  open_compressing_producer(100);
  produce(400, 100);
  expect_events(consumer_options(true), 0, 400, 100);
}

TEST_P(CompressedMetadata, ComesBackWithLargeData) {
  begin();
  put_topic(1);
  open_compressing_producer(20);
  produce(60, 300'000);
  expect_events(consumer_options(true), 0, 60, 300'000);
}

// More than a message holds even when it is compressed.
TEST_P(CompressedMetadata, LargerThanAMessageGoesToAWindow) {
  begin();
  put_topic(1);
  open_compressing_producer(200);
  std::vector<std::string> texts;
  for (uint32_t n = 0; n < 200; ++n) {
    std::string text;
    for (const char c : pattern(2000, n)) text += "0123456789abcdef"[static_cast<uint8_t>(c) % 16];
    texts.push_back(text);
    ASSERT_EQ(push(*producer_, 0, text).code, ErrorCode::kOk);
  }
  flush();
  const auto seen = take_events(open_consumer(consumer_options(false)), 200);
  for (size_t i = 0; i < 200; ++i) ASSERT_EQ(seen.at(0)[i].metadata, texts[i]);
}

TEST_P(CompressedMetadata, IsStoredCompressedAndSurvivesARestart) {
  const std::string directory = make_directory();
  start_servers(1, directory);
  begin();
  put_topic(1, wire::ManagerKind::kLog);
  open_compressing_producer(1000);
  produce(20000, 0);
  restart(directory);
  Consumer::Options options = consumer_options(false);
  expect_events(options, 0, 20000, 0);
  options.starts[0].position = 12345;
  options.batch_events = 100;
  expect_events(options, 12345, 7655, 0);
}

TEST_P(CompressedMetadata, IncompressibleAndTinyBatchesStayAsTheyAre) {
  begin();
  put_topic(1);
  open_compressing_producer(1);
  for (uint32_t n = 0; n < 50; ++n) {
    ASSERT_EQ(push(*producer_, 0, n % 2 == 0 ? metadata_of(n) : pattern(2000, n)).code, ErrorCode::kOk);
  }
  flush();
  const auto seen = take_events(open_consumer(consumer_options(false)), 50);
  for (uint32_t n = 0; n < 50; ++n) {
    EXPECT_TRUE(seen.at(0)[n].metadata == (n % 2 == 0 ? metadata_of(n) : pattern(2000, n)));
  }
}

INSTANTIATE_TEST_SUITE_P(Providers, CompressedMetadata, ::testing::Values("local", "tcp"),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace diaspora::server
