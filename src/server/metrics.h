#pragma once
// What the server counts while it works, for /metrics.
//
// The scheduler's thread updates most of it between two steps, so there are no locks there: counters and buckets are
// relaxed atomics. A reader may see an observation in one number and not in another yet; Prometheus allows that.

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <tuple>
#include <vector>

#include "sgl/request.h"

namespace sgl::metrics {

/// Only ever rises. Any thread.
class Counter {
 public:
  void add(int64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

/// How many observations were at most as large as each of some bounds. Any thread, no lock: some 10 ns an observation.
class Histogram {
 public:
  /// `bounds` rise strictly; beyond the last one there is a bucket without a bound.
  explicit Histogram(std::vector<double> bounds);

  /// Counts `x` as often as `times` says.
  void observe(double x, int64_t times = 1);

  const std::vector<double>& bounds() const { return bounds_; }
  /// Observations in each bucket, one more than there are bounds; a bucket's own, not those below it.
  std::vector<int64_t> counts() const;
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  const std::vector<double> bounds_;
  const std::unique_ptr<std::atomic<int64_t>[]> counts_;
  std::atomic<double> sum_{0};
};

/// Answers by route, method and status. Any thread; a lock, since no step waits for it.
class HttpCounters {
 public:
  using Key = std::tuple<std::string_view, std::string_view, int>;  ///< route, method, status

  /// The names must outlive this: they are those of the table of routes.
  void count(std::string_view route, std::string_view method, int status);
  std::map<Key, int64_t> responses() const;

  std::atomic<int64_t> active{0};  ///< requests that are not answered yet

 private:
  mutable std::mutex mutex_;
  std::map<Key, int64_t> responses_;
};

/// All of a server. Samples of health probes and the warm-up request stay out of it.
struct Metrics {
  Metrics();

  Counter requests, aborted;  ///< samples that ended, and those of them that were aborted
  Counter stopped, reached_length;
  Counter prompt_tokens, generation_tokens, cached_tokens;
  Histogram time_to_first_token, inter_token_latency, e2e_latency, queue_time;  ///< seconds
  Histogram prompt_lengths, generation_lengths;                                 ///< tokens
  HttpCounters http;
};

/// Follows one sample of a request from the moment it was submitted. Thread: one at a time.
class SampleMeter {
 public:
  using Clock = std::chrono::steady_clock;

  /// Counts a piece that came at `now`.
  void piece(Metrics& metrics, const Output& piece, Clock::time_point submitted, Clock::time_point now);

 private:
  Clock::time_point last_{};
  int tokens_ = 0;
  bool begun_ = false;
};

}  // namespace sgl::metrics
