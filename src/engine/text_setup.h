#pragma once
// The text side of a model: its tokenizer and its chat template, from whatever files it came in.

#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"
#include "sgl/engine.h"
#include "sgl/tokenizer.h"
#include "text/chat_template.h"
#include "text/gguf_vocab.h"

namespace sgl {

struct TextSetup {
  std::unique_ptr<Tokenizer> tokenizer;         ///< null with skip_tokenizer_init
  std::unique_ptr<ChatTemplate> chat_template;  ///< null if the model has none
  /// Throws InvalidArgument where there is no template, or the template refuses the conversation.
  std::string render(const ChatPrompt& chat) const;
};

/// The vocabulary that the file has, as it says.
GgufVocab read_vocab(const GgufFile& file);

/// Throws NotFound (saying what to do) when the model has no tokenizer files.
TextSetup load_text(const EngineOptions& options, const Checkpoint& checkpoint);

/// Ids that end a text: the configs', the tokenizer's, and end-of-message tokens that some publishers forget to list.
std::vector<int32_t> end_ids(const ModelConfig& config, const Tokenizer* tokenizer);

}  // namespace sgl
