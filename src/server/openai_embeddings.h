#pragma once
// POST /v1/embeddings.

#include "server/generation.h"
#include "server/json_reader.h"

namespace sgl {

/// The work that an embeddings request asks for: `input` is a text, token ids, a list of either, or a list of objects
/// with a `text`; `encoding_format` float or base64 (of little-endian float32); `dimensions`.
/// Throws ValidationError, InvalidArgument or Unsupported.
Call parse_embeddings(const Json& body, const EngineApi& engine);

}  // namespace sgl
