#include "engine/memory_plan.h"

#include <string>

#include <gtest/gtest.h>

#include "sgl/error.h"

namespace sgl {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

// A model of the 135M class, whose weights are one tensor of 100 MiB that nobody reads.
class FakeCheckpoint : public Checkpoint {
 public:
  FakeCheckpoint() {
    config_.hidden_size = 576;
    config_.num_heads = 9;
    config_.num_kv_heads = 3;
    config_.head_dim = 64;
    config_.intermediate_size = 1536;
    config_.vocab_size = 49152;
    weights_.shape = {100 * kMiB / 4};
  }
  const ModelConfig& config() const override { return config_; }
  const FileTensor* find(std::string_view) const override { return &weights_; }
  std::vector<std::string_view> names() const override { return {"w"}; }
  std::string format() const override { return "dummy"; }
  std::string directory() const override { return {}; }
  void release(const FileTensor&) const override {}

 private:
  ModelConfig config_;
  FileTensor weights_;
};

// 23,040 bytes a token, 360 KiB a page.
constexpr KvGeometry kGeometry = {
    .num_layers = 30, .num_kv_heads = 3, .head_dim = 64, .dtype = DType::F16, .page_size = 16};

MemoryPlan plan(int64_t available_mib, void (*change)(EngineOptions&) = nullptr) {
  EngineOptions o;
  o.max_running_requests = 64;
  o.chunked_prefill_size = 512;
  if (change != nullptr) change(o);
  return plan_memory(o, FakeCheckpoint(), kGeometry, 8192, available_mib * kMiB);
}

TEST(MemoryPlan, TakesAQuarterOfWhatIsFreeForThePool) {
  const MemoryPlan p = plan(4000);
  EXPECT_EQ(p.weight_bytes, 100 * kMiB);
  EXPECT_NEAR(static_cast<double>(p.pool_bytes), static_cast<double>((4000 - 100) * kMiB - p.scratch_bytes) / 4, kMiB);
  EXPECT_EQ(p.pool_bytes, p.num_pages * kGeometry.page_bytes());
}

TEST(MemoryPlan, ComputingIsCountedByChunkAndVocabulary) {
  // (512 + 64) · 9,600 floats a token and (128 + 64) · 49,152 logits, a quarter in reserve, and the program.
  EXPECT_NEAR(static_cast<double>(plan(4000).scratch_bytes) / kMiB, (21.1 + 36.0) * 1.25 + 32, 1);
  EXPECT_GT(plan(9000, [](EngineOptions& o) { o.chunked_prefill_size = -1; }).scratch_bytes, 800 * kMiB);
}

TEST(MemoryPlan, AShareOfTheMemoryHoldsWeightsAndPool) {
  const MemoryPlan half = plan(4000, [](EngineOptions& o) { o.mem_fraction_static = 0.5; });
  EXPECT_NEAR(static_cast<double>(half.weight_bytes + half.pool_bytes), 2000.0 * kMiB, kMiB);
  const MemoryPlan all = plan(4000, [](EngineOptions& o) { o.mem_fraction_static = 1.0; });
  EXPECT_LE(all.weight_bytes + all.pool_bytes + all.scratch_bytes, 4000 * kMiB) << "what is left over computes";
}

TEST(MemoryPlan, ACacheOfCodesNeedsRoomForWidenedPages) {
  EngineOptions o;
  auto scratch = [&](DType kv, int context_length) {
    KvGeometry geometry = kGeometry;
    geometry.dtype = kv;
    const FakeCheckpoint checkpoint;
    return plan_memory(o, checkpoint, geometry, context_length, 20000 * kMiB, DType::BF16, Quantization::None)
        .scratch_bytes;
  };
  const int64_t short_context = scratch(DType::F8E4M3, 1024) - scratch(DType::BF16, 1024);
  EXPECT_EQ(short_context, kWidenedBytes / 4 * 5);
  const int64_t bytes_of_token = int64_t{kGeometry.num_kv_heads} * kGeometry.head_dim * 4;
  const int context = static_cast<int>(3 * kWidenedBytes / bytes_of_token);
  EXPECT_EQ(scratch(DType::F8E4M3, context) - scratch(DType::BF16, context), 3 * kWidenedBytes / 4 * 5);
}

TEST(MemoryPlan, KvTypesAreNamed) {
  EXPECT_EQ(parse_kv_dtype("auto", DType::F16), DType::F16);
  EXPECT_EQ(parse_kv_dtype("bf16", DType::F16), DType::BF16);
  EXPECT_EQ(parse_kv_dtype("fp8_e4m3", DType::F16), DType::F8E4M3);
  EXPECT_EQ(parse_kv_dtype("fp8", DType::F16), DType::F8E4M3);
  EXPECT_EQ(parse_kv_dtype("int8", DType::F16), DType::Q8_0);
  try {
    parse_kv_dtype("fp8_e5m2", DType::F16);
    FAIL() << "fp8_e5m2 was taken";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("int8 or fp8_e4m3, got \"fp8_e5m2\""), std::string::npos) << e.what();
  }
}

// A table, a head and a layer's matrix, 1,024 × 256 each.
class ThreeMatrices final : public FakeCheckpoint {
 public:
  explicit ThreeMatrices(DType of_file = DType::F32) {
    matrix_.shape = {1024, 256};
    matrix_.dtype = of_file;
  }
  const FileTensor* find(std::string_view) const override { return &matrix_; }
  std::vector<std::string_view> names() const override {
    return {"model.embed_tokens.weight", "lm_head.weight", "model.layers.0.mlp.up_proj.weight"};
  }

 private:
  FileTensor matrix_;
};

TEST(MemoryPlan, CountsQuantizedMatricesButNotTheTableAndTheHead) {
  EngineOptions o;
  o.max_running_requests = 64;
  auto bytes = [&](Quantization q) {
    return plan_memory(o, ThreeMatrices(), kGeometry, 8192, 4000 * kMiB, DType::BF16, q).weight_bytes;
  };
  constexpr int64_t kElements = int64_t{1024} * 256;
  EXPECT_EQ(bytes(Quantization::None), 3 * kElements * 2);
  EXPECT_EQ(bytes(Quantization::Fp8), 2 * kElements * 2 + kElements + 1024 * 4);
  EXPECT_EQ(bytes(Quantization::Int8), 2 * kElements * 2 + kElements + 1024 * 4);
  EXPECT_EQ(bytes(Quantization::Int4), 2 * kElements * 2 + kElements / 2 + 1024 * 2 * 4);
}

TEST(MemoryPlan, RanksHaveAPartOfTheMatricesAndWholeTables) {
  EngineOptions o;
  o.max_running_requests = 64;
  o.tp_size = 2;
  constexpr int64_t kElements = int64_t{1024} * 256;
  EXPECT_EQ(plan_memory(o, ThreeMatrices(), kGeometry, 8192, 4000 * kMiB, DType::BF16).weight_bytes,
            kElements * 2 + 2 * kElements * 2 / 2);
  // Groups of 128 of 256 inputs: two ranks have one each, four would cut them.
  constexpr int64_t kInt4 = kElements / 2 + 1024 * 2 * 4;
  auto packed = [&](int ranks) {
    o.tp_size = ranks;
    return plan_memory(o, ThreeMatrices(DType::Int4G128), kGeometry, 8192, 4000 * kMiB, DType::BF16).weight_bytes;
  };
  EXPECT_EQ(packed(2), kElements * 2 + kElements * 2 / 2 + kInt4 / 2);
  EXPECT_EQ(packed(4), kElements * 2 + 2 * kElements * 2 / 4);
}

TEST(MemoryPlan, AHeadThatCannotBeSharedOutIsWhole) {
  EngineOptions o;
  o.max_running_requests = 64;
  o.tp_size = 5;
  constexpr int64_t kElements = int64_t{1024} * 256;
  ASSERT_NE(ThreeMatrices().config().vocab_size % 5, 0);
  EXPECT_EQ(plan_memory(o, ThreeMatrices(), kGeometry, 8192, 4000 * kMiB, DType::BF16).weight_bytes,
            2 * kElements * 2 + kElements * 2 / 5);
}

TEST(MemoryPlan, CountsGroupsOfFourBits) {
  EngineOptions o;
  o.max_running_requests = 64;
  auto bytes = [&](DType of_file, std::optional<DType> converted, Quantization q) {
    return plan_memory(o, ThreeMatrices(of_file), kGeometry, 8192, 4000 * kMiB, converted, q).weight_bytes;
  };
  constexpr int64_t kElements = int64_t{1024} * 256, kInt4 = kElements / 2 + 1024 * 2 * 4;
  for (const Quantization q : {Quantization::None, Quantization::Fp8}) {
    EXPECT_EQ(bytes(DType::Int4G128, DType::BF16, q), 2 * kElements * 2 + kInt4);
  }
  EXPECT_EQ(bytes(DType::Int4G128, DType::F32, Quantization::None), 3 * kElements * 4);
  EXPECT_EQ(bytes(DType::Int4G32, DType::BF16, Quantization::None), 3 * kElements * 2);
  EXPECT_EQ(bytes(DType::Int4G128, std::nullopt, Quantization::None), 3 * 1024 * 2 * 67);
  EXPECT_EQ(bytes(DType::BF16, std::nullopt, Quantization::None), 3 * kElements * 2);
  // On the cpu the head has 8 bits, the table stays in the file.
  EXPECT_EQ(bytes(DType::BF16, std::nullopt, Quantization::Int4), kElements * 2 + kElements / 32 * 34 + 1024 * 2 * 67);
}

TEST(MemoryPlan, TablesAreNotQuantized) {
  class Encoder final : public FakeCheckpoint {
   public:
    Encoder() { table_.shape = {1024, 256}; }
    const FileTensor* find(std::string_view) const override { return &table_; }
    std::vector<std::string_view> names() const override {
      return {"embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight", "transformer.wpe.weight"};
    }

   private:
    FileTensor table_;
  };
  EngineOptions o;
  o.max_running_requests = 64;
  EXPECT_EQ(plan_memory(o, Encoder(), kGeometry, 8192, 4000 * kMiB, std::nullopt, Quantization::Int4).weight_bytes,
            int64_t{3} * 1024 * 256 * 4);
}

TEST(MemoryPlan, QuantizationIsNamedAndOfTheDevice) {
  EXPECT_EQ(parse_quantization("", "cpu"), Quantization::None);
  EXPECT_EQ(parse_quantization("fp8", "cuda"), Quantization::Fp8);
  EXPECT_EQ(parse_quantization("int4", "cuda"), Quantization::Int4);
  EXPECT_EQ(parse_quantization("int4", "cpu"), Quantization::Int4);
  EXPECT_EQ(parse_quantization("int8", "cpu"), Quantization::Int8);
  EXPECT_EQ(parse_quantization("int8", "cuda"), Quantization::Int8);
  auto message = [](const std::string& name, const std::string& device) -> std::string {
    try {
      parse_quantization(name, device);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument);
      return e.what();
    }
    return "no error";
  };
  EXPECT_NE(message("fp8", "cpu").find("must be int8 or int4 on the cpu device"), std::string::npos);
  EXPECT_NE(message("gguf", "cuda").find("must be fp8, int8 or int4 on the cuda device"), std::string::npos);
  EXPECT_NE(message("int4", "ref").find("ref computes with what the file has"), std::string::npos);
  EXPECT_NE(message("awq", "cuda").find("got \"awq\""), std::string::npos);
}

TEST(MemoryPlan, TooLittleIsSaidWithNumbers) {
  auto message = [](int64_t mib, void (*change)(EngineOptions&)) -> std::string {
    try {
      plan(mib, change);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::ResourceExhausted);
      return e.what();
    }
    return "no error";
  };
  std::string text = message(200, nullptr);
  EXPECT_NE(text.find("weights need 100 MiB"), std::string::npos) << text;
  EXPECT_NE(text.find("200 MiB are free"), std::string::npos) << text;
  text = message(4000, [](EngineOptions& o) { o.max_total_tokens = 1'000'000; });
  EXPECT_NE(text.find("21.46 GiB"), std::string::npos) << text;
  EXPECT_NE(text.find("--max-total-tokens (now 1000000)"), std::string::npos) << text;
}

}  // namespace
}  // namespace sgl
