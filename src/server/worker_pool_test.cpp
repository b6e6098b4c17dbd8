#include "server/worker_pool.h"

#include <atomic>
#include <future>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace sgl {
namespace {

using Lane = WorkerPool::Lane;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(WorkerPool, OutputsAreServedWhileRequestsBlockAllOtherThreads) {
  WorkerPool pool(3);
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  std::atomic<int> running{0};
  for (int i = 0; i < 10; ++i) {
    pool.post(Lane::Request, [&, released] {
      ++running;
      released.wait();
    });
  }
  std::promise<void> output;
  pool.post(Lane::Output, [&] { output.set_value(); });
  EXPECT_EQ(output.get_future().wait_for(seconds(10)), std::future_status::ready);
  EXPECT_LE(running, 2);
  release.set_value();
}

TEST(WorkerPool, EveryJobRunsOnce) {
  WorkerPool pool(4);
  std::atomic<int> count{0};
  std::vector<std::thread> posters;
  for (int t = 0; t < 4; ++t) {
    posters.emplace_back([&, t] {
      for (int i = 0; i < 1000; ++i) pool.post(t % 2 == 0 ? Lane::Output : Lane::Request, [&] { ++count; });
    });
  }
  for (std::thread& t : posters) t.join();
  for (int i = 0; i < 10'000 && count < 4000; ++i) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_EQ(count, 4000);
}

TEST(WorkerPool, DelayedJobsWaitAndKeepTheirOrder) {
  WorkerPool pool(2);
  std::promise<void> both;
  std::vector<int> order;
  const auto start = WorkerPool::Clock::now();
  pool.post_after(milliseconds(40), [&] {
    order.push_back(2);
    both.set_value();
  });
  pool.post_after(milliseconds(5), [&] { order.push_back(1); });
  ASSERT_EQ(both.get_future().wait_for(seconds(10)), std::future_status::ready);
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  EXPECT_GE(WorkerPool::Clock::now() - start, milliseconds(40));
}

TEST(WorkerPool, StopDropsWhatWaitsAndTakesNoMore) {
  WorkerPool pool(2);
  std::promise<void> started, release;
  pool.post(Lane::Request, [&] {
    started.set_value();
    release.get_future().wait();
  });
  started.get_future().wait();
  bool ran = false;
  pool.post(Lane::Request, [&] { ran = true; });
  pool.post_after(seconds(100), [&] { ran = true; });
  std::thread stop([&] { pool.stop(); });
  std::this_thread::sleep_for(milliseconds(10));
  release.set_value();
  stop.join();
  pool.post(Lane::Output, [&] { ran = true; });
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace sgl
