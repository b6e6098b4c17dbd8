#include "base/rendezvous.h"

#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace sgl {
namespace {

TEST(Rendezvous, AllSeeWhatEachWroteBefore) {
  constexpr int kThreads = 3, kMeetings = 500;
  Rendezvous rendezvous(kThreads);
  std::vector<int> written(kThreads, 0);
  std::vector<std::thread> threads;
  std::vector<int> wrong(kThreads, 0);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 1; i <= kMeetings; ++i) {
        written[static_cast<size_t>(t)] = i;
        const auto [met, number] = rendezvous.meet();
        if (!met || number != static_cast<uint32_t>(2 * i - 1)) ++wrong[static_cast<size_t>(t)];
        for (const int each : written) wrong[static_cast<size_t>(t)] += each == i ? 0 : 1;
        rendezvous.meet();  // all have read
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, std::vector<int>(kThreads, 0));
}

TEST(Rendezvous, NobodyWaitsForOneThatCancels) {
  Rendezvous rendezvous(3);
  for (int round = 0; round < 100; ++round) {
    std::vector<int> met(2, -1);
    std::vector<std::thread> waiting;
    for (size_t t = 0; t < 2; ++t) {
      waiting.emplace_back([&, t] { met[t] = rendezvous.meet().met ? 1 : 0; });
    }
    rendezvous.cancel();
    for (std::thread& t : waiting) t.join();
    EXPECT_EQ(met, std::vector<int>(2, 0));
    rendezvous.restart();
  }
}

// One that comes to a meeting and cancels right after it: the other has met it, whenever it looks.
TEST(Rendezvous, AMeetingThatTookPlaceCounts) {
  Rendezvous rendezvous(2);
  for (int round = 0; round < 500; ++round) {
    bool met = false;
    std::thread other([&] { met = rendezvous.meet().met; });
    const bool own = rendezvous.meet().met;
    rendezvous.cancel();
    other.join();
    EXPECT_TRUE(own);
    EXPECT_TRUE(met) << round;
    rendezvous.restart();
  }
}

}  // namespace
}  // namespace sgl
