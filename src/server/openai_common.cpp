#include "server/openai_common.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include <fmt/format.h>

#include "server/service.h"

namespace sgl {

OpenAiForm read_form(const Fields& f, const ModelInfo& info, std::string_view id_prefix) {
  OpenAiForm form;
  form.id = f.short_string("rid").value_or("");
  if (form.id.empty()) form.id = std::string(id_prefix) + random_hex(32);
  form.model = f.short_string("model").value_or(info.served_model_name);
  form.created = unix_time();
  form.stream = f.boolean("stream").value_or(false);
  if (const Json* options = f.find("stream_options")) {
    const Fields o(*options, "stream_options");
    form.include_usage = o.boolean("include_usage").value_or(false);
    form.continuous_usage = o.boolean("continuous_usage_stats").value_or(false);
    if (!form.stream) {
      throw Error(ErrorKind::InvalidArgument, "stream_options is only allowed when stream is true");
    }
  }
  return form;
}

void refuse_unsupported_openai(const Fields& f) {
  refuse_field(f, "functions", "the old form of tools is not supported; use tools");
  refuse_if_given(f, "audio", "audio output is not supported");
  refuse_if_given(f, "web_search_options", "web search is not supported");
  refuse_field(f, "lora_path", "LoRA adapters are not supported yet");
  refuse_field(f, "session_params", "sessions are for /generate only");
  refuse_field(f, "return_hidden_states", "hidden states are not supported yet");
  refuse_field(f, "custom_logit_processor", "custom logit processors are not supported");
  refuse_field(f, "max_thinking_tokens", "a thinking budget is not supported yet");
  for (std::string_view key :
       {"guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs"}) {
    refuse_if_given(f, key, "vLLM's names of grammars are not supported; use response_format, regex or ebnf");
  }
  if (const Json* choice = f.find("function_call"); choice != nullptr && *choice != "none" && *choice != "auto") {
    throw Error(ErrorKind::Unsupported, "function_call: the old form of tool_choice is not supported; use tool_choice");
  }
  if (const Json* given = f.find("modalities"); given != nullptr && !given->is_array()) {
    throw ValidationError(fmt::format("modalities must be an array of strings, got {}", describe(*given)));
  }
  if (const auto modalities = f.strings("modalities")) {
    for (const std::string& m : *modalities) {
      if (m != "text") {
        throw Error(ErrorKind::Unsupported, fmt::format("modalities: {} is not supported; only \"text\" is", quote(m)));
      }
    }
  }
}

void read_response_format(const Fields& f, SamplingParams& sampling) {
  const Json* given = f.find("response_format");
  if (given == nullptr) return;
  const Fields format(*given, "response_format");
  const Json& type = format.require("type", R"("text", "json_object", "json_schema" or "structural_tag")");
  if (type == "text") return;
  if (!sampling.json_schema.empty() || !sampling.structural_tag.empty()) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("response_format and {} are both given; the output can follow one grammar only",
                            sampling.json_schema.empty() ? "structural_tag" : "json_schema"));
  }
  if (type == "json_object") {
    const Json* schema = format.find("schema");  // an addition of other servers'
    sampling.json_schema = schema != nullptr ? schema->dump() : R"({"type": "object"})";
  } else if (type == "json_schema") {
    const Fields schema(format.require("json_schema", "an object with name and schema"), format.name("json_schema"));
    sampling.json_schema = schema.require("schema", "a JSON Schema").dump();
  } else if (type == "structural_tag") {
    sampling.structural_tag = given->dump();
  } else {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("{} must be \"text\", \"json_object\", \"json_schema\" or \"structural_tag\", got {}",
                            format.name("type"), describe(type)));
  }
}

const ModelInfo* sampling_defaults(const EngineApi& engine, const ServerOptions& options) {
  return options.sampling_defaults == "model" ? &engine.info() : nullptr;
}

void write_usage(JsonWriter& w, const Usage& usage) {
  w.begin_object()
      .field("prompt_tokens", usage.prompt_tokens)
      .field("completion_tokens", usage.completion_tokens)
      .field("total_tokens", usage.prompt_tokens + usage.completion_tokens)
      .key("prompt_tokens_details")
      .begin_object()
      .field("cached_tokens", usage.cached_tokens)
      .end_object();
  if (usage.completion_tokens > 0) {
    w.key("completion_tokens_details").begin_object().field("reasoning_tokens", usage.reasoning_tokens).end_object();
  }
  w.end_object();
}

void write_finish_reason(JsonWriter& w, const FinishReason& finish) {
  switch (finish.type) {
    case FinishReason::Type::Running:
      w.null();
      break;
    case FinishReason::Type::Stop:
      w.value("stop");
      break;
    case FinishReason::Type::Length:
      w.value("length");
      break;
    case FinishReason::Type::Abort:
      w.value("abort");
      break;
  }
}

void write_matched_stop(JsonWriter& w, const FinishReason& finish) {
  if (const auto* id = std::get_if<int32_t>(&finish.matched)) {
    w.value(*id);
  } else if (const auto* text = std::get_if<std::string>(&finish.matched)) {
    w.value(*text);
  } else {
    w.null();
  }
}

bool has_probability(const TokenLogprob& token) { return token.logprob && std::isfinite(*token.logprob); }

void append_logprobs(std::vector<PositionLogprobs>& to, Output& piece) {
  std::move(piece.logprobs.begin(), piece.logprobs.end(), std::back_inserter(to));
}

Usage total_usage(const std::vector<SampleCounts>& samples, int n) {
  Usage total;
  for (size_t i = 0; i < samples.size(); ++i) {
    total.completion_tokens += samples[i].completion_tokens;
    total.reasoning_tokens += samples[i].reasoning_tokens;
    if (i % static_cast<size_t>(n) != 0) continue;
    total.prompt_tokens += samples[i].prompt_tokens;
    total.cached_tokens += samples[i].cached_tokens;
  }
  return total;
}

}  // namespace sgl
