#pragma once
// POST /v1/completions.

#include "server/generation.h"
#include "server/json_reader.h"
#include "server/server.h"

namespace sgl {

/// The work that a completion request asks for: `prompt` is a text, token ids, or a list of either.
/// Throws ValidationError, InvalidArgument or Unsupported.
Call parse_completions(const Json& body, const EngineApi& engine, const ServerOptions& options);

}  // namespace sgl
