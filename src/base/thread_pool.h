#pragma once
// Threads for compute: one parallel loop at a time, with the calling thread taking part.
//
// Workers spin for some microseconds after a loop, since the next one usually follows at once, and then park, so that
// an idle process uses no processor time. A loop waits only for workers that joined it: one that the system has not run
// yet, on a busy machine, comes too late and delays nobody.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace sgl {

/// Non-owning reference to a callable: two pointers, no allocation. The callable must outlive the call.
class LoopBody {
 public:
  template <typename F>
  explicit LoopBody(F& f)
      : object_(&f), call_([](void* o, int64_t begin, int64_t end) { (*static_cast<F*>(o))(begin, end); }) {}
  void operator()(int64_t begin, int64_t end) const { call_(object_, begin, end); }

 private:
  void* object_;
  void (*call_)(void*, int64_t, int64_t);
};

class ThreadPool {
 public:
  /// `threads` counts the caller: 1 makes no thread at all.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls body(begin, end) for pieces that cover [0, n) once, each piece `grain` long at most (of more than 2^31 such
  /// pieces more); returns when all are done. Each thread has a share of them, neighbours, the same at each call; who
  /// is done takes over from the others, so results must not depend on who runs what. Runs inline when one piece covers
  /// all. Thread: one caller at a time; not from inside a body. A body must not throw.
  template <typename F>
  void parallel_for(int64_t n, int64_t grain, F&& body) {
    if (n <= grain || workers_.empty()) {
      if (n > 0) body(int64_t{0}, n);
      return;
    }
    run(n, grain, LoopBody(body));
  }

 private:
  void run(int64_t n, int64_t grain, LoopBody body);
  void work(const LoopBody& body, int self);
  void worker_main(int self);

  std::vector<std::thread> workers_;
  // The current loop. Written by run() before loop_ opens, read by workers that joined.
  const LoopBody* body_ = nullptr;
  int64_t n_ = 0, grain_ = 1;
  struct alignas(64) Share {
    std::atomic<uint64_t> left{0};
  };
  std::unique_ptr<Share[]> shares_;  ///< the caller's, then the workers'
  /// Which loop it is (counted from 1), whether workers may still join, how many have joined and not left.
  alignas(64) std::atomic<uint64_t> loop_{0};
  std::atomic<int> parked_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<bool> stop_{false};
};

/// Compute threads that suit this machine: the cores this process may use, at least 1.
int default_compute_threads();

}  // namespace sgl
