// Whole checkpoints: directories in the hub's layout, .gguf files, dummy weights, the golden models and the real ones.

#include "checkpoint/checkpoint.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "checkpoint/expect_error.h"
#include "checkpoint/expected_tensors.h"
#include "checkpoint/gguf.h"
#include "checkpoint/test_files.h"
#include "tensor/block_formats.h"

namespace sgl {
namespace {

namespace fs = std::filesystem;
using testing::expect_error;
using testing::GgufBuilder;
using testing::SafetensorsBuilder;
using testing::TemporaryDirectory;

constexpr const char* kConfig = R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":8,
  "num_hidden_layers":1,"num_attention_heads":2,"intermediate_size":16,"vocab_size":10,"torch_dtype":"float32"})";

std::string one_tensor(const std::string& name, float value) {
  SafetensorsBuilder b;
  b.add_floats(name, {2}, {value, value});
  return b.build();
}

float first(const FileTensor& t) {
  float x = 0;
  dequantize_row(t.dtype, t.data.data(), &x, 1);
  return x;
}

TEST(Checkpoint, OpensOneFileUnderEitherName) {
  for (const char* file : {"model.safetensors", "weights.safetensors"}) {
    TemporaryDirectory d;
    d.write("config.json", kConfig);
    d.write(file, one_tensor("model.norm.weight", 3));
    const auto c = Checkpoint::open(d.path());
    EXPECT_EQ(c->format(), "safetensors");
    EXPECT_EQ(c->directory(), d.path());
    EXPECT_EQ(c->gguf(), nullptr);
    EXPECT_EQ(c->config().hidden_size, 8);
    EXPECT_EQ(c->names(), (std::vector<std::string_view>{"model.norm.weight"}));
    EXPECT_EQ(first(c->require("model.norm.weight", {2})), 3.0F);
    EXPECT_EQ(c->find("model.norm"), nullptr);
  }
}

TEST(Checkpoint, OpensShardsByTheirIndex) {
  TemporaryDirectory d;
  d.write("config.json", kConfig);
  d.write("model-00001-of-00002.safetensors", one_tensor("a", 1));
  d.write("model-00002-of-00002.safetensors", one_tensor("b", 2));
  d.write("other.safetensors", one_tensor("c", 3));
  d.write("model.safetensors.index.json", R"({"metadata":{"total_size":16},"weight_map":{
    "a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}})");
  const auto c = Checkpoint::open(d.path());
  EXPECT_EQ(c->names(), (std::vector<std::string_view>{"a", "b"}));
  EXPECT_EQ(first(*c->find("b")), 2.0F);
}

TEST(Checkpoint, PartsByTheirNamesNeedNoIndex) {
  TemporaryDirectory d;
  d.write("config.json", kConfig);
  d.write("model-00001-of-00002.safetensors", one_tensor("a", 1));
  d.write("model-00002-of-00003.safetensors", one_tensor("b", 2));
  expect_error(ErrorKind::CorruptFile, {"2 safetensors files", "…-00001-of-00002"},
               [&] { Checkpoint::open(d.path()); });
  std::filesystem::rename(d.path() + "/model-00002-of-00003.safetensors",
                          d.path() + "/model-00002-of-00002.safetensors");
  d.write("consolidated.safetensors", one_tensor("a", 3));  // a publisher's own copy
  const auto c = Checkpoint::open(d.path());
  EXPECT_EQ(c->names(), (std::vector<std::string_view>{"a", "b"}));
  EXPECT_EQ(first(*c->find("a")), 1.0F);
}

TEST(Checkpoint, ShardsThatAreMissingOrUnnamedAreErrors) {
  TemporaryDirectory d;
  d.write("config.json", kConfig);
  d.write("1.safetensors", one_tensor("a", 1));
  d.write("2.safetensors", one_tensor("a", 2));
  expect_error(ErrorKind::CorruptFile, {"2 safetensors files", "index"}, [&] { Checkpoint::open(d.path()); });
  d.write("model.safetensors.index.json", R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  expect_error(ErrorKind::CorruptFile, {"two tensors", "a"}, [&] { Checkpoint::open(d.path()); });
  d.write("model.safetensors.index.json", R"({"weight_map":{"a":"1.safetensors","b":"3.safetensors"}})");
  expect_error(ErrorKind::NotFound, {"3.safetensors"}, [&] { Checkpoint::open(d.path()); });
  for (const char* file : {"../1.safetensors", "/etc/passwd", "", "..", ".hidden"}) {
    d.write("model.safetensors.index.json", fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", file));
    expect_error(ErrorKind::CorruptFile, {"tensor a", "same directory"}, [&] { Checkpoint::open(d.path()); });
  }
  d.write("model.safetensors.index.json", R"({"weight_map":[]})");
  expect_error(ErrorKind::CorruptFile, {"weight_map"}, [&] { Checkpoint::open(d.path()); });
}

TEST(Checkpoint, WhatIsNotThereIsSaid) {
  expect_error(ErrorKind::NotFound, {"/nowhere/at/all"}, [] { Checkpoint::open("/nowhere/at/all"); });
  TemporaryDirectory d;
  expect_error(ErrorKind::NotFound, {"config.json"}, [&] { Checkpoint::open(d.path()); });
  d.write("config.json", kConfig);
  expect_error(ErrorKind::NotFound, {"no *.safetensors", "dummy"}, [&] { Checkpoint::open(d.path()); });
  expect_error(ErrorKind::NotFound, {"no .gguf"}, [&] { Checkpoint::open(d.path(), "gguf"); });
  expect_error(ErrorKind::InvalidArgument, {"pt", "safetensors"}, [&] { Checkpoint::open(d.path(), "pt"); });
  d.write("config.json", "{\"architectures\"");
  expect_error(ErrorKind::CorruptFile, {"config.json", "valid JSON"}, [&] { Checkpoint::open(d.path()); });
  const std::string text = d.write("notes.txt", "hello");
  expect_error(ErrorKind::CorruptFile, {"notes.txt", "GGUF"}, [&] { Checkpoint::open(text); });
  expect_error(ErrorKind::InvalidArgument, {"directory"}, [&] { Checkpoint::open(text, "safetensors"); });
}

TEST(Checkpoint, RequireNamesWhatItExpected) {
  TemporaryDirectory d;
  d.write("config.json", kConfig);
  SafetensorsBuilder b;
  b.add_floats("model.layers.3.mlp.up_proj.weight", {160, 63}, std::vector<float>(160 * 63));
  d.write("model.safetensors", b.build());
  const auto c = Checkpoint::open(d.path());
  expect_error(ErrorKind::CorruptFile,
               {"tensor model.layers.3.mlp.up_proj.weight has shape [160, 63]; the config says [160, 64]"}, [&] {
                 c->require("model.layers.3.mlp.up_proj.weight", {160, 64});
               });
  expect_error(ErrorKind::CorruptFile, {"no tensor lm_head.weight", "[10, 8]"}, [&] {
    c->require("lm_head.weight", {10, 8});
  });
}

TEST(Checkpoint, OverridesAreMergedOverConfigJson) {
  TemporaryDirectory d;
  d.write("config.json", R"({"architectures":["LlamaForCausalLM"],"hidden_size":8,"num_attention_heads":2,
                             "rope_parameters":{"rope_theta":100.0,"rope_type":"default"}})");
  d.write("model.safetensors", one_tensor("a", 1));
  const auto c = Checkpoint::open(d.path(), "auto",
                                  R"({"num_hidden_layers":3,"rope_parameters":{"rope_type":"linear","factor":2}})");
  EXPECT_EQ(c->config().num_layers, 3);
  EXPECT_EQ(c->config().rope.theta, 100);
  EXPECT_EQ(c->config().rope.factor, 2);
  expect_error(ErrorKind::InvalidArgument, {"JSON object"}, [&] { Checkpoint::open(d.path(), "auto", "[1]"); });
  expect_error(ErrorKind::InvalidArgument, {"override"}, [&] { Checkpoint::open(d.path(), "auto", "{"); });
}

TEST(Checkpoint, GenerationConfigBesideItIsRead) {
  TemporaryDirectory d;
  d.write("config.json", kConfig);
  d.write("generation_config.json", R"({"eos_token_id":[2,5],"temperature":0.5})");
  d.write("model.safetensors", one_tensor("a", 1));
  const auto c = Checkpoint::open(d.path());
  EXPECT_EQ(c->config().eos_ids, (std::vector<int32_t>{2, 5}));
  EXPECT_EQ(c->config().generation.temperature, 0.5F);
}

TEST(Checkpoint, TensorsAtOddAddressesAreUsableAndSurviveRelease) {
  TemporaryDirectory d;
  d.write("config.json", kConfig);
  SafetensorsBuilder b;
  b.add("bytes", "U8", {1}, "x");
  b.add_floats("odd", {3}, {1, 2, 3});
  b.add("half", "F16", {1}, "ab");
  d.write("model.safetensors", b.build());
  const auto c = Checkpoint::open(d.path());
  const FileTensor& odd = c->require("odd", {3});
  EXPECT_EQ(reinterpret_cast<uintptr_t>(odd.data.data()) % 4, 0U);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(c->find("half")->data.data()) % 2, 0U);
  c->release(odd);
  EXPECT_EQ(reinterpret_cast<const float*>(odd.data.data())[2], 3.0F);
}

TEST(Checkpoint, ReleasedTensorsCanBeReadAgain) {
  TemporaryDirectory d;
  d.write("config.json", kConfig);
  SafetensorsBuilder b;
  b.add_floats("big", {1 << 16}, std::vector<float>(1 << 16, 7.0F));
  d.write("model.safetensors", b.build());
  const auto c = Checkpoint::open(d.path());
  const FileTensor& t = *c->find("big");
  c->release(t);
  std::vector<float> x(1 << 16);
  dequantize_row(t.dtype, t.data.data(), x.data(), 1 << 16);
  EXPECT_EQ(x, std::vector<float>(1 << 16, 7.0F));
}

TEST(Checkpoint, Gpt2NamesGetTheirPrefix) {
  TemporaryDirectory d;
  d.write("config.json", R"({"architectures":["GPT2LMHeadModel"],"n_embd":8,"n_head":2,"n_layer":1})");
  SafetensorsBuilder b;
  for (const char* name : {"wte.weight", "wpe.weight", "h.0.ln_1.weight", "ln_f.bias", "lm_head.weight"})
    b.add_floats(name, {1}, {1});
  d.write("model.safetensors", b.build());
  EXPECT_EQ(Checkpoint::open(d.path())->names(),
            (std::vector<std::string_view>{"lm_head.weight", "transformer.h.0.ln_1.weight", "transformer.ln_f.bias",
                                           "transformer.wpe.weight", "transformer.wte.weight"}));
}

TEST(Checkpoint, MultimodalGemma3GivesItsLanguageModelsTensors) {
  TemporaryDirectory d;
  d.write("config.json", R"({"architectures":["Gemma3ForConditionalGeneration"],"text_config":{"hidden_size":8}})");
  SafetensorsBuilder b;
  for (const char* name : {"language_model.model.norm.weight", "model.language_model.layers.0.mlp.up_proj.weight",
                           "language_model.lm_head.weight", "vision_tower.x", "model.multi_modal_projector.y"}) {
    b.add_floats(name, {1}, {1});
  }
  d.write("model.safetensors", b.build());
  EXPECT_EQ(
      Checkpoint::open(d.path())->names(),
      (std::vector<std::string_view>{"lm_head.weight", "model.layers.0.mlp.up_proj.weight", "model.norm.weight"}));
}

TEST(Checkpoint, UnknownArchitecturesOpenWithoutTensors) {
  TemporaryDirectory d;
  d.write("config.json", R"({"architectures":["NewForCausalLM"]})");
  SafetensorsBuilder b;
  b.add("x", "F8_E4M3", {1}, "x");
  d.write("model.safetensors", b.build());
  const auto c = Checkpoint::open(d.path());
  EXPECT_EQ(c->config().architecture, "NewForCausalLM");
  EXPECT_TRUE(c->names().empty());
}

std::string tiny_gguf() {
  return GgufBuilder()
      .key("general.architecture", "llama")
      .key<uint32_t>("llama.embedding_length", 32)
      .key<uint32_t>("llama.block_count", 1)
      .key<uint32_t>("llama.attention.head_count", 2)
      .key<uint32_t>("llama.feed_forward_length", 64)
      .key<uint32_t>("llama.context_length", 128)
      .key<float>("llama.attention.layer_norm_rms_epsilon", 1e-5F)
      .tensor("token_embd.weight", {32, 3}, 8, std::string(3 * 34, '\x11'))
      .tensor("blk.0.attn_norm.weight", {32}, 0, testing::bytes_of(std::vector<float>(32, 2.0F)))
      .build();
}

TEST(Checkpoint, OpensGgufAloneAndInADirectory) {
  TemporaryDirectory d;
  const std::string file = d.write("tiny.gguf", tiny_gguf());
  d.write("generation_config.json", R"({"temperature":0.25})");
  const auto alone = Checkpoint::open(file), inside = Checkpoint::open(d.path());
  EXPECT_EQ(alone->directory(), "");
  EXPECT_EQ(inside->directory(), d.path());
  EXPECT_FALSE(alone->config().generation.temperature.has_value());
  EXPECT_EQ(inside->config().generation.temperature, 0.25F);
  for (const Checkpoint* c : {alone.get(), inside.get()}) {
    EXPECT_EQ(c->format(), "gguf");
    ASSERT_NE(c->gguf(), nullptr);
    EXPECT_EQ(c->gguf()->integer("llama.block_count"), 1);
    EXPECT_EQ(c->config().dtype, DType::F32);
    EXPECT_EQ(c->config().vocab_size, 3);
    EXPECT_EQ(first(c->require("model.layers.0.input_layernorm.weight", {32})), 2.0F);
    EXPECT_EQ(c->require("model.embed_tokens.weight", {3, 32}).dtype, DType::Q8_0);
  }
  d.write("second.gguf", tiny_gguf());
  expect_error(ErrorKind::InvalidArgument, {"2 .gguf files"}, [&] { Checkpoint::open(d.path()); });
  expect_error(ErrorKind::InvalidArgument, {"override"}, [&] { Checkpoint::open(file, "auto", "{}"); });
}

TEST(Checkpoint, OpensTheSplitPartsOfAGgufModel) {
  auto part = [](int number, int count, int total) {
    GgufBuilder b;
    b.key<uint16_t>("split.no", static_cast<uint16_t>(number - 1))
        .key<uint16_t>("split.count", static_cast<uint16_t>(count))
        .key<int32_t>("split.tensors.count", total)
        .key("general.architecture", "llama")
        .tensor(fmt::format("blk.{}.attn_norm.weight", number - 1), {2}, 0,
                testing::bytes_of(std::vector<float>(2, static_cast<float>(number))));
    if (number == 1) {
      for (const char* key : {"embedding_length", "block_count", "attention.head_count", "feed_forward_length",
                              "context_length", "vocab_size"}) {
        b.key<uint32_t>(fmt::format("llama.{}", key), 2);
      }
      b.key<float>("llama.attention.layer_norm_rms_epsilon", 1e-5F).key<uint32_t>("llama.attention.key_length", 2);
    }
    return b.build();
  };
  TemporaryDirectory d;
  const std::string first_part = d.write("m-00001-of-00002.gguf", part(1, 2, 2));
  expect_error(ErrorKind::NotFound, {"m-00002-of-00002.gguf"}, [&] { Checkpoint::open(first_part); });
  const std::string second = d.write("m-00002-of-00002.gguf", part(2, 2, 2));
  for (const std::string& path : {first_part, d.path()}) {
    const auto c = Checkpoint::open(path);
    EXPECT_EQ(c->names().size(), 2U);
    EXPECT_EQ(first(c->require("model.layers.1.input_layernorm.weight", {2})), 2.0F);
  }
  expect_error(ErrorKind::InvalidArgument, {"one of 2 parts", "00001-of-00002"}, [&] { Checkpoint::open(second); });
  d.write("m-00002-of-00002.gguf", part(2, 3, 2));
  expect_error(ErrorKind::CorruptFile, {"not part 2 of 2"}, [&] { Checkpoint::open(first_part); });
  d.write("m-00002-of-00002.gguf", part(1, 2, 2));
  expect_error(ErrorKind::CorruptFile, {"not part 2 of 2"}, [&] { Checkpoint::open(first_part); });
  d.write("m-00001-of-00002.gguf", part(1, 2, 3));
  d.write("m-00002-of-00002.gguf", part(2, 2, 3));
  expect_error(ErrorKind::CorruptFile, {"2 tensors", "says 3"}, [&] { Checkpoint::open(first_part); });
}

// ---- dummy weights ----

double deviation(const FileTensor& t) {
  std::vector<float> x(static_cast<size_t>(t.shape.elements()));
  dequantize_row(t.dtype, t.data.data(), x.data(), t.shape.elements());
  double sum = 0, squares = 0;
  for (float v : x) {
    sum += static_cast<double>(v);
    squares += static_cast<double>(v) * static_cast<double>(v);
  }
  const double n = static_cast<double>(x.size());
  EXPECT_NEAR(sum / n, 0, 0.001);
  return std::sqrt(squares / n);
}

TEST(DummyWeights, AreNormalAndTheSameEachTime) {
  for (const char* dtype : {"float32", "bfloat16", "float16"}) {
    TemporaryDirectory d;
    d.write("config.json", fmt::format(R"({{"architectures":["LlamaForCausalLM"],"hidden_size":64,"num_hidden_layers":2,
      "num_attention_heads":4,"intermediate_size":160,"vocab_size":320,"attention_bias":true,"torch_dtype":"{}"}})",
                                       dtype));
    const auto c = Checkpoint::open(d.path(), "dummy"), again = Checkpoint::open(d.path(), "dummy");
    EXPECT_EQ(c->format(), "dummy");
    const FileTensor& w = c->require("model.embed_tokens.weight", {320, 64});
    EXPECT_EQ(name(w.dtype), dtype);
    EXPECT_NEAR(deviation(w), 0.02, 0.0005);
    const FileTensor& q0 = c->require("model.layers.0.self_attn.q_proj.weight", {64, 64});
    const FileTensor& q1 = c->require("model.layers.1.self_attn.q_proj.weight", {64, 64});
    EXPECT_FALSE(std::equal(q0.data.begin(), q0.data.end(), q1.data.begin()));
    const FileTensor& same = *again->find("model.layers.0.self_attn.q_proj.weight");
    EXPECT_TRUE(std::equal(q0.data.begin(), q0.data.end(), same.data.begin()));
    EXPECT_EQ(first(c->require("model.norm.weight", {64})), 1.0F);
    EXPECT_EQ(first(c->require("model.layers.1.self_attn.o_proj.bias", {64})), 0.0F);
    EXPECT_EQ(c->names().size(), 21U + 2 * 4);
    c->release(q0);
    EXPECT_NE(first(q0), 0.0F);
  }
}

TEST(DummyWeights, GemmasNormsAreStoredLessOne) {
  TemporaryDirectory d;
  d.write("config.json",
          R"({"architectures":["Gemma3ForCausalLM"],"hidden_size":64,"num_hidden_layers":1,"vocab_size":320})");
  EXPECT_EQ(first(Checkpoint::open(d.path(), "dummy")->require("model.norm.weight", {64})), 0.0F);
}

TEST(DummyWeights, OfAnUnknownArchitectureAreNone) {
  TemporaryDirectory d;
  d.write("config.json", R"({"architectures":["MambaModel"]})");
  auto checkpoint = Checkpoint::open(d.path(), "dummy");  // for the registry to refuse by name
  EXPECT_EQ(checkpoint->config().architecture, "MambaModel");
  EXPECT_TRUE(checkpoint->names().empty());
}

TEST(DummyWeights, RowsOfALargeMatrixDiffer) {
  TemporaryDirectory d;
  d.write("config.json", R"({"architectures":["LlamaForCausalLM"],"hidden_size":1024,"num_hidden_layers":1,
    "num_attention_heads":8,"intermediate_size":1024,"vocab_size":8192,"torch_dtype":"bfloat16"})");
  const auto c = Checkpoint::open(d.path(), "dummy");
  const FileTensor& w = c->require("model.embed_tokens.weight", {8192, 1024});
  std::set<std::string> rows;
  for (int64_t i = 0; i < 8192; ++i) {
    const auto* row = reinterpret_cast<const char*>(w.data.data()) + i * 2048;
    rows.emplace(row, 64);
  }
  EXPECT_EQ(rows.size(), 8192U);
}

// ---- golden models, and the real ones where they are ----

std::string golden_directory(const std::string& model) {
  for (const char* place : {"/tests/golden/models/", "/../shared/golden/models/"}) {
    const std::string path = SGL_SOURCE_DIR + std::string(place) + model;
    if (fs::exists(path + "/config.json")) return path;
  }
  return "";
}

// The fields that decide what a model computes, in one line.
std::string summary(const ModelConfig& c) {
  std::string s = fmt::format("{} {} d{} l{} h{}/{}x{} f{} v{} c{} eps{:g} act{}", c.architecture, name(c.dtype),
                              c.hidden_size, c.num_layers, c.num_heads, c.num_kv_heads, c.head_dim, c.intermediate_size,
                              c.vocab_size, c.context_length, c.norm_eps, static_cast<int>(c.activation));
  auto flag = [&](bool on, const char* text) { s += on ? text : ""; };
  flag(c.tie_word_embeddings, " tied");
  flag(c.norm_plus_one, " +1");
  flag(c.conv1d_weights, " conv1d");
  flag(c.qkv_bias, " qkv_bias");
  flag(c.attn_out_bias, " o_bias");
  flag(c.mlp_bias, " mlp_bias");
  flag(c.qk_norm, " qk_norm");
  s += fmt::format(" scale{:g}", c.attention_scale);
  if (c.embedding_scale != 1) s += fmt::format(" emb{:g}", c.embedding_scale);
  if (c.attention_softcap != 0 || c.final_softcap != 0)
    s += fmt::format(" caps{:g}/{:g}", c.attention_softcap, c.final_softcap);
  if (c.sliding_window > 0) s += fmt::format(" window{}", c.sliding_window);
  if (!c.layer_sliding.empty()) s += ':';
  for (bool sliding : c.layer_sliding) s += sliding ? 's' : 'f';
  auto rope = [&](const char* title, const RopeConfig& r) {
    s += fmt::format(" {}{:g}x{}", title, r.theta, r.rotary_dim);
    if (r.interleaved) s += 'i';
    if (r.scaling != RopeConfig::Scaling::None) {
      s += fmt::format("*{}:{:g}@{}", static_cast<int>(r.scaling), r.factor, r.original_context);
    }
  };
  if (c.rope.rotary_dim > 0) rope("rope", c.rope);
  if (c.rope_local) rope("local", *c.rope_local);
  s += " eos";
  for (int32_t id : c.eos_ids) s += fmt::format("/{}", id);
  return s;
}

struct Expected {
  const char* model;
  const char* summary;
  size_t num_tensors;
};

// h: heads/KV heads x head size; act: enum Activation; rope: theta x rotary size * enum Scaling : factor @ trained
// context.
constexpr Expected kGolden[] = {
    {"bert",
     "BertModel float32 d64 l2 h4/4x16 f160 v320 c512 eps1e-12 act1 tied qkv_bias o_bias mlp_bias scale0.25 eos", 37},
    {"llama", "LlamaForCausalLM float32 d64 l2 h4/2x16 f160 v320 c512 eps1e-06 act0 scale0.25 rope10000x16 eos/2", 21},
    {"llama_tied_rope3",
     "LlamaForCausalLM float32 d64 l2 h4/1x16 f160 v320 c512 eps1e-06 act0 tied scale0.25 "
     "rope500000x16*3:8@64 eos/2",
     20},
    {"llama_linear_rope",
     "LlamaForCausalLM float32 d64 l2 h4/4x16 f160 v320 c512 eps1e-06 act0 qkv_bias o_bias mlp_bias "
     "scale0.25 rope10000x16*1:4@0 eos/2",
     35},
    {"mistral_swa",
     "MistralForCausalLM float32 d64 l2 h4/2x32 f160 v320 c512 eps1e-06 act0 scale0.176777 window24 "
     "rope10000x32 eos/2",
     21},
    {"mistral_embed",
     "MistralForCausalLM float32 d64 l2 h4/2x32 f160 v320 c512 eps1e-06 act0 scale0.176777 window4096 "
     "rope10000x32 eos/2",
     21},
    {"qwen2",
     "Qwen2ForCausalLM float32 d64 l2 h4/2x16 f160 v320 c512 eps1e-06 act0 qkv_bias scale0.25 rope10000x16 eos", 27},
    {"qwen2_yarn",
     "Qwen2ForCausalLM float32 d64 l2 h4/2x16 f160 v320 c512 eps1e-06 act0 qkv_bias scale0.25 "
     "rope10000x16*4:4@64 eos",
     27},
    {"qwen3",
     "Qwen3ForCausalLM float32 d64 l2 h4/2x32 f160 v320 c512 eps1e-06 act0 qk_norm scale0.176777 rope10000x32 eos", 25},
    {"phi3", "Phi3ForCausalLM float32 d64 l2 h4/2x16 f160 v320 c512 eps1e-05 act0 scale0.25 rope10000x16 eos/2", 15},
    {"gemma2",
     "Gemma2ForCausalLM float32 d64 l2 h4/2x32 f160 v320 c512 eps1e-06 act2 tied +1 scale0.176777 emb8 caps50/30 "
     "window24:sf rope10000x32 eos/1",
     24},
    {"gemma3_text",
     "Gemma3ForCausalLM float32 d64 l4 h4/1x32 f160 v320 c512 eps1e-06 act2 tied +1 qk_norm scale0.176777 emb8 "
     "window24:ssfs rope1e+06x32 local10000x32 eos/1",
     54},
    {"gpt2",
     "GPT2LMHeadModel float32 d64 l2 h4/4x16 f256 v320 c512 eps1e-05 act2 tied conv1d qkv_bias o_bias mlp_bias "
     "scale0.25 eos/50256",
     28},
};

TEST(Golden, ConfigsAreReadAndDescribeTheirTensors) {
  for (const Expected& e : kGolden) {
    SCOPED_TRACE(e.model);
    const std::string directory = golden_directory(e.model);
    if (directory.empty()) {
      std::printf("golden model %s: absent, skipped\n", e.model);
      continue;
    }
    const auto c = Checkpoint::open(directory);
    EXPECT_EQ(summary(c->config()), e.summary);
    EXPECT_EQ(c->names().size(), e.num_tensors);
    // The list of expected tensors is exactly what the file has.
    std::set<std::string_view> names;
    for (const ExpectedTensor& t : expected_tensors(c->config())) {
      c->require(t.name, t.shape);
      EXPECT_TRUE(names.emplace(c->find(t.name)->name).second) << t.name;
    }
    EXPECT_EQ(names.size(), e.num_tensors);
  }
}

TEST(Golden, DummyWeightsHaveTheShapesOfTheRealOnes) {
  for (const Expected& e : kGolden) {
    const std::string directory = golden_directory(e.model);
    if (directory.empty()) continue;
    const auto dummy = Checkpoint::open(directory, "dummy"), real = Checkpoint::open(directory);
    EXPECT_EQ(dummy->names(), real->names()) << e.model;
    for (std::string_view n : real->names())
      EXPECT_EQ(dummy->find(n)->shape, real->find(n)->shape) << e.model << ' ' << n;
  }
}

TEST(Golden, ArchitecturesWithoutCodeKeepTheirName) {
  constexpr std::pair<const char*, const char*> models[] = {
      {"mixtral", "MixtralForCausalLM"},
      {"qwen2_moe", "Qwen2MoeForCausalLM"},
      {"qwen3_moe", "Qwen3MoeForCausalLM"},
      {"deepseek_v2", "DeepseekV2ForCausalLM"},
      {"deepseek_v3", "DeepseekV3ForCausalLM"},
      {"llava", "LlavaForConditionalGeneration"},
      {"llava_next", "LlavaNextForConditionalGeneration"},
      {"llava_onevision", "LlavaOnevisionForConditionalGeneration"}};
  for (const auto& [model, architecture] : models) {
    const std::string directory = golden_directory(model);
    if (directory.empty()) {
      std::printf("golden model %s: absent, skipped\n", model);
      continue;
    }
    EXPECT_EQ(Checkpoint::open(directory)->config().architecture, architecture);
  }
}

constexpr Expected kReal[] = {
    {"SmolLM2-135M-Instruct.Q4_1.gguf",
     "LlamaForCausalLM Q4_1 d576 l30 h9/3x64 f1536 v49152 c8192 eps1e-05 act0 tied scale0.125 "
     "rope100000x64i eos/2",
     272},
    {"qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
     "Qwen2ForCausalLM Q5_0 d896 l24 h14/2x64 f4864 v151936 c32768 eps1e-06 act0 qkv_bias "
     "scale0.125 rope1e+06x64 eos/151645",
     291},
    {"gemma-3-270m-q4_k_m.gguf",
     "Gemma3ForCausalLM Q8_0 d640 l18 h4/1x256 f2048 v262144 c32768 eps1e-06 act2 tied qk_norm "
     "scale0.0625 emb25.2982 window512:sssssfsssssfsssssf rope1e+06x256 local10000x256 eos/1",
     236},
};

TEST(RealModels, ConfigsAreReadAndDescribeTheirTensors) {
  const char* from_environment = std::getenv("SGL_TEST_MODELS_DIR");
  for (const Expected& e : kReal) {
    std::string path =
        (fs::path(from_environment != nullptr ? from_environment : cache_directory()) / e.model).string();
    if (!fs::exists(path)) path = (fs::path(cache_directory()) / "models" / e.model).string();
    if (!fs::exists(path)) {
      std::printf("%s: absent, skipped (SGL_TEST_MODELS_DIR names the directory that has it)\n", e.model);
      continue;
    }
    SCOPED_TRACE(path);
    const auto c = Checkpoint::open(path);
    EXPECT_EQ(summary(c->config()), e.summary);
    EXPECT_EQ(c->names().size(), e.num_tensors);
    for (const ExpectedTensor& t : expected_tensors(c->config())) c->require(t.name, t.shape);
    EXPECT_EQ(c->gguf()->strings("tokenizer.ggml.tokens").size(), static_cast<size_t>(c->config().vocab_size));
  }
}

}  // namespace
}  // namespace sgl
