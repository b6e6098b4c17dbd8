#include "server/openai_chat.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "server/openai_common.h"
#include "server/token_text.h"

namespace sgl {
namespace {

constexpr int kMostTopLogprobs = 20;  // OpenAI's limit

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::InvalidArgument, message); }

// ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────

class ChatReply final : public Reply {
 public:
  ChatReply(OpenAiForm form, const Tokenizer* tokenizer) : form_(std::move(form)), tokenizer_(tokenizer) {
    choices_.resize(static_cast<size_t>(form_.n));
    counts_.resize(choices_.size());
  }

  void add(size_t /*request*/, Output&& piece) override {
    const size_t index = static_cast<size_t>(piece.index);
    counts_[index].update(piece);
    if (form_.stream) {
      add_chunks(index, piece);
      return;
    }
    Choice& c = choices_[index];
    c.text += piece.text;
    append_logprobs(c.logprobs, piece);
    c.finish = std::move(piece.finish);
  }

  void take_events(std::string& out) override {
    out += events_;
    events_.clear();
  }

  void take_closing_events(std::string& out) override {
    if (!form_.include_usage) return;
    JsonWriter w = begin_chunk(out);
    w.begin_array().end_array().key("usage");
    write_usage(w, total_usage(counts_, form_.n));
    end_chunk(w, out);
  }

  std::string body() override {
    std::string out;
    JsonWriter w(out);
    w.begin_object().field("id", form_.id).field("object", "chat.completion").field("created", form_.created);
    w.field("model", form_.model).key("choices").begin_array();
    for (size_t i = 0; i < choices_.size(); ++i) {
      const Choice& c = choices_[i];
      w.begin_object().field("index", i).key("message").begin_object();
      w.field("role", "assistant").field("content", c.text).null_field("reasoning_content").null_field("tool_calls");
      w.end_object().key("logprobs");
      write_logprobs(w, c.logprobs);
      w.key("finish_reason");
      write_finish_reason(w, c.finish);
      w.key("matched_stop");
      write_matched_stop(w, c.finish);
      w.end_object();
    }
    w.end_array().key("usage");
    write_usage(w, total_usage(counts_, form_.n));
    w.end_object();
    return out;
  }

 private:
  struct Choice {
    bool role_sent = false;
    std::string text;
    std::vector<PositionLogprobs> logprobs;
    FinishReason finish;
  };

  // First the role, then text, last the reason of the end: each in a chunk of its own.
  void add_chunks(size_t index, const Output& piece) {
    Choice& c = choices_[index];
    static const std::vector<PositionLogprobs> kNone;
    if (!c.role_sent) {
      c.role_sent = true;
      chunk(index, [](JsonWriter& w) { w.field("role", "assistant").field("content", ""); }, kNone, {});
    }
    if (!piece.text.empty() || (form_.logprobs && !piece.logprobs.empty())) {
      chunk(index, [&](JsonWriter& w) { w.field("content", piece.text); }, piece.logprobs, {});
    }
    if (piece.finish.type != FinishReason::Type::Running)
      chunk(
          index, [](JsonWriter&) {}, kNone, piece.finish);
  }

  template <typename Delta>
  void chunk(size_t index, Delta delta, const std::vector<PositionLogprobs>& logprobs, const FinishReason& finish) {
    JsonWriter w = begin_chunk(events_);
    w.begin_array().begin_object().field("index", index).key("delta").begin_object();
    delta(w);
    w.end_object().key("logprobs");
    if (logprobs.empty()) {
      w.null();
    } else {
      write_logprobs(w, logprobs);
    }
    w.key("finish_reason");
    write_finish_reason(w, finish);
    w.key("matched_stop");
    write_matched_stop(w, finish);
    w.end_object().end_array();
    if (form_.continuous_usage) {
      w.key("usage");
      write_usage(w, total_usage(counts_, form_.n));
    } else if (form_.include_usage) {
      w.null_field("usage");
    }
    end_chunk(w, events_);
  }

  // Up to the key "choices".
  JsonWriter begin_chunk(std::string& out) const {
    out += "data: ";
    JsonWriter w(out);
    w.begin_object().field("id", form_.id).field("object", "chat.completion.chunk").field("created", form_.created);
    w.field("model", form_.model).key("choices");
    return w;
  }
  static void end_chunk(JsonWriter& w, std::string& out) {
    w.end_object();
    out += "\n\n";
  }

  void write_token(JsonWriter& w, const TokenLogprob& t) const {
    const std::string text = token_text(tokenizer_, t.id);
    w.field("token", text);
    w.key("logprob");
    if (t.logprob) {
      w.value(*t.logprob);
    } else {
      w.null();
    }
    w.key("bytes").begin_array();
    for (char byte : text) w.value(static_cast<unsigned char>(byte));
    w.end_array();
  }

  void write_logprobs(JsonWriter& w, const std::vector<PositionLogprobs>& positions) const {
    if (!form_.logprobs) {
      w.null();
      return;
    }
    w.begin_object().key("content").begin_array();
    for (const PositionLogprobs& p : positions) {
      w.begin_object();
      write_token(w, p.token);
      w.key("top_logprobs").begin_array();
      for (const TokenLogprob& t : p.top) {
        w.begin_object();
        write_token(w, t);
        w.end_object();
      }
      w.end_array().end_object();
    }
    w.end_array().null_field("refusal").end_object();
  }

  const OpenAiForm form_;
  const Tokenizer* const tokenizer_;
  std::vector<Choice> choices_;
  std::vector<SampleCounts> counts_;
  std::string events_;
};

// ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────

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

std::vector<ToolCall> read_tool_calls(const Fields& message) {
  const Json* calls = message.find("tool_calls");
  std::vector<ToolCall> out;
  if (calls == nullptr) return out;
  if (!calls->is_array()) {
    throw ValidationError(fmt::format("{} must be an array, got {}", message.name("tool_calls"), describe(*calls)));
  }
  for (size_t i = 0; i < calls->size(); ++i) {
    const Fields call((*calls)[i], fmt::format("{}[{}]", message.name("tool_calls"), i));
    const Fields function(call.require("function", "the function that was called"), call.name("function"));
    ToolCall& t = out.emplace_back();
    t.id = call.string("id").value_or("");
    t.name = function.string("name").value_or("");
    // OpenAI has a string of JSON; some clients send the object itself.
    const Json* arguments = function.find("arguments");
    if (arguments != nullptr) {
      t.arguments_json = arguments->is_object() ? arguments->dump() : *function.string("arguments");
    }
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

Call parse_chat(const Json& body, const EngineApi& engine, const ServerOptions& options) {
  const Fields f(body);
  refuse_unsupported_openai(f);
  StreamFields stream{.stream_interval = options.stream_interval};
  OpenAiForm form = read_form(f, engine.info(), "chatcmpl-");

  Request r;
  r.prompt = read_chat_prompt(body);
  r.sampling = read_openai_sampling(f, sampling_defaults(engine, options), stream);
  read_response_format(f, r.sampling);
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

  form.n = r.sampling.n;
  form.logprobs = r.return_logprob;
  r.rid = f.string("rid").value_or("").empty() ? form.id : engine_rid(form.id);

  Call call;
  call.dialect = Dialect::OpenAi;
  call.stream = form.stream;
  call.stream_interval = stream.stream_interval;
  call.requests.push_back(std::move(r));
  call.reply = std::make_unique<ChatReply>(std::move(form), engine.tokenizer());
  return call;
}

}  // namespace sgl
