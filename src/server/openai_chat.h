#pragma once
// POST /v1/chat/completions.

#include "server/chat_formats.h"
#include "server/generation.h"
#include "server/json_reader.h"
#include "server/server.h"
#include "sgl/request.h"

namespace sgl {

/// The conversation of a chat request: messages, template arguments, how the last message is left.
/// Throws ValidationError or Unsupported (media).
ChatPrompt read_chat_prompt(const Json& body);

/// The work that a chat request asks for. Throws ValidationError, InvalidArgument or Unsupported.
Call parse_chat(const Json& body, const EngineApi& engine, const ServerOptions& options, const ChatFormats& formats);

}  // namespace sgl
