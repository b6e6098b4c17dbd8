#pragma once
// POST /v1/score and /v1/rerank: numbers for texts.

#include "server/generation.h"
#include "server/json_reader.h"

namespace sgl {

/// For each of `items`, how likely each of `label_token_ids` is as the token that follows `query` + item (or item +
/// query, with `item_first`): its probability, or, with `apply_softmax`, its share among the labels at `temperature`.
/// Queries and items are texts, or both token ids. Throws ValidationError or InvalidArgument.
Call parse_score(const Json& body, const EngineApi& engine);

/// How well each of `documents` answers `query`, best first: by a cross-encoder's score of the pair, or by the cosine
/// of an embedding model's vectors. Throws ValidationError, InvalidArgument, or Unsupported for a model that generates.
Call parse_rerank(const Json& body, const EngineApi& engine);

}  // namespace sgl
