#include "checkpoint/expected_tensors.h"

#include <fmt/format.h>

#include "checkpoint/config_json.h"
#include "sgl/error.h"

namespace sgl {
namespace {

using Role = ExpectedTensor::Role;

class List {
 public:
  void linear(const std::string& name, int64_t out, int64_t in, bool bias) {
    tensors.push_back({name + ".weight", {out, in}, Role::Matrix});
    if (bias) tensors.push_back({name + ".bias", {out}, Role::Bias});
  }
  void conv1d(const std::string& name, int64_t in, int64_t out) {
    tensors.push_back({name + ".weight", {in, out}, Role::Matrix});
    tensors.push_back({name + ".bias", {out}, Role::Bias});
  }
  void norm(const std::string& name, int64_t n, bool bias = false) {
    tensors.push_back({name + ".weight", {n}, Role::Norm});
    if (bias) tensors.push_back({name + ".bias", {n}, Role::Bias});
  }
  std::vector<ExpectedTensor> tensors;
};

void gpt2(const ModelConfig& c, List& list) {
  const int64_t d = c.hidden_size;
  list.linear("transformer.wte", c.vocab_size, d, false);
  list.linear("transformer.wpe", c.context_length, d, false);
  for (int i = 0; i < c.num_layers; ++i) {
    const std::string h = fmt::format("transformer.h.{}.", i);
    list.norm(h + "ln_1", d, true);
    list.conv1d(h + "attn.c_attn", d, 3 * d);
    list.conv1d(h + "attn.c_proj", d, d);
    list.norm(h + "ln_2", d, true);
    list.conv1d(h + "mlp.c_fc", d, c.intermediate_size);
    list.conv1d(h + "mlp.c_proj", c.intermediate_size, d);
  }
  list.norm("transformer.ln_f", d, true);
}

void llama_like(const ModelConfig& c, List& list) {
  const int64_t d = c.hidden_size, ffn = c.intermediate_size;
  const int64_t q = int64_t{c.num_heads} * c.head_dim, kv = int64_t{c.num_kv_heads} * c.head_dim;
  const bool phi3 = c.architecture == "Phi3ForCausalLM", gemma = c.architecture.starts_with("Gemma");
  list.linear("model.embed_tokens", c.vocab_size, d, false);
  for (int i = 0; i < c.num_layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i), attn = layer + "self_attn.", mlp = layer + "mlp.";
    list.norm(layer + "input_layernorm", d);
    if (phi3) {
      list.linear(attn + "qkv_proj", q + 2 * kv, d, c.qkv_bias);
    } else {
      list.linear(attn + "q_proj", q, d, c.qkv_bias);
      list.linear(attn + "k_proj", kv, d, c.qkv_bias);
      list.linear(attn + "v_proj", kv, d, c.qkv_bias);
    }
    list.linear(attn + "o_proj", d, q, c.attn_out_bias);
    if (c.qk_norm) {
      list.norm(attn + "q_norm", c.head_dim);
      list.norm(attn + "k_norm", c.head_dim);
    }
    list.norm(layer + "post_attention_layernorm", d);
    if (gemma) {
      list.norm(layer + "pre_feedforward_layernorm", d);
      list.norm(layer + "post_feedforward_layernorm", d);
    }
    if (phi3) {
      list.linear(mlp + "gate_up_proj", 2 * ffn, d, c.mlp_bias);
    } else {
      list.linear(mlp + "gate_proj", ffn, d, c.mlp_bias);
      list.linear(mlp + "up_proj", ffn, d, c.mlp_bias);
    }
    list.linear(mlp + "down_proj", d, ffn, c.mlp_bias);
  }
  list.norm("model.norm", d);
}

void encoder(const ModelConfig& c, List& list) {
  const int64_t d = c.hidden_size, ffn = c.intermediate_size;
  list.linear("embeddings.word_embeddings", c.vocab_size, d, false);
  list.linear("embeddings.position_embeddings", c.context_length + c.position_offset, d, false);
  list.linear("embeddings.token_type_embeddings", c.type_vocab_size, d, false);
  list.norm("embeddings.LayerNorm", d, true);
  for (int i = 0; i < c.num_layers; ++i) {
    const std::string layer = fmt::format("encoder.layer.{}.", i);
    for (const char* name : {"self.query", "self.key", "self.value", "output.dense"}) {
      list.linear(layer + "attention." + name, d, d, true);
    }
    list.norm(layer + "attention.output.LayerNorm", d, true);
    list.linear(layer + "intermediate.dense", ffn, d, true);
    list.linear(layer + "output.dense", d, ffn, true);
    list.norm(layer + "output.LayerNorm", d, true);
  }
  if (c.num_labels == 0) return;
  const bool pooler = c.model_type == "bert";
  list.linear(pooler ? "pooler.dense" : "classifier.dense", d, d, true);
  list.linear(pooler ? "classifier" : "classifier.out_proj", c.num_labels, d, true);
}

}  // namespace

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& c) {
  if (!is_known_architecture(c.architecture)) {
    throw Error(ErrorKind::Unsupported, fmt::format("the tensors of architecture {} are not known", c.architecture));
  }
  List list;
  if (c.encoder) {
    encoder(c, list);
    return std::move(list.tensors);
  }
  c.architecture == "GPT2LMHeadModel" ? gpt2(c, list) : llama_like(c, list);
  if (!c.tie_word_embeddings && c.has_lm_head) list.linear("lm_head", c.vocab_size, c.hidden_size, false);
  return std::move(list.tensors);
}

}  // namespace sgl
