#include "server/sampling_fields.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace sgl {
namespace {

constexpr std::string_view kNativeNames[] = {
    "max_new_tokens",
    "min_new_tokens",
    "stop",
    "stop_token_ids",
    "stop_regex",
    "no_stop_trim",
    "ignore_eos",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
    "n",
    "beam_width",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "json_schema",
    "regex",
    "ebnf",
    "structural_tag",
    "sampling_seed",
    "stream_interval",
    "custom_params",
    "watermark",
};

// More than any queue holds, few enough that what is made for each before it is submitted takes no memory to speak of.
constexpr size_t kMostSamples = 16384;

template <typename T>
void set(T& to, const std::optional<T>& from) {
  if (from) to = *from;
}

// The names that both kinds of requests have. custom_params is for logit processors, which have a field of their own.
void read_shared(const Fields& f, SamplingParams& s, StreamFields& stream) {
  set(s.temperature, f.number("temperature"));
  set(s.top_p, f.number("top_p"));
  set(s.top_k, f.small_integer("top_k"));
  set(s.min_p, f.number("min_p"));
  set(s.frequency_penalty, f.number("frequency_penalty"));
  set(s.presence_penalty, f.number("presence_penalty"));
  set(s.repetition_penalty, f.number("repetition_penalty"));
  set(s.logit_bias, f.id_map("logit_bias"));
  set(s.stop, f.strings("stop"));
  set(s.stop_regex, f.strings("stop_regex"));
  set(s.stop_token_ids, f.ids("stop_token_ids"));
  set(s.no_stop_trim, f.boolean("no_stop_trim"));
  set(s.ignore_eos, f.boolean("ignore_eos"));
  set(s.n, f.small_integer("n"));
  set(s.skip_special_tokens, f.boolean("skip_special_tokens"));
  set(s.spaces_between_special_tokens, f.boolean("spaces_between_special_tokens"));
  if (const auto seed = f.integer("sampling_seed")) s.seed = *seed;

  set(stream.stream_interval, f.small_integer("stream_interval"));
  if (stream.stream_interval < 1) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("{} must be at least 1, got {}", f.name("stream_interval"), stream.stream_interval));
  }
  if (f.small_integer("beam_width").value_or(1) != 1) {
    throw Error(ErrorKind::Unsupported, fmt::format("{}: beam search is not supported", f.name("beam_width")));
  }
  set(s.regex, f.string("regex"));
  set(s.ebnf, f.string("ebnf"));
  set(s.json_schema, f.string("json_schema"));
  set(s.structural_tag, f.string("structural_tag"));
  refuse_field(f, "watermark", "watermarks are not supported");
}

}  // namespace

void refuse_field(const Fields& fields, std::string_view key, std::string_view why) {
  if (!asks_for_something(fields.find(key))) return;
  throw Error(ErrorKind::Unsupported, fmt::format("{}: {}", fields.name(key), why));
}

void refuse_if_given(const Fields& fields, std::string_view key, std::string_view why) {
  if (fields.find(key) != nullptr) throw Error(ErrorKind::Unsupported, fmt::format("{}: {}", fields.name(key), why));
}

void check_samples(size_t prompts, int n) {
  const auto refuse = [](const std::string& message) { throw Error(ErrorKind::InvalidArgument, message); };
  if (prompts > kMostSamples) refuse(fmt::format("a call may hold {} prompts, got {}", kMostSamples, prompts));
  if (n < 1) refuse(fmt::format("n must be at least 1, got {}", n));
  if (prompts * static_cast<size_t>(n) > kMostSamples) {
    refuse(fmt::format("a call may ask for {} samples, got {} prompts with n = {}", kMostSamples, prompts, n));
  }
}

std::optional<int> read_token_count(const Fields& fields, std::initializer_list<std::string_view> keys) {
  std::optional<int> count;
  for (std::string_view key : keys) {
    const auto given = fields.small_integer(key);
    if (!given) continue;
    if (*given < 0) {
      throw Error(ErrorKind::InvalidArgument, fmt::format("{} must be at least 0, got {}", fields.name(key), *given));
    }
    count = given;
  }
  return count;
}

std::string read_cache_namespace(const Fields& fields) {
  const auto key = fields.string("extra_key"), salt = fields.string("cache_salt");
  // The separator keeps ("ab", "") and ("a", "b") apart.
  return key || salt ? key.value_or("") + '\x1f' + salt.value_or("") : "";
}

int read_priority(const Fields& fields) { return fields.small_integer("priority").value_or(0); }

SamplingParams read_sampling_params(const Fields& f, StreamFields& stream) {
  for (const auto& [key, value] : f.json().items()) {
    if (std::find(std::begin(kNativeNames), std::end(kNativeNames), key) == std::end(kNativeNames)) {
      throw ValidationError(fmt::format("unknown field {} in sampling_params, expected one of {}", quote(key),
                                        fmt::join(kNativeNames, ", ")));
    }
  }
  SamplingParams s;
  // Here null is a value: up to the end of the context.
  if (f.json().contains("max_new_tokens")) s.max_new_tokens = f.small_integer("max_new_tokens");
  set(s.min_new_tokens, f.small_integer("min_new_tokens"));
  read_shared(f, s, stream);
  return s;
}

Json read_preferred_sampling(const std::string& text) {
  if (text.empty()) return Json::object();
  try {
    Json params = parse_json(text);
    StreamFields stream;
    read_sampling_params(Fields(params, "sampling_params"), stream);
    return params;
  } catch (const Error& e) {
    throw Error(ErrorKind::InvalidArgument, fmt::format("--preferred-sampling-params: {}", e.what()));
  }
}

SamplingParams read_openai_sampling(const Fields& f, const ModelInfo* defaults, StreamFields& stream) {
  SamplingParams s;
  if (defaults != nullptr) {
    set(s.temperature, defaults->temperature);
    set(s.top_p, defaults->top_p);
    set(s.top_k, defaults->top_k);
    set(s.min_p, defaults->min_p);
    set(s.repetition_penalty, defaults->repetition_penalty);
  }
  read_shared(f, s, stream);
  if (const auto seed = f.integer("seed")) s.seed = *seed;
  set(s.min_new_tokens, read_token_count(f, {"min_new_tokens", "min_tokens"}));
  return s;
}

}  // namespace sgl
