#include "base/thread_pool.h"

#include <algorithm>
#include <limits>
#include <sched.h>
#include <thread>

#include "base/thread_name.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sgl {
namespace {

void pause_cpu() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// About 50–100 µs of pauses: longer than the host's work between two ops, shorter than a step's idle gap.
constexpr int kSpins = 2000;

// Bits of loop_.
constexpr uint64_t kJoined = 0xffff;
constexpr uint64_t kOpen = 0x10000;
constexpr uint64_t kOneLoop = 0x20000;

// A loop that a worker which took part in `seen` may join.
bool may_join(uint64_t loop, uint64_t seen) { return (loop & kOpen) != 0 && loop / kOneLoop != seen; }

// A share's pieces that nobody has taken yet, [first, end): `first` in the low half.
uint32_t first_of(uint64_t left) { return static_cast<uint32_t>(left); }
uint32_t end_of(uint64_t left) { return static_cast<uint32_t>(left >> 32U); }
uint64_t pieces_left(uint64_t first, uint64_t end) { return first | end << 32U; }

}  // namespace

ThreadPool::ThreadPool(int threads) : shares_(std::make_unique<Share[]>(static_cast<size_t>(std::max(threads, 1)))) {
  workers_.reserve(static_cast<size_t>(std::max(threads - 1, 0)));
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { worker_main(i); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (std::thread& t : workers_) t.join();
}

// Takes a thread's own pieces from the front, and then what is left of the others' from the back.
void ThreadPool::work(const LoopBody& body, int self) {
  for (int i = 0; i < threads(); ++i) {
    const bool own = i == 0;
    std::atomic<uint64_t>& share = shares_[static_cast<size_t>((self + i) % threads())].left;
    uint64_t left = share.load(std::memory_order_relaxed);
    while (first_of(left) < end_of(left)) {
      const uint32_t first = first_of(left), end = end_of(left);
      const int64_t piece = own ? first : end - 1;
      const uint64_t rest = own ? pieces_left(first + 1, end) : pieces_left(first, end - 1);
      if (!share.compare_exchange_weak(left, rest, std::memory_order_relaxed)) continue;
      body(piece * grain_, std::min((piece + 1) * grain_, n_));
      left = share.load(std::memory_order_relaxed);
    }
  }
}

void ThreadPool::run(int64_t n, int64_t grain, LoopBody body) {
  body_ = &body;
  n_ = n;
  // Pieces are counted in 32 bits.
  grain_ = std::max(grain, n / std::numeric_limits<int32_t>::max() + 1);
  const int64_t pieces = (n + grain_ - 1) / grain_;
  for (int t = 0; t < threads(); ++t) {
    // Rounded up: what is over goes to the caller, who is certain to be there.
    const auto begin_of = [&](int64_t share) {
      return static_cast<uint64_t>((pieces * share + threads() - 1) / threads());
    };
    const uint64_t first = begin_of(t), end = begin_of(t + 1);
    shares_[static_cast<size_t>(t)].left.store(pieces_left(first, end), std::memory_order_relaxed);
  }
  const uint64_t number = loop_.load(std::memory_order_relaxed) / kOneLoop + 1;
  loop_.store(number * kOneLoop | kOpen, std::memory_order_seq_cst);
  // A worker raises parked_ before its last look at loop_: either it sees the new loop or we see it parked.
  if (parked_.load(std::memory_order_seq_cst) > 0) {
    { std::lock_guard lock(mutex_); }
    wake_.notify_all();
  }
  work(body, 0);
  loop_.fetch_and(~kOpen, std::memory_order_acq_rel);
  for (int spins = 0; (loop_.load(std::memory_order_acquire) & kJoined) != 0; ++spins) {
    pause_cpu();
    if (spins > kSpins) std::this_thread::yield();  // more threads than cores: let the worker run
  }
}

void ThreadPool::worker_main(int self) {
  name_thread("sgl-compute");
  uint64_t seen = 0;  // number of the last loop joined
  while (true) {
    uint64_t loop = loop_.load(std::memory_order_acquire);
    for (int spins = 0; !may_join(loop, seen) && spins < kSpins; ++spins) {
      pause_cpu();
      loop = loop_.load(std::memory_order_acquire);
    }
    if (!may_join(loop, seen)) {
      std::unique_lock lock(mutex_);
      parked_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, [&] { return stop_.load() || may_join(loop_.load(std::memory_order_seq_cst), seen); });
      parked_.fetch_sub(1, std::memory_order_seq_cst);
      if (stop_.load()) return;
      continue;
    }
    if (!loop_.compare_exchange_weak(loop, loop + 1, std::memory_order_acq_rel)) continue;
    seen = loop / kOneLoop;
    work(*body_, self);
    loop_.fetch_sub(1, std::memory_order_release);
  }
}

int default_compute_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

}  // namespace sgl
