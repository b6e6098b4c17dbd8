#include "server/worker_pool.h"

#include <atomic>
#include <future>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/eventually.h"

namespace sgl {
namespace {

using Lane = WorkerPool::Lane;
using std::chrono::hours;
using std::chrono::milliseconds;

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
  EXPECT_EQ(output.get_future().wait_for(kPatience), std::future_status::ready);
  EXPECT_LE(running, 2);
  release.set_value();
}

TEST(WorkerPool, OneGrammarAtATimeAndOnAThreadOfItsOwn) {
  WorkerPool pool(2);
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  std::atomic<int> running{0};
  for (int i = 0; i < 3; ++i) {
    pool.post(Lane::Grammar, [&, released] {
      EXPECT_EQ(++running, 1);
      released.wait();
      --running;
    });
  }
  EXPECT_TRUE(eventually([&] { return running == 1; }));
  EXPECT_EQ(pool.num_grammars(), 3);
  std::promise<void> request, output;
  pool.post(Lane::Request, [&] { request.set_value(); });
  pool.post(Lane::Output, [&] { output.set_value(); });
  EXPECT_EQ(request.get_future().wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(output.get_future().wait_for(kPatience), std::future_status::ready);
  release.set_value();
  std::promise<void> last;
  pool.post(Lane::Grammar, [&] { last.set_value(); });
  EXPECT_EQ(last.get_future().wait_for(kPatience), std::future_status::ready);
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
  EXPECT_TRUE(eventually([&] { return count == 4000; }));
}

TEST(WorkerPool, ADelayedJobRunsAfterItsDelayAndNotAfterThoseOfLongerOnes) {
  std::atomic<bool> too_early{false};
  WorkerPool pool(2);
  std::promise<void> ran;
  const auto start = WorkerPool::Clock::now();
  pool.post_after(hours(1), [&] { too_early = true; });
  pool.post_after(milliseconds(20), [&] { ran.set_value(); });
  ASSERT_EQ(ran.get_future().wait_for(kPatience), std::future_status::ready);
  EXPECT_GE(WorkerPool::Clock::now() - start, milliseconds(20));
  EXPECT_FALSE(too_early);
}

TEST(WorkerPool, ACancelledJobNeverRuns) {
  WorkerPool pool(2);
  std::atomic<int> ran{0};
  const auto ticket = pool.post_after(std::chrono::milliseconds(20), [&] { ran += 100; });
  const auto late = pool.post_after(std::chrono::milliseconds(0), [&] { ++ran; });
  pool.cancel(ticket);
  pool.cancel(ticket);
  EXPECT_TRUE(eventually([&] { return ran == 1; }));
  pool.cancel(late);  // its time had come
  std::atomic<bool> after{false};
  pool.post_after(std::chrono::milliseconds(50), [&] { after = true; });
  EXPECT_TRUE(eventually([&] { return after.load(); }));
  EXPECT_EQ(ran, 1);
}

TEST(WorkerPool, AJobThatThrowsEndsNeitherTheProcessNorItsThread) {
  WorkerPool pool(2);
  for (int i = 0; i < 10; ++i) {
    for (const Lane lane : {Lane::Output, Lane::Request, Lane::Grammar}) {
      pool.post(lane, [] { throw std::bad_alloc(); });
    }
  }
  for (const Lane lane : {Lane::Output, Lane::Request, Lane::Grammar}) {
    std::promise<void> ran;
    pool.post(lane, [&] { ran.set_value(); });
    EXPECT_EQ(ran.get_future().wait_for(kPatience), std::future_status::ready);
  }
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
  pool.post_after(hours(1), [&] { ran = true; });
  std::thread stop([&] { pool.stop(); });
  // Requests wait behind the one that runs, until stop() has begun: then they are dropped at once.
  EXPECT_TRUE(eventually([&] {
    const auto held = std::make_shared<int>();
    pool.post(Lane::Request, [&, held] { ran = true; });
    return held.use_count() == 1;
  }));
  release.set_value();
  stop.join();
  pool.post(Lane::Output, [&] { ran = true; });
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace sgl
