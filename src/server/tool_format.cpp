#include "server/tool_format.h"

#include <algorithm>
#include <utility>

namespace sgl {
namespace {

using Where = CallPattern::Where;

std::vector<ToolFormat> make_formats() {
  std::vector<ToolFormat> rows;
  // Hermes 2 Pro, Qwen2.5, Qwen3:  <tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>
  rows.push_back({.name = "hermes",
                  .body = CallBody::Object,
                  .patterns = {{Where::Anywhere, "<tool_call>", ""}},
                  .tails = {"</tool_call>"},
                  .writing = {.begin = "",
                              .call_begin = "<tool_call>\n{\"name\": \"",
                              .after_name = "\", \"arguments\": ",
                              .call_end = "}\n</tool_call>",
                              .separator = "\n",
                              .end = ""},
                  .trigger = "<tool_call>",
                  .special_tokens = false,
                  .template_mark = "<tool_call>"});
  // Llama 3.1 to 3.3:  {"name": "f", "parameters": {"a": 1}}; {…}  with or without <|python_tag|> before it
  rows.push_back(
      {.name = "llama3",
       .body = CallBody::Object,
       .patterns = {{Where::Anywhere, "<|python_tag|>", ""}, {Where::Start, "", ""}, {Where::AfterCall, " ;", ""}},
       .tails = {},
       .writing = {.begin = "",
                   .call_begin = "{\"name\": \"",
                   .after_name = "\", \"parameters\": ",
                   .call_end = "}",
                   .separator = "; ",
                   .end = ""},
       .trigger = "",
       .special_tokens = true,
       .template_mark = "<|python_tag|>"});
  // Mistral:  [TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}, {…}]  and, since 2025,  [TOOL_CALLS]f[ARGS]{"a": 1}
  rows.push_back({.name = "mistral",
                  .body = CallBody::Object,
                  .patterns = {{Where::Anywhere, "[TOOL_CALLS] [", ""},
                               {Where::AfterCall, " ,", ""},
                               {Where::Anywhere, "[TOOL_CALLS]", "[ARGS]"}},
                  .tails = {"]"},
                  .writing = {.begin = "[TOOL_CALLS] [",
                              .call_begin = "{\"name\": \"",
                              .after_name = "\", \"arguments\": ",
                              .call_end = "}",
                              .separator = ", ",
                              .end = "]"},
                  .trigger = "[TOOL_CALLS] [",
                  .special_tokens = true,
                  .template_mark = "[TOOL_CALLS]"});
  // DeepSeek V3 and R1; V3.1 writes name and arguments without the fence.
  rows.push_back(
      {.name = "deepseekv3",
       .body = CallBody::Object,
       .patterns = {{Where::Anywhere, "<｜tool▁calls▁begin｜> <｜tool▁call▁begin｜>function<｜tool▁sep｜>", " ```json"},
                    {Where::Anywhere, "<｜tool▁call▁begin｜>function<｜tool▁sep｜>", " ```json"}},
       .tails = {"```", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"},
       .writing = {.begin = "<｜tool▁calls▁begin｜>",
                   .call_begin = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
                   .after_name = "\n```json\n",
                   .call_end = "\n```<｜tool▁call▁end｜>",
                   .separator = "\n",
                   .end = "<｜tool▁calls▁end｜>"},
       .trigger = "<｜tool▁calls▁begin｜>",
       .special_tokens = true,
       .template_mark = "```json"});
  rows.push_back({.name = "deepseekv31",
                  .body = CallBody::Object,
                  .patterns = {{Where::Anywhere, "<｜tool▁calls▁begin｜> <｜tool▁call▁begin｜>", "<｜tool▁sep｜>"},
                               {Where::Anywhere, "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>"}},
                  .tails = {"<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"},
                  .writing = {.begin = "<｜tool▁calls▁begin｜>",
                              .call_begin = "<｜tool▁call▁begin｜>",
                              .after_name = "<｜tool▁sep｜>",
                              .call_end = "<｜tool▁call▁end｜>",
                              .separator = "",
                              .end = "<｜tool▁calls▁end｜>"},
                  .trigger = "<｜tool▁calls▁begin｜>",
                  .special_tokens = true,
                  .template_mark = "<｜tool▁call▁begin｜>"});
  // Qwen3-Coder:  <tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>
  rows.push_back({.name = "qwen3_coder",
                  .body = CallBody::Tags,
                  .patterns = {{Where::Anywhere, "<tool_call> <function=", ">"}, {Where::Anywhere, "<function=", ">"}},
                  .tails = {"</tool_call>"},
                  .writing = {.begin = "",
                              .call_begin = "<tool_call>\n<function=",
                              .after_name = ">\n",
                              .call_end = "</function>\n</tool_call>",
                              .separator = "\n",
                              .end = ""},
                  .trigger = "<tool_call>",
                  .special_tokens = false,
                  .template_mark = "<function="});
  // Llama 3.2 and 4, ToolACE, and others that answer with a list of Python calls:  [f(a=1), g(b="x")]
  rows.push_back(
      {.name = "pythonic",
       .body = CallBody::Python,
       .patterns = {{Where::Start, " [", "("},
                    {Where::Anywhere, "<|python_start|> [", "("},
                    {Where::AfterCall, " , ", "("}},
       .tails = {"]", "<|python_end|>"},
       .writing = {.begin = "[", .call_begin = "", .after_name = "(", .call_end = ")", .separator = ", ", .end = "]"},
       .trigger = "",
       .special_tokens = true,
       .template_mark = "<|python_start|>"});
  return rows;
}

// SGLang has one parser each for models that write the same.
constexpr std::pair<std::string_view, std::string_view> kAliases[] = {{"qwen25", "hermes"}, {"qwen", "hermes"}};

// Marks that tell more come first: Qwen3-Coder's template has <tool_call>, too.
constexpr std::string_view kByTemplate[] = {"deepseekv3", "deepseekv31", "qwen3_coder", "hermes",
                                            "llama3",     "mistral",     "pythonic"};

}  // namespace

bool is_text_parameter(const Json& schema) {
  if (!schema.is_object()) return false;
  const auto type = schema.find("type");
  if (type != schema.end()) return *type == "string";
  const auto values = schema.find("enum");
  return values != schema.end() && values->is_array() &&
         std::all_of(values->begin(), values->end(), [](const Json& v) { return v.is_string(); });
}

const std::vector<ToolFormat>& tool_formats() {
  static const std::vector<ToolFormat> kFormats = make_formats();
  return kFormats;
}

const ToolFormat* find_tool_format(std::string_view name) {
  for (const auto& [alias, meant] : kAliases) {
    if (name == alias) name = meant;
  }
  for (const ToolFormat& format : tool_formats()) {
    if (format.name == name) return &format;
  }
  return nullptr;
}

std::vector<std::string> tool_parser_names() {
  std::vector<std::string> names;
  for (const ToolFormat& format : tool_formats()) names.emplace_back(format.name);
  for (const auto& [alias, meant] : kAliases) names.emplace_back(alias);
  return names;
}

bool template_knows_tools(std::string_view chat_template) {
  return chat_template.find("tools") != std::string_view::npos;
}

const ToolFormat& tool_format_of_template(std::string_view chat_template) {
  if (template_knows_tools(chat_template)) {
    for (std::string_view name : kByTemplate) {
      const ToolFormat* format = find_tool_format(name);
      if (chat_template.find(format->template_mark) != std::string_view::npos) return *format;
    }
  }
  return *find_tool_format("hermes");
}

}  // namespace sgl
