#include "client/registration_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/batch_test_kit.h"

namespace diaspora::client {
namespace {

class RegistrationCacheTest : public ::testing::Test {
 protected:
  using Memory = std::shared_ptr<std::string>;
  using Region = std::shared_ptr<fabric::MemoryRegion>;

  void SetUp() override {
    domain_ = open_local_domain();
    ASSERT_NE(domain_, nullptr);
    cache_ = std::make_unique<RegistrationCache>(&reactor_, domain_.get(), 3000);
  }
  Region get(const Memory& memory, size_t bytes = 1000) {
    auto region = cache_->region_of(reinterpret_cast<const uint8_t*>(memory->data()), bytes, memory);
    EXPECT_TRUE(region.ok());
    return region.ok() ? region.take() : nullptr;
  }
  static Memory make() { return std::make_shared<std::string>(5000, 'x'); }

  Reactor reactor_;
  std::unique_ptr<fabric::Domain> domain_;
  std::unique_ptr<RegistrationCache> cache_;
};

TEST_F(RegistrationCacheTest, TheSameMemoryIsRegisteredOnce) {
  const Memory memory = make();
  const uint64_t key = get(memory)->key();
  EXPECT_EQ(get(memory)->key(), key);
  EXPECT_EQ(cache_->entries(), 1u);
  EXPECT_EQ(cache_->bytes(), 1000u);
  EXPECT_NE(get(memory, 999)->key(), key) << "another length is another registration";
}

TEST_F(RegistrationCacheTest, TheOneUsedLongestAgoGoesFirstButNoneThatIsInUse) {
  const std::vector<Memory> memory{make(), make(), make(), make()};
  const Region used = get(memory[0]);
  const uint64_t second = get(memory[1])->key();
  const uint64_t third = get(memory[2])->key();
  EXPECT_EQ(get(memory[1])->key(), second);
  static_cast<void>(get(memory[3]));
  EXPECT_EQ(cache_->bytes(), 3000u);
  EXPECT_EQ(get(memory[0])->key(), used->key());
  EXPECT_EQ(get(memory[1])->key(), second);
  EXPECT_NE(get(memory[2])->key(), third);
}

TEST_F(RegistrationCacheTest, WhatIsLargerThanTheBoundIsNotKept) {
  const Memory memory = make();
  const uint64_t key = get(memory, 4000)->key();
  EXPECT_EQ(cache_->entries(), 0u);
  EXPECT_NE(get(memory, 4000)->key(), key);
}

TEST_F(RegistrationCacheTest, MemoryThatIsGoneIsForgotten) {
  Memory memory = make();
  Region used = get(memory);
  memory.reset();
  const Memory other = make();
  static_cast<void>(get(other));
  EXPECT_EQ(cache_->entries(), 2u) << "in use";
  used.reset();
  std::thread thread([&] { reactor_.run(); });
  for (bool gone = false; !gone;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    std::atomic<int> entries{0};
    reactor_.post([&] { entries = static_cast<int>(cache_->entries()); });
    while (entries == 0) std::this_thread::yield();
    gone = entries == 1;
  }
  reactor_.stop();
  thread.join();
}

TEST_F(RegistrationCacheTest, AnotherOwnerAtTheSamePlaceIsAnotherMemory) {
  const Memory memory = make();
  const uint64_t key = get(memory)->key();
  // As when memory was freed and given out anew.
  const std::shared_ptr<void> other(memory->data(), [](void*) {});
  auto region = cache_->region_of(reinterpret_cast<const uint8_t*>(memory->data()), 1000, other);
  ASSERT_TRUE(region.ok());
  EXPECT_NE(region.value()->key(), key);
}

}  // namespace
}  // namespace diaspora::client
