#include "partition/storage.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "base/crc32c.h"
#include "log/file.h"
#include "testing/batch_maker.h"
#include "testing/faulty_file.h"
#include "testing/manual_executor.h"

namespace diaspora::partition {
namespace {

using testing::FaultKind;
using testing::FaultyFileSystem;

TopicEntry make_topic(const std::string& name, TopicState state = TopicState::kActive) {
  TopicEntry topic;
  topic.name = name;
  topic.uuid = Uuid::random();
  topic.state = state;
  topic.partition_count = 3;
  topic.placement = {1, 2, 3};
  topic.config = R"({"validator":{"type":"schema"}})";
  return topic;
}

StorageOptions options_for(log::FileSystem* files) {
  StorageOptions options;
  options.pool = BufferPool::create(size_t{16} << 20);
  options.file_system = files;
  return options;
}

class TemporaryDirectory {
 public:
  TemporaryDirectory() : path_(std::filesystem::temp_directory_path() / "diaspora-storage-XXXXXX") {
    EXPECT_NE(mkdtemp(path_.data()), nullptr);
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(Storage, KeepsItsIdentityAndTopicsInPrivateFiles) {
  const TemporaryDirectory scratch;
  const std::string directory = scratch.path() + "/a/b";
  const TopicEntry topic = make_topic("one");
  Uuid server;
  {
    auto storage = Storage::open(directory, options_for(nullptr));
    ASSERT_TRUE(storage.ok()) << storage.error().message;
    EXPECT_TRUE(storage.value()->report().created);
    server = storage.value()->server_uuid();
    ASSERT_TRUE(storage.value()->put(topic).ok());
  }
  auto storage = Storage::open(directory, options_for(nullptr));
  ASSERT_TRUE(storage.ok());
  EXPECT_FALSE(storage.value()->report().created);
  EXPECT_EQ(storage.value()->server_uuid(), server);
  EXPECT_EQ(storage.value()->entries(), std::vector<TopicEntry>{topic});
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    struct stat info{};
    ASSERT_EQ(stat(entry.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, entry.is_directory() ? 0700U : 0600U) << entry.path();
  }
}

TEST(Storage, ASecondServerIsToldWhoHasTheDirectory) {
  const TemporaryDirectory scratch;
  auto first = Storage::open(scratch.path(), options_for(nullptr));
  ASSERT_TRUE(first.ok());
  const auto second = Storage::open(scratch.path(), options_for(nullptr));
  ASSERT_EQ(second.error().code, ErrorCode::k_DIRECTORY_LOCKED);
  EXPECT_NE(second.error().message.find(std::to_string(getpid())), std::string::npos) << second.error().message;
  first.value().reset();
  EXPECT_TRUE(Storage::open(scratch.path(), options_for(nullptr)).ok());
}

TEST(Storage, ADirectoryThatCannotBeMadeIsNotWritable) {
  const TemporaryDirectory scratch;
  std::ofstream(scratch.path() + "/file") << "not a directory";
  const auto storage = Storage::open(scratch.path() + "/file/data", options_for(nullptr));
  ASSERT_EQ(storage.error().code, ErrorCode::k_NOT_WRITABLE);
  EXPECT_NE(storage.error().message.find(scratch.path() + "/file/data"), std::string::npos);
}

TEST(Storage, AnotherFormatVersionIsRefusedWithBothNamed) {
  FaultyFileSystem files;
  ASSERT_TRUE(Storage::open("/data", options_for(&files)).ok());
  std::vector<uint8_t> identity = files.contents("/data/identity");
  identity[4] = 9;
  const uint32_t crc = crc32c(std::span(identity).first(identity.size() - 4));
  std::memcpy(&identity[identity.size() - 4], &crc, sizeof(crc));
  files.set_contents("/data/identity", identity);
  const auto storage = Storage::open("/data", options_for(&files));
  ASSERT_EQ(storage.error().code, ErrorCode::k_VERSION_MISMATCH);
  EXPECT_NE(storage.error().message.find("version 9"), std::string::npos);
  EXPECT_NE(storage.error().message.find("version 1"), std::string::npos);
}

TEST(Storage, EachDamagedByteOfIdentityAndCatalogueIsNoticed) {
  FaultyFileSystem files;
  {
    auto storage = Storage::open("/data", options_for(&files));
    ASSERT_TRUE(storage.ok());
    ASSERT_TRUE(storage.value()->put(make_topic("one")).ok());
  }
  for (const char* path : {"/data/identity", "/data/catalogue"}) {
    const std::vector<uint8_t> whole = files.contents(path);
    for (size_t at = 0; at < whole.size(); ++at) {
      std::vector<uint8_t> damaged = whole;
      damaged[at] ^= 0x20;
      files.set_contents(path, damaged);
      EXPECT_EQ(Storage::open("/data", options_for(&files)).error().code, ErrorCode::k_CORRUPT_LOG) << path << at;
      damaged.resize(at);
      files.set_contents(path, damaged);
      EXPECT_FALSE(Storage::open("/data", options_for(&files)).ok()) << path << at;
    }
    files.set_contents(path, whole);
  }
  ASSERT_TRUE(files.remove_file("/data/identity").ok());
  EXPECT_EQ(Storage::open("/data", options_for(&files)).error().code, ErrorCode::k_CORRUPT_LOG);
}

TEST(Storage, ATopicNameIsUniqueAmongLiveTopics) {
  auto storage = Storage::open("", options_for(nullptr));
  ASSERT_TRUE(storage.ok());
  TopicEntry first = make_topic("one");
  ASSERT_TRUE(storage.value()->put(first).ok());
  EXPECT_EQ(storage.value()->put(make_topic("one")).code(), ErrorCode::k_TOPIC_EXISTS);
  first.state = TopicState::kDeleting;
  EXPECT_TRUE(storage.value()->put(first).ok());
  EXPECT_TRUE(storage.value()->put(make_topic("one")).ok());
  EXPECT_EQ(storage.value()->entries().size(), 2U);
  EXPECT_TRUE(storage.value()->remove(first.uuid).ok());
  EXPECT_TRUE(storage.value()->remove(first.uuid).ok());
  EXPECT_EQ(storage.value()->entries().size(), 1U);
}

// The machine stops at each call of a change and loses power: the catalogue is the old one or the new one, and the new
// one when the change was answered with success.
TEST(Storage, ACatalogueChangeIsAllOrNothingUnderPowerCuts) {
  bool reached_end = false;
  for (uint64_t call = 1; !reached_end; ++call) {
    for (uint64_t seed = 1; seed <= 8; ++seed) {
      SCOPED_TRACE("call " + std::to_string(call) + ", seed " + std::to_string(seed));
      FaultyFileSystem files;
      std::mt19937_64 random(seed);
      const TopicEntry old_topic = make_topic("old");
      const TopicEntry new_topic = make_topic("new");
      bool answered = false;
      {
        auto storage = Storage::open("/data", options_for(&files));
        ASSERT_TRUE(storage.ok());
        ASSERT_TRUE(storage.value()->put(old_topic).ok());
        files.fail_at(call, FaultKind::kDead, true);
        answered = storage.value()->put(new_topic).ok();
        reached_end = !files.fault_fired();
        EXPECT_EQ(storage.value()->entries().size(), answered ? 2U : 1U);
      }
      files.clear_faults();
      files.power_cut(&random, static_cast<double>(seed % 3) / 2);
      auto storage = Storage::open("/data", options_for(&files));
      ASSERT_TRUE(storage.ok()) << storage.error().message;
      const std::vector<TopicEntry> entries = storage.value()->entries();
      ASSERT_GE(entries.size(), answered ? 2U : 1U);
      EXPECT_EQ(entries[0], old_topic);
      if (entries.size() > 1) {
        EXPECT_EQ(entries[1], new_topic);
      }
    }
  }
}

TEST(Storage, RemovesAndReportsDirectoriesThatNoTopicOwns) {
  FaultyFileSystem files;
  testing::ManualExecutor executor;
  const TopicEntry known = make_topic("known");
  const TopicEntry unknown = make_topic("unknown");
  {
    auto storage = Storage::open("/data", options_for(&files));
    ASSERT_TRUE(storage.ok());
    ASSERT_TRUE(storage.value()->put(known).ok());
    ASSERT_TRUE(storage.value()->open_partition(known, PartitionIndex(0), &executor).ok());
    ASSERT_TRUE(storage.value()->open_partition(unknown, PartitionIndex(0), &executor).ok());
  }
  auto storage = Storage::open("/data", options_for(&files));
  ASSERT_TRUE(storage.ok());
  EXPECT_EQ(storage.value()->report().leftovers_removed,
            std::vector<std::string>{"/data/topics/" + unknown.uuid.to_string()});
  ASSERT_TRUE(storage.value()->remove_partition_files(known.uuid).ok());
  ASSERT_TRUE(storage.value()->remove_partition_files(known.uuid).ok());
  EXPECT_TRUE(files.list("/data/topics").value().empty());
}

TEST(Storage, ChecksThePartitionIndexAndGivesMemoryPartitionsWithoutFiles) {
  testing::ManualExecutor executor;
  auto storage = Storage::open("", options_for(nullptr));
  ASSERT_TRUE(storage.ok());
  EXPECT_TRUE(storage.value()->in_memory());
  const TopicEntry topic = make_topic("one");
  EXPECT_TRUE(storage.value()->open_partition(topic, PartitionIndex(2), &executor).ok());
  EXPECT_EQ(storage.value()->open_partition(topic, PartitionIndex(3), &executor).error().code,
            ErrorCode::k_INVALID_PARTITION);
}

// The whole path on the real file system, with its direct input and output.
TEST(Storage, APartitionLivesInRealFiles) {
  const TemporaryDirectory scratch;
  testing::ManualExecutor executor;
  const TopicEntry topic = make_topic("one");
  for (int round = 0; round < 2; ++round) {
    StorageOptions options = options_for(nullptr);
    options.segment_bytes = uint64_t{1} << 20;
    auto storage = Storage::open(scratch.path(), options);
    ASSERT_TRUE(storage.ok());
    ASSERT_TRUE(storage.value()->put(topic).ok());
    auto opened = storage.value()->open_partition(topic, PartitionIndex(0), &executor);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    Partition& partition = *opened.value().partition;
    const uint64_t before = partition.next_id().value;
    EXPECT_EQ(before, round == 0 ? 0U : 20U);
    int answered = 0;
    for (int i = 0; i < 20; ++i) {
      partition.append(testing::make_batch(*options.pool, {{"{}", std::string(300000, 'x')}}, {}),
                       [&](const auto& outcome) {
                         ASSERT_TRUE(outcome.ok()) << outcome.error().message;
                         ++answered;
                       });
      executor.run_until([&] { return answered == i + 1; });
    }
    partition.release_cache(SIZE_MAX);
    size_t reads = 0;
    for (uint64_t id = 0; id < partition.next_id().value; ++id) {
      partition.read(EventId(id), [&](const auto& batch) {
        ASSERT_TRUE(batch.ok()) << batch.error().message;
        bool whole = false;
        EXPECT_EQ(testing::unpack(batch.value(), &whole)[0].data.size(), 300000U);
        EXPECT_TRUE(whole);
        ++reads;
      });
      executor.run_until([&] { return reads == id + 1; });
    }
    EXPECT_EQ(reads, before + 20);
    if (round == 1) {
      bool closed = false;
      partition.close([&](const Status& status) { closed = status.ok(); });
      executor.run_until([&] { return closed; });
    }
  }
}

// As an older program wrote it: without retention.
TEST(Storage, ReadsACatalogueOfVersion1) {
  FaultyFileSystem files;
  TopicEntry topic = make_topic("old");
  topic.retention = {1, 2};
  {
    auto storage = Storage::open("/data", options_for(&files));
    ASSERT_TRUE(storage.ok());
    ASSERT_TRUE(storage.value()->put(topic).ok());
  }
  std::vector<uint8_t> file = files.contents("/data/catalogue");
  file.resize(file.size() - 16);
  file[4] = 1;
  const uint32_t crc = crc32c(std::span(file).subspan(16), crc32c(std::span(file).first(12)));
  std::memcpy(&file[12], &crc, sizeof(crc));
  files.set_contents("/data/catalogue", file);
  topic.retention = {};
  {
    auto storage = Storage::open("/data", options_for(&files));
    ASSERT_TRUE(storage.ok()) << storage.error().message;
    EXPECT_EQ(storage.value()->entries(), std::vector<TopicEntry>{topic});
    topic.state = TopicState::kComplete;
    topic.retention = {0, 7};
    ASSERT_TRUE(storage.value()->put(topic).ok());
  }
  EXPECT_EQ(files.contents("/data/catalogue")[4], 2);
  auto storage = Storage::open("/data", options_for(&files));
  ASSERT_TRUE(storage.ok());
  EXPECT_EQ(storage.value()->entries(), std::vector<TopicEntry>{topic});
}

}  // namespace
}  // namespace diaspora::partition
