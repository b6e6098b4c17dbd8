#include "server/openai_completions.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "server/openai_common.h"
#include "server/prompts.h"
#include "server/token_text.h"

namespace sgl {
namespace {

constexpr int kDefaultMaxTokens = 16;
constexpr int kMostTopLogprobs = 20;

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::InvalidArgument, message); }

// ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────

class CompletionsReply final : public Reply {
 public:
  /// `echoes`: what to put before each prompt's answers; empty strings if `echo` is false.
  CompletionsReply(OpenAiForm form, std::vector<std::string> echoes, bool echo, bool top_logprobs,
                   const Tokenizer* tokenizer)
      : form_(std::move(form)),
        echoes_(std::move(echoes)),
        echo_(echo),
        top_logprobs_(top_logprobs),
        tokenizer_(tokenizer) {
    choices_.resize(echoes_.size() * static_cast<size_t>(form_.n));
    counts_.resize(choices_.size());
  }

  void add(size_t request, Output&& piece) override {
    const size_t index = request * static_cast<size_t>(form_.n) + static_cast<size_t>(piece.index);
    Choice& c = choices_[index];
    counts_[index].update(piece);
    if (!c.begun) {
      c.begun = true;
      piece.text.insert(0, echoes_[request]);
    }
    c.text += piece.text;
    if (echo_) std::move(piece.prompt_logprobs.begin(), piece.prompt_logprobs.end(), std::back_inserter(c.logprobs));
    append_logprobs(c.logprobs, piece);
    c.finish = std::move(piece.finish);
    if (!form_.stream) return;
    if (c.text.empty() && c.logprobs.empty() && c.finish.type == FinishReason::Type::Running) return;
    events_ += "data: ";
    JsonWriter w(events_);
    write_head(w);
    write_choice(w, index);
    w.end_array();
    if (form_.continuous_usage) {
      w.key("usage");
      write_usage(w, total_usage(counts_, form_.n));
    } else if (form_.include_usage) {
      w.null_field("usage");
    }
    w.end_object();
    events_ += "\n\n";
    c.text.clear();
    c.logprobs.clear();
  }

  void take_events(std::string& out) override {
    out += events_;
    events_.clear();
  }

  void take_closing_events(std::string& out) override {
    if (!form_.include_usage) return;
    out += "data: ";
    JsonWriter w(out);
    write_head(w);
    w.end_array().key("usage");
    write_usage(w, total_usage(counts_, form_.n));
    w.end_object();
    out += "\n\n";
  }

  std::string body() override {
    std::string out;
    JsonWriter w(out);
    write_head(w);
    for (size_t i = 0; i < choices_.size(); ++i) write_choice(w, i);
    w.end_array().key("usage");
    write_usage(w, total_usage(counts_, form_.n));
    w.end_object();
    return out;
  }

 private:
  struct Choice {
    bool begun = false;
    std::string text;  ///< of a stream: since the last event
    std::vector<PositionLogprobs> logprobs;
    FinishReason finish;
    int64_t offset = 0;  ///< characters of the text before `logprobs`
  };

  // Up to the opening bracket of "choices".
  void write_head(JsonWriter& w) const {
    w.begin_object().field("id", form_.id).field("object", "text_completion").field("created", form_.created);
    w.field("model", form_.model).key("choices").begin_array();
  }

  void write_choice(JsonWriter& w, size_t index) {
    Choice& c = choices_[index];
    w.begin_object().field("index", index).field("text", c.text).key("logprobs");
    write_logprobs(w, c);
    w.key("finish_reason");
    write_finish_reason(w, c.finish);
    w.key("matched_stop");
    write_matched_stop(w, c.finish);
    w.end_object();
  }

  // Four lists side by side, one entry a token.
  void write_logprobs(JsonWriter& w, Choice& c) const {
    if (!form_.logprobs) {
      w.null();
      return;
    }
    w.begin_object().key("tokens").begin_array();
    for (const PositionLogprobs& p : c.logprobs) w.value(token_text(tokenizer_, p.token.id));
    w.end_array().key("token_logprobs").begin_array();
    for (const PositionLogprobs& p : c.logprobs) write_logprob(w, p.token);
    w.end_array().key("top_logprobs");
    if (!top_logprobs_) {
      w.null();
    } else {
      w.begin_array();
      for (const PositionLogprobs& p : c.logprobs) write_top(w, p);
      w.end_array();
    }
    w.key("text_offset").begin_array();
    for (const PositionLogprobs& p : c.logprobs) {
      w.value(c.offset);
      c.offset += characters(p.token.id);
    }
    w.end_array().end_object();
  }

  static void write_logprob(JsonWriter& w, const TokenLogprob& t) {
    if (t.logprob) {
      w.value(*t.logprob);
    } else {
      w.null();
    }
  }

  // The best tokens, and the one that is there if it is none of them.
  void write_top(JsonWriter& w, const PositionLogprobs& position) const {
    if (position.top.empty()) {
      w.null();
      return;
    }
    // Two tokens may look alike (parts of characters all show as U+FFFD); a key counts once, for the better one.
    std::set<std::string> keys;
    const auto write = [&](const TokenLogprob& t) {
      std::string key;
      append_json_string(key, token_text(tokenizer_, t.id));
      if (!has_probability(t) || !keys.insert(key).second) return;
      w.raw_key(key);
      write_logprob(w, t);
    };
    w.begin_object();
    for (const TokenLogprob& t : position.top) write(t);
    write(position.token);
    w.end_object();
  }

  // Characters that begin in the token; special tokens are not in the text.
  int64_t characters(int32_t id) const {
    if (tokenizer_ == nullptr) return 0;
    const std::string bytes = tokenizer_->token_bytes(id);
    return std::count_if(bytes.begin(), bytes.end(),
                         [](char b) { return (static_cast<unsigned char>(b) & 0xc0U) != 0x80U; });
  }

  const OpenAiForm form_;
  const std::vector<std::string> echoes_;  ///< for each prompt
  const bool echo_, top_logprobs_;
  const Tokenizer* const tokenizer_;
  std::vector<Choice> choices_;  ///< prompt-major
  std::vector<SampleCounts> counts_;
  std::string events_;
};

// ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────

std::string echo_of(const Prompt& prompt, const Tokenizer* tokenizer) {
  if (const auto* text = std::get_if<std::string>(&prompt)) return *text;
  const auto* ids = std::get_if<std::vector<int32_t>>(&prompt);
  return ids != nullptr && tokenizer != nullptr ? tokenizer->decode(*ids) : "";
}

}  // namespace

Call parse_completions(const Json& body, const EngineApi& engine, const ServerOptions& options) {
  const Fields f(body);
  refuse_unsupported_openai(f);
  refuse_field(f, "tools", "tools are supported by /v1/chat/completions");
  f.string("suffix");  // its type
  refuse_field(f, "suffix", "insertion between a prompt and a suffix is not supported");
  StreamFields stream{.stream_interval = options.stream_interval};
  OpenAiForm form = read_form(f, engine.info(), "cmpl-");
  std::vector<Prompt> prompts = read_openai_prompts(f, "prompt");

  SamplingParams sampling = read_openai_sampling(f, sampling_defaults(engine, options), stream);
  read_response_format(f, sampling);
  sampling.max_new_tokens = read_token_count(f, {"max_new_tokens", "max_tokens"}).value_or(kDefaultMaxTokens);
  check_samples(prompts.size(), sampling.n);
  if (f.small_integer("best_of").value_or(sampling.n) != sampling.n) {
    throw Error(ErrorKind::Unsupported,
                fmt::format("best_of must equal n ({}): choosing the best of more is not supported", sampling.n));
  }
  const bool echo = f.boolean("echo").value_or(false);
  const auto logprobs = f.small_integer("logprobs");
  if (logprobs && (*logprobs < 0 || *logprobs > kMostTopLogprobs)) {
    refuse(fmt::format("logprobs must be in [0, {}], got {}", kMostTopLogprobs, *logprobs));
  }
  const std::string cache_namespace = read_cache_namespace(f);
  const int priority = read_priority(f);
  const bool own_rid = !f.string("rid").value_or("").empty();

  Call call;
  call.dialect = Dialect::OpenAi;
  call.stream = form.stream;
  call.stream_interval = stream.stream_interval;
  std::vector<std::string> echoes;
  for (size_t i = 0; i < prompts.size(); ++i) {
    echoes.push_back(echo ? echo_of(prompts[i], engine.tokenizer()) : "");
    Request& r = call.requests.emplace_back();
    // Several prompts share the id as a prefix, so that one abort ends them all.
    const std::string name = prompts.size() > 1 ? fmt::format("{}_{}", form.id, i) : form.id;
    r.rid = own_rid ? engine_rid(name) : name;
    r.prompt = std::move(prompts[i]);
    r.sampling = sampling;
    r.return_logprob = logprobs.has_value();
    r.top_logprobs_num = logprobs.value_or(0);
    r.logprob_start_len = echo && logprobs ? 0 : -1;
    r.cache_namespace = cache_namespace;
    r.priority = priority;
  }
  form.n = sampling.n;
  form.logprobs = logprobs.has_value();
  call.reply = std::make_unique<CompletionsReply>(std::move(form), std::move(echoes), echo, logprobs.value_or(0) > 0,
                                                  engine.tokenizer());
  return call;
}

}  // namespace sgl
