#include "server/openai_tools.h"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace sgl {
namespace {

constexpr size_t kLongestName = 128;  // OpenAI's is 64
constexpr size_t kMostTools = 1024;   // OpenAI's is 128

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::InvalidArgument, message); }

// What formats can write between their tags, and dots, which namespaces of tools use.
bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= kLongestName && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.';
  });
}

std::string required_string(const Fields& f, std::string_view key, std::string_view expected) {
  f.require(key, expected);
  return *f.string(key);
}

Tool read_tool(const Json& value, const std::string& name) {
  const Fields f(value, name);
  const std::string type = f.string("type").value_or("function");
  if (type != "function") {
    throw Error(ErrorKind::Unsupported,
                fmt::format("{}: tools of type {} are not supported, only \"function\"", f.name("type"), quote(type)));
  }
  const Fields function(f.require("function", "an object with name, description and parameters"), f.name("function"));
  Tool tool;
  tool.name = required_string(function, "name", "the function's name");
  if (!is_name(tool.name)) {
    refuse(fmt::format("{} must be 1 to {} letters, digits, \"_\", \"-\" or \".\", got {}", function.name("name"),
                       kLongestName, quote(tool.name)));
  }
  tool.description = function.string("description").value_or("");
  if (const Json* parameters = function.find("parameters")) {
    const Fields schema(*parameters, function.name("parameters"));
    if (const Json* properties = schema.find("properties")) Fields(*properties, schema.name("properties"));
    if (const Json* required = schema.find("required"); required != nullptr && !required->is_array()) {
      throw ValidationError(
          fmt::format("{} must be an array of names, got {}", schema.name("required"), describe(*required)));
    }
    schema.strings("required");
    // A call's arguments are an object.
    if (const Json* kind = schema.find("type");
        kind != nullptr && *kind != "object" &&
        !(kind->is_array() && std::count(kind->begin(), kind->end(), "object"))) {
      refuse(fmt::format("{} must be \"object\", got {}", schema.name("type"), describe(*kind)));
    }
    tool.parameters = *parameters;
  }
  tool.strict = function.boolean("strict").value_or(false);
  return tool;
}

std::vector<Tool> read_tools(const Fields& f) {
  std::vector<Tool> tools;
  const Json* given = f.find("tools");
  if (given == nullptr) return tools;
  if (!given->is_array()) throw ValidationError(fmt::format("tools must be an array, got {}", describe(*given)));
  if (given->size() > kMostTools) refuse(fmt::format("tools may hold {} tools, got {}", kMostTools, given->size()));
  for (size_t i = 0; i < given->size(); ++i) {
    Tool tool = read_tool((*given)[i], fmt::format("tools[{}]", i));
    for (const Tool& other : tools) {
      if (other.name == tool.name)
        refuse(fmt::format("tools[{}].function.name {} is taken by another tool", i, quote(tool.name)));
    }
    tools.push_back(std::move(tool));
  }
  return tools;
}

// A call as the format writes it.
std::string written_call(const ToolFormat& format, std::string_view name, const std::string& arguments) {
  const ToolFormat::Writing& w = format.writing;
  return fmt::format("{}{}{}{}{}", w.call_begin, name, w.after_name, arguments, w.call_end);
}

// {"city": "Paris"} as the body of a call.
std::string written_arguments(const ToolFormat& format, const std::string& json) {
  if (format.body == CallBody::Object) return json.empty() ? "{}" : json;
  std::string out;
  const Json arguments = Json::parse(json, nullptr, false);
  if (!arguments.is_object()) return out;
  for (const auto& [key, value] : arguments.items()) {
    if (format.body == CallBody::Python) {
      out += fmt::format("{}{}={}", out.empty() ? "" : ", ", key, value.dump());
    } else {
      out += fmt::format("<parameter={}>\n{}\n</parameter>\n", key,
                         value.is_string() ? value.get<std::string>() : value.dump());
    }
  }
  return out;
}

std::string tools_json(const std::vector<Tool>& tools) {
  Json out = Json::array();
  for (const Tool& tool : tools) {
    Json function = {{"name", tool.name}};
    if (!tool.description.empty()) function["description"] = tool.description;
    if (!tool.parameters.is_null()) function["parameters"] = tool.parameters;
    out.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  return out.dump();
}

void explain_tools(ChatPrompt& chat, const std::vector<Tool>& tools, const ToolFormat& format) {
  std::vector<ChatMessage> messages;
  for (ChatMessage& m : chat.messages) {
    std::string called;
    for (const ToolCall& call : m.tool_calls) {
      if (!called.empty()) called += format.writing.separator;
      called += written_call(format, call.name, written_arguments(format, call.arguments_json));
    }
    if (!called.empty()) {
      m.parts.push_back(
          {ContentPart::Type::Text, fmt::format("{}{}{}", format.writing.begin, called, format.writing.end)});
    }
    m.tool_calls.clear();
    if (m.role == "tool" || m.role == "function") {
      // Templates that take turns have no turn for results: all of them are one message of the user.
      for (ContentPart& part : m.parts) part.text = "Result of the call: " + part.text;
      if (!messages.empty() && !messages.back().tool_call_id.empty()) {
        messages.back().parts.insert(messages.back().parts.end(), m.parts.begin(), m.parts.end());
        continue;
      }
      m.role = "user";
      if (m.tool_call_id.empty()) m.tool_call_id = "call";
    }
    messages.push_back(std::move(m));
  }
  chat.messages = std::move(messages);
  if (tools.empty()) return;

  std::string text = "You can call these functions:\n";
  for (const Tool& tool : tools) text += tools_json({tool}) + "\n";
  const std::string example = format.body == CallBody::Tags     ? "<parameter=PARAMETER>\nVALUE\n</parameter>\n"
                              : format.body == CallBody::Python ? "PARAMETER=VALUE"
                                                                : "{\"PARAMETER\": VALUE}";
  text += fmt::format("To call one, answer with nothing but\n{}{}{}", format.writing.begin,
                      written_call(format, "NAME", example), format.writing.end);
  // Not every template takes a system message, so that none is added.
  ChatMessage& first = chat.messages.front();
  if (first.role == "system") {
    first.parts.push_back({ContentPart::Type::Text, "\n" + text});
  } else {
    first.parts.insert(first.parts.begin(), {ContentPart::Type::Text, text + "\n"});
  }
}

}  // namespace

bool ToolFields::constrained() const {
  return !callable.empty() && (constraint.calls != ToolConstraint::Calls::Free ||
                               std::any_of(callable.begin(), callable.end(), [](const Tool& t) { return t.strict; }));
}

ToolFields read_tool_fields(const Fields& f) {
  ToolFields out;
  out.offered = read_tools(f);
  out.constraint.parallel = f.boolean("parallel_tool_calls").value_or(true);
  const Json* choice = f.find("tool_choice");
  const bool by_name = choice != nullptr && choice->is_object();
  if (choice != nullptr && !by_name && *choice != "none" && *choice != "auto" && *choice != "required") {
    const std::string expected = "\"none\", \"auto\", \"required\" or an object that names a function";
    if (!choice->is_string()) {
      throw ValidationError(fmt::format("tool_choice must be {}, got {}", expected, describe(*choice)));
    }
    refuse(fmt::format("tool_choice must be {}, got {}", expected, describe(*choice)));
  }
  if (choice != nullptr && *choice == "none") {
    out.offered.clear();  // what the model does not know of it does not call
    return out;
  }
  if (out.offered.empty()) {
    if (by_name || (choice != nullptr && *choice == "required"))
      refuse("tool_choice: there are no tools to choose from");
    return out;
  }
  out.callable = out.offered;
  if (choice != nullptr && *choice == "required") out.constraint.calls = ToolConstraint::Calls::Some;
  if (by_name) {
    const Fields named(*choice, "tool_choice");
    if (named.string("type").value_or("function") != "function") {
      throw Error(ErrorKind::Unsupported, fmt::format("tool_choice.type: only \"function\" is supported, got {}",
                                                      describe(*named.find("type"))));
    }
    const Fields function(named.require("function", "an object with the function's name"), "tool_choice.function");
    const std::string name = required_string(function, "name", "the function's name");
    std::erase_if(out.callable, [&](const Tool& tool) { return tool.name != name; });
    if (out.callable.empty()) refuse(fmt::format("tool_choice.function.name {} is none of the tools", quote(name)));
    out.constraint.calls = ToolConstraint::Calls::One;
  }
  return out;
}

void give_tools(ChatPrompt& chat, const std::vector<Tool>& tools, const ChatFormats& formats) {
  if (!formats.template_knows_tools) {
    explain_tools(chat, tools, *formats.tools);
  } else if (!tools.empty()) {
    chat.tools_json = tools_json(tools);
  }
}

}  // namespace sgl
