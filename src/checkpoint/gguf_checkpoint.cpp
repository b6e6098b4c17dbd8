// GGUF keys → ModelConfig, GGUF names → the hub's names. The facts that the keys leave open (who has which window,
// scale or rotation) are those of llama.cpp, whose converter writes these files.

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "checkpoint/config_json.h"
#include "checkpoint/gguf.h"
#include "checkpoint/model_directory.h"
#include "checkpoint/tensor_index.h"
#include "sgl/error.h"
#include "tensor/block_formats.h"

namespace sgl {
namespace {

constexpr std::pair<std::string_view, std::string_view> kArchitectures[] = {
    {"llama", "LlamaForCausalLM"}, {"qwen2", "Qwen2ForCausalLM"},   {"qwen3", "Qwen3ForCausalLM"},
    {"phi3", "Phi3ForCausalLM"},   {"gemma2", "Gemma2ForCausalLM"}, {"gemma3", "Gemma3ForCausalLM"},
    {"gpt2", "GPT2LMHeadModel"}};

using Names = std::pair<std::string_view, std::string_view>;

constexpr Names kTopNames[] = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};
constexpr Names kBlockNames[] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},      {"attn_qkv", "self_attn.qkv_proj"},  {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"}, {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},           {"ffn_down", "mlp.down_proj"}};
// What single architectures name otherwise; looked up first.
constexpr Names kPhi3Names[] = {{"ffn_up", "mlp.gate_up_proj"}};
constexpr Names kGemmaNames[] = {{"ffn_norm", "pre_feedforward_layernorm"},
                                 {"post_attention_norm", "post_attention_layernorm"},
                                 {"post_ffw_norm", "post_feedforward_layernorm"}};
constexpr Names kGpt2TopNames[] = {{"token_embd", "transformer.wte"},
                                   {"position_embd", "transformer.wpe"},
                                   {"output_norm", "transformer.ln_f"},
                                   {"output", "lm_head"}};
constexpr Names kGpt2Names[] = {{"attn_norm", "ln_1"}, {"attn_qkv", "attn.c_attn"}, {"attn_output", "attn.c_proj"},
                                {"ffn_norm", "ln_2"},  {"ffn_up", "mlp.c_fc"},      {"ffn_down", "mlp.c_proj"}};

std::string_view look_up(std::span<const Names> table, std::string_view from) {
  for (const auto& [a, b] : table) {
    if (a == from) return b;
  }
  return {};
}

std::string_view block_name(std::string_view from, std::string_view architecture) {
  if (architecture == "GPT2LMHeadModel") return look_up(kGpt2Names, from);
  std::string_view own;
  if (architecture == "Phi3ForCausalLM") own = look_up(kPhi3Names, from);
  if (architecture.starts_with("Gemma")) own = look_up(kGemmaNames, from);
  return own.empty() ? look_up(kBlockNames, from) : own;
}

/// The keys of one architecture, "llama.block_count" and so on.
class Keys {
 public:
  Keys(const GgufFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  std::string full(const char* key) const { return prefix_ + "." + key; }
  const GgufFile& file() const { return file_; }

  /// A whole number in [low, 2^30]. A list with a value for each layer must hold the same one throughout.
  int integer(const char* key, std::optional<int> absent = std::nullopt, int low = 1) const {
    const std::string k = full(key);
    std::optional<int64_t> x;
    if (file_.is_array(k)) {
      const std::vector<int32_t> list = file_.ints(k);
      if (list.empty() || std::any_of(list.begin(), list.end(), [&](int32_t v) { return v != list[0]; })) {
        throw Error(ErrorKind::Unsupported,
                    fmt::format("{}: {} differs from layer to layer, which is not supported", file_.path(), k));
      }
      x = list[0];
    } else {
      x = file_.integer(k);
    }
    if (!x && absent) return *absent;
    if (!x) missing(k);
    if (*x < low || *x > 1 << 30) fail(k, fmt::format("must be in [{}, 2^30], got {}", low, *x));
    return static_cast<int>(*x);
  }

  double positive(const char* key, std::optional<double> absent = std::nullopt) const {
    const std::string k = full(key);
    const std::optional<double> x = file_.number(k);
    if (!x && absent) return *absent;
    if (!x) missing(k);
    if (!(*x > 0)) fail(k, fmt::format("must be positive, got {}", *x));
    return *x;
  }
  std::optional<double> optional_number(const char* key) const { return file_.number(full(key)); }
  std::string text(const char* key) const { return std::string(file_.string(full(key)).value_or("")); }

  [[noreturn]] void fail(const std::string& key, const std::string& why) const {
    throw Error(ErrorKind::CorruptFile, fmt::format("{}: {} {}", file_.path(), key, why));
  }

 private:
  [[noreturn]] void missing(const std::string& key) const { fail(key, "is missing"); }

  const GgufFile& file_;
  std::string prefix_;
};

const FileTensor* tensor(const GgufFile& file, std::string_view name) {
  for (const FileTensor& t : file.tensors()) {
    if (t.name == name) return &t;
  }
  return nullptr;
}

std::vector<float> rope_factors(const Keys& k, const char* name, int pairs) {
  const FileTensor* t = tensor(k.file(), name);
  if (t == nullptr) return {};
  if (t->shape.elements() != pairs || is_block_format(t->dtype)) {
    k.fail(name, fmt::format("must have {} numbers, one for each pair of rotary dimensions; its shape is {}", pairs,
                             to_string(t->shape)));
  }
  std::vector<float> result(static_cast<size_t>(pairs));
  dequantize_row(t->dtype, t->data.data(), result.data(), pairs);
  if (std::any_of(result.begin(), result.end(), [](float x) { return !(x > 0); })) k.fail(name, "must be positive");
  return result;
}

void read_sizes(const Keys& k, ModelConfig& c) {
  c.hidden_size = k.integer("embedding_length");
  c.num_layers = k.integer("block_count");
  if (c.num_layers > 10000) k.fail(k.full("block_count"), fmt::format("must be at most 10000, got {}", c.num_layers));
  c.num_heads = k.integer("attention.head_count");
  c.num_kv_heads = k.integer("attention.head_count_kv", c.num_heads);
  c.intermediate_size = k.integer("feed_forward_length");
  c.context_length = k.integer("context_length");
  c.head_dim = k.integer("attention.key_length", c.hidden_size / c.num_heads);
  if (c.head_dim < 1 || c.num_heads % c.num_kv_heads != 0) {
    k.fail(k.full("attention.head_count"),
           fmt::format("{} does not fit {} key/value heads and an embedding length of {}", c.num_heads, c.num_kv_heads,
                       c.hidden_size));
  }
  if (const int value = k.integer("attention.value_length", c.head_dim); value != c.head_dim) {
    throw Error(ErrorKind::Unsupported, fmt::format("{}: keys of {} and values of {} dimensions are not supported",
                                                    k.file().path(), c.head_dim, value));
  }
  const FileTensor* embedding = tensor(k.file(), "token_embd.weight");
  const int rows = embedding != nullptr && embedding->shape.rank() == 2 && embedding->shape[0] < 1 << 30
                       ? static_cast<int>(embedding->shape[0])
                       : 0;
  c.vocab_size = rows > 0 ? rows : k.integer("vocab_size");
  c.tie_word_embeddings = tensor(k.file(), "output.weight") == nullptr;
}

void read_rope(const Keys& k, ModelConfig& c) {
  RopeConfig& rope = c.rope;
  rope.theta = k.positive("rope.freq_base", 10000.0);
  rope.rotary_dim = k.integer("rope.dimension_count", c.head_dim);
  if (rope.rotary_dim > c.head_dim || rope.rotary_dim % 2 != 0) {
    k.fail(k.full("rope.dimension_count"),
           fmt::format("must be even and at most the head's {} dimensions, got {}", c.head_dim, rope.rotary_dim));
  }
  // The converter permutes the rows of llama's q and k so that pairs stand side by side; all others keep the hub's
  // order.
  rope.interleaved = c.architecture == "LlamaForCausalLM";
  const int pairs = rope.rotary_dim / 2;
  rope.freq_factors = rope_factors(k, "rope_freqs.weight", pairs);
  rope.long_factor = rope_factors(k, "rope_factors_long.weight", pairs);
  rope.short_factor = rope_factors(k, "rope_factors_short.weight", pairs);
  rope.original_context = k.integer("rope.scaling.original_context_length", c.context_length);
  const std::string type = k.text("rope.scaling.type");
  const double old_factor = k.positive("rope.scale_linear", 1.0);  // before there were types
  rope.factor = k.positive("rope.scaling.factor", old_factor);
  const std::optional<double> attention = k.optional_number("rope.scaling.attn_factor");

  if (!rope.long_factor.empty() && !rope.short_factor.empty()) {
    rope.scaling = RopeConfig::Scaling::LongRope;
    rope.factor = static_cast<double>(c.context_length) / rope.original_context;
    rope.attention_factor = attention;
  } else if (type == "yarn") {
    rope.scaling = RopeConfig::Scaling::Yarn;
    rope.beta_fast = k.positive("rope.scaling.yarn_beta_fast", 32.0);
    rope.beta_slow = k.positive("rope.scaling.yarn_beta_slow", 1.0);
    // Here the file's factor comes on top of the formula's, not in its place.
    if (attention && *attention > 0 && *attention != 1) {
      rope.attention_factor = *attention * (rope.factor > 1 ? 1 + 0.1 * std::log(rope.factor) : 1);
    }
  } else if (type == "linear" || (type.empty() && rope.factor != 1)) {
    rope.scaling = RopeConfig::Scaling::Linear;
  } else if (type.empty() || type == "none") {
    rope.original_context = 0;
    rope.factor = 1;
  } else if (type == "longrope") {
    throw Error(ErrorKind::CorruptFile,
                fmt::format("{}: rope scaling longrope needs the tensors rope_factors_long.weight and "
                            "rope_factors_short.weight, and the file lacks one or both",
                            k.file().path()));
  } else {
    throw Error(ErrorKind::Unsupported, fmt::format("{}: rope scaling {} is not supported; supported are none, linear, "
                                                    "yarn, longrope",
                                                    k.file().path(), type));
  }
  if (rope.scaling == RopeConfig::Scaling::Linear) rope.original_context = 0;
}

void read_window(const Keys& k, int pattern, ModelConfig& c) {
  c.sliding_window = k.integer("attention.sliding_window", 0, 0);
  if (c.sliding_window == 0 || pattern == 0) return;
  const std::string key = k.full("attention.sliding_window_pattern");
  if (k.file().is_array(key)) {
    const std::vector<int32_t> layers = k.file().ints(key);
    if (layers.size() < static_cast<size_t>(c.num_layers)) k.fail(key, "must have a value for each layer");
    for (int i = 0; i < c.num_layers; ++i) c.layer_sliding.push_back(layers[static_cast<size_t>(i)] != 0);
    return;
  }
  pattern = k.integer("attention.sliding_window_pattern", pattern);
  for (int i = 0; i < c.num_layers; ++i) c.layer_sliding.push_back((i + 1) % pattern != 0);
}

// Gemma's norms are stored with their 1 added: c.norm_plus_one stays false.
void read_gemma(const Keys& k, ModelConfig& c) {
  const bool gemma2 = c.architecture == "Gemma2ForCausalLM";
  c.activation = Activation::GeluTanh;
  c.embedding_scale = static_cast<float>(std::sqrt(c.hidden_size));
  // The key of the scale is not in these files: of all sizes, only the 27B ones scale by something else than the head.
  const bool is_27b = c.num_layers == (gemma2 ? 46 : 62);
  c.attention_scale = static_cast<float>(1.0 / std::sqrt(is_27b ? c.hidden_size / c.num_heads : c.head_dim));
  c.attention_softcap = static_cast<float>(k.optional_number("attn_logit_softcapping").value_or(gemma2 ? 50 : 0));
  c.final_softcap = static_cast<float>(k.optional_number("final_logit_softcapping").value_or(gemma2 ? 30 : 0));
  read_window(k, gemma2 ? 2 : 6, c);
  if (!gemma2) {
    c.rope_local.emplace();
    c.rope_local->theta = k.positive("rope.freq_base_swa", 10000.0);
    c.rope_local->rotary_dim = c.rope.rotary_dim;
  }
}

void read_tokens(const GgufFile& file, ModelConfig& c) {
  c.bos_id = file.token_id("tokenizer.ggml.bos_token_id");
  for (const char* key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    const std::optional<int32_t> x = file.token_id(key);
    if (x && std::find(c.eos_ids.begin(), c.eos_ids.end(), *x) == c.eos_ids.end()) c.eos_ids.push_back(*x);
  }
  auto number = [&](const char* key, std::optional<float>& to) {
    if (const std::optional<double> x = file.number(key)) to = static_cast<float>(*x);
  };
  number("general.sampling.temp", c.generation.temperature);
  number("general.sampling.top_p", c.generation.top_p);
  number("general.sampling.min_p", c.generation.min_p);
  number("general.sampling.penalty_repeat", c.generation.repetition_penalty);
  if (const std::optional<int64_t> k = file.integer("general.sampling.top_k"); k && *k <= INT32_MAX) {
    c.generation.top_k = *k <= 0 ? -1 : static_cast<int>(*k);
  }
}

// "…-00002-of-00003.gguf": where the part's number stands in a name, and both numbers.
struct PartName {
  size_t number_at;
  int number, count;
};

std::optional<PartName> part_name(std::string_view path) {
  constexpr std::string_view pattern = "-#####-of-#####.gguf";
  if (path.size() < pattern.size()) return std::nullopt;
  const size_t at = path.size() - pattern.size();
  int numbers[2] = {0, 0};
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = path[at + i];
    if (pattern[i] == '#' ? c < '0' || c > '9' : c != pattern[i]) return std::nullopt;
    int& n = numbers[i > 6];
    if (pattern[i] == '#') n = 10 * n + (c - '0');
  }
  return PartName{at + 1, numbers[0], numbers[1]};
}

// The later parts of a split model have tensors only; all else is in the first.
void adopt_parts(GgufFile& file) {
  const int64_t count = file.integer("split.count").value_or(1);
  if (count == 1) return;
  const std::string& path = file.path();
  const std::optional<PartName> name = part_name(path);
  if (!name || name->number != 1 || name->count != count || file.integer("split.no").value_or(0) != 0) {
    throw Error(
        ErrorKind::InvalidArgument,
        fmt::format("{} is one of {} parts of a model; name the first, which must be called …-00001-of-{:05}.gguf "
                    "and stand beside the others",
                    path, count, count));
  }
  for (int i = 2; i <= count; ++i) {
    std::string next = path;
    next.replace(name->number_at, 5, fmt::format("{:05}", i));
    auto part = std::make_unique<GgufFile>(next);
    if (part->integer("split.count") != count || part->integer("split.no") != i - 1) {
      throw Error(ErrorKind::CorruptFile, fmt::format("{} is not part {} of {} by its own keys", next, i, count));
    }
    file.adopt(std::move(part));
  }
  const auto total = file.integer("split.tensors.count");
  if (total && *total != static_cast<int64_t>(file.tensors().size())) {
    throw Error(ErrorKind::CorruptFile, fmt::format("{} and its other parts have {} tensors; the first part says {}",
                                                    path, file.tensors().size(), *total));
  }
}

class GgufCheckpoint : public Checkpoint {
 public:
  GgufCheckpoint(const std::string& path, const std::string& directory) : file_(path), directory_(directory) {
    adopt_parts(file_);
    config_ = config_from_gguf(file_);
    for (const FileTensor& t : file_.tensors()) {
      index_.add({hub_name(t.name, config_.architecture), t.dtype, t.shape, t.data});
    }
    index_.finish(path);
    if (!directory.empty()) add_generation_config(directory, config_);
  }

  const ModelConfig& config() const override { return config_; }
  const FileTensor* find(std::string_view name) const override { return index_.find(name); }
  std::vector<std::string_view> names() const override { return index_.names(); }
  std::string format() const override { return "gguf"; }
  std::string directory() const override { return directory_; }
  const GgufFile* gguf() const override { return &file_; }
  void release(const FileTensor& t) const override { MappedFile::release(t.data); }

 private:
  GgufFile file_;
  std::string directory_;
  ModelConfig config_;
  TensorIndex index_;
};

}  // namespace

ModelConfig config_from_gguf(const GgufFile& file) {
  const std::string arch(file.string("general.architecture").value_or(""));
  ModelConfig c;
  c.model_type = arch;
  c.architecture = look_up(kArchitectures, arch);
  if (arch.empty()) {
    throw Error(ErrorKind::CorruptFile, file.path() + ": general.architecture is missing: it is not a model");
  }
  read_tokens(file, c);
  if (file.integer(arch + ".expert_count").value_or(0) > 0)
    c.architecture = arch == "llama" ? "MixtralForCausalLM" : arch;
  if (c.architecture.empty()) c.architecture = arch;
  if (!is_known_architecture(c.architecture)) return c;  // the registry refuses it by name

  const Keys k(file, arch);
  TensorIndex all;
  for (const FileTensor& t : file.tensors()) all.add({{}, t.dtype, {}, t.data});
  c.dtype = all.main_dtype().value_or(DType::F32);
  read_sizes(k, c);
  const bool gpt2 = c.architecture == "GPT2LMHeadModel";
  c.norm_eps =
      static_cast<float>(k.positive(gpt2 ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon"));
  c.attention_scale = static_cast<float>(1.0 / std::sqrt(c.head_dim));
  if (!gpt2) read_rope(k, c);
  if (c.architecture.starts_with("Gemma")) {
    read_gemma(k, c);
  } else {
    c.activation = gpt2 ? Activation::GeluTanh : Activation::Silu;
    // Qwen's files may name a window that the model does not use.
    if (!arch.starts_with("qwen")) read_window(k, 0, c);
  }
  auto has = [&](const char* name) { return tensor(file, name) != nullptr; };
  c.qkv_bias = has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias");
  c.attn_out_bias = has("blk.0.attn_output.bias");
  c.mlp_bias = has("blk.0.ffn_down.bias");
  c.qk_norm = has("blk.0.attn_q_norm.weight");
  return c;
}

std::string hub_name(std::string_view name, std::string_view architecture) {
  const bool gpt2 = architecture == "GPT2LMHeadModel";
  const size_t dot = name.rfind('.');  // before "weight" or "bias"
  if (dot == std::string_view::npos || !is_known_architecture(architecture)) return std::string(name);
  const std::string_view stem = name.substr(0, dot), suffix = name.substr(dot);
  if (!stem.starts_with("blk.")) {
    const std::string_view top = gpt2 ? look_up(kGpt2TopNames, stem) : look_up(kTopNames, stem);
    return top.empty() ? std::string(name) : fmt::format("{}{}", top, suffix);
  }
  const size_t after_layer = stem.find('.', 4);
  if (after_layer == std::string_view::npos) return std::string(name);
  const std::string_view layer = stem.substr(4, after_layer - 4),
                         to = block_name(stem.substr(after_layer + 1), architecture);
  if (to.empty() || layer.find_first_not_of("0123456789") != std::string_view::npos) return std::string(name);
  return fmt::format("{}.{}.{}{}", gpt2 ? "transformer.h" : "model.layers", layer, to, suffix);
}

bool is_later_gguf_part(std::string_view path) {
  const std::optional<PartName> name = part_name(path);
  return name && name->number != 1;
}

std::unique_ptr<Checkpoint> open_gguf(const std::string& path, const std::string& directory) {
  return std::make_unique<GgufCheckpoint>(path, directory);
}

}  // namespace sgl
