// config.json and GGUF keys → ModelConfig.

#include <cmath>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "checkpoint/config_json.h"
#include "checkpoint/expect_error.h"
#include "checkpoint/gguf.h"
#include "checkpoint/test_files.h"

namespace sgl {
namespace {

using nlohmann::json;
using testing::as_bytes;
using testing::expect_error;
using testing::GgufBuilder;
using Scaling = RopeConfig::Scaling;

ModelConfig parse(const char* text) { return config_from_json(json::parse(text)); }

void expect_refused(ErrorKind kind, const char* text, std::initializer_list<const char*> parts) {
  SCOPED_TRACE(text);
  expect_error(kind, parts, [&] { parse(text); });
}

TEST(ConfigJson, BothFormsOfTransformersGiveTheSame) {
  const ModelConfig v4 = parse(R"({"architectures":["LlamaForCausalLM"],"torch_dtype":"bfloat16","rope_theta":5e5,
    "rope_scaling":{"type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,
                    "original_max_position_embeddings":8192},"max_position_embeddings":131072})");
  const ModelConfig v5 = parse(R"({"architectures":["LlamaForCausalLM"],"dtype":"bfloat16","rope_parameters":{
    "rope_theta":5e5,"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,
    "original_max_position_embeddings":8192},"max_position_embeddings":131072})");
  EXPECT_EQ(v4.rope, v5.rope);
  EXPECT_EQ(v4.dtype, DType::BF16);
  EXPECT_EQ(v5.dtype, DType::BF16);
  EXPECT_EQ(v4.rope.scaling, Scaling::Llama3);
  EXPECT_EQ(v4.rope.theta, 5e5);
  EXPECT_EQ(v4.rope.factor, 8);
  EXPECT_EQ(v4.rope.original_context, 8192);
  EXPECT_EQ(v4.rope.rotary_dim, 128);
}

TEST(ConfigJson, EncodersAreRead) {
  const ModelConfig bert = parse(R"({"architectures":["BertModel"],"model_type":"bert","hidden_size":384,
    "num_attention_heads":12,"num_hidden_layers":6,"intermediate_size":1536,"layer_norm_eps":1e-12})");
  EXPECT_TRUE(bert.encoder && !bert.has_lm_head && bert.qkv_bias && bert.attn_out_bias && bert.mlp_bias);
  EXPECT_EQ(bert.context_length, 512);
  EXPECT_EQ(bert.type_vocab_size, 2);
  EXPECT_EQ(bert.activation, Activation::Gelu);
  EXPECT_EQ(bert.norm_eps, 1e-12F);
  EXPECT_EQ(bert.num_labels, 0);
  EXPECT_EQ(parse(R"({"architectures":["BertForMaskedLM"]})").architecture, "BertModel");

  // RoBERTa's positions begin behind the padding's row.
  const ModelConfig xlm = parse(R"({"architectures":["XLMRobertaModel"],"max_position_embeddings":514,
    "type_vocab_size":1,"pad_token_id":1})");
  EXPECT_EQ(xlm.position_offset, 2);
  EXPECT_EQ(xlm.context_length, 512);

  expect_refused(ErrorKind::Unsupported, R"({"architectures":["BertModel"],"position_embedding_type":"relative_key"})",
                 {"position_embedding_type"});
  expect_refused(ErrorKind::Unsupported, R"({"architectures":["BertModel"],"is_decoder":true})", {"is_decoder"});
}

TEST(ConfigJson, CrossEncodersSayHowTheyScore) {
  const auto cross = [](const char* rest) {
    const std::string text = R"({"architectures":["BertForSequenceClassification"],"id2label":{"0":"LABEL_0"})";
    return parse((text + rest + "}").c_str());
  };
  EXPECT_EQ(cross("").num_labels, 1);
  EXPECT_TRUE(cross("").sigmoid_score);
  EXPECT_FALSE(cross(R"(,"sbert_ce_default_activation_function":"torch.nn.modules.linear.Identity")").sigmoid_score);
  EXPECT_FALSE(cross(R"(,"sentence_transformers":{"activation_fn":"torch.nn.modules.linear.Identity"})").sigmoid_score);
  const ModelConfig three = parse(R"({"architectures":["RobertaForSequenceClassification"],
    "id2label":{"0":"a","1":"b","2":"c"}})");
  EXPECT_EQ(three.num_labels, 3);
  EXPECT_FALSE(three.sigmoid_score);
  expect_refused(ErrorKind::Unsupported, R"({"architectures":["BertForSequenceClassification"],
    "sentence_transformers":{"activation_fn":"torch.nn.modules.activation.Tanh"}})",
                 {"Tanh"});
}

TEST(ConfigJson, AClassWithoutAHeadIsTheSameModel) {
  const ModelConfig c = parse(R"({"architectures":["MistralModel"],"model_type":"mistral"})");
  EXPECT_EQ(c.architecture, "MistralForCausalLM");
  EXPECT_FALSE(c.has_lm_head);
  EXPECT_TRUE(parse(R"({"architectures":["MistralForCausalLM"]})").has_lm_head);
}

TEST(ConfigJson, AbsentFieldsHaveTheDefaultsOfTheirClass) {
  const ModelConfig llama = parse(R"({"architectures":["LlamaForCausalLM"]})");
  EXPECT_EQ(llama.hidden_size, 4096);
  EXPECT_EQ(llama.intermediate_size, 11008);
  EXPECT_EQ(llama.num_kv_heads, 32);
  EXPECT_EQ(llama.head_dim, 128);
  EXPECT_EQ(llama.vocab_size, 32000);
  EXPECT_EQ(llama.context_length, 2048);
  EXPECT_EQ(llama.norm_eps, 1e-6F);
  EXPECT_FALSE(llama.tie_word_embeddings);
  EXPECT_EQ(llama.eos_ids, (std::vector<int32_t>{2}));
  EXPECT_EQ(llama.bos_id, 1);
  EXPECT_EQ(parse(R"({"architectures":["MistralForCausalLM"]})").num_kv_heads, 8);
  EXPECT_EQ(parse(R"({"architectures":["Qwen3ForCausalLM"]})").head_dim, 128);
  EXPECT_EQ(parse(R"({"architectures":["Phi3ForCausalLM"]})").norm_eps, 1e-5F);
  EXPECT_TRUE(parse(R"({"architectures":["Gemma2ForCausalLM"]})").tie_word_embeddings);
  const ModelConfig gpt2 = parse(R"({"architectures":["GPT2LMHeadModel"]})");
  EXPECT_EQ(gpt2.intermediate_size, 3072);
  EXPECT_EQ(gpt2.context_length, 1024);
  EXPECT_TRUE(gpt2.conv1d_weights && gpt2.tie_word_embeddings && gpt2.qkv_bias && gpt2.attn_out_bias && gpt2.mlp_bias);
  EXPECT_EQ(gpt2.rope.rotary_dim, 0);
}

TEST(ConfigJson, NullIsNotAbsence) {
  EXPECT_TRUE(parse(R"({"architectures":["LlamaForCausalLM"],"eos_token_id":null})").eos_ids.empty());
  EXPECT_EQ(parse(R"({"architectures":["MistralForCausalLM"]})").sliding_window, 4096);
  EXPECT_EQ(parse(R"({"architectures":["MistralForCausalLM"],"sliding_window":null})").sliding_window, 0);
  EXPECT_EQ(parse(R"({"architectures":["Gemma2ForCausalLM"]})").attention_softcap, 50.0F);
  EXPECT_EQ(parse(R"({"architectures":["Gemma2ForCausalLM"],"attn_logit_softcapping":null})").attention_softcap, 0.0F);
  const ModelConfig heads =
      parse(R"({"architectures":["MistralForCausalLM"],"num_key_value_heads":null,"head_dim":null})");
  EXPECT_EQ(heads.num_kv_heads, 32);
  EXPECT_EQ(heads.head_dim, 128);
}

TEST(ConfigJson, ArchitectureMayBeKnownByModelType) {
  EXPECT_EQ(parse(R"({"model_type":"qwen2"})").architecture, "Qwen2ForCausalLM");
  EXPECT_EQ(parse(R"({"model_type":"mamba"})").architecture, "mamba");
  expect_refused(ErrorKind::CorruptFile, "{}", {"config.json", "architectures"});
  expect_refused(ErrorKind::CorruptFile, R"({"architectures":"Llama"})", {"architectures"});
  expect_refused(ErrorKind::CorruptFile, "[]", {"must be a JSON object"});
}

TEST(ConfigJson, UnknownArchitecturesKeepTheirName) {
  const ModelConfig c = parse(R"({"architectures":["MambaModel"],"hidden_act":"strange","eos_token_id":[5,6],
                                  "quantization_config":{}})");
  EXPECT_EQ(c.architecture, "MambaModel");
  EXPECT_EQ(c.eos_ids, (std::vector<int32_t>{5, 6}));
  EXPECT_FALSE(is_known_architecture(c.architecture));
}

TEST(ConfigJson, GemmaScalesAndCaps) {
  const ModelConfig c = parse(R"({"architectures":["Gemma2ForCausalLM"],"hidden_size":4608,"num_attention_heads":32,
    "num_key_value_heads":16,"head_dim":128,"query_pre_attn_scalar":144,"dtype":"float32"})");
  EXPECT_FLOAT_EQ(c.attention_scale, 1.0F / 12.0F);
  EXPECT_EQ(c.attention_softcap, 50.0F);
  EXPECT_EQ(c.final_softcap, 30.0F);
  EXPECT_TRUE(c.norm_plus_one);
  EXPECT_EQ(c.activation, Activation::GeluTanh);
  EXPECT_FLOAT_EQ(c.embedding_scale, std::sqrt(4608.0F));
}

TEST(ConfigJson, GemmaEmbeddingScaleIsRoundedToTheTypeOfTheModel) {
  auto scale = [](const char* dtype) {
    return config_from_json({{"architectures", {"Gemma3ForCausalLM"}}, {"hidden_size", 640}, {"dtype", dtype}})
        .embedding_scale;
  };
  EXPECT_EQ(scale("float32"), static_cast<float>(std::sqrt(640.0)));
  EXPECT_EQ(scale("bfloat16"), 25.25F);
}

TEST(ConfigJson, Gemma3HasTwoRopeTablesInBothForms) {
  const ModelConfig v4 = parse(R"({"architectures":["Gemma3ForCausalLM"],"head_dim":32,"rope_theta":1e6,
    "rope_local_base_freq":5000,"rope_scaling":{"rope_type":"linear","factor":8}})");
  const ModelConfig v5 = parse(R"({"architectures":["Gemma3ForCausalLM"],"head_dim":32,"rope_parameters":{
    "full_attention":{"rope_type":"linear","factor":8,"rope_theta":1e6},
    "sliding_attention":{"rope_type":"default","rope_theta":5000}}})");
  for (const ModelConfig& c : {v4, v5}) {
    EXPECT_EQ(c.rope.theta, 1e6);
    EXPECT_EQ(c.rope.scaling, Scaling::Linear);
    EXPECT_EQ(c.rope.factor, 8);
    ASSERT_TRUE(c.rope_local.has_value());
    EXPECT_EQ(c.rope_local->theta, 5000);
    EXPECT_EQ(c.rope_local->scaling, Scaling::None);
    EXPECT_EQ(c.rope_local->rotary_dim, 32);
  }
}

// As google/gemma-3-4b-it has it: the vision model's file, whose text part leaves out what equals the defaults.
TEST(ConfigJson, MultimodalGemma3GivesItsLanguageModel) {
  const ModelConfig c = parse(R"({"architectures":["Gemma3ForConditionalGeneration"],"model_type":"gemma3",
    "eos_token_id":[1,106],"torch_dtype":"bfloat16","text_config":{"hidden_size":2560,"intermediate_size":10240,
    "model_type":"gemma3_text","num_hidden_layers":34,"rope_scaling":{"factor":8.0,"rope_type":"linear"},
    "sliding_window":1024},"vision_config":{"hidden_size":1152}})");
  EXPECT_EQ(c.architecture, "Gemma3ForCausalLM");
  EXPECT_EQ(c.hidden_size, 2560);
  EXPECT_EQ(c.num_layers, 34);
  EXPECT_EQ(c.num_heads, 8);
  EXPECT_EQ(c.num_kv_heads, 4);
  EXPECT_EQ(c.head_dim, 256);
  EXPECT_EQ(c.vocab_size, 262208);
  EXPECT_EQ(c.sliding_window, 1024);
  EXPECT_EQ(c.rope.factor, 8);
  EXPECT_EQ(c.dtype, DType::BF16);
  EXPECT_EQ(c.eos_ids, (std::vector<int32_t>{1, 106}));
  EXPECT_FALSE(c.layer_sliding[5]);
  EXPECT_TRUE(c.layer_sliding[4] && c.layer_sliding[6]);
}

std::string pattern(const ModelConfig& c) {
  std::string s;
  for (bool sliding : c.layer_sliding) s += sliding ? 's' : 'f';
  return s;
}

TEST(ConfigJson, WindowsByLayer) {
  // Qwen2: only if switched on, and from layer max_window_layers on.
  EXPECT_EQ(parse(R"({"architectures":["Qwen2ForCausalLM"],"sliding_window":64})").sliding_window, 0);
  const ModelConfig qwen = parse(R"({"architectures":["Qwen2ForCausalLM"],"sliding_window":64,"use_sliding_window":true,
                                     "max_window_layers":2,"num_hidden_layers":4})");
  EXPECT_EQ(qwen.sliding_window, 64);
  EXPECT_EQ(pattern(qwen), "ffss");
  const ModelConfig none = parse(R"({"architectures":["Qwen2ForCausalLM"],"sliding_window":64,"use_sliding_window":true,
                                     "max_window_layers":28,"num_hidden_layers":4})");
  EXPECT_EQ(none.sliding_window, 0);  // no layer is as far up as 28
  EXPECT_EQ(pattern(none), "");
  EXPECT_EQ(pattern(parse(R"({"architectures":["Gemma2ForCausalLM"],"num_hidden_layers":4})")), "sfsf");
  EXPECT_EQ(pattern(parse(R"({"architectures":["Gemma3ForCausalLM"],"num_hidden_layers":7})")), "sssssfs");
  EXPECT_EQ(
      pattern(parse(R"({"architectures":["Gemma3ForCausalLM"],"num_hidden_layers":4,"sliding_window_pattern":2})")),
      "sfsf");
  EXPECT_EQ(pattern(parse(R"({"architectures":["Gemma3ForCausalLM"],"num_hidden_layers":2,
                              "layer_types":["full_attention","sliding_attention"]})")),
            "fs");
  const ModelConfig phi = parse(R"({"architectures":["Phi3ForCausalLM"],"sliding_window":2047})");
  EXPECT_EQ(phi.sliding_window, 2047);
  EXPECT_EQ(pattern(phi), "");  // all layers
  EXPECT_EQ(parse(R"({"architectures":["LlamaForCausalLM"],"sliding_window":64})").sliding_window, 0);
}

TEST(ConfigJson, LayerTypesAreChecked) {
  expect_refused(ErrorKind::CorruptFile, R"({"architectures":["Gemma2ForCausalLM"],"num_hidden_layers":3,
    "layer_types":["full_attention"]})",
                 {"layer_types", "3 layers"});
  expect_refused(ErrorKind::Unsupported, R"({"architectures":["Gemma2ForCausalLM"],"num_hidden_layers":1,
    "layer_types":["linear_attention"]})",
                 {"linear_attention", "sliding_attention"});
  // A test that cuts a model to fewer layers need not cut the list.
  EXPECT_EQ(pattern(parse(R"({"architectures":["Gemma2ForCausalLM"],"num_hidden_layers":1,
    "layer_types":["sliding_attention","full_attention"]})")),
            "s");
}

TEST(ConfigJson, YarnAndDynamic) {
  const ModelConfig yarn = parse(R"({"architectures":["Qwen2ForCausalLM"],"max_position_embeddings":32768,
    "rope_scaling":{"type":"yarn","factor":4.0,"original_max_position_embeddings":32768,"beta_fast":16,
                    "attention_factor":1.25}})");
  EXPECT_EQ(yarn.rope.scaling, Scaling::Yarn);
  EXPECT_EQ(yarn.rope.factor, 4);
  EXPECT_EQ(yarn.rope.original_context, 32768);
  EXPECT_EQ(yarn.rope.beta_fast, 16);
  EXPECT_EQ(yarn.rope.beta_slow, 1);
  EXPECT_EQ(yarn.rope.attention_factor, 1.25);
  const ModelConfig ratio = parse(R"({"architectures":["Qwen2ForCausalLM"],"max_position_embeddings":65536,
    "rope_parameters":{"rope_type":"yarn","factor":null,"original_max_position_embeddings":16384}})");
  EXPECT_EQ(ratio.rope.factor, 4);
  EXPECT_FALSE(ratio.rope.attention_factor.has_value());
  const ModelConfig dynamic = parse(R"({"architectures":["LlamaForCausalLM"],"max_position_embeddings":4096,
    "rope_scaling":{"type":"dynamic","factor":2.0}})");
  EXPECT_EQ(dynamic.rope.scaling, Scaling::Dynamic);
  EXPECT_EQ(dynamic.rope.original_context, 4096);
}

TEST(ConfigJson, Phi3LongRope) {
  const ModelConfig c = parse(R"({"architectures":["Phi3ForCausalLM"],"hidden_size":32,"num_attention_heads":2,
    "num_key_value_heads":2,"partial_rotary_factor":0.5,"max_position_embeddings":131072,
    "original_max_position_embeddings":4096,
    "rope_scaling":{"type":"su","short_factor":[1.0,1.5,2.0,2.5],"long_factor":[3,4,5,6]}})");
  EXPECT_EQ(c.rope.scaling, Scaling::LongRope);
  EXPECT_EQ(c.rope.rotary_dim, 8);
  EXPECT_EQ(c.rope.original_context, 4096);
  EXPECT_EQ(c.rope.factor, 32);
  EXPECT_EQ(c.rope.short_factor, (std::vector<float>{1, 1.5F, 2, 2.5F}));
  EXPECT_EQ(c.rope.long_factor, (std::vector<float>{3, 4, 5, 6}));
  expect_refused(ErrorKind::CorruptFile, R"({"architectures":["Phi3ForCausalLM"],
    "rope_scaling":{"type":"longrope","short_factor":[1],"long_factor":[1]}})",
                 {"short_factor", "48 numbers"});
}

TEST(ConfigJson, RefusalsNameTheField) {
  expect_refused(ErrorKind::Unsupported, R"({"architectures":["LlamaForCausalLM"],"hidden_act":"relu2"})",
                 {"hidden_act relu2", "silu"});
  expect_refused(ErrorKind::Unsupported, R"({"architectures":["LlamaForCausalLM"],"rope_scaling":{"type":"mystery"}})",
                 {"mystery", "llama3"});
  expect_refused(ErrorKind::Unsupported,
                 R"({"architectures":["LlamaForCausalLM"],"quantization_config":{"quant_method":"bitsandbytes"}})",
                 {"quantization_config", "quant_method bitsandbytes", "gptq"});
  expect_refused(ErrorKind::Unsupported,
                 R"({"architectures":["GPT2LMHeadModel"],"scale_attn_by_inverse_layer_idx":true})",
                 {"scale_attn_by_inverse_layer_idx"});
  expect_refused(ErrorKind::CorruptFile, R"({"architectures":["LlamaForCausalLM"],"num_key_value_heads":5})",
                 {"32 attention heads", "5 key/value heads"});
  expect_refused(ErrorKind::CorruptFile, R"({"architectures":["LlamaForCausalLM"],"hidden_size":100})",
                 {"hidden size 100"});
  expect_refused(ErrorKind::CorruptFile, R"({"architectures":["LlamaForCausalLM"],"num_hidden_layers":1000000})",
                 {"num_hidden_layers", "1000000"});
  expect_refused(ErrorKind::CorruptFile, R"({"architectures":["LlamaForCausalLM"],"hidden_size":"64"})",
                 {"hidden_size", "whole number", "\"64\""});
  expect_refused(ErrorKind::CorruptFile, R"({"architectures":["LlamaForCausalLM"],"rope_theta":0})", {"rope_theta"});
  expect_refused(ErrorKind::CorruptFile, R"({"architectures":["LlamaForCausalLM"],"eos_token_id":"</s>"})",
                 {"eos_token_id"});
  expect_refused(ErrorKind::CorruptFile, R"({"architectures":["LlamaForCausalLM"],"torch_dtype":"int4"})",
                 {"torch_dtype"});
  expect_refused(ErrorKind::CorruptFile, R"({"architectures":["LlamaForCausalLM"],"rope_scaling":{"type":"linear"}})",
                 {"factor", "positive"});
}

TEST(ConfigJson, GenerationConfigAddsStopsAndDefaults) {
  ModelConfig c = parse(R"({"architectures":["LlamaForCausalLM"],"eos_token_id":2})");
  add_generation(json::parse(R"({"eos_token_id":[2,7],"bos_token_id":9,"temperature":0.6,"top_p":0.9,"top_k":0,
                                 "repetition_penalty":1.1,"do_sample":true,"max_length":4096})"),
                 c);
  EXPECT_EQ(c.eos_ids, (std::vector<int32_t>{2, 7}));
  EXPECT_EQ(c.bos_id, 1);  // config.json's, here its default
  EXPECT_EQ(c.generation.temperature, 0.6F);
  EXPECT_EQ(c.generation.top_p, 0.9F);
  EXPECT_EQ(c.generation.top_k, -1);
  EXPECT_EQ(c.generation.repetition_penalty, 1.1F);
  EXPECT_FALSE(c.generation.min_p.has_value());
  expect_error(ErrorKind::CorruptFile, {"generation_config.json", "temperature"},
               [&] { add_generation(json::parse(R"({"temperature":"hot"})"), c); });
}

GgufBuilder gguf(const std::string& arch, int layers = 2) {
  GgufBuilder b;
  b.key("general.architecture", arch.c_str())
      .key<uint32_t>(arch + ".embedding_length", 64)
      .key<uint32_t>(arch + ".block_count", static_cast<uint32_t>(layers))
      .key<uint32_t>(arch + ".attention.head_count", 4)
      .key<uint32_t>(arch + ".feed_forward_length", 160)
      .key<uint32_t>(arch + ".context_length", 512)
      .key<float>(arch + (arch == "gpt2" ? ".attention.layer_norm_epsilon" : ".attention.layer_norm_rms_epsilon"),
                  1e-5F)
      .raw_tensor("token_embd.weight", {64, 0}, 0, 0)
      .key<uint32_t>(arch + ".vocab_size", 320);
  return b;
}

ModelConfig from_gguf(const GgufBuilder& b) {
  const std::string file = b.build();
  return config_from_gguf(GgufFile(as_bytes(file), "x.gguf"));
}

TEST(ConfigGguf, ReadsLlama) {
  const ModelConfig c = from_gguf(gguf("llama")
                                      .key<uint32_t>("llama.attention.head_count_kv", 2)
                                      .key<float>("llama.rope.freq_base", 5e5F)
                                      .key<uint32_t>("llama.rope.dimension_count", 16)
                                      .key<uint32_t>("tokenizer.ggml.bos_token_id", 1)
                                      .key<uint32_t>("tokenizer.ggml.eos_token_id", 2)
                                      .key<uint32_t>("tokenizer.ggml.eot_token_id", 7)
                                      .key<float>("general.sampling.temp", 0.7F)
                                      .key<int32_t>("general.sampling.top_k", 20));
  EXPECT_EQ(c.architecture, "LlamaForCausalLM");
  EXPECT_EQ(c.model_type, "llama");
  EXPECT_EQ(c.hidden_size, 64);
  EXPECT_EQ(c.num_layers, 2);
  EXPECT_EQ(c.num_heads, 4);
  EXPECT_EQ(c.num_kv_heads, 2);
  EXPECT_EQ(c.head_dim, 16);
  EXPECT_EQ(c.intermediate_size, 160);
  EXPECT_EQ(c.vocab_size, 320);
  EXPECT_EQ(c.context_length, 512);
  EXPECT_EQ(c.norm_eps, 1e-5F);
  EXPECT_EQ(c.rope.theta, 5e5);
  EXPECT_TRUE(c.rope.interleaved);
  EXPECT_TRUE(c.tie_word_embeddings);
  EXPECT_EQ(c.attention_scale, 0.25F);
  EXPECT_EQ(c.eos_ids, (std::vector<int32_t>{2, 7}));
  EXPECT_EQ(c.bos_id, 1);
  EXPECT_EQ(c.generation.temperature, 0.7F);
  EXPECT_EQ(c.generation.top_k, 20);
}

TEST(ConfigGguf, OnlyLlamaTurnsNeighbours) {
  for (const char* arch : {"qwen2", "qwen3", "phi3", "gemma2", "gemma3"})
    EXPECT_FALSE(from_gguf(gguf(arch)).rope.interleaved) << arch;
}

TEST(ConfigGguf, FactsFromTensors) {
  const ModelConfig c =
      from_gguf(gguf("llama")
                    .tensor("rope_freqs.weight", {8}, 0, testing::bytes_of(std::vector<float>(8, 4.0F)))
                    .tensor("output.weight", {64}, 0, std::string(256, '\0'))
                    .tensor("blk.0.attn_q.bias", {1}, 0, std::string(4, '\0')));
  EXPECT_EQ(c.rope.freq_factors, std::vector<float>(8, 4.0F));
  EXPECT_FALSE(c.tie_word_embeddings);
  EXPECT_TRUE(c.qkv_bias);
  EXPECT_EQ(c.dtype, DType::F32);
  expect_error(ErrorKind::CorruptFile, {"rope_freqs.weight", "8 numbers", "[3]"},
               [] { from_gguf(gguf("llama").tensor("rope_freqs.weight", {3}, 0, std::string(12, 'x'))); });
}

TEST(ConfigGguf, RopeScalings) {
  const ModelConfig linear =
      from_gguf(gguf("llama").key("llama.rope.scaling.type", "linear").key<float>("llama.rope.scaling.factor", 4));
  EXPECT_EQ(linear.rope.scaling, Scaling::Linear);
  EXPECT_EQ(linear.rope.factor, 4);
  EXPECT_EQ(from_gguf(gguf("llama").key<float>("llama.rope.scale_linear", 2)).rope.scaling, Scaling::Linear);
  const ModelConfig yarn = from_gguf(gguf("qwen2")
                                         .key("qwen2.rope.scaling.type", "yarn")
                                         .key<float>("qwen2.rope.scaling.factor", 4)
                                         .key<uint32_t>("qwen2.rope.scaling.original_context_length", 128));
  EXPECT_EQ(yarn.rope.scaling, Scaling::Yarn);
  EXPECT_EQ(yarn.rope.original_context, 128);
  EXPECT_FALSE(yarn.rope.attention_factor.has_value());
  const std::string factors = testing::bytes_of(std::vector<float>(8, 1.5F));
  const ModelConfig phi = from_gguf(gguf("phi3")
                                        .key<uint32_t>("phi3.rope.scaling.original_context_length", 128)
                                        .key<float>("phi3.rope.scaling.attn_factor", 1.25F)
                                        .tensor("rope_factors_long.weight", {8}, 0, factors)
                                        .tensor("rope_factors_short.weight", {8}, 0, factors));
  EXPECT_EQ(phi.rope.scaling, Scaling::LongRope);
  EXPECT_EQ(phi.rope.factor, 4);
  EXPECT_EQ(phi.rope.attention_factor, 1.25);
  EXPECT_EQ(phi.rope.long_factor.size(), 8U);
  expect_error(ErrorKind::Unsupported, {"mystery"},
               [] { from_gguf(gguf("llama").key("llama.rope.scaling.type", "mystery")); });
}

TEST(ConfigGguf, Gemma) {
  const ModelConfig two = from_gguf(gguf("gemma2", 3)
                                        .key<uint32_t>("gemma2.attention.key_length", 32)
                                        .key<uint32_t>("gemma2.attention.sliding_window", 24)
                                        .key<float>("gemma2.attn_logit_softcapping", 40)
                                        .key<float>("gemma2.final_logit_softcapping", 20));
  EXPECT_EQ(two.head_dim, 32);
  EXPECT_EQ(pattern(two), "sfs");
  EXPECT_EQ(two.attention_softcap, 40);
  EXPECT_EQ(two.final_softcap, 20);
  EXPECT_FALSE(two.norm_plus_one);  // the converter has added it
  EXPECT_EQ(two.embedding_scale, 8);
  EXPECT_EQ(two.activation, Activation::GeluTanh);
  EXPECT_FLOAT_EQ(two.attention_scale, 1 / std::sqrt(32.0F));
  // The 27B model is known by its layers: it scales by hidden size over heads.
  EXPECT_FLOAT_EQ(from_gguf(gguf("gemma2", 46).key<uint32_t>("gemma2.attention.key_length", 32)).attention_scale,
                  0.25F);

  const ModelConfig three = from_gguf(gguf("gemma3", 7).key<uint32_t>("gemma3.attention.sliding_window", 24));
  EXPECT_EQ(pattern(three), "sssssfs");
  ASSERT_TRUE(three.rope_local.has_value());
  EXPECT_EQ(three.rope_local->theta, 10000);
  EXPECT_EQ(three.rope_local->rotary_dim, 16);
  EXPECT_EQ(three.attention_softcap, 0);
  const ModelConfig listed = from_gguf(gguf("gemma3", 3)
                                           .key<uint32_t>("gemma3.attention.sliding_window", 24)
                                           .array<uint8_t>("gemma3.attention.sliding_window_pattern", {0, 1, 1}));
  EXPECT_EQ(pattern(listed), "fss");
}

TEST(ConfigGguf, Gpt2IsStoredTransposedAlready) {
  const ModelConfig c = from_gguf(gguf("gpt2"));
  EXPECT_EQ(c.architecture, "GPT2LMHeadModel");
  EXPECT_FALSE(c.conv1d_weights);
  EXPECT_EQ(c.rope.rotary_dim, 0);
  EXPECT_EQ(c.activation, Activation::GeluTanh);
}

TEST(ConfigGguf, ListsOfEqualValuesAreOneValue) {
  auto with_heads = [](const std::vector<int32_t>& heads) {
    return from_gguf(gguf("llama").array("llama.attention.head_count_kv", heads));
  };
  EXPECT_EQ(with_heads({2, 2}).num_kv_heads, 2);
  expect_error(ErrorKind::Unsupported, {"head_count_kv", "layer to layer"}, [&] { with_heads({2, 4}); });
}

TEST(ConfigGguf, RefusalsNameTheKey) {
  auto refused = [](ErrorKind kind, const GgufBuilder& b, std::initializer_list<const char*> parts) {
    expect_error(kind, parts, [&] { from_gguf(b); });
  };
  refused(ErrorKind::CorruptFile, GgufBuilder(), {"general.architecture"});
  refused(ErrorKind::CorruptFile, GgufBuilder().key("general.architecture", "llama"),
          {"llama.embedding_length", "missing"});
  refused(ErrorKind::CorruptFile, gguf("llama").key<uint32_t>("llama.attention.head_count_kv", 3), {"head_count"});
  refused(ErrorKind::CorruptFile, gguf("llama").key<uint32_t>("llama.rope.dimension_count", 17), {"dimension_count"});
  refused(ErrorKind::CorruptFile, gguf("llama", 20000), {"block_count"});
  refused(ErrorKind::Unsupported, gguf("llama").key<uint32_t>("llama.attention.value_length", 8),
          {"keys of 16 and values of 8"});
}

TEST(ConfigGguf, UnknownArchitecturesKeepTheirName) {
  EXPECT_EQ(from_gguf(GgufBuilder().key("general.architecture", "mamba")).architecture, "mamba");
  EXPECT_EQ(from_gguf(gguf("llama").key<uint32_t>("llama.expert_count", 8)).architecture, "MixtralForCausalLM");
}

}  // namespace
}  // namespace sgl
