#include "server/chat_formats.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/file.h"
#include "sgl/error.h"

namespace sgl {
namespace {

// The source of the template that renders conversations, as far as it may know tools: the built-in ones do not.
std::string chat_template(const EngineApi& engine) {
  const std::string& given = engine.options().chat_template;
  std::error_code error;
  if (!given.empty()) return std::filesystem::is_regular_file(given, error) ? read_file(given) : "";
  return engine.tokenizer() != nullptr ? engine.tokenizer()->chat_template() : "";
}

// Whether the model's tokenizer has special tokens in it.
bool has_special_tokens(const EngineApi& engine, std::string_view tag) {
  const Tokenizer* tokenizer = engine.tokenizer();
  if (tokenizer == nullptr) return false;
  const std::vector<int32_t> ids = tokenizer->encode(tag, false);
  return std::any_of(ids.begin(), ids.end(), [&](int32_t id) { return tokenizer->is_special(id); });
}

}  // namespace

ChatFormats choose_chat_formats(const ServerOptions& options, const EngineApi& engine) {
  ChatFormats out;
  const std::string source = chat_template(engine);
  out.template_knows_tools = template_knows_tools(source);
  out.tools = &tool_format_of_template(source);
  if (!options.tool_call_parser.empty() && options.tool_call_parser != "auto") {
    out.tools = find_tool_format(options.tool_call_parser);
    if (out.tools == nullptr) {
      throw Error(ErrorKind::InvalidArgument,
                  fmt::format("--tool-call-parser: unknown name {}, expected auto, {}", options.tool_call_parser,
                              fmt::join(tool_parser_names(), ", ")));
    }
  }
  out.special_tool_tags = out.tools->special_tokens || has_special_tokens(engine, out.tools->trigger);
  if (!options.reasoning_parser.empty()) {
    out.reasoning = find_reasoning_tags(options.reasoning_parser);
    if (!out.reasoning) {
      throw Error(ErrorKind::InvalidArgument,
                  fmt::format("--reasoning-parser: unknown name {}, expected {}, or two tags: <think>,</think>",
                              options.reasoning_parser, fmt::join(reasoning_parser_names(), ", ")));
    }
    if (has_special_tokens(engine, out.reasoning->begin + out.reasoning->end)) out.reasoning->special_tokens = true;
  }
  return out;
}

}  // namespace sgl
