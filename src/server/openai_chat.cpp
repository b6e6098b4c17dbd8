#include "server/openai_chat.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "server/chat_reply.h"
#include "server/openai_common.h"
#include "server/openai_tools.h"
#include "server/structural_tags.h"
#include "server/tool_constraint.h"

namespace sgl {
namespace {

constexpr int kMostTopLogprobs = 20;  // OpenAI's limit

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::InvalidArgument, message); }

ContentPart read_part(const Json& value, const std::string& name) {
  const Fields part(value, name);
  const std::string type = part.string("type").value_or("");
  if (type == "text" || type == "refusal") {
    const Json& text = part.require(type, "the part's text");
    if (!text.is_string())
      throw ValidationError(fmt::format("{} must be a string, got {}", part.name(type), describe(text)));
    return {ContentPart::Type::Text, text.get<std::string>()};
  }
  for (std::string_view media : {"image_url", "video_url", "audio_url", "input_audio", "file"}) {
    if (type == media)
      throw Error(ErrorKind::Unsupported, fmt::format("{}: parts of type {} are not supported yet", name, type));
  }
  throw ValidationError(fmt::format("{} must be \"text\", got {}", part.name("type"), quote(type)));
}

// Text, or an array of parts, or null.
std::vector<ContentPart> read_content(const Fields& message) {
  const Json* content = message.find("content");
  std::vector<ContentPart> parts;
  if (content == nullptr) return parts;
  const std::string name = message.name("content");
  if (content->is_string()) {
    parts.push_back({ContentPart::Type::Text, content->get<std::string>()});
  } else if (content->is_array()) {
    for (size_t i = 0; i < content->size(); ++i)
      parts.push_back(read_part((*content)[i], fmt::format("{}[{}]", name, i)));
  } else {
    throw ValidationError(fmt::format("{} must be a string or an array of parts, got {}", name, describe(*content)));
  }
  return parts;
}

ToolCall read_called_function(const Fields& function) {
  ToolCall out;
  out.name = function.string("name").value_or("");
  // OpenAI has a string of JSON; some clients send the object itself.
  const Json* arguments = function.find("arguments");
  if (arguments != nullptr) {
    out.arguments_json = arguments->is_object() ? arguments->dump() : *function.string("arguments");
  }
  return out;
}

std::vector<ToolCall> read_tool_calls(const Fields& message) {
  const Json* calls = message.find("tool_calls");
  std::vector<ToolCall> out;
  // The older form: one call, without an id.
  if (const Json* call = message.find("function_call")) {
    out.push_back(read_called_function(Fields(*call, message.name("function_call"))));
  }
  if (calls == nullptr) return out;
  if (!calls->is_array()) {
    throw ValidationError(fmt::format("{} must be an array, got {}", message.name("tool_calls"), describe(*calls)));
  }
  for (size_t i = 0; i < calls->size(); ++i) {
    const Fields call((*calls)[i], fmt::format("{}[{}]", message.name("tool_calls"), i));
    const Fields function(call.require("function", "the function that was called"), call.name("function"));
    out.push_back(read_called_function(function));
    out.back().id = call.string("id").value_or("");
  }
  return out;
}

ChatMessage read_message(const Json& value, const std::string& name) {
  const Fields f(value, name);
  ChatMessage message;
  const Json& role = f.require("role", "\"system\", \"user\", \"assistant\" or \"tool\"");
  if (!role.is_string())
    throw ValidationError(fmt::format("{} must be a string, got {}", f.name("role"), describe(role)));
  message.role = role.get<std::string>();
  // The newer name of the same thing; templates know only the older one.
  if (message.role == "developer") message.role = "system";
  bool known = false;
  for (std::string_view r : {"system", "user", "assistant", "tool", "function"}) known = known || message.role == r;
  if (!known) {
    refuse(
        fmt::format("{} must be \"system\", \"developer\", \"user\", \"assistant\", \"tool\" or \"function\", got {}",
                    f.name("role"), quote(message.role)));
  }
  message.parts = read_content(f);
  message.name = f.string("name").value_or("");
  message.reasoning_content = f.string("reasoning_content").value_or("");
  message.tool_calls = read_tool_calls(f);
  message.tool_call_id = f.string("tool_call_id").value_or("");
  if (message.role != "assistant" && f.find("content") == nullptr) {
    throw ValidationError(fmt::format("{} is required: a string or an array of parts", f.name("content")));
  }
  return message;
}

}  // namespace

ChatPrompt read_chat_prompt(const Json& body) {
  const Fields f(body);
  ChatPrompt chat;
  const Json& messages = f.require("messages", "an array of messages");
  if (!messages.is_array()) throw ValidationError("messages must be an array, got " + describe(messages));
  if (messages.empty()) refuse("messages is empty; it must hold at least one message");
  for (size_t i = 0; i < messages.size(); ++i)
    chat.messages.push_back(read_message(messages[i], fmt::format("messages[{}]", i)));

  Json arguments = Json::object();
  if (const Json* given = f.find("chat_template_kwargs")) arguments = Fields(*given, "chat_template_kwargs").json();
  if (const auto effort = f.string("reasoning_effort")) arguments.emplace("reasoning_effort", *effort);
  if (!arguments.empty()) chat.template_kwargs_json = arguments.dump();

  chat.continue_final_message = f.boolean("continue_final_message").value_or(false);
  chat.add_generation_prompt = f.boolean("add_generation_prompt").value_or(!chat.continue_final_message);
  if (chat.continue_final_message && chat.add_generation_prompt) {
    refuse("continue_final_message and add_generation_prompt cannot both be true");
  }
  if (chat.continue_final_message && chat.messages.back().role != "assistant") {
    refuse(fmt::format("continue_final_message needs a last message of the assistant, got one of role {}",
                       quote(chat.messages.back().role)));
  }
  return chat;
}

namespace {

// Whether and where the thinking begins, as the prompt leaves it.
std::optional<ReasoningTags> reasoning_of(const Fields& f, const ChatPrompt& chat, const ChatFormats& formats) {
  std::optional<ReasoningTags> reasoning = formats.reasoning;
  if (!reasoning || chat.continue_final_message) return std::nullopt;
  if (const Json* given = f.find("chat_template_kwargs")) {
    // The names that publishers gave the switch: Qwen and others, DeepSeek.
    const Fields kwargs(*given, "chat_template_kwargs");
    if (kwargs.find("enable_thinking") != nullptr && *kwargs.find("enable_thinking") == false) {
      reasoning->begins_inside = false;
    }
    if (const Json* thinking = kwargs.find("thinking"); thinking != nullptr && thinking->is_boolean()) {
      reasoning->begins_inside = thinking->get<bool>();
    }
  }
  return reasoning;
}

// Joins what tools, response_format and thinking ask of the text to one grammar. Returns whether calls follow it.
bool set_grammar(SamplingParams& s, const ToolFields& tools, const ToolFormat& format,
                 const std::optional<ReasoningTags>& reasoning) {
  int grammars = 0;
  for (const std::string* g : {&s.regex, &s.json_schema, &s.ebnf, &s.structural_tag}) grammars += g->empty() ? 0 : 1;
  if (grammars > 1) return false;  // the engine refuses it
  const bool has_grammar = grammars == 1;
  // With a grammar for the answer in words, calls stay possible only beside it.
  const bool with_tools = tools.constrained() || (!tools.callable.empty() && has_grammar);
  if (!with_tools && !(has_grammar && reasoning)) return false;
  const std::string content = tags::of_grammar(s);
  const ReasoningTags* thinking = reasoning ? &*reasoning : nullptr;
  s.regex = s.json_schema = s.ebnf = "";
  s.structural_tag = with_tools ? tool_structural_tag(format, tools.callable, tools.constraint, content, thinking)
                                : tags::whole(after_thinking(*thinking, content));
  return with_tools;
}

}  // namespace

Call parse_chat(const Json& body, const EngineApi& engine, const ServerOptions& options, const ChatFormats& formats) {
  const Fields f(body);
  refuse_unsupported_openai(f);
  StreamFields stream{.stream_interval = options.stream_interval};
  OpenAiForm form = read_form(f, engine.info(), "chatcmpl-");

  Request r;
  ChatPrompt chat = read_chat_prompt(body);
  const ToolFields tools = read_tool_fields(f);
  const std::optional<ReasoningTags> reasoning = reasoning_of(f, chat, formats);
  give_tools(chat, tools.offered, formats);
  r.prompt = std::move(chat);
  r.sampling = read_openai_sampling(f, sampling_defaults(engine, options), stream);
  if (tools.constraint.calls != ToolConstraint::Calls::Free) {
    for (const char* key : {"regex", "ebnf", "json_schema", "structural_tag"}) {
      refuse_field(f, key, "the answer is nothing but calls, by tool_choice; there is no text that could follow it");
    }
  }
  read_response_format(f, r.sampling);
  const bool constrained = set_grammar(r.sampling, tools, *formats.tools, reasoning);
  r.sampling.max_new_tokens = read_token_count(f, {"max_new_tokens", "max_tokens", "max_completion_tokens"});
  check_samples(1, r.sampling.n);
  r.return_logprob = f.boolean("logprobs").value_or(false);
  r.top_logprobs_num = f.small_integer("top_logprobs").value_or(0);
  if (r.top_logprobs_num < 0 || r.top_logprobs_num > kMostTopLogprobs) {
    refuse(fmt::format("top_logprobs must be in [0, {}], got {}", kMostTopLogprobs, r.top_logprobs_num));
  }
  if (r.top_logprobs_num > 0 && !r.return_logprob) refuse("top_logprobs needs logprobs to be true");
  // The last position of the prompt says nothing of the answer: report none of it.
  r.logprob_start_len = -1;
  r.cache_namespace = read_cache_namespace(f);
  r.priority = read_priority(f);

  auto answer = std::make_shared<AnswerFormat>();
  if (f.boolean("separate_reasoning").value_or(true)) answer->reasoning = reasoning;
  answer->stream_reasoning = f.boolean("stream_reasoning").value_or(true);
  if (!tools.callable.empty()) {
    answer->tools_format = formats.tools;
    answer->tools = tools.callable;
    answer->tool_options.constrained = constrained;
    if (formats.special_tool_tags) r.sampling.skip_special_tokens = false;
  }
  if (reasoning && reasoning->special_tokens) r.sampling.skip_special_tokens = false;

  form.n = r.sampling.n;
  form.logprobs = r.return_logprob;
  r.rid = f.string("rid").value_or("").empty() ? form.id : engine_rid(form.id);

  Call call;
  call.dialect = Dialect::OpenAi;
  call.stream = form.stream;
  call.stream_interval = stream.stream_interval;
  call.requests.push_back(std::move(r));
  call.reply = make_chat_reply(std::move(form), std::move(answer), engine.tokenizer());
  return call;
}

}  // namespace sgl
