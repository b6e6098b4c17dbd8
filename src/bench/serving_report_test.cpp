#include "bench/serving_report.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace sgl::bench {
namespace {

/// An answer that began at `start`, with pieces of text at these times.
Answer answer_at(double start, std::vector<double> tokens_at, int prompt_tokens = 100) {
  Answer a;
  a.start = start;
  a.end = tokens_at.empty() ? start : tokens_at.back();
  a.output_tokens = static_cast<int>(tokens_at.size());
  a.tokens_at = std::move(tokens_at);
  a.prompt_tokens = prompt_tokens;
  a.status = 200;
  return a;
}

Workload workload(int concurrency) {
  Workload w;
  w.shape.name = "test";
  w.shape.concurrency = concurrency;
  return w;
}

TEST(EventReader, ReadsTextAndUsageOfCompletions) {
  EventReader reader;
  Answer a;
  reader.read(R"({"choices":[{"index":0,"text":"","finish_reason":null}],"usage":null})", 1, a);
  reader.read(R"({"choices":[{"index":0,"text":"Hel"}]})", 2, a);
  reader.read(R"({"choices":[{"index":0,"text":"lo"}]})", 3, a);
  reader.read(R"({"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,)"
              R"("prompt_tokens_details":{"cached_tokens":4}}})",
              4, a);
  reader.read("[DONE]", 5, a);
  EXPECT_EQ(a.text, "Hello");
  EXPECT_EQ(a.tokens_at, (std::vector<double>{2, 3}));
  EXPECT_EQ(a.prompt_tokens, 7);
  EXPECT_EQ(a.output_tokens, 3);
  EXPECT_EQ(a.cached_tokens, 4);
  EXPECT_EQ(a.error, "");
}

TEST(EventReader, ReadsDeltasOfChats) {
  EventReader reader;
  Answer a;
  reader.read(R"({"choices":[{"delta":{"role":"assistant","content":""}}]})", 1, a);
  reader.read(R"({"choices":[{"delta":{"reasoning_content":"hm"}}]})", 2, a);
  reader.read(R"({"choices":[{"delta":{"content":"a"}}]})", 3, a);
  EXPECT_EQ(a.tokens_at, (std::vector<double>{2, 3}));
  EXPECT_EQ(a.outputs(), 2) << "pieces count where the server does not";
  EXPECT_EQ(a.prompt_tokens, -1);
}

TEST(EventReader, ErrorsAreKept) {
  EventReader reader;
  Answer in_stream, no_json, refused, plain;
  reader.read(R"({"error":{"message":"out of pages","code":500}})", 1, in_stream);
  EXPECT_EQ(in_stream.error, "out of pages");
  reader.read("{\"choices\"", 1, no_json);
  EXPECT_NE(no_json.error.find("no JSON"), std::string::npos);
  refused.status = 400;
  reader.read_body(R"({"error":{"message":"too long"}})", 1, refused);
  EXPECT_EQ(refused.error, "status 400: too long");
  plain.status = 502;
  reader.read_body("Bad Gateway", 1, plain);
  EXPECT_EQ(plain.error, "status 502: Bad Gateway");
}

TEST(ServingFigures, AreWhatTheTimesSay) {
  LoadResult run;
  run.duration_s = 4;
  run.answers = {answer_at(0, {0.5, 0.6, 0.7, 0.8, 0.9}), answer_at(1, {2.0, 2.2, 2.4}, 50)};
  const ServingFigures f = serving_figures(workload(2), run, {});
  EXPECT_EQ(f.completed, 2);
  EXPECT_EQ(f.failed, 0);
  EXPECT_EQ(f.input_tokens, 150);
  EXPECT_EQ(f.output_tokens, 8);
  EXPECT_DOUBLE_EQ(f.requests_s, 0.5);
  EXPECT_DOUBLE_EQ(f.output_tok_s, 2);
  EXPECT_DOUBLE_EQ(f.goodput_requests_s, 0.5);
  EXPECT_DOUBLE_EQ(f.ttft_ms.p50, 750);
  EXPECT_DOUBLE_EQ(f.e2e_ms.max, 1400);
  EXPECT_NEAR(f.tpot_ms.min, 100, 1e-9);
  EXPECT_NEAR(f.tpot_ms.max, 200, 1e-9);
  EXPECT_NEAR(f.itl_ms.mean, (4 * 100 + 2 * 200) / 6.0, 1e-9);
  EXPECT_NEAR(f.prefill_tok_s, (200 + 50) / 2.0, 1e-9);
  EXPECT_NEAR(f.decode_tok_s, (10 + 5) / 2.0, 1e-9);
}

TEST(ServingFigures, FailedAnswersCountNowhereElse) {
  LoadResult run;
  run.duration_s = 1;
  run.answers = {answer_at(0, {0.5, 0.6}), answer_at(0, {0.1})};
  run.answers[1].error = "status 500: boom";
  const ServingFigures f = serving_figures(workload(2), run, {});
  EXPECT_EQ(f.completed, 1);
  EXPECT_EQ(f.failed, 1);
  EXPECT_EQ(f.first_error, "status 500: boom");
  EXPECT_EQ(f.output_tokens, 2);
  EXPECT_DOUBLE_EQ(f.ttft_ms.min, 500);
  EXPECT_NE(table({f}, {}).find("1 of 2 failed: status 500: boom"), std::string::npos);
}

TEST(ServingFigures, GoodputCountsAnswersWithinAllLimits) {
  LoadResult run;
  run.duration_s = 2;
  run.answers = {answer_at(0, {0.1, 0.2, 0.3}),   // keeps all
                 answer_at(0, {0.9, 1.0, 1.1}),   // late
                 answer_at(0, {0.1, 0.2, 0.9})};  // stalls
  EXPECT_DOUBLE_EQ(serving_figures(workload(3), run, {}).goodput_requests_s, 1.5);
  EXPECT_DOUBLE_EQ(serving_figures(workload(3), run, {.ttft_ms = 500}).goodput_requests_s, 1);
  EXPECT_DOUBLE_EQ(serving_figures(workload(3), run, {.itl_ms = 300}).goodput_requests_s, 1);
  EXPECT_DOUBLE_EQ(serving_figures(workload(3), run, {.ttft_ms = 500, .itl_ms = 300}).goodput_requests_s, 0.5);
  EXPECT_DOUBLE_EQ(serving_figures(workload(3), run, {.tpot_ms = 150}).goodput_requests_s, 1);
  EXPECT_DOUBLE_EQ(serving_figures(workload(3), run, {.e2e_ms = 1000}).goodput_requests_s, 1);
}

TEST(ServingFigures, AnswersOfOneTokenHaveNoTimeBetweenTokens) {
  LoadResult run;
  run.duration_s = 1;
  run.answers = {answer_at(0, {0.25})};
  const ServingFigures f = serving_figures(workload(1), run, {.itl_ms = 1, .tpot_ms = 1});
  EXPECT_EQ(f.tpot_ms.max, 0);
  EXPECT_EQ(f.decode_tok_s, 0);
  EXPECT_DOUBLE_EQ(f.goodput_requests_s, 1);
}

TEST(ServingFigures, AnEmptyRunHasNoFigures) {
  const ServingFigures f = serving_figures(workload(1), {}, {});
  EXPECT_EQ(f.requests_s, 0);
  EXPECT_EQ(to_json(f)["ttft_ms"]["p99"], 0);
}

}  // namespace
}  // namespace sgl::bench
