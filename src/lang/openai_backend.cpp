// OpenAI's two APIs: chat completions take messages, completions a text.
// https://platform.openai.com/docs/api-reference/chat/create and …/completions/create

#include <algorithm>
#include <cctype>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "lang/api_client.h"
#include "lang/media.h"
#include "lang/speculation.h"
#include "sgl/program_backend.h"

namespace sgl::lang {
namespace {

/// Models that think before they answer: they take max_completion_tokens and no sampling parameters.
bool thinks(const ApiOptions& options) {
  const std::string& m = options.model;
  return options.reasoning_model || m.starts_with("o1") || m.starts_with("o3") || m.starts_with("o4") ||
         m.starts_with("gpt-5");
}

Json content_of(const Message& message) {
  if (message.images.empty()) return message.content;
  Json parts = Json::array({{{"type", "text"}, {"text", message.content}}});
  for (const std::string& image : message.images) {
    const std::string url = fmt::format("data:{};base64,{}", mime_type(image), image);
    parts.push_back({{"type", "image_url"}, {"image_url", {{"url", url}}}});
  }
  return parts;
}

Json response_format(const std::string& schema, const std::string& variable) {
  std::string name = variable.empty() ? "answer" : variable.substr(0, 64);  // the API's alphabet and length
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_' && c != '-') c = '_';
  }
  return {{"type", "json_schema"},
          {"json_schema", {{"name", name}, {"schema", Json::parse(schema)}, {"strict", true}}}};
}

class OpenAiBackend final : public Backend {
 public:
  OpenAiBackend(ApiOptions options, bool chat);

  std::string name() const override {
    return fmt::format("openai {} {}", chat_ ? "chat" : "completions", api_->options().model);
  }
  Capabilities capabilities() const override;
  const ChatFormat& chat_format() const override { return format_; }
  void generate(GenerateCall call, GenerateSink sink) override;
  void score(ScoreCall call, ScoreSink sink) override;

 private:
  Json make_body(const GenerateCall& call) const;
  Json chat_messages(const Prompt& prompt) const;
  void score_by_schema(ScoreCall call, ScoreSink sink);
  void score_by_echo(ScoreCall call, ScoreSink sink);

  const bool chat_;
  std::shared_ptr<ApiClient> api_;
  ChatFormat format_;
};

ApiOptions with_defaults(ApiOptions options) {
  options.base_url = or_environment(options.base_url, "OPENAI_BASE_URL", "https://api.openai.com/v1");
  while (options.base_url.ends_with('/')) options.base_url.pop_back();
  options.api_key = or_environment(options.api_key, "OPENAI_API_KEY");
  if (options.model.empty())
    throw Error(ErrorKind::InvalidArgument, "ApiOptions::model is empty: name the model to ask");
  if (options.api_key.empty() && options.base_url.starts_with("https://api.openai.com")) {
    throw Error(ErrorKind::InvalidArgument, "there is no API key: set OPENAI_API_KEY or ApiOptions::api_key");
  }
  return options;
}

OpenAiBackend::OpenAiBackend(ApiOptions given, bool chat) : chat_(chat) {
  const ApiOptions options = with_defaults(std::move(given));
  std::vector<std::string> headers;
  if (!options.api_key.empty()) headers.push_back("Authorization: Bearer " + options.api_key);
  api_ = std::make_shared<ApiClient>(options, std::move(headers));
  format_ =
      options.chat_template.empty() ? ChatFormat::for_model(options.model) : ChatFormat::named(options.chat_template);
  if (chat_) format_.stop.clear();  // the API ends turns by itself
}

Capabilities OpenAiBackend::capabilities() const {
  const ApiOptions& o = api_->options();
  if (chat_) {
    return {.completion = false,
            .chat = true,
            .select = o.select_by_schema,
            .unconditional = o.select_by_schema,
            .json_schema = true,
            .images = true,
            .multiple = true,
            .api_speculation = true};
  }
  return {.completion = true,
          .chat = false,
          .select = true,
          .regex = o.regex,
          .json_schema = o.regex,
          .ebnf = o.ebnf,
          .multiple = true,
          .api_speculation = true};
}

Json OpenAiBackend::chat_messages(const Prompt& prompt) const {
  Json messages = Json::array();
  for (const Message& m : prompt.messages) messages.push_back({{"role", m.role}, {"content", content_of(m)}});
  return messages;
}

Json OpenAiBackend::make_body(const GenerateCall& call) const {
  const GenOptions& o = call.options;
  Json body{{"model", api_->options().model}};
  if (chat_)
    body["messages"] = chat_messages(call.prompt);
  else
    body["prompt"] = call.prompt.text;
  const bool thinking = thinks(api_->options());
  body[thinking && chat_ ? "max_completion_tokens" : "max_tokens"] = *o.max_tokens;
  if (thinking) {  // its stop strings are found here: cut_at_stop()
    if (*o.temperature != 1) warn_dropped(name(), "temperature");
    if (*o.top_p != 1) warn_dropped(name(), "top_p");
    if (*o.frequency_penalty != 0) warn_dropped(name(), "frequency_penalty");
    if (*o.presence_penalty != 0) warn_dropped(name(), "presence_penalty");
  } else {
    body["temperature"] = *o.temperature;
    body["top_p"] = *o.top_p;
    if (*o.frequency_penalty != 0) body["frequency_penalty"] = *o.frequency_penalty;
    if (*o.presence_penalty != 0) body["presence_penalty"] = *o.presence_penalty;
    if (!o.stop.items().empty()) body["stop"] = o.stop.items();
  }
  if (*o.n > 1) body["n"] = *o.n;
  if (o.seed) body["seed"] = *o.seed;
  if (chat_ && !o.json_schema.empty()) body["response_format"] = response_format(o.json_schema, call.variable);
  if (!chat_) {
    if (call.token_ends) body["logprobs"] = 1;
    if (!o.regex.empty()) body["regex"] = o.regex;
    if (!o.json_schema.empty()) body["json_schema"] = o.json_schema;
    if (!o.ebnf.empty()) body["ebnf"] = o.ebnf;
  }
  if (*o.top_k != -1) warn_dropped(name(), "top_k");
  if (*o.min_p != 0) warn_dropped(name(), "min_p");
  if (*o.repetition_penalty != 1) warn_dropped(name(), "repetition_penalty");
  if (*o.min_tokens != 0) warn_dropped(name(), "min_tokens");
  if (*o.ignore_eos) warn_dropped(name(), "ignore_eos");
  return body;
}

std::string text_of(const Json& choice, bool chat) {
  const Json& text = chat ? choice.at("message").at("content") : choice.at("text");
  return text.is_null() ? "" : text.get<std::string>();
}

/// Ends of the tokens, if the tokens are the text: some servers write special characters in them differently.
std::vector<size_t> token_ends(const Json& choice, const std::string& text) {
  std::vector<size_t> ends;
  const auto logprobs = choice.find("logprobs");
  if (logprobs == choice.end() || !logprobs->is_object() || !logprobs->contains("tokens")) return ends;
  std::string joined;
  for (const Json& token : (*logprobs)["tokens"]) {
    joined += token.get<std::string>();
    ends.push_back(joined.size());
  }
  if (!joined.starts_with(text)) return {};
  while (!ends.empty() && ends.back() > text.size()) ends.pop_back();
  return ends;
}

void read_usage(const Json& answer, Meta& meta) {
  meta.rid = answer.value("id", "");
  const auto usage = answer.find("usage");
  if (usage == answer.end() || !usage->is_object()) return;
  meta.prompt_tokens = usage->value("prompt_tokens", 0);
  meta.completion_tokens = usage->value("completion_tokens", 0);
  if (const auto details = usage->find("prompt_tokens_details"); details != usage->end() && details->is_object()) {
    meta.cached_tokens = details->value("cached_tokens", 0);
  }
}

std::string read_finish(const Json& choice) {
  const auto reason = choice.find("finish_reason");
  return reason == choice.end() || !reason->is_string() ? "" : reason->get<std::string>();
}

void OpenAiBackend::generate(GenerateCall call, GenerateSink sink) {
  Json body = make_body(call);
  const std::string path = chat_ ? "/chat/completions" : "/completions";
  std::vector<std::string> stops;  // that the API does not take; a text that is cut here cannot be streamed
  if (thinks(api_->options())) stops = call.options.stop.items();
  if (!sink.on_text || !stops.empty()) {
    api_->post(path, std::move(body), std::move(call.stop), [sink, stops, chat = chat_](Outcome<Json>&& answer) {
      Outcome<Generated> out{{}, std::move(answer.error)};
      if (!out.error) {
        const Json& choices = answer.value.at("choices");
        for (const Json& choice : choices) out.value.texts.push_back(text_of(choice, chat));
        read_usage(answer.value, out.value.meta);
        out.value.meta.finish_reason = read_finish(choices.at(0));
        out.value.token_ends = token_ends(choices.at(0), out.value.texts.at(0));
        cut_at_stop(out.value, stops);
      }
      sink.on_done(std::move(out));
    });
    return;
  }
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  auto result = std::make_shared<Outcome<Generated>>();
  result->value.texts.emplace_back();
  api_->stream(
      path, std::move(body), std::move(call.stop),
      [sink, result, chat = chat_](const Json& event) {
        read_usage(event, result->value.meta);
        const Json& choices = event.at("choices");
        if (choices.empty()) return;  // the event with the usage
        if (const std::string finish = read_finish(choices[0]); !finish.empty())
          result->value.meta.finish_reason = finish;
        const Json& holder = chat ? choices[0].at("delta") : choices[0];
        const auto text = holder.find(chat ? "content" : "text");
        if (text == holder.end() || !text->is_string() || text->get_ref<const std::string&>().empty()) return;
        result->value.texts[0] += text->get<std::string>();
        sink.on_text(text->get_ref<const std::string&>());
      },
      [sink, result](Outcome<Json>&& end) {
        result->error = std::move(end.error);
        sink.on_done(std::move(*result));
      });
}

void OpenAiBackend::score(ScoreCall call, ScoreSink sink) {
  if (chat_)
    score_by_schema(std::move(call), std::move(sink));
  else
    score_by_echo(std::move(call), std::move(sink));
}

/// The chat API scores nothing, but a schema with an enum makes the model choose: that choice gets 0, the others −1.
void OpenAiBackend::score_by_schema(ScoreCall call, ScoreSink sink) {
  const Json schema{{"type", "object"},
                    {"properties", {{"choice", {{"type", "string"}, {"enum", call.choices}}}}},
                    {"required", {"choice"}},
                    {"additionalProperties", false}};
  Json body{{"model", api_->options().model},
            {"messages", chat_messages(call.prompt)},
            {"response_format",
             {{"type", "json_schema"}, {"json_schema", {{"name", "choice"}, {"schema", schema}, {"strict", true}}}}}};
  if (!thinks(api_->options())) body["temperature"] = 0;
  api_->post("/chat/completions", std::move(body), std::move(call.stop),
             [sink = std::move(sink), choices = std::move(call.choices)](Outcome<Json>&& answer) {
               Outcome<ChoiceScores> out{{}, std::move(answer.error)};
               if (!out.error) {
                 const std::string text = text_of(answer.value.at("choices").at(0), true);
                 const Json reply = Json::parse(text, nullptr, false);
                 const std::string chosen = reply.is_object() ? reply.value("choice", "") : "";
                 if (std::find(choices.begin(), choices.end(), chosen) == choices.end()) {
                   out.error =
                       Error(ErrorKind::Server, "select by schema: the model answered none of the choices: " + text);
                 }
                 for (const std::string& c : choices) out.value.tokens.push_back({c == chosen ? 0.0 : -1.0});
                 out.value.unconditional.assign(choices.size(), {0.0});
                 out.value.choices = choices;
               }
               sink(std::move(out));
             });
}

/// Number of characters of UTF-8 text, in which text_offset counts.
size_t count_characters(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

/// Prompt and choice are echoed with their log-probabilities. Scores begin at the first token that reaches beyond the
/// prompt in any of the choices. Servers that do not echo with log-probabilities refuse this, and say so.
void OpenAiBackend::score_by_echo(ScoreCall call, ScoreSink sink) {
  Json prompts = Json::array();
  for (const std::string& choice : call.choices) prompts.push_back(call.prompt.text + choice);
  Json body{{"model", api_->options().model},
            {"prompt", std::move(prompts)},
            {"max_tokens", 0},
            {"temperature", 0},
            {"echo", true},
            {"logprobs", 1}};
  api_->post("/completions", std::move(body), std::move(call.stop),
             [sink = std::move(sink), choices = std::move(call.choices),
              prompt = count_characters(call.prompt.text)](Outcome<Json>&& answer) {
               Outcome<ChoiceScores> out{{}, std::move(answer.error)};
               if (!out.error) {
                 std::vector<const Json*> rows;
                 size_t border = SIZE_MAX;
                 for (const Json& choice : answer.value.at("choices")) {
                   const Json& logprobs = choice.at("logprobs");
                   const Json& offsets = logprobs.at("text_offset");
                   size_t i = 0;
                   while (i + 1 < offsets.size() && offsets[i + 1].get<size_t>() <= prompt) ++i;
                   border = std::min(border, i);
                   rows.push_back(&logprobs.at("token_logprobs"));
                 }
                 for (const Json* row : rows) {
                   std::vector<double>& scores = out.value.tokens.emplace_back();
                   for (size_t i = border; i < row->size(); ++i)
                     scores.push_back((*row)[i].is_null() ? 0.0 : (*row)[i].get<double>());
                 }
                 out.value.choices = choices;
                 if (out.value.tokens.size() != choices.size()) {
                   out.error = Error(ErrorKind::Server, fmt::format("select: {} choices were sent, {} answers came",
                                                                    choices.size(), out.value.tokens.size()));
                 }
               }
               sink(std::move(out));
             });
}

}  // namespace
}  // namespace sgl::lang

namespace sgl {

std::shared_ptr<Backend> openai_chat(ApiOptions options) {
  return std::make_shared<lang::OpenAiBackend>(std::move(options), true);
}
std::shared_ptr<Backend> openai(ApiOptions options) {
  return std::make_shared<lang::OpenAiBackend>(std::move(options), false);
}

}  // namespace sgl
