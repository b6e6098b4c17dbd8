#pragma once
// What "tokenizer.ggml.pre" stands for. Internal to gguf_vocab.cpp.

#include <string_view>
#include <vector>

#include "text/normalizer.h"
#include "text/pre_tokenizer.h"

namespace sgl {

/// What is known of a byte-level tokenizer by its name.
struct GgufPreTokenizer {
  std::vector<PreTokenizerPtr> steps;
  NormalizerPtr normalizer;    ///< may be null
  bool spelled = false;        ///< the steps write pieces in the byte-level alphabet themselves
  bool ignore_merges = false;  ///< a piece that is a token is that token
  bool add_bos = false;        ///< where the file does not say
};

/// Throws Unsupported for an unknown name.
GgufPreTokenizer make_gguf_pre_tokenizer(std::string_view name);

}  // namespace sgl
