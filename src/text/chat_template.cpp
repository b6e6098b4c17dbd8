#include "text/chat_template.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/file.h"
#include "sgl/error.h"
#include "text/jinja_library.h"
#include "text/jinja_unicode.h"
#include "text/unicode.h"

namespace sgl {
namespace {

using jinja::Heap;
using jinja::Value;

constexpr size_t kHeapBytes = size_t{256} << 20;
// A template is asked a few questions when it is loaded; one that needs longer for "hello" answers none of them.
constexpr int64_t kProbeSteps = 200'000;
constexpr std::string_view kProbe = "sgl-probe-text";

// What marks the end of a message that is to be continued. The space shows whether the template trims messages.
constexpr std::string_view kTag = "CONTINUE_FINAL_MESSAGE_TAG ";
constexpr std::string_view kTrimmedTag = kTag.substr(0, kTag.size() - 1);

// The text itself if it is valid UTF-8, as the engine wants it, else a repaired copy.
Value text_value(Heap& heap, std::string_view text) {
  return is_valid_utf8(text) ? Value::string(text) : heap.string(to_valid_utf8(text));
}

void set(jinja::Dict& dict, std::string_view key, const Value& value) { dict.set(Value::string(key), value); }

bool all_text(const ChatMessage& m) {
  return std::all_of(m.parts.begin(), m.parts.end(),
                     [](const ContentPart& p) { return p.type == ContentPart::Type::Text; });
}

size_t count(std::string_view text, std::string_view what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + what.size())) ++n;
  return n;
}

Value parse_field(Heap& heap, const std::string& json, jinja::Kind kind, std::string_view name, std::string_view type) {
  Value v;
  try {
    v = jinja::parse_json(heap, json);
  } catch (const Error& e) {
    throw Error(e.kind(), fmt::format("{}: {}", name, e.what()));
  }
  if (!v.is(kind)) throw Error(ErrorKind::InvalidArgument, fmt::format("{} must be {}", name, type));
  return v;
}

// The object that a tool call's arguments spell, if they do.
std::optional<Value> parse_object(Heap& heap, const std::string& json) {
  if (jinja::strip(json).empty()) return to_value(heap.dict());
  try {
    Value v = jinja::parse_json(heap, json);
    if (v.is(jinja::Kind::Dict)) return v;
  } catch (const Error&) {
    // A model wrote them: cut off or wrong. The template gets them as they are.
  }
  return std::nullopt;
}

// What ends the content of a message that is continued.
std::string last_text(const ChatMessage& m) {
  for (auto p = m.parts.rbegin(); p != m.parts.rend(); ++p) {
    if (p->type == ContentPart::Type::Text) return to_valid_utf8(p->text);
  }
  return {};
}

// The rendered text up to the end of the content that is to be continued.
std::string cut_at_tag(std::string text, std::string_view content) {
  size_t at = text.rfind(kTrimmedTag);
  if (at == std::string::npos || text.find(jinja::strip(content)) == std::string::npos) {
    throw Error(ErrorKind::InvalidArgument,
                "continue_final_message: the last message is not in the text that the chat template makes of the "
                "conversation, so it cannot be continued");
  }
  bool trimmed = std::string_view(text).substr(at, kTag.size()) != kTag;
  text.resize(at);
  if (trimmed) text.resize(jinja::strip(text, {.left = false}).size());
  return text;
}

}  // namespace

ChatTemplate::ChatTemplate(std::string source, const std::string& bos_token, const std::string& eos_token,
                           ChatTemplateOptions options)
    : source_(std::move(source)), template_(source_), special_tokens_(std::move(options.special_tokens)) {
  if (!bos_token.empty()) special_tokens_["bos_token"] = bos_token;
  if (!eos_token.empty()) special_tokens_["eos_token"] = eos_token;
  std::erase_if(special_tokens_,
                [](const auto& token) { return token.second.empty() || !is_valid_utf8(token.second); });
  options_.now = std::move(options.now);
  probe();
}

// What the template sees ----------------------------------------------------------------------------------------------

Value ChatTemplate::content_value(Heap& heap, const Abilities& abilities, const ChatMessage& message,
                                  std::string_view suffix) {
  if (message.parts.empty()) {
    if (!suffix.empty()) {
      throw Error(ErrorKind::InvalidArgument, "continue_final_message: the last message has no content to continue");
    }
    bool null = abilities.null_content && !message.tool_calls.empty();
    if (null) return Value::none();
  }
  if (all_text(message) && abilities.text) {
    std::string_view text;
    for (size_t i = 0; i < message.parts.size(); ++i) {
      std::string_view part = text_value(heap, message.parts[i].text).as_string();
      text = i == 0 ? part : heap.join(heap.join(text, "\n"), part);
    }
    return Value::string(suffix.empty() ? text : heap.join(heap.copy(text), suffix));
  }
  if (!abilities.parts && !all_text(message)) {
    throw Error(
        ErrorKind::InvalidArgument,
        fmt::format("a message of role {} has an image, but the model's chat template takes only text", message.role));
  }
  std::pmr::vector<Value> parts = heap.values();
  Value last_text;
  for (const ContentPart& p : message.parts) {
    jinja::Dict& part = heap.dict();
    if (p.type == ContentPart::Type::Text) {
      set(part, "type", Value::string("text"));
      set(part, "text", text_value(heap, p.text));
      last_text = to_value(part);
    } else {
      set(part, "type", Value::string("image"));
    }
    parts.push_back(to_value(part));
  }
  if (!suffix.empty()) {
    if (last_text.is(jinja::Kind::Missing)) {
      throw Error(ErrorKind::InvalidArgument, "continue_final_message: the last message has no text to continue");
    }
    auto& part = last_text.as<jinja::Dict>();
    set(part, "text", Value::string(heap.join(heap.copy(part.find("text")->as_string()), suffix)));
  }
  return heap.list(std::move(parts));
}

Value ChatTemplate::tool_call_value(Heap& heap, const Abilities& abilities, const ToolCall& call) {
  jinja::Dict& function = heap.dict();
  set(function, "name", text_value(heap, call.name));
  std::optional<Value> object = abilities.object_arguments ? parse_object(heap, call.arguments_json) : std::nullopt;
  set(function, "arguments", object ? *object : text_value(heap, call.arguments_json));
  jinja::Dict& value = heap.dict();
  if (!call.id.empty()) set(value, "id", text_value(heap, call.id));
  set(value, "type", Value::string("function"));
  set(value, "function", to_value(function));
  return to_value(value);
}

Value ChatTemplate::message_value(Heap& heap, const Abilities& abilities, const ChatMessage& message,
                                  std::string_view suffix) {
  jinja::Dict& dict = heap.dict();
  // Reasoning goes by two names, as in transformers: gpt-oss templates read `thinking`.
  if (!message.reasoning_content.empty()) set(dict, "thinking", text_value(heap, message.reasoning_content));
  set(dict, "role", text_value(heap, message.role));
  set(dict, "content", content_value(heap, abilities, message, suffix));
  if (!message.name.empty()) set(dict, "name", text_value(heap, message.name));
  if (!message.reasoning_content.empty()) set(dict, "reasoning_content", text_value(heap, message.reasoning_content));
  if (!message.tool_calls.empty()) {
    std::pmr::vector<Value> calls = heap.values();
    for (const ToolCall& c : message.tool_calls) calls.push_back(tool_call_value(heap, abilities, c));
    set(dict, "tool_calls", heap.list(std::move(calls)));
  }
  if (!message.tool_call_id.empty()) set(dict, "tool_call_id", text_value(heap, message.tool_call_id));
  return to_value(dict);
}

Value ChatTemplate::messages_value(Heap& heap, const Abilities& abilities, const std::vector<ChatMessage>& messages,
                                   std::string_view suffix) {
  std::pmr::vector<Value> values = heap.values();
  values.reserve(messages.size());
  for (const ChatMessage& m : messages) {
    values.push_back(message_value(heap, abilities, m, &m == &messages.back() ? suffix : ""));
  }
  return heap.list(std::move(values));
}

ChatTemplate::Variables ChatTemplate::variables(Value messages, bool add_generation_prompt) const {
  Variables v;
  v.emplace_back("messages", messages);
  v.emplace_back("tools", Value::none());
  v.emplace_back("documents", Value::none());
  v.emplace_back("add_generation_prompt", Value::boolean(add_generation_prompt));
  for (const auto& [name, token] : special_tokens_) v.emplace_back(name, Value::string(token));
  return v;
}

// Probes --------------------------------------------------------------------------------------------------------------

std::optional<std::string> ChatTemplate::probe_messages(const Abilities& abilities,
                                                        const std::vector<ChatMessage>& messages) const {
  jinja::RenderOptions options = options_;
  options.max_steps = kProbeSteps;
  try {
    Heap heap(kHeapBytes);
    return template_.render(heap, variables(messages_value(heap, abilities, messages, ""), false), options);
  } catch (const Error&) {
    return std::nullopt;
  }
}

void ChatTemplate::probe() {
  auto asked = [](bool text, bool null_content, bool object_arguments) {
    return Abilities{.text = text, .parts = !text, .null_content = null_content, .object_arguments = object_arguments};
  };
  const ChatMessage user{.role = "user", .parts = {{.text = std::string(kProbe)}}};
  std::string as_text = probe_messages(asked(true, true, true), {user}).value_or("");
  std::string as_parts = probe_messages(asked(false, true, true), {user}).value_or("");
  bool text = as_text.find(kProbe) != std::string::npos, parts = as_parts.find(kProbe) != std::string::npos;
  // One that prints whatever it gets prints a list, too: as a list.
  parts = parts && (text ? as_parts == as_text : as_parts.find("'type'") == std::string::npos);
  abilities_.text = text || !parts;  // knows neither, or wants a longer conversation: then as most do
  abilities_.parts = parts;

  const ChatMessage assistant{
      .role = "assistant",
      .tool_calls = {{.id = "probe0000", .name = "probe", .arguments_json = R"({"key": "value"})"}}};
  constexpr std::array<std::pair<bool, bool>, 4> kChoices = {
      {{true, true}, {false, true}, {true, false}, {false, false}}};
  for (auto [null_content, object_arguments] : kChoices) {
    Abilities abilities = asked(abilities_.text, null_content, object_arguments);
    std::optional<std::string> out = probe_messages(abilities, {user, assistant});
    if (!out || count(*out, "None") > count(as_text, "None")) continue;
    abilities_.null_content = null_content;
    abilities_.object_arguments = object_arguments;
    return;
  }
}

// Rendering -----------------------------------------------------------------------------------------------------------

std::string ChatTemplate::render(const ChatPrompt& chat) const {
  Heap heap(kHeapBytes);
  bool continues = chat.continue_final_message;
  if (continues && chat.messages.empty()) {
    throw Error(ErrorKind::InvalidArgument, "continue_final_message: the conversation has no messages");
  }
  Value messages = messages_value(heap, abilities_, chat.messages, continues ? kTag : "");
  Variables given = variables(messages, chat.add_generation_prompt && !continues);
  if (!chat.tools_json.empty()) {
    Value tools = parse_field(heap, chat.tools_json, jinja::Kind::List, "tools", "an array of tools");
    if (!tools.list().items.empty()) given[1].second = tools;
  }
  if (!chat.template_kwargs_json.empty()) {
    Value kwargs = parse_field(heap, chat.template_kwargs_json, jinja::Kind::Dict, "chat_template_kwargs", "an object");
    for (const auto& [key, value] : kwargs.dict().entries) {
      std::string_view name = key.as_string();
      for (std::string_view own : {"messages", "tools", "add_generation_prompt", "continue_final_message"}) {
        if (name == own) {
          throw Error(ErrorKind::InvalidArgument,
                      fmt::format("chat_template_kwargs must not have {}: give it as a field of the request", name));
        }
      }
      // The first of a name counts, so what the request says goes before documents and special tokens.
      given.insert(given.begin() + 2, {name, value});
    }
  }
  std::string text = template_.render(heap, given, options_);
  return continues ? cut_at_tag(std::move(text), last_text(chat.messages.back())) : text;
}

std::string load_chat_template(const std::string& name_or_path) {
  if (const char* source = find_builtin_chat_template(name_or_path)) return source;
  std::error_code error;
  if (std::filesystem::is_regular_file(name_or_path, error)) {
    return read_file(name_or_path, jinja::Template::kMaxSourceBytes);
  }
  throw Error(ErrorKind::NotFound, fmt::format("{} is neither a file nor a built-in chat template; those are {}",
                                               name_or_path, fmt::join(builtin_chat_templates(), ", ")));
}

}  // namespace sgl
