// The host's part of the cuda backend, under AddressSanitizer and UndefinedBehaviorSanitizer, on a device that computes
// nothing (cuda_host/device.h): what steps are planned and sent, how memory is shared out, and what becomes of errors.
// That kernels compute the right thing is for a GPU: ops_test and golden_test.

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "bench/device_ops.h"
#include "checkpoint/test_files.h"
#include "cuda_host/device.h"
#include "ops/backend.h"
#include "sgl/engine.h"

namespace sgl {
namespace {

using testing::fake_device;
using testing::FakeDevice;

constexpr unsigned kSeed = 20260301;

class CudaHost : public ::testing::Test {
 protected:
  void SetUp() override { fake_device() = FakeDevice{}; }
  void TearDown() override {
    EXPECT_EQ(fake_device().allocations, 0) << "memory of the device, or pinned, was not freed";
    EXPECT_EQ(fake_device().used, 0);
  }
};

int pick(std::mt19937& random, int from, int to) { return std::uniform_int_distribution<int>(from, to)(random); }

// Sequences that decode, some with a common prefix, and prompts; their pages are any of the cache's.
PagedBatch random_batch(std::mt19937& random, int page_size, int num_pages) {
  PagedBatch batch;
  const int count = pick(random, 1, 24), shared_pages = pick(random, 0, 1) * pick(random, 0, 2000 / page_size);
  std::vector<int32_t> shared(static_cast<size_t>(shared_pages));
  for (int32_t& page : shared) page = pick(random, 0, num_pages - 1);
  for (int i = 0; i < count; ++i) {
    const int new_tokens = pick(random, 0, 3) > 0 ? 1 : pick(random, 1, 300);
    const int before = pick(random, 0, 1) * shared_pages * page_size;
    const int length = before + new_tokens + pick(random, 0, 1500);
    batch.seqs.push_back(
        {static_cast<int32_t>(batch.token_ids.size()), new_tokens, length, static_cast<int32_t>(batch.pages.size())});
    if (before > 0) batch.pages.insert(batch.pages.end(), shared.begin(), shared.end());
    for (int p = before / page_size; p * page_size < length; ++p) batch.pages.push_back(pick(random, 0, num_pages - 1));
    for (int t = length - new_tokens; t < length; ++t) {
      batch.token_ids.push_back(0);
      batch.positions.push_back(t);
    }
  }
  return batch;
}

// Steps with caches and page sizes in turn: no list is read beyond its end, and every kernel has blocks to run.
TEST_F(CudaHost, StepsOfAllKindsArePlanned) {
  for (const bool deterministic : {false, true}) {
    const auto backend =
        Backend::create({.device = "cuda", .threads = 2, .activations = DType::BF16, .deterministic = deterministic});
    std::mt19937 random(kSeed);
    for (int step = 0; step < 60; ++step) {
      const int kv_heads = pick(random, 1, 8), group = pick(random, 1, 8);
      constexpr int kHeads[] = {64, 80, 96, 128, 256, 20};
      KvView kv{.dtype = pick(random, 0, 1) == 0 ? DType::BF16 : DType::F8E4M3,
                .num_pages = 700,
                .page_size = 1 << pick(random, 2, 7),
                .num_kv_heads = kv_heads,
                .head_dim = kHeads[pick(random, 0, 5)]};
      SCOPED_TRACE(fmt::format("step {}: {} / {} heads of {}, pages of {}, {}", step, kv_heads * group, kv_heads,
                               kv.head_dim, kv.page_size, name(kv.dtype)));
      Buffer cache = backend->allocate(static_cast<size_t>(2 * kv.page_bytes() * kv.num_pages));
      kv.k = cache.data();
      kv.v = kv.k + kv.page_bytes() * kv.num_pages;
      const PagedBatch batch = random_batch(random, kv.page_size, static_cast<int>(kv.num_pages));
      const int64_t n = batch.num_tokens(), q_cols = int64_t{kv_heads} * group * kv.head_dim,
                    kv_cols = int64_t{kv_heads} * kv.head_dim;
      Buffer rows = backend->allocate(static_cast<size_t>(2 * n * (2 * q_cols + kv_cols)));
      const Tensor q(rows.data(), DType::BF16, {n, q_cols}),
          out(rows.data() + 2 * n * q_cols, DType::BF16, {n, q_cols}),
          k(rows.data() + 4 * n * q_cols, DType::BF16, {n, kv_cols});
      const int64_t before = fake_device().launches;
      backend->begin(batch);
      for (const int window : {0, pick(random, 1, 400), 0}) {
        backend->store_kv(kv, k, k, batch);
        backend->attention(out, q, kv, batch, {.num_heads = kv_heads * group, .scale = 0.1F, .window = window});
      }
      EXPECT_GE(fake_device().launches - before, 6);
    }
  }
}

// Its cases, small ones: the backend is asked as it may be.
TEST_F(CudaHost, TheBenchmarkOfOpsRuns) {
  for (const Quantization q : {Quantization::None, Quantization::Int4}) {
    const auto backend = Backend::create({.device = "cuda", .threads = 2, .quantization = q});
    const bench::DeviceSizes sizes{
        .hidden = 256,
        .inter = 384,
        .vocab = 1000,
        .heads = 4,
        .kv_heads = 2,
        .head_dim = 64,
        .rows = {1, 40},
        .attention = {{3, 1, 300, 64, 0, true}, {9, 1, 2100, 16, 2080}, {2, 1, 70, 16, 0, false, true}, {2, 40, 100}},
        .turn_bytes = 1 << 20,
        .copied_bytes = 1 << 20,
        .square = 256};
    int cases = 0;
    bench::DeviceOps ops(*backend, sizes, {.seconds = 0}, [&](const bench::OpFigures&) { ++cases; });
    EXPECT_EQ(ops.measure_roofs().units.size(), 1U);
    const int run = ops.run();
    EXPECT_EQ(run, cases);
    EXPECT_EQ(cases, 5 * 2 + 4 + 2 * 2 + 3 * 2);
  }
}

// A small Llama with heads of 64, without weights.
class Model {
 public:
  Model() {
    folder_.write("config.json", R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256,
      "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
      "head_dim": 64, "vocab_size": 1000, "max_position_embeddings": 1024, "rms_norm_eps": 1e-5,
      "torch_dtype": "bfloat16", "tie_word_embeddings": false})");
  }
  EngineOptions options() const {
    return {.model_path = folder_.path(),
            .skip_tokenizer_init = true,
            .load_format = "dummy",
            .device = "cuda",
            .threads = 2,
            .max_total_tokens = 4096,
            .max_running_requests = 32,
            .chunked_prefill_size = 256,
            .decode_log_interval = 0};
  }

 private:
  testing::TemporaryDirectory folder_;
};

std::vector<Request> requests(int count) {
  std::mt19937 random(kSeed);
  std::vector<Request> all(static_cast<size_t>(count));
  for (Request& r : all) {
    std::vector<int32_t> ids(static_cast<size_t>(pick(random, 1, 400)), 7);
    for (size_t i = ids.size() / 2; i < ids.size(); ++i)
      ids[i] = pick(random, 1, 999);  // half of it is a common prefix
    r.prompt = std::move(ids);
    r.sampling.max_new_tokens = pick(random, 1, 60);
    r.sampling.ignore_eos = true;
    r.sampling.temperature = static_cast<float>(pick(random, 0, 1));
    r.sampling.frequency_penalty = 0.5F * static_cast<float>(pick(random, 0, 1));
  }
  return all;
}

// The last answer is told before its step has ended. Waits for that, five seconds at most.
template <typename F>
EngineStats stats_when(const Engine& engine, F is_so) {
  EngineStats stats = engine.stats();
  for (int i = 0; i < 5000 && !is_so(stats); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    stats = engine.stats();
  }
  return stats;
}

// The whole runtime, one step ahead of the device, with retractions: every token that the device "chooses" is 0.
TEST_F(CudaHost, AnEngineServesOnIt) {
  const Model model;
  struct Case {
    std::string quantization, kv;
    bool deterministic, overlap;
    int ranks = 1;
  };
  for (const Case& c : {Case{"", "auto", false, true},
                        {"", "auto", false, true, 2},
                        {"", "auto", true, false, 2},
                        {"fp8", "fp8_e4m3", false, true, 2},
                        {"", "auto", false, false},
                        {"", "auto", true, true},
                        {"", "fp8_e4m3", false, true},
                        {"fp8", "auto", false, true},
                        {"int8", "auto", false, true},
                        {"int4", "fp8_e4m3", false, true}}) {
    SCOPED_TRACE(fmt::format("{} weights, {} cache, deterministic {}, overlap {}, {} ranks", c.quantization, c.kv,
                             c.deterministic, c.overlap, c.ranks));
    fake_device().gpus = c.ranks;
    EngineOptions options = model.options();
    options.tp_size = c.ranks;
    options.quantization = c.quantization;
    options.kv_cache_dtype = c.kv;
    options.deterministic = c.deterministic;
    options.disable_overlap_schedule = !c.overlap;
    Engine engine(options);
    const std::vector<Request> asked = requests(80);
    const std::vector<Output> got = engine.generate(asked);
    ASSERT_EQ(got.size(), asked.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].token_ids, std::vector<int32_t>(static_cast<size_t>(*asked[i].sampling.max_new_tokens), 0));
    }
    const EngineStats stats = stats_when(engine, [](const EngineStats& s) { return s.running == 0; });
    EXPECT_EQ(stats.running + stats.waiting, 0);
    EXPECT_EQ(stats.free_pages + stats.cached_pages, stats.total_pages);
    EXPECT_EQ(stats.cached_pages_locked, 0);
  }
}

TEST_F(CudaHost, AModelThatDoesNotFitIsRefusedBeforeItIsLoaded) {
  const Model model;
  fake_device().memory = size_t{24} << 20;
  try {
    Engine engine(model.options());
    FAIL() << "it was taken";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::ResourceExhausted) << e.what();
    EXPECT_NE(std::string(e.what()).find("--"), std::string::npos) << "no flag is named: " << e.what();
  }
}

bool is_failure(const Output& o, const std::string& why) {
  return o.finish.type == FinishReason::Type::Abort && o.finish.status == 500 &&
         o.finish.message.find(why) != std::string::npos;
}

// With two ranks, one of them may get its memory.
TEST_F(CudaHost, MemoryThatAStepDoesNotGetFailsItsRequestsAlone) {
  const Model model;
  for (const int ranks : {1, 2}) {
    fake_device().gpus = ranks;
    EngineOptions options = model.options();
    options.tp_size = ranks;
    Engine engine(options);
    const std::vector<Request> asked = requests(6);
    const size_t all = std::exchange(fake_device().memory, fake_device().used);
    const std::vector<Output> without = engine.generate(asked);
    EXPECT_TRUE(
        std::any_of(without.begin(), without.end(), [](const Output& o) { return is_failure(o, "bytes left"); }));
    fake_device().memory = all;
    for (const Output& o : engine.generate(asked)) EXPECT_EQ(o.finish.type, FinishReason::Type::Length);
    EXPECT_EQ(engine.stats().failure, "");
  }
}

TEST_F(CudaHost, GpusThatAreMissingOrApartAreNamed) {
  const Model model;
  EngineOptions options = model.options();
  options.tp_size = 2;
  auto refusal = [&] {
    try {
      Engine engine(options);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("it was taken");
  };
  EXPECT_NE(refusal().find("--tp-size 2 needs as many NVIDIA GPUs, and this machine shows 1"), std::string::npos)
      << refusal();
  fake_device().gpus = 2;
  fake_device().are_peers = false;
  EXPECT_NE(refusal().find("cannot reach the memory of GPU"), std::string::npos) << refusal();
}

TEST_F(CudaHost, ALostDeviceFailsAllRequestsAndIsTold) {
  const Model model;
  for (const int ranks : {1, 2}) {
    fake_device().gpus = ranks;
    fake_device().lost_after = -1;
    EngineOptions options = model.options();
    options.tp_size = ranks;
    Engine engine(options);
    engine.generate(requests(3));
    fake_device().lost_after = fake_device().launches + 500;
    const std::vector<Output> got = engine.generate(requests(80));
    EXPECT_GT(std::count_if(got.begin(), got.end(), [](const Output& o) { return is_failure(o, "IllegalAddress"); }),
              0);
    EXPECT_TRUE(std::all_of(got.begin(), got.end(), [](const Output& o) {
      return o.finish.type == FinishReason::Type::Length || o.finish.status == 500;
    })) << "an answer ended otherwise";
    EXPECT_NE(stats_when(engine, [](const EngineStats& s) { return !s.failure.empty(); }).failure, "");
    try {
      engine.generate(requests(1));
      FAIL() << "a request was taken";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::DeviceLost) << e.what();
    }
  }
}

TEST_F(CudaHost, OneModelAtATimeIsSharedOut) {
  const Model model;
  fake_device().gpus = 2;
  EngineOptions options = model.options();
  options.tp_size = 2;
  {
    const Engine engine(options);
    EXPECT_THROW(Engine{options}, Error);
  }
  EXPECT_NO_THROW(Engine{options});
}

}  // namespace
}  // namespace sgl
