#pragma once
// POST /encode: SGLang's own request for embeddings, and for the scores of cross-encoders.

#include "server/generation.h"
#include "server/json_reader.h"

namespace sgl {

/// The work that a body of /encode asks for: `text` or `input_ids`, `dimensions`; with `is_cross_encoder_request`,
/// `text` is a pair of texts or a list of pairs. Throws ValidationError, InvalidArgument or Unsupported.
Call parse_encode(const Json& body, const EngineApi& engine);

}  // namespace sgl
