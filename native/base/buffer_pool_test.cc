#include "base/buffer_pool.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>
#include <vector>

namespace diaspora {
namespace {

TEST(BufferPool, buffers_are_page_aligned_and_do_not_overlap) {
  const auto pool = BufferPool::create(size_t{16} << 20);
  std::vector<BufferRef> buffers;
  for (size_t bytes : {1UL, 4096UL, 4097UL, 1'000'000UL}) {
    Result<BufferRef> buffer = pool->allocate(bytes);
    ASSERT_TRUE(buffer);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.value()->data()) % BufferPool::kPageBytes, 0U);
    EXPECT_GE(buffer.value()->size(), bytes);
    for (const BufferRef& other : buffers) {
      const bool apart = other->data() + other->size() <= buffer.value()->data() ||
                         buffer.value()->data() + buffer.value()->size() <= other->data();
      EXPECT_TRUE(apart);
    }
    buffers.push_back(buffer.take());
  }
}

TEST(BufferPool, refuses_above_its_bound_and_recovers) {
  const auto pool = BufferPool::create(8192);
  BufferRef first = pool->allocate(8192).take();
  const Result<BufferRef> refused = pool->allocate(1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::k_RESOURCE_EXHAUSTED);
  first.reset();
  EXPECT_EQ(pool->bytes_used(), 0U);
  EXPECT_TRUE(pool->allocate(8192));
}

TEST(BufferPool, a_buffer_above_the_arena_size_gets_memory_of_its_own) {
  const auto pool = BufferPool::create(size_t{1} << 30);
  BufferRef large = pool->allocate(BufferPool::kArenaBytes + 1).take();
  large->data()[large->size() - 1] = 1;
  EXPECT_GE(large->arena().bytes, BufferPool::kArenaBytes + 1);
  large.reset();
  EXPECT_EQ(pool->bytes_used(), 0U);
}

// Neighbours are merged on release, in whatever order: the whole arena can be had again.
TEST(BufferPool, releases_in_any_order_leave_no_fragments) {
  const auto pool = BufferPool::create(BufferPool::kArenaBytes);
  std::mt19937 random(11);
  for (int round = 0; round < 20; ++round) {
    std::vector<BufferRef> buffers;
    while (true) {
      Result<BufferRef> buffer = pool->allocate(size_t{4096} << (random() % 9));
      if (!buffer) break;
      buffers.push_back(buffer.take());
    }
    std::shuffle(buffers.begin(), buffers.end(), random);
    buffers.clear();
    ASSERT_EQ(pool->bytes_used(), 0U);
    ASSERT_TRUE(pool->allocate(BufferPool::kArenaBytes));
  }
}

TEST(BufferPool, serves_several_threads) {
  const auto pool = BufferPool::create(size_t{64} << 20);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        const BufferRef buffer = pool->allocate(size_t{4096} * static_cast<size_t>(1 + (i + t) % 7)).take();
        buffer->data()[0] = static_cast<uint8_t>(t);
        ASSERT_EQ(buffer->data()[0], t);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(pool->bytes_used(), 0U);
}

}  // namespace
}  // namespace diaspora
