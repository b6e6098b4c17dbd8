#include "lang/options.h"

#include <limits>

#include <fmt/format.h>

#include "grammar/regex_syntax.h"
#include "sgl/error.h"
#include "sgl/program_json.h"

namespace sgl::lang {
namespace {

[[noreturn]] void out_of_range(const std::string& what, const char* option, const char* expected, double came) {
  throw Error(ErrorKind::InvalidArgument, fmt::format("{}: {} must be {}, got {}", what, option, expected, came));
}

template <class T>
void check_range(const std::optional<T>& value, double min, double max, const std::string& what, const char* option,
                 const char* expected) {
  if (!value) return;
  const auto x = static_cast<double>(*value);
  if (!(x >= min && x <= max)) out_of_range(what, option, expected, x);
}

void check_regex(const std::string& pattern, const std::string& what, const char* option) {
  try {
    grammar::parse_regex(pattern, grammar::RegexDialect::Python);
  } catch (const Error& error) {
    // What our own grammars lack (ErrorKind::Unsupported), another server may have.
    if (error.kind() != ErrorKind::InvalidArgument) return;
    throw Error(ErrorKind::InvalidArgument, fmt::format("{}: {}: {}", what, option, error.what()));
  }
}

}  // namespace

std::string call_name(const char* function, const std::string& variable) {
  return variable.empty() ? fmt::format("{}()", function) : fmt::format("{}(\"{}\")", function, variable);
}

GenOptions merge(const GenOptions& own, const GenOptions& fallback) {
  GenOptions out = own;
  auto take = [](auto& to, const auto& from) {
    if (!to) to = from;
  };
  take(out.max_tokens, fallback.max_tokens);
  take(out.min_tokens, fallback.min_tokens);
  take(out.n, fallback.n);
  take(out.temperature, fallback.temperature);
  take(out.top_p, fallback.top_p);
  take(out.top_k, fallback.top_k);
  take(out.min_p, fallback.min_p);
  take(out.frequency_penalty, fallback.frequency_penalty);
  take(out.presence_penalty, fallback.presence_penalty);
  take(out.repetition_penalty, fallback.repetition_penalty);
  take(out.ignore_eos, fallback.ignore_eos);
  take(out.return_logprob, fallback.return_logprob);
  take(out.logprob_start_len, fallback.logprob_start_len);
  take(out.top_logprobs_num, fallback.top_logprobs_num);
  take(out.seed, fallback.seed);
  if (!out.stop.given()) out.stop = fallback.stop;
  if (!out.stop_regex.given()) out.stop_regex = fallback.stop_regex;
  if (out.stop_token_ids.empty()) out.stop_token_ids = fallback.stop_token_ids;
  // Constraints exclude each other, so the run's count only if the call has none.
  if (out.regex.empty() && out.json_schema.empty() && out.ebnf.empty()) {
    out.regex = fallback.regex;
    out.json_schema = fallback.json_schema;
    out.ebnf = fallback.ebnf;
  }
  return out;
}

const GenOptions& table_of_defaults() {
  static const GenOptions table = {.max_tokens = 128,
                                   .min_tokens = 0,
                                   .n = 1,
                                   .temperature = 1.0,
                                   .top_p = 1.0,
                                   .top_k = -1,
                                   .min_p = 0.0,
                                   .frequency_penalty = 0.0,
                                   .presence_penalty = 0.0,
                                   .repetition_penalty = 1.0,
                                   .ignore_eos = false,
                                   .return_logprob = false};
  return table;
}

void check_options(const GenOptions& o, const std::string& what) {
  const double inf = std::numeric_limits<double>::max();
  check_range(o.max_tokens, 0, inf, what, "max_tokens", "at least 0");
  check_range(o.min_tokens, 0, inf, what, "min_tokens", "at least 0");
  check_range(o.n, 1, inf, what, "n", "at least 1");
  check_range(o.temperature, 0, inf, what, "temperature", "at least 0");
  check_range(o.top_p, std::numeric_limits<double>::min(), 1, what, "top_p", "in (0, 1]");
  check_range(o.min_p, 0, 1, what, "min_p", "in [0, 1]");
  check_range(o.frequency_penalty, -2, 2, what, "frequency_penalty", "in [-2, 2]");
  check_range(o.presence_penalty, -2, 2, what, "presence_penalty", "in [-2, 2]");
  check_range(o.repetition_penalty, std::numeric_limits<double>::min(), 2, what, "repetition_penalty", "in (0, 2]");
  if (o.top_k && *o.top_k != -1 && *o.top_k < 1) out_of_range(what, "top_k", "-1 (all) or at least 1", *o.top_k);
  check_lengths(o, what);
  if (!o.regex.empty()) check_regex(o.regex, what, "regex");
  for (const std::string& pattern : o.stop_regex.items()) check_regex(pattern, what, "stop_regex");
  const int constraints = !o.regex.empty() + !o.json_schema.empty() + !o.ebnf.empty();
  if (constraints > 1) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("{}: expected one of regex, json_schema and ebnf, got {}; a typed key is one, too", what,
                            constraints));
  }
  if (!o.json_schema.empty() && !JsonView::parse(o.json_schema)) {
    throw Error(ErrorKind::InvalidArgument, fmt::format("{}: json_schema is not JSON: {}", what, o.json_schema));
  }
  for (const std::string& stop : o.stop.items()) {
    if (stop.empty())
      throw Error(ErrorKind::InvalidArgument, what + ": a stop string is empty; it would end every text");
  }
}

void check_lengths(const GenOptions& o, const std::string& what) {
  if (!o.min_tokens || !o.max_tokens || *o.min_tokens <= *o.max_tokens) return;
  throw Error(ErrorKind::InvalidArgument,
              fmt::format("{}: min_tokens {} is more than max_tokens {}", what, *o.min_tokens, *o.max_tokens));
}

void check_capabilities(const GenOptions& o, const Capabilities& can, const std::string& backend,
                        const std::string& what) {
  auto need = [&](bool asked, bool there, const char* thing) {
    if (asked && !there) {
      throw Error(ErrorKind::Unsupported,
                  fmt::format("{}: {} is not supported by the backend {}", what, thing, backend));
    }
  };
  need(!o.regex.empty(), can.regex, "a regex constraint");
  need(!o.json_schema.empty(), can.json_schema, "a JSON schema constraint");
  need(!o.ebnf.empty(), can.ebnf, "an EBNF constraint");
  need(!o.stop_regex.items().empty(), can.stop_regex, "stop_regex");
  need(!o.stop_token_ids.empty(), can.stop_token_ids, "stop_token_ids");
  need(o.return_logprob.value_or(false), can.logprobs, "return_logprob");
  need(o.n.value_or(1) > 1, can.multiple, "n > 1");
}

}  // namespace sgl::lang
