// Tensor parallelism: an engine whose model is shared out to ranks gives the answers of one that is not, on the
// reference and on GPUs, where there are two; and says what cannot be shared out.

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "gpus.h"
#include "sgl/engine.h"
#include "sgl/error.h"

namespace sgl {
namespace {

EngineOptions options(const std::string& model, int ranks, const std::string& device = "ref") {
  return {.model_path = std::string(SGL_SOURCE_DIR) + "/tests/golden/models/" + model,
          .skip_tokenizer_init = true,
          .device = device,
          .dtype = "float32",
          .tp_size = ranks,
          .threads = 1,
          .max_total_tokens = 2048,
          .chunked_prefill_size = 16,
          .decode_log_interval = 0};
}

std::vector<Request> requests() {
  std::vector<Request> all(6);
  for (size_t i = 0; i < all.size(); ++i) {
    std::vector<int32_t> ids;
    for (size_t t = 0; t < 5 + 9 * i; ++t) ids.push_back(static_cast<int32_t>((t * t + 7 * i) % 300 + 3));
    all[i].prompt = std::move(ids);
    all[i].sampling.max_new_tokens = 12;
    all[i].sampling.temperature = i % 2 == 0 ? 0.0F : 0.8F;
    all[i].sampling.seed = 100 + static_cast<int64_t>(i);
    all[i].sampling.ignore_eos = true;
    all[i].return_logprob = i % 3 == 0;
  }
  return all;
}

void expect_same(const EngineOptions& one, const EngineOptions& several) {
  Engine alone(one), shared(several);
  EXPECT_NE(shared.info().device.find("2 ranks"), std::string::npos) << shared.info().device;
  const std::vector<Output> want = alone.generate(requests()), got = shared.generate(requests());
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].token_ids.size(), 12U) << one.model_path << ", request " << i;
    EXPECT_EQ(got[i].token_ids, want[i].token_ids) << one.model_path << ", request " << i;
    ASSERT_EQ(got[i].logprobs.size(), want[i].logprobs.size());
    EXPECT_EQ(got[i].logprobs.empty(), i % 3 != 0);
    for (size_t t = 0; t < got[i].logprobs.size(); ++t) {
      EXPECT_NEAR(*got[i].logprobs[t].token.logprob, *want[i].logprobs[t].token.logprob, 1e-4)
          << one.model_path << ", request " << i;
    }
  }
}

void expect_answers_of_one_rank(const std::string& device) {
  for (const char* model : {"llama", "gemma2", "gpt2", "phi3"}) {
    expect_same(options(model, 1, device), options(model, 2, device));
  }
}

TEST(Ranks, AnswersAreThoseOfOneRank) { expect_answers_of_one_rank("ref"); }

// Its head is rank 0's; with weights of its own, or the table's.
TEST(Ranks, AVocabularyThatCannotBeSharedOut) {
  for (const char* tied : {"false", "true"}) {
    EngineOptions one = options("llama", 1);
    one.load_format = "dummy";
    one.json_model_override_args = std::string(R"({"vocab_size": 321, "tie_word_embeddings": )") + tied + "}";
    EngineOptions two = one;
    two.tp_size = 2;
    expect_same(one, two);
  }
}

TEST(Ranks, EmbeddingsAreThoseOfOneRank) {
  EngineOptions one = options("mistral_embed", 1);
  one.is_embedding = true;
  EngineOptions two = one;
  two.tp_size = 2;
  Engine alone(one), shared(two);
  const std::vector<Output> want = alone.embed(requests()), got = shared.embed(requests());
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].embedding.size(), want[i].embedding.size());
    ASSERT_FALSE(got[i].embedding.empty());
    for (size_t j = 0; j < got[i].embedding.size(); ++j) {
      EXPECT_NEAR(got[i].embedding[j], want[i].embedding[j], 1e-5) << "request " << i;
    }
  }
}

// One step ahead: a step's tokens are those that rank 0 is choosing still.
TEST(Ranks, AnswersAreThoseOfOneRankOnGpus) {
  if (const auto why = testing::why_no_gpus()) GTEST_SKIP() << *why;
  expect_answers_of_one_rank("cuda");
}

// Other numbers than those of one GPU, whose groups and rows are longer (golden_test has bounds); the same from run to
// run.
TEST(Ranks, QuantizedWeightsAndCachesAreSharedOutToGpus) {
  if (const auto why = testing::why_no_gpus()) GTEST_SKIP() << *why;
  for (const char* quantization : {"", "fp8", "int8", "int4"}) {
    for (const char* cache : {"auto", "fp8_e4m3"}) {
      EngineOptions o = options("llama_linear_rope", 2, "cuda");
      o.dtype = "bfloat16";
      o.quantization = quantization;
      o.kv_cache_dtype = cache;
      o.deterministic = true;
      Engine engine(o);
      const std::vector<Output> once = engine.generate(requests()), again = engine.generate(requests());
      for (size_t i = 0; i < once.size(); ++i) {
        EXPECT_EQ(once[i].token_ids.size(), 12U);
        EXPECT_EQ(once[i].token_ids, again[i].token_ids) << quantization << ", " << cache << ", request " << i;
      }
    }
  }
}

std::string refusal(const EngineOptions& o) {
  try {
    Engine engine(o);
  } catch (const Error& e) {
    return e.what();
  }
  return "it was taken";
}

TEST(Ranks, WhatCannotBeSharedOutIsRefused) {
  EXPECT_EQ(refusal(options("llama", 4)), "--tp-size 4: it must divide this model's 4 attention heads and 2 KV heads");
  EngineOptions on_cpu = options("llama", 2);
  on_cpu.device = "cpu";
  EXPECT_NE(refusal(on_cpu).find("--tp-size 2 is for --device cuda"), std::string::npos) << refusal(on_cpu);
  EXPECT_NE(refusal(options("gpt2", 64)).find("--tp-size 64"), std::string::npos) << refusal(options("gpt2", 64));
}

}  // namespace
}  // namespace sgl
