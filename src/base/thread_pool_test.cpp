#include "base/thread_pool.h"

#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace sgl {
namespace {

TEST(ThreadPool, CoversEveryIndexOnce) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int64_t n : {0, 1, 2, 7, 64, 1000}) {
      for (int64_t grain : {1, 3, 100}) {
        std::vector<std::atomic<int>> hits(static_cast<size_t>(n));
        pool.parallel_for(n, grain, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) hits[static_cast<size_t>(i)].fetch_add(1);
        });
        for (auto& h : hits) EXPECT_EQ(h.load(), 1);
      }
    }
  }
}

TEST(ThreadPool, WakesParkedWorkers) {
  ThreadPool pool(3);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(round % 4));
    std::atomic<int64_t> sum{0};
    pool.parallel_for(100, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) sum += i;
    });
    EXPECT_EQ(sum.load(), 4950);
  }
}

TEST(ThreadPool, RunsManyLoopsBackToBack) {
  ThreadPool pool(2);
  std::vector<int64_t> values(256);
  for (int round = 0; round < 20000; ++round) {
    pool.parallel_for(256, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++values[static_cast<size_t>(i)];
    });
  }
  for (int64_t v : values) EXPECT_EQ(v, 20000);
}

TEST(ThreadPool, ALoopDoesNotWaitForWorkersThatNeverCame) {
  // Far more workers than cores: most come too late for a loop of two short pieces.
  ThreadPool pool(16);
  std::atomic<int64_t> sum{0};
  for (int round = 0; round < 500; ++round) {
    pool.parallel_for(2, 1, [&](int64_t begin, int64_t end) { sum += end - begin; });
  }
  EXPECT_EQ(sum.load(), 1000);
}

TEST(ThreadPool, WhoIsDoneTakesOverFromTheOthers) {
  // The caller's first piece waits for all the rest, most of the caller's share included.
  ThreadPool pool(2);
  std::atomic<int> done{0};
  pool.parallel_for(100, 1, [&](int64_t begin, int64_t) {
    if (begin == 0) {
      while (done.load() < 99) std::this_thread::yield();
    }
    ++done;
  });
  EXPECT_EQ(done.load(), 100);
}

TEST(ThreadPool, OwnersAndThievesTakeEachPieceOnce) {
  ThreadPool pool(4);
  for (int round = 0; round < 5000; ++round) {
    const int64_t n = 3 + round % 7;
    std::atomic<uint64_t> taken{0}, again{0};
    pool.parallel_for(n, 1, [&](int64_t begin, int64_t) {
      const uint64_t bit = uint64_t{1} << static_cast<uint64_t>(begin);
      if ((taken.fetch_or(bit) & bit) != 0) ++again;
      for (int64_t spin = 0; spin < begin * (round % 3) * 20; ++spin)
        std::atomic_signal_fence(std::memory_order_seq_cst);
    });
    ASSERT_EQ(taken.load(), (uint64_t{1} << static_cast<uint64_t>(n)) - 1) << round;
    ASSERT_EQ(again.load(), 0U) << round;
  }
}

TEST(ThreadPool, EndsAtOnceWithWorkersSpinningOrParked) {
  for (int round = 0; round < 50; ++round) {
    ThreadPool pool(4);
    if (round % 2 == 0) pool.parallel_for(8, 1, [](int64_t, int64_t) {});
  }
}

}  // namespace
}  // namespace sgl
