// Anthropic's Messages API. https://docs.anthropic.com/en/api/messages

#include <memory>
#include <string>
#include <utility>

#include "lang/api_client.h"
#include "lang/media.h"
#include "lang/speculation.h"
#include "sgl/program_backend.h"
#include "sgl/program_json.h"

namespace sgl::lang {
namespace {

Json content_of(const Message& message) {
  if (message.images.empty()) return message.content;
  Json parts = Json::array();
  for (const std::string& image : message.images) {
    parts.push_back(
        {{"type", "image"}, {"source", {{"type", "base64"}, {"media_type", mime_type(image)}, {"data", image}}}});
  }
  parts.push_back({{"type", "text"}, {"text", message.content}});
  return parts;
}

std::string finish_of(const std::string& reason) {
  return reason == "max_tokens" ? "length" : reason == "end_turn" || reason == "stop_sequence" ? "stop" : reason;
}

class AnthropicBackend final : public Backend {
 public:
  explicit AnthropicBackend(ApiOptions options) {
    options.base_url = or_environment(options.base_url, "ANTHROPIC_BASE_URL", "https://api.anthropic.com");
    while (options.base_url.ends_with('/')) options.base_url.pop_back();
    options.api_key = or_environment(options.api_key, "ANTHROPIC_API_KEY");
    if (options.model.empty())
      throw Error(ErrorKind::InvalidArgument, "ApiOptions::model is empty: name the model to ask");
    if (options.api_key.empty()) {
      throw Error(ErrorKind::InvalidArgument, "there is no API key: set ANTHROPIC_API_KEY or ApiOptions::api_key");
    }
    format_ = ChatFormat::named(options.chat_template.empty() ? "claude" : options.chat_template);
    format_.stop.clear();
    const std::vector<std::string> headers = {"x-api-key: " + options.api_key, "anthropic-version: 2023-06-01"};
    api_ = std::make_shared<ApiClient>(std::move(options), headers);
  }

  std::string name() const override { return "anthropic " + api_->options().model; }
  Capabilities capabilities() const override {
    return {.completion = false, .chat = true, .images = true, .multiple = false, .api_speculation = true};
  }
  const ChatFormat& chat_format() const override { return format_; }
  void generate(GenerateCall call, GenerateSink sink) override;

 private:
  Json make_body(const GenerateCall& call) const;

  std::shared_ptr<ApiClient> api_;
  ChatFormat format_;
};

Json AnthropicBackend::make_body(const GenerateCall& call) const {
  const GenOptions& o = call.options;
  Json body{{"model", api_->options().model}, {"max_tokens", *o.max_tokens}};
  Json messages = Json::array();
  std::string system;
  for (const Message& m : call.prompt.messages) {  // a copy of the state's: its system turn stays for the next call
    if (m.role == "system")
      system += (system.empty() ? "" : "\n\n") + m.content;
    else
      messages.push_back({{"role", m.role}, {"content", content_of(m)}});
  }
  if (!system.empty()) body["system"] = system;
  body["messages"] = std::move(messages);
  if (*o.temperature > 1) warn_dropped(name(), "temperature above 1");
  body["temperature"] = std::min(*o.temperature, 1.0);
  if (*o.top_p != 1) body["top_p"] = *o.top_p;
  if (*o.top_k != -1) body["top_k"] = *o.top_k;
  Json stops = Json::array();
  for (const std::string& stop : o.stop.items()) {
    if (!trim(stop).empty()) stops.push_back(stop);
  }
  if (!stops.empty()) body["stop_sequences"] = std::move(stops);
  if (*o.frequency_penalty != 0) warn_dropped(name(), "frequency_penalty");
  if (*o.presence_penalty != 0) warn_dropped(name(), "presence_penalty");
  if (*o.repetition_penalty != 1) warn_dropped(name(), "repetition_penalty");
  if (*o.min_p != 0) warn_dropped(name(), "min_p");
  if (*o.min_tokens != 0) warn_dropped(name(), "min_tokens");
  if (*o.ignore_eos) warn_dropped(name(), "ignore_eos");
  if (o.seed) warn_dropped(name(), "seed");
  return body;
}

void AnthropicBackend::generate(GenerateCall call, GenerateSink sink) {
  Json body = make_body(call);
  std::vector<std::string> blanks;  // stop strings that the API refuses; a text that is cut here cannot be streamed
  for (const std::string& stop : call.options.stop.items()) {
    if (trim(stop).empty()) blanks.push_back(stop);
  }
  if (!sink.on_text || !blanks.empty()) {
    api_->post("/v1/messages", std::move(body), std::move(call.stop), [sink, blanks](Outcome<Json>&& answer) {
      Outcome<Generated> out{{}, std::move(answer.error)};
      if (!out.error) {
        std::string& text = out.value.texts.emplace_back();
        for (const Json& part : answer.value.at("content")) {
          if (part.at("type") == "text") text += part.at("text").get<std::string>();
        }
        Meta& meta = out.value.meta;
        meta.rid = answer.value.value("id", "");
        if (answer.value.at("stop_reason").is_string()) meta.finish_reason = finish_of(answer.value["stop_reason"]);
        const Json& usage = answer.value.at("usage");
        meta.prompt_tokens = usage.value("input_tokens", 0);
        meta.completion_tokens = usage.value("output_tokens", 0);
        cut_at_stop(out.value, blanks);
      }
      sink.on_done(std::move(out));
    });
    return;
  }
  body["stream"] = true;
  auto result = std::make_shared<Outcome<Generated>>();
  result->value.texts.emplace_back();
  api_->stream(
      "/v1/messages", std::move(body), std::move(call.stop),
      [sink, result](const Json& event) {
        const std::string type = event.at("type");
        Meta& meta = result->value.meta;
        if (type == "message_start") {
          meta.rid = event.at("message").value("id", "");
          meta.prompt_tokens = event["message"].at("usage").value("input_tokens", 0);
        } else if (type == "content_block_delta" && event.at("delta").at("type") == "text_delta") {
          const std::string piece = event["delta"].at("text");
          result->value.texts[0] += piece;
          if (!piece.empty()) sink.on_text(piece);
        } else if (type == "message_delta") {
          if (event.at("delta").at("stop_reason").is_string())
            meta.finish_reason = finish_of(event["delta"]["stop_reason"]);
          meta.completion_tokens = event.at("usage").value("output_tokens", 0);
        }
      },
      [sink, result](Outcome<Json>&& end) {
        result->error = std::move(end.error);
        sink.on_done(std::move(*result));
      });
}

}  // namespace
}  // namespace sgl::lang

namespace sgl {

std::shared_ptr<Backend> anthropic(ApiOptions options) {
  return std::make_shared<lang::AnthropicBackend>(std::move(options));
}

}  // namespace sgl
