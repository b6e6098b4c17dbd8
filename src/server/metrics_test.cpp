#include "server/metrics.h"

#include <numeric>
#include <sstream>
#include <thread>

#include <gtest/gtest.h>

#include "server/prometheus.h"

namespace sgl {
namespace {

using metrics::Histogram;
using metrics::Metrics;
using metrics::SampleMeter;
using std::chrono::milliseconds;

TEST(Histogram, CountsUpToAndIncludingItsBounds) {
  Histogram h({1, 2, 4});
  for (double x : {0.5, 1.0, 1.5, 2.0, 4.0, 4.5}) h.observe(x);
  h.observe(3, 10);
  EXPECT_EQ(h.counts(), (std::vector<int64_t>{2, 2, 11, 1}));
  EXPECT_DOUBLE_EQ(h.sum(), 0.5 + 1 + 1.5 + 2 + 4 + 4.5 + 30);
}

TEST(Histogram, ThreadsLoseNothing) {
  Histogram h({1, 2});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&h] {
      for (int i = 0; i < 10000; ++i) h.observe(i % 3);
    });
  }
  for (std::thread& t : threads) t.join();
  const auto counts = h.counts();
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), int64_t{0}), 40000);
  EXPECT_DOUBLE_EQ(h.sum(), 4 * 9999.0);
}

Output piece(int completion_tokens, FinishReason::Type finish = FinishReason::Type::Running) {
  Output o;
  o.prompt_tokens = 10;
  o.cached_tokens = 4;
  o.completion_tokens = completion_tokens;
  o.queue_time_s = 0.002;
  o.finish.type = finish;
  return o;
}

TEST(SampleMeter, TimesAndCountsAreThoseOfThePieces) {
  Metrics m;
  SampleMeter meter;
  const auto start = SampleMeter::Clock::time_point(std::chrono::seconds(100));
  meter.piece(m, piece(1), start, start + milliseconds(50));
  meter.piece(m, piece(2), start, start + milliseconds(60));
  meter.piece(m, piece(5), start, start + milliseconds(90));  // three tokens that a grammar forced
  meter.piece(m, piece(6, FinishReason::Type::Stop), start, start + milliseconds(100));
  EXPECT_EQ(m.prompt_tokens.value(), 10);
  EXPECT_EQ(m.cached_tokens.value(), 4);
  EXPECT_EQ(m.generation_tokens.value(), 6);
  EXPECT_EQ(m.requests.value(), 1);
  EXPECT_EQ(m.stopped.value(), 1);
  EXPECT_EQ(m.aborted.value(), 0);
  EXPECT_NEAR(m.time_to_first_token.sum(), 0.05, 1e-9);
  EXPECT_NEAR(m.inter_token_latency.sum(), 0.01 + 3 * 0.01 + 0.01, 1e-9);
  EXPECT_NEAR(m.e2e_latency.sum(), 0.1, 1e-9);
  EXPECT_NEAR(m.queue_time.sum(), 0.002, 1e-9);
  const auto gaps = m.inter_token_latency.counts();
  EXPECT_EQ(std::accumulate(gaps.begin(), gaps.end(), int64_t{0}), 5);
}

TEST(SampleMeter, OneThatIsAbortedWhileItWaitsHasNoFirstToken) {
  Metrics m;
  SampleMeter meter;
  meter.piece(m, piece(0, FinishReason::Type::Abort), {}, SampleMeter::Clock::time_point(milliseconds(5)));
  EXPECT_EQ(m.requests.value(), 1);
  EXPECT_EQ(m.aborted.value(), 1);
  EXPECT_EQ(m.prompt_tokens.value(), 0);
  const auto firsts = m.time_to_first_token.counts();
  EXPECT_EQ(std::accumulate(firsts.begin(), firsts.end(), int64_t{0}), 0);
}

TEST(Prometheus, FamiliesHaveHeadLabelsAndCumulativeBuckets) {
  PrometheusWriter w("sgl:", {{"model_name", "a\"b\\c\nd"}});
  Histogram h({0.1, 1});
  h.observe(0.05);
  h.observe(0.75, 2);
  h.observe(9);
  w.histogram("wait_seconds", "Waiting", h);
  EXPECT_EQ(w.text(), R"(# HELP sgl:wait_seconds Waiting.
# TYPE sgl:wait_seconds histogram
sgl:wait_seconds_count{model_name="a\"b\\c\nd"} 4
sgl:wait_seconds_sum{model_name="a\"b\\c\nd"} 10.55
sgl:wait_seconds_bucket{model_name="a\"b\\c\nd",le="0.1"} 1
sgl:wait_seconds_bucket{model_name="a\"b\\c\nd",le="1"} 3
sgl:wait_seconds_bucket{model_name="a\"b\\c\nd",le="+Inf"} 4
)");
}

// The names that SGLang has, but for those of speculation, which there is none of.
TEST(Prometheus, BothPrefixesHaveAllNames) {
  Metrics m;
  m.http.count("/generate", "POST", 200);
  ModelInfo info;
  info.served_model_name = "m";
  const std::string text = metrics_text(m, {}, 0, info);
  for (const char* prefix : {"sgl:", "sglang:"}) {
    for (const char* name : {"num_running_reqs",
                             "num_queue_reqs",
                             "num_grammar_queue_reqs",
                             "num_used_tokens",
                             "token_usage",
                             "gen_throughput",
                             "cache_hit_rate",
                             "num_retracted_reqs",
                             "utilization",
                             "new_token_ratio",
                             "max_total_num_tokens",
                             "kv_available_tokens",
                             "kv_evictable_tokens",
                             "kv_used_tokens",
                             "prompt_tokens_total",
                             "generation_tokens_total",
                             "cached_tokens_total",
                             "num_requests_total",
                             "num_aborted_requests_total",
                             "evicted_tokens_total",
                             "time_to_first_token_seconds",
                             "inter_token_latency_seconds",
                             "e2e_request_latency_seconds",
                             "queue_time_seconds",
                             "prompt_tokens_histogram",
                             "generation_tokens_histogram",
                             "http_responses_total"}) {
      EXPECT_NE(text.find(std::string("# TYPE ") + prefix + name + " "), std::string::npos) << prefix << name;
    }
  }
  EXPECT_NE(text.find(R"(,endpoint="/generate",method="POST",status_code="200"} 1)"), std::string::npos);
}

}  // namespace
}  // namespace sgl
