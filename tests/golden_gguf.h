#pragma once
// The golden models as GGUF files, as llama.cpp's converter makes them of the hub's checkpoints: other names, rows of q
// and k in another order, norms and matrices stored otherwise. What they compute must be the same.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numbers>
#include <regex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/test_files.h"
#include "tensor/block_formats.h"

namespace sgl::testing {

inline std::string gguf_architecture(const ModelConfig& c) {
  static const std::map<std::string, std::string> names = {
      {"LlamaForCausalLM", "llama"},   {"MistralForCausalLM", "llama"}, {"Qwen2ForCausalLM", "qwen2"},
      {"Qwen3ForCausalLM", "qwen3"},   {"Phi3ForCausalLM", "phi3"},     {"Gemma2ForCausalLM", "gemma2"},
      {"Gemma3ForCausalLM", "gemma3"}, {"GPT2LMHeadModel", "gpt2"}};
  const auto name = names.find(c.architecture);
  if (name == names.end())
    throw std::runtime_error(c.architecture + " has no name in GGUF here; add it to golden_gguf.h");
  return name->second;
}

/// "model.layers.3.self_attn.q_proj.weight" → "blk.3.attn_q.weight".
inline std::string gguf_name(std::string name, const std::string& arch) {
  const bool gemma = arch.starts_with("gemma");
  const std::vector<std::pair<const char*, std::string>> rules = {
      {R"(^(model\.layers|transformer\.h)\.)", "blk."},
      {R"(^(model\.embed_tokens|transformer\.wte)\.)", "token_embd."},
      {R"(^transformer\.wpe\.)", "position_embd."},
      {R"(^(model\.norm|transformer\.ln_f)\.)", "output_norm."},
      {R"(^lm_head\.)", "output."},
      {R"(\.self_attn\.q_norm\.)", ".attn_q_norm."},
      {R"(\.self_attn\.k_norm\.)", ".attn_k_norm."},
      {R"(\.self_attn\.(q|k|v)_proj\.)", ".attn_$1."},
      {R"(\.(self_attn\.qkv_proj|attn\.c_attn)\.)", ".attn_qkv."},
      {R"(\.(self_attn\.o_proj|attn\.c_proj)\.)", ".attn_output."},
      {R"(\.mlp\.gate_proj\.)", ".ffn_gate."},
      {R"(\.mlp\.(up_proj|gate_up_proj|c_fc)\.)", ".ffn_up."},
      {R"(\.mlp\.(down_proj|c_proj)\.)", ".ffn_down."},
      {R"(\.(input_layernorm|ln_1)\.)", ".attn_norm."},
      {R"(\.pre_feedforward_layernorm\.)", ".ffn_norm."},
      {R"(\.post_feedforward_layernorm\.)", ".post_ffw_norm."},
      {R"(\.(post_attention_layernorm|ln_2)\.)", gemma ? ".post_attention_norm." : ".ffn_norm."},
  };
  for (const auto& [from, to] : rules) name = std::regex_replace(name, std::regex(from), to);
  return name;
}

/// Rows of each head: its halves, which rotate together, become neighbours.
inline std::vector<float> with_pairs_adjacent(const std::vector<float>& x, size_t rows, size_t heads) {
  const size_t columns = x.size() / rows, head = rows / heads;
  std::vector<float> out(x.size());
  for (size_t r = 0; r < rows; ++r) {
    const size_t in_head = r % head, to = r - in_head + in_head % (head / 2) * 2 + in_head / (head / 2);
    std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(r * columns), columns,
                out.begin() + static_cast<std::ptrdiff_t>(to * columns));
  }
  return out;
}

inline std::vector<float> transposed(const std::vector<float>& x, size_t rows, size_t columns) {
  std::vector<float> out(x.size());
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) out[c * rows + r] = x[r * columns + c];
  }
  return out;
}

/// Llama 3's scaling as divisors of the frequencies.
inline std::vector<float> rope_freqs(const RopeConfig& rope) {
  std::vector<float> out;
  for (int i = 0; i < rope.rotary_dim / 2; ++i) {
    const double wavelength = 2 * std::numbers::pi * std::pow(rope.theta, 2.0 * i / rope.rotary_dim);
    const double share =
        (rope.original_context / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
    const double smooth = std::clamp(share, 0.0, 1.0);
    out.push_back(static_cast<float>(1 / ((1 - smooth) / rope.factor + smooth)));
  }
  return out;
}

inline uint32_t gguf_type(DType t) {
  static const std::map<DType, uint32_t> ids = {{DType::F32, 0}, {DType::F16, 1}, {DType::Q8_0, 8}, {DType::BF16, 30}};
  return ids.at(t);
}

/// The file's bytes, with matrices of the type `weights`. Requires: the checkpoint's tensors are float32.
inline std::string as_gguf(const Checkpoint& checkpoint, DType weights = DType::F32) {
  const ModelConfig& c = checkpoint.config();
  const std::string arch = gguf_architecture(c);
  const bool gpt2 = arch == "gpt2", gemma = arch.starts_with("gemma");
  GgufBuilder file;
  auto integer = [&](const char* key, int x) { file.key(arch + "." + key, static_cast<uint32_t>(x)); };
  auto number = [&](const char* key, double x) { file.key(arch + "." + key, static_cast<float>(x)); };

  file.key("general.architecture", arch.c_str());
  integer("block_count", c.num_layers);
  integer("context_length", c.context_length);
  integer("embedding_length", c.hidden_size);
  integer("feed_forward_length", c.intermediate_size);
  integer("attention.head_count", c.num_heads);
  number(gpt2 ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", c.norm_eps);
  if (!gpt2) {
    integer("attention.head_count_kv", c.num_kv_heads);
    integer("attention.key_length", c.head_dim);
    integer("attention.value_length", c.head_dim);
    number("rope.freq_base", c.rope.theta);
  }
  if (c.sliding_window > 0) integer("attention.sliding_window", c.sliding_window);
  if (arch == "gemma3") {  // this one's layers follow no period
    std::string layers;
    append<uint32_t>(layers, GgufBuilder::Array);
    append<uint32_t>(layers, GgufBuilder::Bool);
    append<uint64_t>(layers, c.layer_sliding.size());
    for (const bool sliding : c.layer_sliding) layers += sliding ? '\1' : '\0';
    file.raw_key("gemma3.attention.sliding_window_pattern", layers);
  }
  if (c.attention_softcap > 0) number("attn_logit_softcapping", c.attention_softcap);
  if (c.final_softcap > 0) number("final_logit_softcapping", c.final_softcap);
  if (c.rope.scaling == RopeConfig::Scaling::Linear || c.rope.scaling == RopeConfig::Scaling::Yarn) {
    const bool yarn = c.rope.scaling == RopeConfig::Scaling::Yarn;
    file.key(arch + ".rope.scaling.type", yarn ? "yarn" : "linear");
    number("rope.scaling.factor", c.rope.factor);
    if (yarn) integer("rope.scaling.original_context_length", c.rope.original_context);
  }

  const uint32_t kF32 = gguf_type(DType::F32);
  if (c.rope.scaling == RopeConfig::Scaling::Llama3) {
    const std::vector<float> factors = rope_freqs(c.rope);
    file.tensor("rope_freqs.weight", {factors.size()}, kF32, bytes_of(factors));
  }
  for (std::string_view name : checkpoint.names()) {
    const FileTensor& t = *checkpoint.find(name);
    std::vector<float> x(t.data.size() / sizeof(float));
    std::memcpy(x.data(), t.data.data(), t.data.size());
    const size_t rows = static_cast<size_t>(t.shape[0]), columns = x.size() / rows;
    auto has = [&](const char* part) { return name.find(part) != std::string_view::npos; };
    if (arch == "llama" && has("q_proj.")) x = with_pairs_adjacent(x, rows, static_cast<size_t>(c.num_heads));
    if (arch == "llama" && has("k_proj.")) x = with_pairs_adjacent(x, rows, static_cast<size_t>(c.num_kv_heads));
    if (gemma && name.ends_with("norm.weight")) {
      for (float& v : x) v += 1;
    }
    const bool conv1d = gpt2 && name.ends_with(".weight") && has(".c_");
    if (conv1d) x = transposed(x, rows, columns);
    std::vector<uint64_t> dims = {rows};  // innermost first
    if (t.shape.rank() == 2)
      dims = conv1d ? std::vector<uint64_t>{rows, columns} : std::vector<uint64_t>{columns, rows};
    const auto width = static_cast<int64_t>(dims[0]);
    if (dims.size() < 2 || width % block_layout(weights).elements != 0) {
      file.tensor(gguf_name(std::string(name), arch), dims, kF32, bytes_of(x));
      continue;
    }
    std::string packed(static_cast<size_t>(row_bytes(weights, width)) * dims[1], '\0');
    for (size_t r = 0; r < dims[1]; ++r) {
      quantize_row(weights, x.data() + r * dims[0],
                   reinterpret_cast<std::byte*>(packed.data()) + r * static_cast<size_t>(row_bytes(weights, width)),
                   width);
    }
    file.tensor(gguf_name(std::string(name), arch), dims, gguf_type(weights), packed);
  }
  return file.build();
}

}  // namespace sgl::testing
