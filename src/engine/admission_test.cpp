#include "engine/admission.h"

#include <cmath>
#include <functional>

#include <gtest/gtest.h>

#include "sgl/error.h"

namespace sgl {
namespace {

const AdmissionLimits kLimits{.vocab_size = 100, .context_length = 50, .pool_tokens = 1000};

std::vector<std::unique_ptr<Sequence>> make(const Request& r, AdmissionLimits limits = kLimits) {
  return make_sequences(
      r, std::get<std::vector<int32_t>>(r.prompt), [](Output&&) {}, nullptr, limits, 7);
}

Request with(const std::function<void(SamplingParams&)>& change) {
  Request r;
  r.prompt = std::vector<int32_t>{1, 2, 3};
  r.sampling.max_new_tokens = 10;
  change(r.sampling);
  return r;
}

std::string refusal(const Request& r, AdmissionLimits limits = kLimits) {
  try {
    make(r, limits);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument);
    return e.what();
  }
  return "";
}

TEST(Admission, RefusesValuesOutOfRangeByName) {
  struct Case {
    const char* field;
    std::function<void(SamplingParams&)> change;
  };
  const Case cases[] = {
      {"temperature", [](auto& s) { s.temperature = -0.1F; }},
      {"temperature", [](auto& s) { s.temperature = INFINITY; }},
      {"temperature", [](auto& s) { s.temperature = NAN; }},
      {"top_p", [](auto& s) { s.top_p = 0; }},
      {"top_p", [](auto& s) { s.top_p = 1.01F; }},
      {"top_k", [](auto& s) { s.top_k = 0; }},
      {"top_k", [](auto& s) { s.top_k = -2; }},
      {"min_p", [](auto& s) { s.min_p = -0.1F; }},
      {"frequency_penalty", [](auto& s) { s.frequency_penalty = 2.1F; }},
      {"presence_penalty", [](auto& s) { s.presence_penalty = -2.1F; }},
      {"repetition_penalty", [](auto& s) { s.repetition_penalty = 0; }},
      {"max_new_tokens", [](auto& s) { s.max_new_tokens = -1; }},
      {"min_new_tokens", [](auto& s) { s.min_new_tokens = 11; }},
      {"n must", [](auto& s) { s.n = 0; }},
      {"stop string", [](auto& s) { s.stop = {"x"}; }},  // no tokenizer
      {"stop strings", [](auto& s) { s.stop.assign(33, "x"); }},
      {"stop_token_ids", [](auto& s) { s.stop_token_ids = {100}; }},
      {"logit_bias", [](auto& s) { s.logit_bias[-1] = 1; }},
      {"logit_bias", [](auto& s) { s.logit_bias[1] = NAN; }},
  };
  for (const Case& c : cases) EXPECT_NE(refusal(with(c.change)).find(c.field), std::string::npos) << c.field;
  EXPECT_EQ(refusal(with([](auto&) {})), "");
}

TEST(Admission, RefusesPromptsThatDoNotFitWithBothNumbers) {
  Request r = with([](auto&) {});
  r.prompt = std::vector<int32_t>(50, 1);
  EXPECT_EQ(refusal(r), "The input (50 tokens) is longer than the model's context length (50 tokens).");
  r.prompt = std::vector<int32_t>(45, 1);
  EXPECT_NE(refusal(r).find("45 tokens from the input and 10 tokens for the completion"), std::string::npos);
  r.sampling.max_new_tokens = std::nullopt;
  EXPECT_EQ(make(r)[0]->max_new_tokens, 4);  // to the end: min(context, pool) − 1 − 45
  r.prompt = std::vector<int32_t>(49, 1);
  EXPECT_EQ(refusal(r), "The input (49 tokens) leaves no room for output in the model's context length (50 tokens).");
  r.prompt = std::vector<int32_t>{};
  EXPECT_NE(refusal(r).find("empty"), std::string::npos);
  r.prompt = std::vector<int32_t>{1, 100};
  EXPECT_NE(refusal(r).find("100"), std::string::npos);
  r.prompt = std::vector<int32_t>(32, 1);
  AdmissionLimits small = kLimits;
  small.pool_tokens = 32;
  EXPECT_NE(refusal(r, small).find("KV cache"), std::string::npos);
}

TEST(Admission, CutsInsteadWhenAllowed) {
  AdmissionLimits limits = kLimits;
  limits.allow_auto_truncate = true;
  Request r = with([](auto& s) { s.max_new_tokens = 20; });
  r.prompt = std::vector<int32_t>(80, 1);
  auto seq = make(r, limits);
  EXPECT_EQ(seq[0]->prompt_len, 48);
  EXPECT_EQ(seq[0]->max_new_tokens, 1);
}

TEST(Admission, EachSampleHasItsOwnSeed) {
  auto sequences = make(with([](auto& s) {
    s.n = 3;
    s.seed = 5;
  }));
  ASSERT_EQ(sequences.size(), 3U);
  EXPECT_EQ(sequences[0]->seed, 5U);
  EXPECT_NE(sequences[1]->seed, sequences[2]->seed);
  EXPECT_EQ(sequences[2]->index, 2);
}

TEST(Admission, ResolvesWhichPromptLogprobsAreMeant) {
  Request r = with([](auto&) {});
  EXPECT_EQ(make(r)[0]->logprob_start, -1);
  r.logprob_start_len = 1;
  EXPECT_EQ(make(r)[0]->logprob_start, -1);  // not asked for
  r.return_logprob = true;
  EXPECT_EQ(make(r)[0]->logprob_start, 1);
  r.logprob_start_len = 3;
  EXPECT_EQ(make(r)[0]->logprob_start, -1);  // the prompt's end: nothing to report
  r.logprob_start_len = 4;
  EXPECT_NE(refusal(r).find("logprob_start_len"), std::string::npos);
  r.logprob_start_len = -1;
  r.sampling.max_new_tokens = 0;
  EXPECT_EQ(make(r)[0]->logprob_start, 0);  // scoring a prompt
}

}  // namespace
}  // namespace sgl
