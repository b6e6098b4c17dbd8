#pragma once
// The tokenizer of a GGUF file, for the programs here.

#include <memory>
#include <string>

#include <sgl/tokenizer.h>

#include "engine/text_setup.h"

namespace sgl {

inline std::unique_ptr<Tokenizer> load_gguf_tokenizer(const std::string& path) {
  return make_gguf_tokenizer(read_vocab(GgufFile(path)));
}

}  // namespace sgl
