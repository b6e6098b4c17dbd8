#pragma once
// POST /generate: SGLang's own request and response (its field table and meta_info).

#include <memory>

#include "server/generation.h"
#include "server/json_reader.h"
#include "server/server.h"
#include "server/sessions.h"

namespace sgl {

/// The work that a body of /generate asks for. A list of prompts, even of one, gives a list of answers; with n > 1 the
/// answers of a prompt follow each other. Unknown fields are ignored; those that would change the answer and are not
/// supported yet are refused. `sessions`: where session_params looks, null: it is refused. Throws ValidationError,
/// InvalidArgument or Unsupported.
Call parse_generate(const Json& body, EngineApi& engine, const ServerOptions& options,
                    const std::shared_ptr<Sessions>& sessions = nullptr);

}  // namespace sgl
