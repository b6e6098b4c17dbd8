#include "checkpoint/gguf.h"

#include <limits>
#include <string>

#include <gtest/gtest.h>

#include "checkpoint/expect_error.h"
#include "checkpoint/test_files.h"

namespace sgl {
namespace {

using testing::append;
using testing::as_bytes;
using testing::expect_error;
using testing::GgufBuilder;

void expect_corrupt(const std::string& file, std::initializer_list<const char*> parts) {
  expect_error(ErrorKind::CorruptFile, parts, [&] { GgufFile(as_bytes(file), "x.gguf"); });
}

TEST(Gguf, ReadsEveryTypeOfValue) {
  const std::string file = GgufBuilder()
                               .key<uint8_t>("u8", 200)
                               .key<int8_t>("i8", -100)
                               .key<uint16_t>("u16", 60000)
                               .key<int16_t>("i16", -30000)
                               .key<uint32_t>("u32", 4000000000U)
                               .key<int32_t>("i32", -2000000000)
                               .key<uint64_t>("u64", uint64_t{1} << 62)
                               .key<int64_t>("i64", -(int64_t{1} << 62))
                               .key<float>("f32", 0.5F)
                               .key<double>("f64", 0.1)
                               .key<bool>("yes", true)
                               .key("text", "h\xc3\xa9llo")
                               .strings("tokens", {"a", "", "\xff\xfe"})
                               .array<int32_t>("types", {1, -2, 3})
                               .array<float>("scores", {0.5F, -1.5F})
                               .array<uint8_t>("bytes", {7, 8})
                               .build();
  const GgufFile f(as_bytes(file), "x.gguf");
  EXPECT_EQ(f.version(), 3U);
  EXPECT_EQ(f.integer("u8"), 200);
  EXPECT_EQ(f.integer("i8"), -100);
  EXPECT_EQ(f.integer("u16"), 60000);
  EXPECT_EQ(f.integer("i16"), -30000);
  EXPECT_EQ(f.integer("u32"), 4000000000);
  EXPECT_EQ(f.integer("i32"), -2000000000);
  EXPECT_EQ(f.integer("u64"), int64_t{1} << 62);
  EXPECT_EQ(f.integer("i64"), -(int64_t{1} << 62));
  EXPECT_EQ(f.number("f32"), 0.5);
  EXPECT_EQ(f.number("f64"), 0.1);
  EXPECT_EQ(f.number("u8"), 200);
  EXPECT_EQ(f.boolean("yes"), true);
  EXPECT_EQ(f.integer("yes"), 1);
  EXPECT_EQ(f.string("text"), "h\xc3\xa9llo");
  EXPECT_EQ(f.strings("tokens"), (std::vector<std::string_view>{"a", "", "\xff\xfe"}));
  EXPECT_EQ(f.ints("types"), (std::vector<int32_t>{1, -2, 3}));
  EXPECT_EQ(f.floats("scores"), (std::vector<float>{0.5F, -1.5F}));
  EXPECT_EQ(f.floats("types"), (std::vector<float>{1, -2, 3}));
  EXPECT_EQ(f.ints("bytes"), (std::vector<int32_t>{7, 8}));
  EXPECT_TRUE(f.is_array("tokens"));
  EXPECT_FALSE(f.is_array("u8"));
  EXPECT_EQ(f.keys().size(), 16U);
  EXPECT_EQ(f.keys()[0], "u8");
}

TEST(Gguf, AbsentKeysAreEmpty) {
  const std::string file = GgufBuilder().build();
  const GgufFile f(as_bytes(file), "x.gguf");
  EXPECT_FALSE(f.has("a"));
  EXPECT_FALSE(f.integer("a") || f.number("a") || f.boolean("a") || f.string("a") || f.is_array("a"));
  EXPECT_TRUE(f.strings("a").empty() && f.floats("a").empty() && f.ints("a").empty());
}

TEST(Gguf, ValuesOfAnotherTypeAreRefusedByKey) {
  const std::string file = GgufBuilder()
                               .key("text", "x")
                               .key<float>("real", 1.5F)
                               .key<float>("nan", std::numeric_limits<float>::quiet_NaN())
                               .key<uint64_t>("huge", ~uint64_t{0})
                               .array<int32_t>("list", {1})
                               .array<int64_t>("wide", {int64_t{1} << 40})
                               .strings("words", {"a"})
                               .build();
  const GgufFile f(as_bytes(file), "x.gguf");
  auto refused = [&](const char* key, const std::function<void()>& call) {
    expect_error(ErrorKind::CorruptFile, {"x.gguf", key, "must be"}, call);
  };
  refused("text", [&] { f.integer("text"); });
  refused("text", [&] { f.number("text"); });
  refused("text", [&] { f.boolean("text"); });
  refused("text", [&] { f.strings("text"); });
  refused("real", [&] { f.integer("real"); });
  refused("real", [&] { f.string("real"); });
  refused("nan", [&] { f.number("nan"); });
  refused("huge", [&] { f.integer("huge"); });
  refused("list", [&] { f.integer("list"); });
  refused("list", [&] { f.strings("list"); });
  refused("wide", [&] { f.ints("wide"); });
  refused("words", [&] { f.ints("words"); });
  refused("words", [&] { f.floats("words"); });
}

TEST(Gguf, ReadsTensorsInPlaceOutermostDimensionFirst) {
  const std::string file = GgufBuilder()
                               .key("general.architecture", "llama")
                               .tensor("blk.0.attn_q.weight", {32, 3}, 8, std::string(3 * 34, 'q'))
                               .tensor("output_norm.weight", {5}, 0, std::string(20, 'n'))
                               .build();
  const GgufFile f(as_bytes(file), "x.gguf");
  ASSERT_EQ(f.tensors().size(), 2U);
  const FileTensor& q = f.tensors()[0];
  EXPECT_EQ(q.name, "blk.0.attn_q.weight");
  EXPECT_EQ(q.dtype, DType::Q8_0);
  EXPECT_EQ(q.shape, (Shape{3, 32}));
  EXPECT_EQ(q.data.size(), 102U);
  EXPECT_EQ(static_cast<char>(q.data[101]), 'q');
  EXPECT_EQ(static_cast<char>(f.tensors()[1].data[0]), 'n');
}

TEST(Gguf, VersionTwoIsReadAndOthersAreRefused) {
  EXPECT_EQ(GgufFile(as_bytes(GgufBuilder().build(2)), "x.gguf").version(), 2U);
  for (uint32_t version : {0U, 1U, 4U}) {
    const std::string file = GgufBuilder().build(version);
    expect_error(ErrorKind::Unsupported, {"version", "2 and 3"}, [&] { GgufFile(as_bytes(file), "x.gguf"); });
  }
  const std::string swapped = GgufBuilder().build(0x03000000);
  expect_error(ErrorKind::Unsupported, {"big-endian"}, [&] { GgufFile(as_bytes(swapped), "x.gguf"); });
  expect_corrupt("GGML0123456789abcdefghijkl", {"begin with GGUF"});
  expect_corrupt("", {"begin with GGUF"});
}

TEST(Gguf, UnsupportedTensorTypesAreNamed) {
  const std::string known = GgufBuilder().tensor("blk.0.ffn_up.weight", {256}, 16, std::string(66, 'x')).build();
  expect_error(ErrorKind::Unsupported,
               {"tensor blk.0.ffn_up.weight has type IQ2_XXS", "not supported", "Q4_K, Q5_K, Q6_K"},
               [&] { GgufFile(as_bytes(known), "x.gguf"); });
  const std::string unknown = GgufBuilder().tensor("w", {256}, 999, "").build();
  expect_error(ErrorKind::Unsupported, {"tensor w has type number 999"},
               [&] { GgufFile(as_bytes(unknown), "x.gguf"); });
}

TEST(Gguf, CountsBeyondTheFileAllocateNothing) {
  for (uint64_t n : {uint64_t{1} << 20, uint64_t{1} << 32, uint64_t{1} << 61, ~uint64_t{0}}) {
    expect_corrupt(GgufBuilder().build_counted(3, n, 0), {"number of tensors"});
    expect_corrupt(GgufBuilder().build_counted(3, 0, n), {"number of key-values"});
    for (uint32_t type : {0U, 6U, 8U, 9U, 12U}) {
      std::string value;
      append<uint32_t>(value, GgufBuilder::Array);
      append(value, type);
      append(value, n);
      expect_corrupt(GgufBuilder().raw_key("list", value).build(), {"array's length"});
    }
  }
}

TEST(Gguf, StringLengthsBeyondTheFileAreRefused) {
  for (uint64_t n : {uint64_t{200}, uint64_t{1} << 40, ~uint64_t{0}, ~uint64_t{7}}) {
    std::string value;
    append<uint32_t>(value, GgufBuilder::String);
    append(value, n);
    expect_corrupt(GgufBuilder().raw_key("text", value + "abc").build(), {"a string", "cut off"});
    std::string file = "GGUF";
    append<uint32_t>(file, 3);
    append<uint64_t>(file, 0);
    append<uint64_t>(file, 1);
    append(file, n);
    expect_corrupt(file + std::string(64, 'k'), {"a key"});
  }
}

TEST(Gguf, NestedArraysAreReadAndBounded) {
  auto nested = [](int depth) {
    std::string value;
    append<uint32_t>(value, GgufBuilder::Array);
    for (int i = 0; i < depth; ++i) {
      append<uint32_t>(value, GgufBuilder::Array);
      append<uint64_t>(value, 1);
    }
    append<uint32_t>(value, GgufBuilder::U8);
    append<uint64_t>(value, 2);
    return value + "ab";
  };
  const std::string file = GgufBuilder().raw_key("deep", nested(2)).key<uint8_t>("after", 9).build();
  const GgufFile f(as_bytes(file), "x.gguf");
  EXPECT_EQ(f.integer("after"), 9);
  expect_error(ErrorKind::CorruptFile, {"deep"}, [&] { f.ints("deep"); });
  expect_error(ErrorKind::CorruptFile, {"deep"}, [&] { f.floats("deep"); });
  expect_corrupt(GgufBuilder().raw_key("deep", nested(1000)).build(), {"deep"});
}

TEST(Gguf, UnknownTypeCodesAreRefused) {
  std::string value;
  append<uint32_t>(value, 13);
  expect_corrupt(GgufBuilder().raw_key("odd", value + "12345678").build(), {"odd", "type 13"});
}

TEST(Gguf, TensorsMustLieInTheFileAligned) {
  const std::string data(64, 'x');
  auto file = [&](uint64_t offset) {
    return GgufBuilder().tensor("a", {16}, 0, data).raw_tensor("b", {4}, 0, offset).build();
  };
  expect_corrupt(file(64), {"tensor b", "cut off"});
  expect_corrupt(file(~uint64_t{31}), {"tensor b", "cut off"});
  expect_corrupt(file(4), {"tensor b", "multiple of 32"});
  expect_corrupt(file(32), {"a and b share bytes"});
}

TEST(Gguf, ShapesThatOverflowAreRefused) {
  const uint64_t big = uint64_t{1} << 32;
  for (const std::vector<uint64_t>& dims : std::vector<std::vector<uint64_t>>{{big, big},
                                                                              {big, big, 0},
                                                                              {~uint64_t{0}},
                                                                              {uint64_t{1} << 63},
                                                                              {uint64_t{1} << 62, 1},
                                                                              {3037000500, 3037000500, 2}}) {
    expect_corrupt(GgufBuilder().raw_tensor("w", dims, 0, 0).build(), {"tensor w"});
  }
  expect_corrupt(GgufBuilder().raw_tensor("w", {1, 1, 1, 1, 1}, 0, 0).build(), {"5 dimensions"});
  expect_corrupt(GgufBuilder().raw_tensor("w", {33}, 8, 0).build(), {"tensor w", "Q8_0", "[33]"});
}

TEST(Gguf, NamesMustBeUnique) {
  expect_corrupt(GgufBuilder().key<uint8_t>("k", 1).key<uint8_t>("k", 1).build(), {"two values of the key k"});
}

TEST(Gguf, AlignmentIsTheFilesOwn) {
  const std::string data(64, 'x');
  std::string file = GgufBuilder().key<uint32_t>("general.alignment", 64).tensor("a", {16}, 0, data).build();
  file.insert(file.size() - data.size(), (64 - (file.size() - data.size()) % 64) % 64, '\0');
  EXPECT_EQ(static_cast<char>(GgufFile(as_bytes(file), "x.gguf").tensors()[0].data[0]), 'x');
  for (uint32_t bad : {0U, 1U, 48U, 1U << 31}) {
    expect_corrupt(GgufBuilder().key<uint32_t>("general.alignment", bad).build(), {"general.alignment"});
  }
}

TEST(Gguf, NamesBecomeTheHubs) {
  EXPECT_EQ(hub_name("blk.12.attn_q.weight", "LlamaForCausalLM"), "model.layers.12.self_attn.q_proj.weight");
  EXPECT_EQ(hub_name("blk.0.attn_k.bias", "Qwen2ForCausalLM"), "model.layers.0.self_attn.k_proj.bias");
  EXPECT_EQ(hub_name("blk.0.attn_q_norm.weight", "Qwen3ForCausalLM"), "model.layers.0.self_attn.q_norm.weight");
  EXPECT_EQ(hub_name("blk.0.ffn_norm.weight", "LlamaForCausalLM"), "model.layers.0.post_attention_layernorm.weight");
  EXPECT_EQ(hub_name("blk.0.ffn_norm.weight", "Gemma2ForCausalLM"), "model.layers.0.pre_feedforward_layernorm.weight");
  EXPECT_EQ(hub_name("blk.0.post_attention_norm.weight", "Gemma3ForCausalLM"),
            "model.layers.0.post_attention_layernorm.weight");
  EXPECT_EQ(hub_name("blk.0.post_ffw_norm.weight", "Gemma3ForCausalLM"),
            "model.layers.0.post_feedforward_layernorm.weight");
  EXPECT_EQ(hub_name("blk.0.ffn_up.weight", "LlamaForCausalLM"), "model.layers.0.mlp.up_proj.weight");
  EXPECT_EQ(hub_name("blk.0.ffn_up.weight", "Phi3ForCausalLM"), "model.layers.0.mlp.gate_up_proj.weight");
  EXPECT_EQ(hub_name("blk.0.attn_qkv.weight", "Phi3ForCausalLM"), "model.layers.0.self_attn.qkv_proj.weight");
  EXPECT_EQ(hub_name("token_embd.weight", "LlamaForCausalLM"), "model.embed_tokens.weight");
  EXPECT_EQ(hub_name("output_norm.weight", "LlamaForCausalLM"), "model.norm.weight");
  EXPECT_EQ(hub_name("output.weight", "LlamaForCausalLM"), "lm_head.weight");
  EXPECT_EQ(hub_name("blk.3.attn_qkv.bias", "GPT2LMHeadModel"), "transformer.h.3.attn.c_attn.bias");
  EXPECT_EQ(hub_name("blk.3.ffn_down.weight", "GPT2LMHeadModel"), "transformer.h.3.mlp.c_proj.weight");
  EXPECT_EQ(hub_name("position_embd.weight", "GPT2LMHeadModel"), "transformer.wpe.weight");
  EXPECT_EQ(hub_name("output_norm.bias", "GPT2LMHeadModel"), "transformer.ln_f.bias");
  // What an architecture does not have keeps its name, and so is reported as it stands in the file.
  for (const char* name :
       {"rope_freqs.weight", "blk.0.attn_rot_embd.weight", "blk.x.attn_q.weight", "blk.", "blk.0", "", "."}) {
    EXPECT_EQ(hub_name(name, "LlamaForCausalLM"), name);
  }
  EXPECT_EQ(hub_name("blk.0.attn_q.weight", "bert"), "blk.0.attn_q.weight");
}

}  // namespace
}  // namespace sgl
