#include "server/metrics.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace sgl::metrics {
namespace {

// SGLang's bounds, and finer ones below them: small models answer in milliseconds.
std::vector<double> seconds_to_first_token() {
  return {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1,
          2,     4,     6,     8,    10,   20,   40,  60,  80,  100, 200, 400};
}
std::vector<double> seconds_between_tokens() {
  return {0.0005, 0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035,
          0.04,   0.06,  0.08,  0.1,   0.2,   0.4,   0.6,  0.8,   1,    2,     4,    8};
}
std::vector<double> seconds_of_requests() {
  return {0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 20, 40, 60, 80, 100, 200, 400, 600, 1200};
}
std::vector<double> seconds_of_waiting() {
  return {0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 10, 15, 20, 30, 60, 120, 300};
}
std::vector<double> lengths_in_tokens() {
  return {1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072};
}

double seconds(SampleMeter::Clock::duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), counts_(std::make_unique<std::atomic<int64_t>[]>(bounds_.size() + 1)) {
  SGL_ASSERT(std::is_sorted(bounds_.begin(), bounds_.end()), "a histogram's bounds do not rise");
}

void Histogram::observe(double x, int64_t times) {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), x) - bounds_.begin();
  counts_[static_cast<size_t>(bucket)].fetch_add(times, std::memory_order_relaxed);
  sum_.fetch_add(x * static_cast<double>(times), std::memory_order_relaxed);
}

std::vector<int64_t> Histogram::counts() const {
  std::vector<int64_t> out;
  for (size_t i = 0; i <= bounds_.size(); ++i) out.push_back(counts_[i].load(std::memory_order_relaxed));
  return out;
}

void HttpCounters::count(std::string_view route, std::string_view method, int status) {
  std::lock_guard lock(mutex_);
  ++responses_[{route, method, status}];
}

std::map<HttpCounters::Key, int64_t> HttpCounters::responses() const {
  std::lock_guard lock(mutex_);
  return responses_;
}

Metrics::Metrics()
    : time_to_first_token(seconds_to_first_token()),
      inter_token_latency(seconds_between_tokens()),
      e2e_latency(seconds_of_requests()),
      queue_time(seconds_of_waiting()),
      prompt_lengths(lengths_in_tokens()),
      generation_lengths(lengths_in_tokens()) {}

void SampleMeter::piece(Metrics& metrics, const Output& piece, Clock::time_point submitted, Clock::time_point now) {
  const FinishReason::Type finish = piece.finish.type;
  // Tokens that a grammar replaced were counted once; completion_tokens has the true number.
  const int tokens = std::max(piece.completion_tokens - tokens_, 0);
  tokens_ = std::max(tokens_, piece.completion_tokens);
  // One that is aborted while it waits was never admitted: it has no first token and no place in the cache.
  const bool admitted = finish != FinishReason::Type::Abort || tokens_ > 0;
  if (!begun_ && admitted) {
    metrics.prompt_tokens.add(piece.prompt_tokens);
    metrics.cached_tokens.add(piece.cached_tokens);
    metrics.prompt_lengths.observe(piece.prompt_tokens);
    metrics.time_to_first_token.observe(seconds(now - submitted));
    metrics.queue_time.observe(piece.queue_time_s);
  } else if (begun_ && tokens > 0) {
    metrics.inter_token_latency.observe(seconds(now - last_) / tokens, tokens);
  }
  begun_ = begun_ || admitted;
  last_ = now;
  metrics.generation_tokens.add(tokens);
  if (finish == FinishReason::Type::Running) return;

  metrics.requests.add();
  if (finish == FinishReason::Type::Abort) metrics.aborted.add();
  if (finish == FinishReason::Type::Stop) metrics.stopped.add();
  if (finish == FinishReason::Type::Length) metrics.reached_length.add();
  metrics.e2e_latency.observe(seconds(now - submitted));
  metrics.generation_lengths.observe(tokens_);
}

}  // namespace sgl::metrics
