// Embeddings through the whole engine, on tiny models whose vectors transformers recorded: how close they come, and
// that a text's vector does not depend on what runs beside it, on chunks, on the prefix cache, or on threads. Bit for
// bit.

#include <bit>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "checkpoint/test_files.h"
#include "golden_expected.h"
#include "sgl/engine.h"

namespace sgl {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int32_t>;
using Vectors = std::vector<std::vector<float>>;

const std::string kGolden = std::string(SGL_SOURCE_DIR) + "/tests/golden/models/";
constexpr int kVocab = 320;

uint64_t test_seed() {
  static const uint64_t seed = [] {
    const char* fixed = std::getenv("SGL_TEST_SEED");
    return fixed != nullptr ? std::strtoull(fixed, nullptr, 10) : std::random_device{}();
  }();
  return seed;
}

EngineOptions options(const std::string& model_path) {
  EngineOptions o;
  o.model_path = model_path;
  o.skip_tokenizer_init = true;
  o.is_embedding = true;
  o.threads = 1;
  o.max_total_tokens = 4096;
  o.decode_log_interval = 0;
  return o;
}

// A golden model whose files say how it pools.
class WithModules {
 public:
  WithModules(const std::string& model, const std::string& pooling, bool normalize) {
    for (const char* file : {"config.json", "model.safetensors"}) {
      fs::create_symlink(kGolden + model + "/" + file, directory_.path() + "/" + file);
    }
    fs::create_directory(directory_.path() + "/1_Pooling");
    directory_.write("1_Pooling/config.json", R"({"pooling_mode_)" + pooling + R"(": true})");
    directory_.write("modules.json", fmt::format(R"([{{"path": "", "type": "sentence_transformers.models.Transformer"}},
      {{"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}}{}])",
                                                 normalize ? R"(, {"path": "2", "type": "x.Normalize"})" : ""));
  }
  const std::string& path() const { return directory_.path(); }

 private:
  testing::TemporaryDirectory directory_;
};

// Of 1 to 300 tokens; half of them begin alike.
std::vector<Ids> random_inputs(size_t n) {
  std::mt19937_64 rng(test_seed());
  auto pick = [&](uint64_t m) { return static_cast<size_t>(rng() % m); };
  Ids start(200);
  for (int32_t& id : start) id = static_cast<int32_t>(pick(kVocab));
  std::vector<Ids> inputs(n);
  for (Ids& ids : inputs) {
    if (pick(2) == 0) ids.assign(start.begin(), start.begin() + static_cast<std::ptrdiff_t>(pick(200)));
    for (size_t more = pick(100) + 1; more > 0; --more) ids.push_back(static_cast<int32_t>(pick(kVocab)));
  }
  return inputs;
}

Request request_for(const Ids& ids) {
  Request r;
  r.prompt = ids;
  return r;
}

std::vector<Output> embed(Engine& engine, const std::vector<Ids>& inputs) {
  std::vector<Request> requests;
  for (const Ids& ids : inputs) requests.push_back(request_for(ids));
  return engine.embed(std::move(requests));
}

Vectors vectors_of(const std::vector<Output>& outputs) {
  Vectors vectors;
  for (const Output& o : outputs) vectors.push_back(o.embedding);
  return vectors;
}

// Each input by itself, whole and from no cache.
Vectors alone(EngineOptions o, const std::vector<Ids>& inputs) {
  o.disable_radix_cache = true;
  o.chunked_prefill_size = -1;
  Engine engine(o);
  Vectors vectors;
  for (const Ids& ids : inputs) vectors.push_back(embed(engine, {ids})[0].embedding);
  return vectors;
}

void expect_same_bits(const Vectors& got, const Vectors& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].size(), want[i].size());
    for (size_t j = 0; j < got[i].size(); ++j) {
      ASSERT_EQ(std::bit_cast<uint32_t>(got[i][j]), std::bit_cast<uint32_t>(want[i][j]))
          << "input " << i << ", number " << j << ", SGL_TEST_SEED=" << test_seed();
    }
  }
}

double cosine_distance(const std::vector<float>& a, const std::vector<float>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += double{a[i]} * b.at(i);
    aa += double{a[i]} * a[i];
    bb += double{b[i]} * b[i];
  }
  return 1 - ab / std::sqrt(aa * bb);
}

double length(const std::vector<float>& v) {
  double sum = 0;
  for (float x : v) sum += double{x} * x;
  return std::sqrt(sum);
}

std::string refusal(Engine& engine, const Request& request) {
  try {
    engine.generate({request});
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument);
    return e.what();
  }
  return "";
}

TEST(Embedding, EqualsTheRecordedVectors) {
  for (const char* model : {"bert", "mistral_embed"}) {
    const testing::Expected expected(kGolden + model + "/expected.safetensors");
    using Setup = std::pair<const char*, const char*>;
    for (const auto& [device, dtype] : {Setup{"ref", "float32"}, Setup{"cpu", "float32"}, Setup{"cpu", "auto"}}) {
      EngineOptions o = options(kGolden + model);
      o.device = device;
      o.dtype = dtype;
      Engine engine(o);
      double worst = 0;
      for (int i = 0; expected.has(fmt::format("embedding.{}", i)); ++i) {
        const Ids ids = expected.get<int64_t, int32_t>(fmt::format("input_ids.{}", i));
        const Output out = embed(engine, {ids})[0];
        worst =
            std::max(worst, cosine_distance(out.embedding, expected.get<float, float>(fmt::format("embedding.{}", i))));
        EXPECT_NEAR(length(out.embedding), 1, 1e-6);
        EXPECT_EQ(out.prompt_tokens, static_cast<int>(ids.size()));
      }
      fmt::print("{:14} {:4} {:8} 1 − cos {:.1e}\n", model, device, dtype, worst);
      EXPECT_LE(worst, 1e-5) << model << " on " << device << ", " << dtype;
    }
  }
}

TEST(Embedding, BatchedIsAloneOnAnyNumberOfThreads) {
  const std::vector<Ids> inputs = random_inputs(60);
  for (const char* model : {"bert", "mistral_embed"}) {
    SCOPED_TRACE(model);
    EngineOptions o = options(kGolden + model);
    const Vectors want = alone(o, inputs);
    for (int threads : {1, 2, 3}) {
      o.threads = threads;
      Engine engine(o);
      expect_same_bits(vectors_of(embed(engine, inputs)), want);
    }
  }
}

TEST(Embedding, ChunkedIsWholeWithEveryPooling) {
  const std::vector<Ids> inputs = random_inputs(40);
  for (const char* pooling : {"lasttoken", "mean_tokens", "cls_token"}) {
    SCOPED_TRACE(pooling);
    const WithModules model("mistral_embed", pooling, true);
    EngineOptions o = options(model.path());
    const Vectors want = alone(o, inputs);
    for (int chunk : {16, 37, 200}) {
      o.chunked_prefill_size = chunk;
      o.max_running_requests = 7;
      Engine engine(o);
      expect_same_bits(vectors_of(embed(engine, inputs)), want);
    }
  }
}

TEST(Embedding, ACachedPrefixServesWhereOnlyTheLastStateCounts) {
  const std::vector<Ids> inputs = random_inputs(20);
  for (const char* pooling : {"lasttoken", "mean_tokens"}) {
    SCOPED_TRACE(pooling);
    const WithModules model("mistral_embed", pooling, true);
    Engine engine(options(model.path()));
    const Vectors cold = alone(options(model.path()), inputs);
    expect_same_bits(vectors_of(embed(engine, inputs)), cold);
    int cached = 0;
    const std::vector<Output> again = embed(engine, inputs);
    for (const Output& o : again) cached += o.cached_tokens;
    expect_same_bits(vectors_of(again), cold);
    EXPECT_EQ(cached > 0, pooling == std::string("lasttoken")) << cached;
  }
}

TEST(Embedding, FilesSayHowToPoolAndWhetherToNormalise) {
  const Ids ids = random_inputs(1)[0];
  const auto vector_of = [&](const WithModules& model) {
    EngineOptions o = options(model.path());
    o.is_embedding = false;  // the files say it
    Engine engine(o);
    EXPECT_FALSE(engine.info().is_generation);
    EXPECT_EQ(engine.info().embedding_size, 64);
    return embed(engine, {ids})[0].embedding;
  };
  const std::vector<float> mean = vector_of(WithModules("bert", "mean_tokens", true)),
                           raw = vector_of(WithModules("bert", "mean_tokens", false)),
                           cls = vector_of(WithModules("bert", "cls_token", true));
  EXPECT_NEAR(length(mean), 1, 1e-6);
  EXPECT_GT(std::abs(length(raw) - 1), 1e-3);
  EXPECT_LE(cosine_distance(mean, raw), 1e-12);
  EXPECT_GT(cosine_distance(mean, cls), 1e-4);
}

TEST(Embedding, FewerDimensionsAreTheFirstOnesAtLengthOne) {
  Engine engine(options(kGolden + "bert"));
  Request request = request_for({1, 2, 3});
  const std::vector<float> whole = engine.embed({request})[0].embedding;
  request.embedding.emplace().dimensions = 5;
  const std::vector<float> few = engine.embed({request})[0].embedding;
  ASSERT_EQ(few.size(), 5U);
  EXPECT_NEAR(length(few), 1, 1e-6);
  EXPECT_LE(cosine_distance(few, {whole.begin(), whole.begin() + 5}), 1e-12);
  for (int wrong : {0, -1, 65}) {
    request.embedding->dimensions = wrong;
    EXPECT_NE(refusal(engine, request).find(fmt::format("[1, 64] (the size of the model's vectors), got {}", wrong)),
              std::string::npos);
  }
}

TEST(Embedding, WhatAModelIsNotForIsRefusedByName) {
  Engine embeds(options(kGolden + "bert"));
  const std::string message = refusal(embeds, request_for({1, 2}));
  EXPECT_NE(message.find("asks for a generation"), std::string::npos) << message;
  EXPECT_NE(message.find("(BertModel) is served for embeddings"), std::string::npos) << message;

  EngineOptions o = options(kGolden + "mistral_embed");
  o.is_embedding = false;
  Engine generates(o);
  Request request = request_for({1, 2});
  request.embedding.emplace();
  const std::string other = refusal(generates, request);
  EXPECT_NE(other.find("asks for an embedding"), std::string::npos) << other;
  EXPECT_NE(other.find("(MistralForCausalLM) is served for generation"), std::string::npos) << other;
  EXPECT_NE(other.find("--is-embedding"), std::string::npos) << other;

  request.embedding->second_text = "a second text";
  EXPECT_NE(refusal(embeds, request).find("cross-encoder"), std::string::npos);
}

TEST(Embedding, ACrossEncoderScoresPairsInOneBatch) {
  const testing::Expected expected(kGolden + "bert_cross/expected.safetensors");
  EngineOptions o = options(kGolden + "bert_cross");
  o.skip_tokenizer_init = false;  // word i of its vocabulary is "wi"
  Engine engine(o);
  EXPECT_TRUE(engine.info().is_cross_encoder);
  EXPECT_EQ(engine.info().embedding_size, 1);
  std::vector<Request> requests;
  std::vector<float> want;
  for (int i = 0; expected.has(fmt::format("scores.{}", i)); ++i) {
    const auto ids = expected.get<int64_t, int32_t>(fmt::format("input_ids.{}", i)),
               types = expected.get<int64_t, int32_t>(fmt::format("token_types.{}", i));
    std::string texts[2];
    for (size_t t = 1; t + 1 < ids.size(); ++t) {
      const bool closes_first = types[t] == 0 && types[t + 1] == 1;
      if (!closes_first) texts[types[t]] += fmt::format("w{} ", ids[t]);
    }
    Request& pair = requests.emplace_back();
    pair.prompt = texts[0];
    pair.embedding.emplace().second_text = texts[1];
    const double logit = double{expected.get<float, float>(fmt::format("scores.{}", i))[0]};
    want.push_back(static_cast<float>(1 / (1 + std::exp(-logit))));  // one label: a sigmoid
    requests.push_back(request_for(ids));                            // beside it, a text that is no pair
  }
  const std::vector<Output> got = engine.embed(requests);
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(got[2 * i].embedding.size(), 1U);
    EXPECT_NEAR(got[2 * i].embedding[0], want[i], 1e-5) << "pair " << i;
    EXPECT_EQ(got[2 * i].prompt_tokens, got[2 * i + 1].prompt_tokens);
  }
}

TEST(Embedding, ATextMayFillTheContextAndNotMore) {
  for (const char* model : {"bert", "mistral_embed"}) {
    EngineOptions o = options(kGolden + model);
    Engine engine(o);
    Request request = request_for(Ids(512, 7));
    EXPECT_EQ(embed(engine, {Ids(512, 7)})[0].prompt_tokens, 512);
    request = request_for(Ids(513, 7));
    request.embedding.emplace();
    const std::string message = refusal(engine, request);
    EXPECT_NE(message.find("513"), std::string::npos) << message;
    EXPECT_NE(message.find("512"), std::string::npos) << message;
    request.prompt = Ids{1, kVocab};
    EXPECT_NE(refusal(engine, request).find("320"), std::string::npos);

    o.allow_auto_truncate = true;
    Engine cuts(o);
    Ids longer(600, 7), cut(512, 7);
    longer.back() = cut.back() = 9;  // what closes a text stays
    expect_same_bits(vectors_of(embed(cuts, {longer})), vectors_of(embed(cuts, {cut})));
  }
}

TEST(Embedding, PagesAreFreeWhenAllIsDone) {
  Engine engine(options(kGolden + "bert"));
  embed(engine, random_inputs(50));
  ASSERT_TRUE(engine.flush_cache(60));  // when the scheduler has come to rest
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.free_pages, stats.total_pages);
  EXPECT_EQ(stats.running + stats.waiting, 0);
}

}  // namespace
}  // namespace sgl
