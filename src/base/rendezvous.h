#pragma once
// A place where some threads wait for each other, again and again.

#include <atomic>
#include <cstdint>
#include <thread>

namespace sgl {

/// Of as many threads as it is made for. They come often and stay for microseconds, so they spin before they yield.
class Rendezvous {
 public:
  explicit Rendezvous(int threads) : threads_(threads) {}

  struct Result {
    bool met;         ///< false: cancel() was called, by a thread that will not come
    uint32_t number;  ///< of the meeting, the same for all; they rise by one
  };
  /// Waits until all have come. What each wrote before is seen by all afterwards.
  Result meet() {
    const uint32_t number = number_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
      arrived_.store(0, std::memory_order_relaxed);
      number_.store(number + 1, std::memory_order_release);
      return {true, number + 1};
    }
    for (int spins = 0; number_.load(std::memory_order_acquire) == number; ++spins) {
      // Who cancels may have been the last to come to this meeting, before: then it has taken place.
      if (cancelled_.load(std::memory_order_acquire))
        return {number_.load(std::memory_order_acquire) != number, number + 1};
      if (spins > kSpins) std::this_thread::yield();
    }
    return {true, number + 1};
  }

  /// Those who wait, and who come, go without a meeting.
  void cancel() { cancelled_.store(true, std::memory_order_release); }
  /// After cancel(), when nobody is there any more.
  void restart() {
    arrived_.store(0, std::memory_order_relaxed);
    cancelled_.store(false, std::memory_order_release);
  }

 private:
  static constexpr int kSpins = 10'000;
  const int threads_;
  std::atomic<int> arrived_{0};
  std::atomic<uint32_t> number_{0};
  std::atomic<bool> cancelled_{false};
};

}  // namespace sgl
