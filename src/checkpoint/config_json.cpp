#include "checkpoint/config_json.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include <fmt/format.h>

#include "base/half.h"
#include "checkpoint/json.h"
#include "checkpoint/quantization_config.h"
#include "checkpoint/rope_json.h"
#include "sgl/error.h"

namespace sgl {

using nlohmann::json;

namespace {

enum class Family { Llama, Mistral, Qwen2, Qwen3, Phi3, Gemma2, Gemma3, Gpt2, Bert, Roberta };

/// Defaults of the transformers class of each model.
struct Defaults {
  Family family;
  const char* architecture;
  const char* model_type;
  int hidden_size, intermediate_size, num_layers, num_heads;
  int num_kv_heads;  ///< 0: as many as heads
  int head_dim;      ///< 0: hidden_size / num_heads
  int vocab_size, context_length;
  double norm_eps, rope_theta;
  bool tie_word_embeddings;
  int bos, eos;  ///< −1: none
};

constexpr Defaults kDefaults[] = {
    {Family::Llama, "LlamaForCausalLM", "llama", 4096, 11008, 32, 32, 0, 0, 32000, 2048, 1e-6, 1e4, false, 1, 2},
    {Family::Mistral, "MistralForCausalLM", "mistral", 4096, 14336, 32, 32, 8, 0, 32000, 131072, 1e-6, 1e4, false, 1,
     2},
    {Family::Qwen2, "Qwen2ForCausalLM", "qwen2", 4096, 22016, 32, 32, 32, 0, 151936, 32768, 1e-6, 1e4, false, -1, -1},
    {Family::Qwen3, "Qwen3ForCausalLM", "qwen3", 4096, 22016, 32, 32, 32, 128, 151936, 32768, 1e-6, 1e4, false, -1, -1},
    {Family::Phi3, "Phi3ForCausalLM", "phi3", 3072, 8192, 32, 32, 0, 0, 32064, 4096, 1e-5, 1e4, false, 1, 32000},
    {Family::Gemma2, "Gemma2ForCausalLM", "gemma2", 2304, 9216, 26, 8, 4, 256, 256000, 8192, 1e-6, 1e4, true, 2, 1},
    {Family::Gemma3, "Gemma3ForCausalLM", "gemma3_text", 2304, 9216, 26, 8, 4, 256, 262208, 131072, 1e-6, 1e6, true, 2,
     1},
    {Family::Gpt2, "GPT2LMHeadModel", "gpt2", 768, 0, 12, 12, 0, 0, 50257, 1024, 1e-5, 1e4, true, 50256, 50256},
    {Family::Bert, "BertModel", "bert", 768, 3072, 12, 12, 0, 0, 30522, 512, 1e-12, 0, true, -1, -1},
    {Family::Bert, "BertForSequenceClassification", "bert", 768, 3072, 12, 12, 0, 0, 30522, 512, 1e-12, 0, true, -1,
     -1},
    {Family::Roberta, "RobertaModel", "roberta", 768, 3072, 12, 12, 0, 0, 50265, 512, 1e-12, 0, true, -1, -1},
    {Family::Roberta, "RobertaForSequenceClassification", "roberta", 768, 3072, 12, 12, 0, 0, 50265, 512, 1e-12, 0,
     true, -1, -1},
    {Family::Roberta, "XLMRobertaModel", "xlm-roberta", 768, 3072, 12, 12, 0, 0, 30522, 512, 1e-12, 0, true, -1, -1},
    {Family::Roberta, "XLMRobertaForSequenceClassification", "xlm-roberta", 768, 3072, 12, 12, 0, 0, 30522, 512, 1e-12,
     0, true, -1, -1},
};

// Classes of the same layers with no head, or one that is of no use here: what is left serves for embeddings.
struct Headless {
  const char* given;
  const char* known;
};
constexpr Headless kHeadless[] = {
    {"LlamaModel", "LlamaForCausalLM"},
    {"MistralModel", "MistralForCausalLM"},
    {"Qwen2Model", "Qwen2ForCausalLM"},
    {"Qwen3Model", "Qwen3ForCausalLM"},
    {"Phi3Model", "Phi3ForCausalLM"},
    {"Gemma2Model", "Gemma2ForCausalLM"},
    {"Gemma3TextModel", "Gemma3ForCausalLM"},
    {"GPT2Model", "GPT2LMHeadModel"},
    {"BertForMaskedLM", "BertModel"},
    {"RobertaForMaskedLM", "RobertaModel"},
    {"XLMRobertaForMaskedLM", "XLMRobertaModel"},
};

const Defaults* defaults_of(std::string_view architecture) {
  for (const Defaults& d : kDefaults) {
    if (architecture == d.architecture) return &d;
  }
  return nullptr;
}

std::string architecture_of(const ConfigFields& f) {
  if (f.is_set("architectures")) {
    const json& list = *f.find("architectures");
    if (!list.is_array() || list.empty() || !list[0].is_string()) f.fail("architectures", "must be an array of names");
    return list[0].get<std::string>();
  }
  const std::string type = f.text("model_type", "");
  for (const Defaults& d : kDefaults) {
    if (type == d.model_type) return d.architecture;
  }
  if (type.empty()) f.fail("architectures", "must name the model's architecture");
  return type;
}

DType dtype_of(const ConfigFields& f, DType absent) {
  const char* key = f.is_set("dtype") ? "dtype" : "torch_dtype";
  std::string type = f.text(key, std::string(name(absent)));
  if (type.starts_with("torch.")) type = type.substr(6);
  for (DType t : {DType::F32, DType::F16, DType::BF16, DType::F64}) {
    if (type == name(t)) return t;
  }
  if (type == "auto") return absent;
  f.fail(key, "must be float32, float16, bfloat16 or float64");
}

Activation activation_of(const ConfigFields& f, const char* key, const std::string& absent) {
  const std::string act = f.text(key, absent);
  if (act == "silu" || act == "swish") return Activation::Silu;
  if (act == "gelu") return Activation::Gelu;
  if (act == "gelu_pytorch_tanh" || act == "gelu_new" || act == "gelu_fast") return Activation::GeluTanh;
  if (act == "relu") return Activation::Relu;
  throw Error(ErrorKind::Unsupported, fmt::format("{}: {} {} is not supported; supported are silu, gelu, "
                                                  "gelu_pytorch_tanh, gelu_new, gelu_fast, relu",
                                                  f.what(), key, act));
}

void refuse(const ConfigFields& f, const char* key, const char* why) {
  throw Error(ErrorKind::Unsupported, fmt::format("{}: {} {}", f.what(), key, why));
}

// One id, a list of them, or null.
std::vector<int32_t> token_ids(const ConfigFields& f, const char* key) {
  std::vector<int32_t> ids;
  if (!f.is_set(key)) return ids;
  const json& value = *f.find(key);
  auto add = [&](const json& id) {
    if (!id.is_number_integer() || id < 0 || id > INT32_MAX) f.fail(key, "must be a token id or a list of them");
    if (ids.size() >= 1000) f.fail(key, "must be at most 1000 token ids");
    ids.push_back(id.get<int32_t>());
  };
  if (value.is_array()) {
    for (const json& id : value) add(id);
  } else if (!(value.is_number_integer() && value == -1)) {  // some files say −1 for "none"
    add(value);
  }
  return ids;
}

void unite(std::vector<int32_t>& ids, const std::vector<int32_t>& more) {
  for (int32_t id : more) {
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
}

// Tokens of `f`, and the class's own where the file has no such key at all.
void read_tokens(const ConfigFields& f, const Defaults* d, ModelConfig& c) {
  unite(c.eos_ids, token_ids(f, "eos_token_id"));
  if (d != nullptr && d->eos >= 0 && !f.has("eos_token_id") && c.eos_ids.empty()) c.eos_ids.push_back(d->eos);
  if (std::vector<int32_t> bos = token_ids(f, "bos_token_id"); !bos.empty()) c.bos_id = bos[0];
  if (d != nullptr && d->bos >= 0 && !f.has("bos_token_id") && !c.bos_id) c.bos_id = d->bos;
}

void read_sizes(const ConfigFields& f, const Defaults& d, ModelConfig& c) {
  const bool gpt2 = d.family == Family::Gpt2;
  c.hidden_size = f.integer(gpt2 ? "n_embd" : "hidden_size", d.hidden_size, 1);
  c.num_layers = f.integer(gpt2 ? "n_layer" : "num_hidden_layers", d.num_layers, 1, 10000);
  c.num_heads = f.integer(gpt2 ? "n_head" : "num_attention_heads", d.num_heads, 1);
  // A file that sets the heads but not the KV heads means the class's default only where the class has one.
  c.num_kv_heads = d.num_kv_heads > 0 && !f.has("num_key_value_heads") ? d.num_kv_heads : c.num_heads;
  c.num_kv_heads = f.integer("num_key_value_heads", c.num_kv_heads, 1);
  c.intermediate_size = d.intermediate_size > 0 ? d.intermediate_size : 4 * c.hidden_size;
  c.intermediate_size = f.integer(gpt2 ? "n_inner" : "intermediate_size", c.intermediate_size, 1);
  c.vocab_size = f.integer("vocab_size", d.vocab_size, 1);
  c.context_length = f.integer(gpt2 ? "n_positions" : "max_position_embeddings", d.context_length, 1);

  if (f.is_set("head_dim")) {
    c.head_dim = f.integer("head_dim", 0, 1);
  } else if (d.head_dim > 0 && !f.has("head_dim")) {
    c.head_dim = d.head_dim;
  } else {
    if (c.hidden_size % c.num_heads != 0) {
      throw Error(ErrorKind::CorruptFile, fmt::format("{}: hidden size {} is not a multiple of the {} attention heads, "
                                                      "and no head_dim is given",
                                                      f.what(), c.hidden_size, c.num_heads));
    }
    c.head_dim = c.hidden_size / c.num_heads;
  }
  if (c.num_heads % c.num_kv_heads != 0) {
    throw Error(ErrorKind::CorruptFile, fmt::format("{}: {} attention heads cannot share {} key/value heads evenly",
                                                    f.what(), c.num_heads, c.num_kv_heads));
  }
}

// layer_types → which layers slide; false if the file has none.
bool read_layer_types(const ConfigFields& f, ModelConfig& c) {
  if (!f.is_set("layer_types")) return false;
  const json& types = *f.find("layer_types");
  if (!types.is_array() || types.size() < static_cast<size_t>(c.num_layers)) {
    f.fail("layer_types", fmt::format("must be an array with a type for each of the {} layers", c.num_layers));
  }
  for (int i = 0; i < c.num_layers; ++i) {
    const json& type = types[static_cast<size_t>(i)];
    if (type == "sliding_attention") {
      c.layer_sliding.push_back(true);
    } else if (type == "full_attention") {
      c.layer_sliding.push_back(false);
    } else {
      if (!type.is_string()) f.fail("layer_types", "must be an array of strings");
      refuse(
          f, "layer_types",
          fmt::format("has {}; supported are full_attention and sliding_attention", type.get<std::string>()).c_str());
    }
  }
  return true;
}

void read_window(const ConfigFields& f, const Defaults& d, ModelConfig& c) {
  // Where the class has a default, null says "no window" and absence says "the default".
  auto window = [&](int absent) { return f.has("sliding_window") ? f.integer("sliding_window", 0) : absent; };
  switch (d.family) {
    case Family::Llama:
    case Family::Gpt2:
    case Family::Bert:
    case Family::Roberta:
      return;
    case Family::Phi3:
      c.sliding_window = window(0);
      break;
    case Family::Mistral:
      c.sliding_window = window(4096);
      break;
    case Family::Qwen2:
    case Family::Qwen3:
      if (!f.boolean("use_sliding_window", false)) return;
      c.sliding_window = window(4096);
      if (!read_layer_types(f, c)) {
        const int first = f.integer("max_window_layers", 28);
        for (int i = 0; i < c.num_layers; ++i) c.layer_sliding.push_back(i >= first);
      }
      break;
    case Family::Gemma2:
    case Family::Gemma3: {
      c.sliding_window = window(4096);
      const char* key = f.is_set("sliding_window_pattern") ? "sliding_window_pattern" : "_sliding_window_pattern";
      const int pattern = d.family == Family::Gemma2 ? 2 : f.integer(key, 6, 1);
      if (!read_layer_types(f, c)) {
        for (int i = 0; i < c.num_layers; ++i) c.layer_sliding.push_back((i + 1) % pattern != 0);
      }
      break;
    }
  }
  if (c.layer_sliding.empty()) read_layer_types(f, c);
  const bool any = c.layer_sliding.empty() || std::count(c.layer_sliding.begin(), c.layer_sliding.end(), true) > 0;
  if (c.sliding_window == 0 || !any) {
    c.sliding_window = 0;
    c.layer_sliding.clear();
  }
}

float rounded_to(DType t, float x) {
  if (t == DType::BF16) return to_float(to_bf16(x));
  if (t == DType::F16) return to_float(to_f16(x));
  return x;
}

void read_gemma(const ConfigFields& f, Family family, ModelConfig& c) {
  c.norm_plus_one = true;
  c.embedding_scale = rounded_to(c.dtype, static_cast<float>(std::sqrt(c.hidden_size)));
  const double scalar = f.number("query_pre_attn_scalar", 256);
  if (scalar <= 0) f.fail("query_pre_attn_scalar", "must be positive");
  c.attention_scale = static_cast<float>(1.0 / std::sqrt(scalar));
  const bool gemma2 = family == Family::Gemma2;
  auto softcap = [&](const char* key, double absent) {
    const double cap = f.has(key) ? f.number(key, 0) : absent;
    if (cap < 0) f.fail(key, "must not be negative");
    return static_cast<float>(cap);
  };
  c.attention_softcap = softcap("attn_logit_softcapping", gemma2 ? 50 : 0);
  c.final_softcap = softcap("final_logit_softcapping", gemma2 ? 30 : 0);
  if (f.boolean("use_bidirectional_attention", false)) refuse(f, "use_bidirectional_attention", "is not supported");
}

void read_gpt2(const ConfigFields& f, ModelConfig& c) {
  if (f.boolean("scale_attn_by_inverse_layer_idx", false))
    refuse(f, "scale_attn_by_inverse_layer_idx", "is not supported");
  if (f.boolean("add_cross_attention", false)) refuse(f, "add_cross_attention", "is not supported");
  if (!f.boolean("scale_attn_weights", true)) c.attention_scale = 1.0F;
  c.conv1d_weights = true;
  c.qkv_bias = c.attn_out_bias = c.mlp_bias = true;
}

// What a cross-encoder of sentence-transformers makes of the classifier's number.
bool sigmoid_score(const ConfigFields& f, int num_labels) {
  std::string name = f.text("sbert_ce_default_activation_function", "");
  if (f.is_set("sentence_transformers")) {
    const ConfigFields own(*f.find("sentence_transformers"), f.what() + ": sentence_transformers");
    name = own.text("activation_fn", name);
  }
  if (name.empty()) return num_labels == 1;
  if (name.ends_with(".Sigmoid")) return true;
  if (name.ends_with(".Identity")) return false;
  throw Error(ErrorKind::Unsupported, fmt::format("{}: the scores' activation {} is not supported; supported are "
                                                  "Sigmoid and Identity",
                                                  f.what(), name));
}

void read_encoder(const ConfigFields& f, Family family, ModelConfig& c) {
  if (f.boolean("is_decoder", false)) refuse(f, "is_decoder", "is not supported: this family is served as an encoder");
  if (f.text("position_embedding_type", "absolute") != "absolute") {
    refuse(f, "position_embedding_type", "must be absolute; relative positions are not supported");
  }
  c.encoder = true;
  c.has_lm_head = false;
  c.type_vocab_size = f.integer("type_vocab_size", 2, 1);
  if (family == Family::Roberta) {
    // Its positions count from behind the padding's row.
    c.position_offset = f.integer("pad_token_id", 1) + 1;
    c.context_length -= c.position_offset;
    if (c.context_length < 1) f.fail("max_position_embeddings", "must be more than pad_token_id + 1");
  }
  if (!c.architecture.ends_with("ForSequenceClassification")) return;
  c.num_labels = f.integer("num_labels", 2, 1);
  if (f.is_set("id2label") && f.find("id2label")->is_object()) {
    c.num_labels = std::max(static_cast<int>(f.find("id2label")->size()), 1);
  }
  c.sigmoid_score = sigmoid_score(f, c.num_labels);
}

void read_biases(const ConfigFields& f, Family family, ModelConfig& c) {
  switch (family) {
    case Family::Llama:
    case Family::Qwen3:
    case Family::Gemma2:
    case Family::Gemma3:
      c.qkv_bias = c.attn_out_bias = f.boolean("attention_bias", false);
      c.mlp_bias = family == Family::Llama && f.boolean("mlp_bias", false);
      c.qk_norm = family == Family::Qwen3 || family == Family::Gemma3;
      break;
    case Family::Qwen2:
      c.qkv_bias = true;
      break;
    case Family::Mistral:
    case Family::Phi3:
    case Family::Gpt2:
      break;
    case Family::Bert:
    case Family::Roberta:
      c.qkv_bias = c.attn_out_bias = c.mlp_bias = true;
      break;
  }
}

void read_model(const ConfigFields& f, const Defaults& d, ModelConfig& c) {
  const bool gemma = d.family == Family::Gemma2 || d.family == Family::Gemma3, gpt2 = d.family == Family::Gpt2;
  const bool encoder = d.family == Family::Bert || d.family == Family::Roberta;
  read_sizes(f, d, c);
  const char* eps_key = gpt2 ? "layer_norm_epsilon" : encoder ? "layer_norm_eps" : "rms_norm_eps";
  const double eps = f.number(eps_key, d.norm_eps);
  if (!(eps >= 0 && eps < 1)) f.fail(eps_key, "must be in [0, 1)");
  c.norm_eps = static_cast<float>(eps);
  c.activation = activation_of(f,
                               gemma  ? "hidden_activation"
                               : gpt2 ? "activation_function"
                                      : "hidden_act",
                               gemma     ? "gelu_pytorch_tanh"
                               : gpt2    ? "gelu_new"
                               : encoder ? "gelu"
                                         : "silu");
  c.tie_word_embeddings = f.boolean("tie_word_embeddings", d.tie_word_embeddings);
  c.attention_scale = static_cast<float>(1.0 / std::sqrt(c.head_dim));
  read_biases(f, d.family, c);
  read_window(f, d, c);
  if (gemma) read_gemma(f, d.family, c);
  if (gpt2) {
    read_gpt2(f, c);
  } else if (encoder) {
    read_encoder(f, d.family, c);
  } else {
    read_rope(f, d.rope_theta, c);
    if (d.family == Family::Gemma3) read_local_rope(f, c);
  }
}

}  // namespace

bool is_known_architecture(std::string_view architecture) { return defaults_of(architecture) != nullptr; }

void add_generation(const json& generation, ModelConfig& c) {
  const ConfigFields g(generation, "generation_config.json");
  unite(c.eos_ids, token_ids(g, "eos_token_id"));
  if (!c.bos_id) {
    if (std::vector<int32_t> bos = token_ids(g, "bos_token_id"); !bos.empty()) c.bos_id = bos[0];
  }
  auto number = [&](const char* key, std::optional<float>& to) {
    if (g.is_set(key)) to = static_cast<float>(g.number(key, 0));
  };
  number("temperature", c.generation.temperature);
  number("top_p", c.generation.top_p);
  number("min_p", c.generation.min_p);
  number("repetition_penalty", c.generation.repetition_penalty);
  if (g.is_set("top_k")) {
    const int k = g.integer("top_k", 0, -1);
    c.generation.top_k = k == 0 ? -1 : k;  // both mean "all"
  }
}

ModelConfig config_from_json(const json& config) {
  const ConfigFields outer(config, "config.json");
  ModelConfig c;
  c.architecture = architecture_of(outer);
  c.model_type = outer.text("model_type", "");
  const bool multimodal = c.architecture == "Gemma3ForConditionalGeneration" || c.architecture == "gemma3";
  if (multimodal) c.architecture = "Gemma3ForCausalLM";
  for (const Headless& h : kHeadless) {
    if (c.architecture != h.given) continue;
    c.architecture = h.known;
    c.has_lm_head = false;
    break;
  }

  const Defaults* d = defaults_of(c.architecture);
  if (d == nullptr) {
    // The registry refuses it by name; complaints about its other fields would only hide that.
    read_tokens(outer, nullptr, c);
  } else {
    const json empty = json::object();
    const ConfigFields f(multimodal ? (outer.is_set("text_config") ? *outer.find("text_config") : empty) : config,
                         multimodal ? "config.json: text_config" : "config.json");
    c.dtype = dtype_of(f, dtype_of(outer, DType::F32));
    if (multimodal) read_tokens(outer, nullptr, c);
    read_tokens(f, d, c);
    read_model(f, *d, c);
    c.packed = read_quantization(outer);
  }
  return c;
}

}  // namespace sgl
