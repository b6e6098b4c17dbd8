#pragma once
// How the model that is served writes calls of tools and thinking.

#include <optional>

#include "server/engine_api.h"
#include "server/reasoning_parser.h"
#include "server/server.h"
#include "server/tool_format.h"

namespace sgl {

struct ChatFormats {
  const ToolFormat* tools = nullptr;
  bool template_knows_tools = false;       ///< the chat template puts tools into the prompt
  bool special_tool_tags = false;          ///< tools' tags are special tokens, which the text must show
  std::optional<ReasoningTags> reasoning;  ///< none: thinking is not separated
};

/// By --tool-call-parser and --reasoning-parser; without the former by the chat template. Throws InvalidArgument for an
/// unknown name.
ChatFormats choose_chat_formats(const ServerOptions& options, const EngineApi& engine);

}  // namespace sgl
