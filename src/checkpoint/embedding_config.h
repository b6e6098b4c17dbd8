#pragma once
// How a model's states become one vector for a text, as sentence-transformers' files beside the weights say it.

#include <optional>
#include <string>

#include "checkpoint/model_config.h"

namespace sgl {

/// Which of a text's states count.
enum class Pooling {
  Mean,   ///< their mean, special tokens included
  First,  ///< that of the first token ([CLS])
  Last,   ///< that of the last token
};

struct EmbeddingConfig {
  bool declared = false;  ///< modules.json says that this model is one for embeddings
  Pooling pooling = Pooling::Last;
  bool normalize = true;            ///< to length 1
  std::optional<int> max_tokens{};  ///< of a text, where that is less than the model's context
  std::string default_prompt{};     ///< stands before every text
};

/// Reads modules.json, the pooling module's config.json, sentence_bert_config.json and
/// config_sentence_transformers.json of `directory` (empty: there is none). Without them: the mean for encoders, the
/// last token for decoders, normalised; for cross-encoders what they are: the first token, not normalised. Throws
/// CorruptFile; Unsupported, naming it, for a module or a pooling that this program lacks.
EmbeddingConfig read_embedding_config(const std::string& directory, const ModelConfig& c);

}  // namespace sgl
