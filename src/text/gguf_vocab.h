#pragma once
// Tokenizers as GGUF files carry them: a vocabulary with types and scores or merges, and names for the rest.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sgl/tokenizer.h>

namespace sgl {

/// The "tokenizer.*" keys of a GGUF file; a key that the file lacks is left empty. The list positions are the ids.
struct GgufVocab {
  std::string model;                 ///< tokenizer.ggml.model: "llama", "gpt2", "bert" or "t5"
  std::string pre;                   ///< tokenizer.ggml.pre: which pre-tokenizer a "gpt2" vocabulary was made with
  std::vector<std::string> tokens;   ///< spellings; byte-level for "gpt2"
  std::vector<float> scores;         ///< needed for "llama" and "t5"
  std::vector<int32_t> token_types;  ///< 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; empty: all 1
  std::vector<std::string> merges;   ///< "left right" in order of rank; needed for "gpt2"
  std::optional<int32_t> bos, eos, eot, unk, pad, sep, cls;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
  std::string chat_template;
};

/// The tokenizer that gives the same ids as the tokenizer.json of the model the file was converted from.
///
/// What a GGUF does not say is filled in from what is known of the models: a "gpt2" vocabulary takes split pattern,
/// normal form and ignore_merges from `pre`; a "llama" one is merged by scores, ties as its publisher's file has them;
/// a "bert" one gets its "##" back and the uncased normalizer; a "t5" one is normalized by NFKC.
/// Throws CorruptFile where lists disagree or ids are out of range, Unsupported for a `model` or `pre` not known here.
/// Cost, processor time with the reading of the file: SmolLM2 (49k tokens) 13 ms, Qwen2.5 (152k) 39 ms, Gemma 3 (262k)
/// 31 ms: `perf stat encode_lines FILE.gguf </dev/null`.
std::unique_ptr<Tokenizer> make_gguf_tokenizer(GgufVocab vocab);

}  // namespace sgl
