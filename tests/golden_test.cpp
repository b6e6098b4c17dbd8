// What tiny models of every covered architecture must compute, against logits and states recorded from transformers in
// float32 (tests/golden/README.md). One table says how close each backend comes.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <optional>
#include <span>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/packed_test_files.h"
#include "each_isa.h"
#include "golden_expected.h"
#include "golden_gguf.h"
#include "gpus.h"
#include "models/ranks.h"
#include "ops/backend.h"
#include "sgl/error.h"

namespace sgl {
namespace {

const std::string kGolden = std::string(SGL_SOURCE_DIR) + "/tests/golden/models/";
constexpr const char* kModels[] = {
    "llama", "llama_tied_rope3", "llama_linear_rope", "mistral_swa", "qwen2", "qwen2_yarn",
    "qwen3", "gemma2",           "gemma3_text",       "phi3",        "gpt2"};

struct Variant {
  const char* name;
  BackendOptions backend;
  DType kv;
  double bound;                 ///< on the largest absolute error of a logit; the golden logits are of order 1
  std::optional<DType> gguf{};  ///< the same model as a GGUF file whose matrices have this type
  int ranks = 1;
};

// One sequence on pages that lie in reverse, computed in the pieces that extend() is given.
class OneSequence {
 public:
  OneSequence(const Checkpoint& checkpoint, const Variant& setup, ModelResult result = ModelResult::Logits)
      : OneSequence(checkpoint, setup, result, checkpoint.config().context_length) {}
  OneSequence(const Checkpoint& checkpoint, const Variant& setup, ModelResult result, int context_length)
      : ranks_(setup.backend, setup.ranks), arena_([this](size_t bytes) { return ranks_.backend().allocate(bytes); }) {
    const ModelConfig& c = checkpoint.config();
    ranks_.load(checkpoint, context_length, result,
                {.num_layers = c.num_layers,
                 .num_kv_heads = c.num_kv_heads / setup.ranks,
                 .head_dim = c.head_dim,
                 .dtype = setup.kv,
                 .page_size = 16},
                16);
  }

  /// Logits [n, vocab], or states [n, hidden], of all new tokens.
  std::vector<float> extend(const std::vector<int32_t>& tokens, const std::vector<int32_t>& types = {}) {
    std::vector<int32_t> rows(tokens.size());
    std::iota(rows.begin(), rows.end(), 0);
    return extend(tokens, types, rows);
  }
  /// Of these of the new tokens.
  std::vector<float> extend(const std::vector<int32_t>& tokens, const std::vector<int32_t>& types,
                            const std::vector<int32_t>& rows) {
    PagedBatch batch;
    batch.seqs = {{0, static_cast<int32_t>(tokens.size()), length_ + static_cast<int32_t>(tokens.size()), 0}};
    for (int32_t page = 15; page >= 0; --page) batch.pages.push_back(page);
    batch.token_ids = tokens;
    batch.token_types = types;
    for (int32_t i = 0; i < batch.num_tokens(); ++i) batch.positions.push_back(length_ + i);
    arena_.reset();
    Tensor result = ranks_.forward(ranks_.backend(), arena_, ranks_.kv(), batch, rows);
    length_ += static_cast<int32_t>(tokens.size());
    if (rows.empty()) return {};
    std::vector<float> values(static_cast<size_t>(result.shape.elements()));
    ranks_.backend().download(values.data(), result.data, values.size() * sizeof(float));
    return values;
  }
  void restart() { length_ = 0; }
  int vocab() const { return ranks_.config().vocab_size; }

 private:
  Ranks ranks_;
  Arena arena_;
  int32_t length_ = 0;
};

// What is missing for the device; nothing where it is there.
std::optional<std::string> why_no_cuda() {
  try {
    Backend::create({.device = "cuda"});
    return std::nullopt;
  } catch (const Error& e) {
    return e.what();
  }
}

double largest_error(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    double e = std::abs(double{a[i]} - double{b[i]});
    worst = std::max(worst, std::isnan(e) ? INFINITY : e);
  }
  return worst;
}

struct Score {
  double logits = 0;  ///< largest absolute error
  int tokens = 0;     ///< greedy tokens that agree
  int wrong = 0;      ///< that differ although the margin says they must not
};

// A golden model, as GGUF if the setup says so: then with a file of its own.
class Opened {
 public:
  Opened(const std::string& model, const Variant& setup) : checkpoint_(Checkpoint::open(kGolden + model)) {
    if (!setup.gguf) return;
    checkpoint_ = Checkpoint::open(folder_.write("model.gguf", testing::as_gguf(*checkpoint_, *setup.gguf)));
  }
  const Checkpoint& operator*() const { return *checkpoint_; }

 private:
  testing::TemporaryDirectory folder_;
  std::unique_ptr<Checkpoint> checkpoint_;
};

Score score(const std::string& model, const Variant& setup) {
  Score s;
  const Opened checkpoint(model, setup);
  const testing::Expected expected(kGolden + model + "/expected.safetensors");
  OneSequence seq(*checkpoint, setup);
  for (int i = 0; expected.has(fmt::format("input_ids.{}", i)); ++i) {
    auto ids = expected.get<int64_t, int32_t>(fmt::format("input_ids.{}", i));
    auto greedy = expected.get<int64_t, int32_t>(fmt::format("greedy.{}", i));
    auto margin = expected.get<float, float>(fmt::format("greedy_margin.{}", i));
    seq.restart();
    std::vector<float> logits = seq.extend(ids);
    s.logits = std::max(s.logits, largest_error(logits, expected.get<float, float>(fmt::format("logits.{}", i))));
    for (size_t t = 0; t < greedy.size(); ++t) {
      auto last = logits.end() - seq.vocab();
      auto token = static_cast<int32_t>(std::max_element(last, logits.end()) - last);
      if (token != greedy[t]) {
        // A tie, for a backend whose logits are off by up to its bound: from here on the texts may part.
        if (margin[t] > std::max(1e-3, 2 * setup.bound)) ++s.wrong;
        break;
      }
      ++s.tokens;
      logits = seq.extend({token});
    }
  }
  return s;
}

// Every model in every setup, as a table.
void compare_all(std::span<const Variant> setups) {
  fmt::print("{:18}", "max |Δ logit|");
  for (const Variant& s : setups) fmt::print("{:>22}", s.name);
  fmt::print("\n{:18}", "bound");
  for (const Variant& s : setups) fmt::print("{:>22.1e}", s.bound);
  fmt::print("\n");
  for (const char* model : kModels) {
    ASSERT_TRUE(std::filesystem::exists(kGolden + model)) << "the golden data of " << model << " is missing";
    fmt::print("{:18}", model);
    for (const Variant& setup : setups) {
      if (Checkpoint::open(kGolden + model)->config().num_kv_heads % setup.ranks != 0) {
        fmt::print("{:>22}", "-");  // refused: Engine's tests
        continue;
      }
      Score s = score(model, setup);
      fmt::print("{:>11.1e}, {:2} tokens", s.logits, s.tokens);
      EXPECT_LE(s.logits, setup.bound) << model << " on " << setup.name;
      EXPECT_EQ(s.wrong, 0) << model << " on " << setup.name << ": a greedy token differs where there is no tie";
    }
    fmt::print("\n");
  }
}

TEST(Golden, LogitsAndGreedyTokensOfEveryArchitecture) {
  // float32 throughout: what is left is the order of additions. float16 KV: 11 significant bits on keys and values.
  const Variant setups[] = {
      {"ref, float32", {.device = "ref", .threads = 1, .quantize_activations = false}, DType::F32, 2e-4},
      {"ref, float32 GGUF",
       {.device = "ref", .threads = 1, .quantize_activations = false},
       DType::F32,
       2e-4,
       DType::F32},
  };
  compare_all(setups);
  const Variant on_cpu[] = {
      {"cpu, float32", {.device = "cpu", .threads = 2, .quantize_activations = false}, DType::F32, 2e-4},
      {"cpu, float16 KV", {.device = "cpu", .threads = 2, .quantize_activations = true}, DType::F16, 1e-2},
      {"cpu, bfloat16 KV", {.device = "cpu", .threads = 2, .quantize_activations = true}, DType::BF16, 4e-2},
  };
  testing::on_each_isa([&](CpuIsa isa) {
    fmt::print("{}:\n", name(isa));
    compare_all(on_cpu);
  });
}

// Ranks of tensor parallelism: the same sums in other pieces.
TEST(Golden, SharedOutToRanks) {
  const BackendOptions exact = {.device = "ref", .threads = 1, .quantize_activations = false};
  const Variant setups[] = {
      {.name = "2 ranks", .backend = exact, .kv = DType::F32, .bound = 2e-4, .ranks = 2},
      {.name = "4 ranks", .backend = exact, .kv = DType::F32, .bound = 2e-4, .ranks = 4},
      {.name = "2, F16 GGUF", .backend = exact, .kv = DType::F32, .bound = 2e-2, .gguf = DType::F16, .ranks = 2},
      // Half of 160 inputs is no whole number of blocks of 32: these become numbers.
      {.name = "2, Q8_0 GGUF", .backend = exact, .kv = DType::F32, .bound = 4e-1, .gguf = DType::Q8_0, .ranks = 2},
  };
  compare_all(setups);
}

// The last block leaves out the rows without a result; the others, and what the cache holds, are the same bits.
void expect_some_rows_of_all(std::span<const Variant> setups) {
  for (const char* model : kModels) {
    const testing::Expected expected(kGolden + model + "/expected.safetensors");
    const auto ids = expected.get<int64_t, int32_t>("input_ids.2");
    const std::vector<int32_t> first(ids.begin(), ids.end() - 5), rest(ids.end() - 5, ids.end());
    for (const Variant& setup : setups) {
      const Opened checkpoint(model, setup);
      OneSequence seq(*checkpoint, setup);
      const std::vector<float> all = seq.extend(ids);
      seq.restart();
      EXPECT_TRUE(seq.extend(first, {}, {}).empty());
      const std::vector<float> some = seq.extend(rest, {}, {1, 4});
      const auto vocab = static_cast<ptrdiff_t>(seq.vocab());
      ASSERT_EQ(some.size(), static_cast<size_t>(2 * vocab));
      EXPECT_TRUE(std::equal(some.begin(), some.begin() + vocab, all.end() - 4 * vocab))
          << model << " on " << setup.name;
      EXPECT_TRUE(std::equal(some.begin() + vocab, some.end(), all.end() - vocab)) << model << " on " << setup.name;
    }
  }
}

TEST(Golden, SomeRowsAreThoseOfAll) {
  const Variant on_ref[] = {{"ref", {.device = "ref", .threads = 1, .quantize_activations = false}, DType::F32, 0}};
  expect_some_rows_of_all(on_ref);
  const BackendOptions fast = {.device = "cpu", .threads = 2, .quantize_activations = true};
  const Variant on_cpu[] = {
      {"cpu", fast, DType::F16, 0},
      {"cpu, BF16 weights", fast, DType::F16, 0, DType::BF16},
      {"cpu, Q8_0 weights", fast, DType::F16, 0, DType::Q8_0},
  };
  testing::on_each_isa([&](CpuIsa) { expect_some_rows_of_all(on_cpu); });
}

// Rope scalings that depend on the length: of each text in transformers, of the served context here (nn/rope.h).
TEST(Golden, RopeScalingsOfTheServedContext) {
  const Variant setups[] = {
      {"ref, float32", {.device = "ref", .threads = 1, .quantize_activations = false}, DType::F32, 2e-4},
      {"cpu, float32", {.device = "cpu", .threads = 2, .quantize_activations = false}, DType::F32, 2e-4},
  };
  for (const char* model : {"llama_dynamic_rope", "phi3_longrope"}) {
    auto checkpoint = Checkpoint::open(kGolden + model);
    const testing::Expected expected(kGolden + model + "/expected.safetensors");
    for (const Variant& setup : setups) {
      int i = 0;
      for (; expected.has(fmt::format("input_ids.{}", i)); ++i) {
        auto ids = expected.get<int64_t, int32_t>(fmt::format("input_ids.{}", i));
        OneSequence seq(*checkpoint, setup, ModelResult::Logits, static_cast<int>(ids.size()));
        const double error = largest_error(seq.extend(ids), expected.get<float, float>(fmt::format("logits.{}", i)));
        fmt::print("{:18} {:13} {:3} tokens, max |Δ logit| {:.1e}\n", model, setup.name, ids.size(), error);
        EXPECT_LE(error, setup.bound) << model << " on " << setup.name << ", " << ids.size() << " tokens";
      }
      EXPECT_EQ(i, 4);
    }
  }
}

// Matrices in the types that checkpoints have, on the default path of each: activations are rounded to bfloat16 where
// the machine multiplies that, and to int8 in blocks of 32 for block formats. The weights' own rounding is in the
// bounds, which are what the type costs models as narrow as these: 11, 8 and 7 significant bits.
TEST(Golden, LogitsAndGreedyTokensByTheTypeOfTheWeights) {
  const BackendOptions fast = {.device = "cpu", .threads = 2, .quantize_activations = true};
  const Variant setups[] = {
      {"cpu, F16 weights", fast, DType::F16, 2e-2, DType::F16},
      {"cpu, BF16 weights", fast, DType::F16, 1.5e-1, DType::BF16},
      {"cpu, Q8_0 weights", fast, DType::F16, 4e-1, DType::Q8_0},
  };
  testing::on_each_isa([&](CpuIsa isa) {
    fmt::print("{}:\n", name(isa));
    compare_all(setups);
  });
}

// A golden model written anew with this config.json; add(file, name, shape, values) writes each tensor.
template <typename Add>
std::unique_ptr<Checkpoint> written_anew(const testing::TemporaryDirectory& folder, const std::string& model,
                                         const std::string& config, Add add) {
  const auto golden = Checkpoint::open(kGolden + model);
  testing::SafetensorsBuilder file;
  for (const std::string_view name : golden->names()) {
    const FileTensor& t = *golden->find(name);
    std::vector<float> values(static_cast<size_t>(t.shape.elements()));
    dequantize_row(t.dtype, t.data.data(), values.data(), t.shape.elements());
    std::vector<int64_t> shape;
    for (int i = 0; i < t.shape.rank(); ++i) shape.push_back(t.shape[i]);
    add(file, std::string(name), shape, values);
  }
  folder.write("config.json", config);
  folder.write("model.safetensors", file.build());
  return Checkpoint::open(folder.path());
}

std::string config_of(const std::string& model) { return read_file(kGolden + model + "/config.json", 1 << 20); }

// A golden model whose layers' matrices are quantized to 4 bits in groups of 32, as a writer packs them; or, without
// one, the same numbers in float32.
std::unique_ptr<Checkpoint> quantized_to(const testing::TemporaryDirectory& folder, const std::string& model,
                                         const testing::Packing* packing) {
  std::string config = config_of(model);
  if (packing != nullptr) config.insert(config.find('{') + 1, R"("quantization_config":)" + packing->config + ",");
  return written_anew(folder, model, config, [&](auto& file, const std::string& name, auto& shape, auto& values) {
    if (name.find("_proj.weight") == std::string::npos) {
      file.add_floats(name, shape, values);
      return;
    }
    const testing::QuantizedMatrix q(shape[0], shape[1], 32, values);
    if (packing != nullptr) {
      packing->add(file, name.substr(0, name.size() - std::string_view("weight").size()), q);
    } else {
      file.add_floats(name, shape, q.values());
    }
  });
}

// In float32 codes are multiplied exactly: the logits are those of the numbers that the codes stand for, bit for bit.
TEST(Golden, QuantizedCheckpointsComputeWithTheNumbersTheyStandFor) {
  const testing::Packing packings[] = {testing::awq(32), testing::gptq(32, true), testing::gptq(32, false),
                                       testing::compressed(32, false)};
  const Variant setups[] = {
      {"ref", {.device = "ref", .threads = 1, .quantize_activations = false}, DType::F32, 0},
      {"cpu", {.device = "cpu", .threads = 2, .quantize_activations = false}, DType::F32, 0},
      {.name = "ref, 2 ranks",
       .backend = {.device = "ref", .threads = 1, .quantize_activations = false},
       .kv = DType::F32,
       .bound = 0,
       .ranks = 2},
  };
  for (const char* model : {"llama", "qwen2", "phi3", "gemma2"}) {
    const testing::Expected expected(kGolden + model + "/expected.safetensors");
    const auto ids = expected.get<int64_t, int32_t>("input_ids.1");
    for (const Variant& setup : setups) {
      const testing::TemporaryDirectory plain;
      const auto numbers = quantized_to(plain, model, nullptr);
      const std::vector<float> want = OneSequence(*numbers, setup).extend(ids);
      const double off = largest_error(want, expected.get<float, float>("logits.1"));
      EXPECT_GT(off, 1e-3) << model << ": nothing was quantized";
      EXPECT_LT(off, 2) << model << ": more than 4 bits cost";
      for (const testing::Packing& packing : packings) {
        const testing::TemporaryDirectory packed;
        const auto checkpoint = quantized_to(packed, model, &packing);
        EXPECT_EQ(OneSequence(*checkpoint, setup).extend(ids), want)
            << model << " as " << packing.name << " on " << setup.name;
      }
    }
  }
}

// A golden model with some channels of its keys' biases a hundred times the others, as Qwen2's are; in heads of 32,
// which its matrices make as well as those of 16.
std::unique_ptr<Checkpoint> with_large_key_biases(const testing::TemporaryDirectory& folder, const std::string& model,
                                                  const std::string& bias, size_t first_key,
                                                  std::initializer_list<std::pair<const char*, const char*>> config) {
  std::string text = config_of(model);
  for (const auto& [was, is] : config) text.replace(text.find(was), std::string_view(was).size(), is);
  return written_anew(folder, model, text, [&](auto& file, const std::string& name, auto& shape, auto& values) {
    if (name.ends_with(bias)) {
      values[first_key + 5] = 100.0F;
      values[first_key + 20] = -70.0F;
    }
    file.add_floats(name, shape, values);
  });
}

// In int8 a channel shares its scale with 31 others (nn/key_balance.h).
TEST(Golden, LargeBiasesOfKeysInInt8) {
  const testing::TemporaryDirectory folders[2];
  const struct {
    const char* name;
    std::unique_ptr<Checkpoint> checkpoint;
    int ranks;
    double bound;
  } models[] = {
      {"qwen2",
       with_large_key_biases(folders[0], "qwen2", "k_proj.bias", 0,
                             {{R"("num_attention_heads": 4)", R"("num_attention_heads": 2)"},
                              {R"("num_key_value_heads": 2)", R"("num_key_value_heads": 1)"}}),
       1, 0.8},  // 0.44, and 1.7 without the factors
      // No rope, and q, k and v in one matrix.
      {"gpt2", with_large_key_biases(folders[1], "gpt2", "c_attn.bias", 64, {{R"("n_head": 4)", R"("n_head": 2)"}}), 2,
       3e-3},
  };
  auto compare = [&](const char* device) {
    for (const auto& model : models) {
      const testing::Expected expected(kGolden + model.name + "/expected.safetensors");
      const auto ids = expected.get<int64_t, int32_t>("input_ids.2");
      for (int ranks = 1; ranks <= model.ranks; ++ranks) {
        auto sequence = [&](DType kv) {
          const BackendOptions exact = {.device = device, .threads = 1, .quantize_activations = false};
          return OneSequence(*model.checkpoint,
                             {.name = device, .backend = exact, .kv = kv, .bound = 0, .ranks = ranks});
        };
        const std::vector<float> want = sequence(DType::F32).extend(ids);
        OneSequence int8 = sequence(DType::Q8_0);
        const std::vector<float> got = int8.extend(ids);
        const double off = largest_error(got, want);
        fmt::print("{}, {}, {} ranks: max |Δ logit| {:.1e}\n", model.name, device, ranks, off);
        EXPECT_GT(off, 0);
        EXPECT_LT(off, model.bound);
        int8.restart();
        std::vector<float> pieces = int8.extend({ids.begin(), ids.begin() + 7});
        const std::vector<float> rest = int8.extend({ids.begin() + 7, ids.end()});
        pieces.insert(pieces.end(), rest.begin(), rest.end());
        EXPECT_EQ(pieces, got) << model.name << " on " << device;
      }
    }
  };
  compare("ref");
  testing::on_each_isa([&](CpuIsa) { compare("cpu"); });
}

// The last hidden states of encoders, and a cross-encoder's scores of pairs.
void compare_states(std::span<const Variant> setups) {
  for (const char* model : {"bert", "xlm_roberta", "bert_cross"}) {
    auto checkpoint = Checkpoint::open(kGolden + model);
    const testing::Expected expected(kGolden + model + "/expected.safetensors");
    for (const Variant& setup : setups) {
      OneSequence seq(*checkpoint, setup, ModelResult::State);
      double worst = 0;
      int i = 0;
      auto name = [&](const char* what) { return fmt::format("{}.{}", what, i); };
      for (; expected.has(name("input_ids")); ++i) {
        seq.restart();
        const bool pair = expected.has(name("scores"));
        const auto types = pair ? expected.get<int64_t, int32_t>(name("token_types")) : std::vector<int32_t>();
        std::vector<float> got = seq.extend(expected.get<int64_t, int32_t>(name("input_ids")), types);
        if (pair) got.resize(1);  // the first token's
        worst = std::max(worst, largest_error(got, expected.get<float, float>(name(pair ? "scores" : "hidden"))));
      }
      fmt::print("{:12} {:18} {} texts, max |Δ| {:.1e}, bound {:.1e}\n", model, setup.name, i, worst, setup.bound);
      EXPECT_LE(worst, setup.bound) << model << " on " << setup.name;
      EXPECT_EQ(i, 4);
    }
  }
}

TEST(Golden, StatesOfEncoders) {
  const Variant on_ref[] = {
      {"ref, float32", {.device = "ref", .threads = 1, .quantize_activations = false}, DType::F32, 2e-5},
  };
  compare_states(on_ref);
  const Variant shared_out[] = {{.name = "ref, 2 ranks",
                                 .backend = {.device = "ref", .threads = 1, .quantize_activations = false},
                                 .kv = DType::F32,
                                 .bound = 2e-5,
                                 .ranks = 2}};
  compare_states(shared_out);
  const Variant on_cpu[] = {
      {"cpu, float32", {.device = "cpu", .threads = 2, .quantize_activations = false}, DType::F32, 2e-5},
      {"cpu, float16 KV", {.device = "cpu", .threads = 2, .quantize_activations = true}, DType::F16, 4e-3},
  };
  testing::on_each_isa([&](CpuIsa) { compare_states(on_cpu); });
}

// As many GPUs as ranks, or what is missing.
TEST(Golden, SharedOutToGpus) {
  if (const auto why = testing::why_no_gpus()) GTEST_SKIP() << *why;
  std::vector<Variant> setups;
  const Variant two[] = {
      {.name = "2 GPUs, float32",
       .backend = {.device = "cuda", .activations = DType::F32},
       .kv = DType::F32,
       .bound = 2e-4},
      {.name = "float16", .backend = {.device = "cuda", .activations = DType::F16}, .kv = DType::F16, .bound = 2e-2},
      {.name = "bfloat16", .backend = {.device = "cuda"}, .kv = DType::BF16, .bound = 1.2e-1},
      {.name = "deterministic",
       .backend = {.device = "cuda", .deterministic = true},
       .kv = DType::BF16,
       .bound = 1.2e-1},
      {.name = "fp8 KV", .backend = {.device = "cuda"}, .kv = DType::F8E4M3, .bound = 1.0},
      {.name = "fp8",
       .backend = {.device = "cuda", .quantization = Quantization::Fp8},
       .kv = DType::BF16,
       .bound = 2.0},
      {.name = "int8",
       .backend = {.device = "cuda", .quantization = Quantization::Int8},
       .kv = DType::BF16,
       .bound = 1.0},
      {.name = "int4",
       .backend = {.device = "cuda", .quantization = Quantization::Int4},
       .kv = DType::BF16,
       .bound = 4.0},
  };
  for (Variant v : two) {
    v.ranks = 2;
    setups.push_back(v);
  }
  compare_all(setups);
}

TEST(Golden, StatesOfEncodersOnCuda) {
  if (const auto why = why_no_cuda()) GTEST_SKIP() << *why;
  const Variant setups[] = {
      {"cuda, float32", {.device = "cuda", .activations = DType::F32}, DType::F32, 2e-5},
      {"cuda, float16", {.device = "cuda", .activations = DType::F16}, DType::F16, 8e-3},
      {"cuda, bfloat16", {.device = "cuda", .activations = DType::BF16}, DType::BF16, 8e-2},
  };
  compare_states(setups);
}

TEST(Golden, SomeRowsAreThoseOfAllOnCuda) {
  if (const auto why = why_no_cuda()) GTEST_SKIP() << *why;
  const Variant setups[] = {
      {"cuda, float32", {.device = "cuda", .activations = DType::F32, .deterministic = true}, DType::F32, 0},
      {"cuda, bfloat16", {.device = "cuda", .activations = DType::BF16, .deterministic = true}, DType::BF16, 0},
  };
  expect_some_rows_of_all(setups);
}

TEST(Golden, LogitsAndGreedyTokensOnCuda) {
  if (const auto why = why_no_cuda()) GTEST_SKIP() << *why;
  // Weights, activations, keys and values all in the type, with 11 and 8 significant bits; the residual stream and sums
  // in float32. One rounding is 2^-12 or 2^-9 of a number; what reaches the logits is some twenty times that. Quantized
  // weights of these models, which are random, are far off: their bounds tell wrong from inexact, no more.
  const Variant setups[] = {
      {"cuda, float32", {.device = "cuda", .activations = DType::F32}, DType::F32, 2e-4},
      {"cuda, float32 GGUF", {.device = "cuda", .activations = DType::F32}, DType::F32, 2e-4, DType::F32},
      {"cuda, float16", {.device = "cuda", .activations = DType::F16}, DType::F16, 2e-2},
      {"cuda, bfloat16", {.device = "cuda", .activations = DType::BF16}, DType::BF16, 1.2e-1},
      {"cuda, fp8",
       {.device = "cuda", .activations = DType::BF16, .quantization = Quantization::Fp8},
       DType::BF16,
       2.0},
      {"cuda, int4",
       {.device = "cuda", .activations = DType::BF16, .quantization = Quantization::Int4},
       DType::BF16,
       4.0},
      {"cuda, int8",
       {.device = "cuda", .activations = DType::BF16, .quantization = Quantization::Int8},
       DType::BF16,
       1.0},
      {"cuda, fp8 KV", {.device = "cuda", .activations = DType::BF16}, DType::F8E4M3, 1.0},
  };
  compare_all(setups);
}

}  // namespace
}  // namespace sgl
