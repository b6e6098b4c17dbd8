#pragma once
// What a model is, in one struct, read from config.json (transformers 4 or 5 form) or from GGUF keys.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace sgl {

enum class Activation { Silu, Gelu, GeluTanh, Relu };

/// Rotary position embedding (Su et al. 2021) and its extensions to longer contexts.
struct RopeConfig {
  enum class Scaling { None, Linear, Dynamic, Llama3, Yarn, LongRope } scaling = Scaling::None;
  double theta = 10000.0;
  double factor = 1.0;
  int rotary_dim = 0;        ///< first dimensions of each head that turn; the rest pass
  bool interleaved = false;  ///< pairs (2i, 2i+1) (GGUF's llama layout, DeepSeek); else (i, i + rotary_dim/2)
  int original_context = 0;  ///< trained context, for llama3, yarn, longrope, dynamic
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  ///< llama3
  double beta_fast = 32.0, beta_slow = 1.0;              ///< yarn
  std::optional<double> attention_factor;                ///< yarn, longrope: overrides the formula
  double mscale = 0.0, mscale_all_dim = 0.0;             ///< yarn in DeepSeek
  std::vector<float> short_factor, long_factor;          ///< longrope: a factor for each pair
  std::vector<float> freq_factors;                       ///< GGUF rope_freqs.weight: divides each frequency
  bool operator==(const RopeConfig&) const = default;
};

/// Sampling defaults of generation_config.json or the GGUF file.
struct GenerationDefaults {
  std::optional<float> temperature, top_p, min_p, repetition_penalty;
  std::optional<int> top_k;
};

/// How a checkpoint stores matrices that are quantized, to integers or to 8-bit floating point numbers
/// (checkpoint/packed_weights.h).
struct PackedWeights {
  enum class Method { Awq, Gptq, CompressedTensors, Fp8 } method = Method::Awq;
  int bits = 4;                           ///< 4, or 8 with symmetric zero points; not of Fp8
  int group_size = 0;                     ///< columns that share a scale; 0: all
  bool zeros_less_one = false;            ///< zero points are stored less one (GPTQ's older form)
  int block_rows = 0, block_columns = 0;  ///< Fp8: of a matrix, that share a scale; 0: by rows, or all do
};

struct ModelConfig {
  std::string architecture;  ///< "LlamaForCausalLM": the registry's key
  std::string model_type;    ///< "llama"
  DType dtype = DType::F32;  ///< of most weights in the file

  int hidden_size = 0, num_layers = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0;
  int intermediate_size = 0, vocab_size = 0;
  int context_length = 0;  ///< max_position_embeddings
  float norm_eps = 1e-6F;
  bool norm_plus_one = false;  ///< Gemma in the hub's form: norms multiply by (1 + w)
  Activation activation = Activation::Silu;
  bool tie_word_embeddings = false;
  bool encoder = false;         ///< every token sees the whole text (BERT): no cache, no next token
  int type_vocab_size = 0;      ///< encoders: kinds of token; 1 for those of a pair's second text, if there are two
  int position_offset = 0;      ///< encoders: row of the position table for position 0
  int num_labels = 0;           ///< of a classifier on the first token (cross-encoders); 0: there is none
  bool sigmoid_score = false;   ///< cross-encoders: the score is σ(what the classifier gives)
  bool has_lm_head = true;      ///< false: the files are those of the model below it (MistralModel): it can only embed
  bool conv1d_weights = false;  ///< linear weights are stored [in, out] (the hub's GPT-2), not [out, in]
  /// Which optional tensors the layers have. Facts for whoever lists tensors ahead of loading (expected_tensors()).
  bool qkv_bias = false, attn_out_bias = false, mlp_bias = false, qk_norm = false;
  /// Gemma: sqrt(hidden_size), rounded to the type that the hub's config names (bfloat16: 640 → 25.25, not 25.298): the
  /// published model was trained with it so. float32 configs and GGUF files: not rounded.
  float embedding_scale = 1.0F;

  float attention_scale = 0.0F;     ///< on q·k; 1/sqrt(head_dim) unless the model says otherwise
  float attention_softcap = 0.0F;   ///< 0: none
  float final_softcap = 0.0F;       ///< on logits; 0: none
  int sliding_window = 0;           ///< tokens a query sees, itself included; 0: all
  std::vector<bool> layer_sliding;  ///< for each layer: uses the window; empty: all layers if sliding_window > 0
  RopeConfig rope;
  std::optional<RopeConfig> rope_local;  ///< Gemma 3: for layers that use the window

  std::optional<PackedWeights> packed;  ///< of a quantized checkpoint

  std::vector<int32_t> eos_ids;  ///< config ∪ generation config
  std::optional<int32_t> bos_id;
  GenerationDefaults generation;
};

}  // namespace sgl
