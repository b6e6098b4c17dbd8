#pragma once
// The tokenizer of a GGUF file, for the programs here.

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sgl/tokenizer.h>

#include "checkpoint/gguf.h"
#include "text/gguf_vocab.h"

namespace sgl {

inline std::unique_ptr<Tokenizer> make_tokenizer(const GgufFile& file) {
  auto strings = [&](const char* key) {
    auto views = file.strings(key);
    return std::vector<std::string>(views.begin(), views.end());
  };
  auto id = [&](const char* key) -> std::optional<int32_t> {
    auto n = file.integer(key);
    return n ? std::optional<int32_t>(static_cast<int32_t>(*n)) : std::nullopt;
  };
  GgufVocab v;
  v.model = file.string("tokenizer.ggml.model").value_or("");
  v.pre = file.string("tokenizer.ggml.pre").value_or("");
  v.tokens = strings("tokenizer.ggml.tokens");
  v.scores = file.floats("tokenizer.ggml.scores");
  v.token_types = file.ints("tokenizer.ggml.token_type");
  v.merges = strings("tokenizer.ggml.merges");
  v.bos = id("tokenizer.ggml.bos_token_id"), v.eos = id("tokenizer.ggml.eos_token_id");
  v.unk = id("tokenizer.ggml.unknown_token_id");
  v.add_bos = file.boolean("tokenizer.ggml.add_bos_token");
  v.add_eos = file.boolean("tokenizer.ggml.add_eos_token");
  v.add_space_prefix = file.boolean("tokenizer.ggml.add_space_prefix");
  return make_gguf_tokenizer(std::move(v));
}

inline std::unique_ptr<Tokenizer> load_gguf_tokenizer(const std::string& path) {
  return make_tokenizer(GgufFile(path));
}

}  // namespace sgl
