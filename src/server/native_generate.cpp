#include "server/native_generate.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "server/json_writer.h"
#include "server/prompts.h"
#include "server/sampling_fields.h"
#include "server/token_text.h"

namespace sgl {
namespace {

using Clock = std::chrono::steady_clock;

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// What the answer to one prompt shows, apart from the pieces.
struct Shown {
  std::string id;
  int n = 1;
  bool logprobs = false, top_logprobs = false, ids_logprobs = false, logprob_text = false;
  std::optional<std::vector<int32_t>> prompt_token_ids;
  std::optional<SessionRequest> session;
};

// ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────

class GenerateReply final : public Reply {
 public:
  /// `timed`: meta_info has the times that SGLang has with metrics on.
  GenerateReply(std::vector<Shown> shown, bool as_list, bool incremental, bool timed, const Tokenizer* tokenizer)
      : shown_(std::move(shown)), as_list_(as_list), incremental_(incremental), timed_(timed), tokenizer_(tokenizer) {
    for (size_t i = 0; i < shown_.size(); ++i) {
      first_sample_.push_back(samples_.size());
      for (int j = 0; j < shown_[i].n; ++j) samples_.push_back({.request = i, .all = {}, .end = {}, .dirty = false});
    }
  }

  void add(size_t request, Output&& piece) override {
    Sample& s = samples_[first_sample_[request] + static_cast<size_t>(piece.index)];
    if (!s.dirty && incremental_) s.all = {};
    s.dirty = true;
    if (auto& session = shown_[request].session) session->add(piece);
    merge(s.all, std::move(piece));
    if (s.all.finish.type != FinishReason::Type::Running) s.end = Clock::now();
  }

  void take_events(std::string& out) override {
    for (size_t i = 0; i < samples_.size(); ++i) {
      if (!samples_[i].dirty) continue;
      samples_[i].dirty = false;
      out += "data: ";
      JsonWriter w(out);
      write(w, samples_[i], as_list_ ? std::optional(i) : std::nullopt);
      out += "\n\n";
    }
  }

  std::string body() override {
    std::string out;
    JsonWriter w(out);
    if (as_list_) w.begin_array();
    for (const Sample& s : samples_) write(w, s, std::nullopt);
    if (as_list_) w.end_array();
    return out;
  }

 private:
  struct Sample {
    size_t request = 0;
    Output all;  ///< everything so far; with incremental streaming, since the last event
    Clock::time_point end;
    bool dirty = false;
  };

  void write(JsonWriter& w, const Sample& sample, std::optional<size_t> index) const {
    const Shown& shown = shown_[sample.request];
    w.begin_object();
    if (tokenizer_ != nullptr) w.field("text", sample.all.text);
    w.key("output_ids");
    write_ids(w, sample.all.token_ids);
    w.key("meta_info");
    write_meta_info(w, sample, shown);
    if (shown.prompt_token_ids) {
      w.key("prompt_token_ids");
      write_ids(w, *shown.prompt_token_ids);
    }
    if (index) w.field("index", *index);
    w.end_object();
  }

  void write_meta_info(JsonWriter& w, const Sample& sample, const Shown& shown) const {
    const Output& o = sample.all;
    w.begin_object().field("id", shown.id).key("finish_reason");
    write_finish(w, o);
    w.field("prompt_tokens", o.prompt_tokens);
    w.field("completion_tokens", o.completion_tokens);
    w.field("reasoning_tokens", 0);  // thinking is not looked for here
    w.field("cached_tokens", o.cached_tokens);
    w.key("cached_tokens_details").begin_object().field("device", o.cached_tokens).field("host", 0).end_object();
    w.field("weight_version", "default");
    w.field("num_retractions", o.num_retractions);
    w.field("forced_tokens", o.forced_tokens);
    if (o.replaces > 0) w.field("replaced_tokens", o.replaces);  // of those in earlier events
    if (shown.logprobs) {
      using Position = PositionLogprobs;
      w.key("input_token_logprobs");
      write_tokens(w, o.prompt_logprobs, shown);
      w.key("output_token_logprobs");
      write_tokens(w, o.logprobs, shown);
      w.field("output_token_logprobs_length", o.logprobs.size());
      if (shown.top_logprobs) {
        w.key("input_top_logprobs");
        write_lists(w, o.prompt_logprobs, &Position::top, shown);
        w.key("output_top_logprobs");
        write_lists(w, o.logprobs, &Position::top, shown);
      }
      if (shown.ids_logprobs) {
        w.key("input_token_ids_logprobs");
        write_lists(w, o.prompt_logprobs, &Position::asked, shown);
        w.key("output_token_ids_logprobs");
        write_lists(w, o.logprobs, &Position::asked, shown);
      }
    }
    if (o.finish.type != FinishReason::Type::Running) {
      const double latency = std::chrono::duration<double>(sample.end - start_).count();
      w.field("e2e_latency", latency).field("response_sent_to_client_ts", unix_seconds());
      if (timed_) w.field("request_finished_ts", received_ts_ + latency);
      // Tokens a second behind the first one.
      const double decoding = latency - o.first_token_s;
      if (timed_ && o.completion_tokens > 1 && decoding > 0) {
        w.field("decode_throughput", (o.completion_tokens - 1) / decoding);
      }
    }
    if (timed_) w.field("request_received_ts", received_ts_).field("queue_time", o.queue_time_s);
    if (timed_ && o.first_token_s > 0) w.field("first_token_latency", o.first_token_s);
    w.end_object();
  }

  static void write_finish(JsonWriter& w, const Output& o) {
    const FinishReason& f = o.finish;
    if (f.type == FinishReason::Type::Running) {
      w.null();
      return;
    }
    w.begin_object();
    if (f.type == FinishReason::Type::Stop) {
      w.field("type", "stop").key("matched");
      if (const auto* id = std::get_if<int32_t>(&f.matched)) {
        w.value(*id);
      } else if (const auto* text = std::get_if<std::string>(&f.matched)) {
        w.value(*text);
      } else {
        w.null();
      }
    } else if (f.type == FinishReason::Type::Length) {
      w.field("type", "length").field("length", o.completion_tokens);
    } else {
      w.field("type", "abort").field("message", f.message);
      if (f.status != 0) w.field("status_code", f.status);
    }
    w.end_object();
  }

  // [log-probability, id, text or null]
  void write_tuple(JsonWriter& w, const TokenLogprob& t, const Shown& shown) const {
    w.begin_array();
    if (t.logprob) {
      w.value(*t.logprob);
    } else {
      w.null();
    }
    w.value(t.id);
    if (shown.logprob_text && tokenizer_ != nullptr) {
      w.value(token_text(tokenizer_, t.id));
    } else {
      w.null();
    }
    w.end_array();
  }

  void write_tokens(JsonWriter& w, const std::vector<PositionLogprobs>& positions, const Shown& shown) const {
    w.begin_array();
    for (const PositionLogprobs& p : positions) write_tuple(w, p.token, shown);
    w.end_array();
  }

  // For each position its list, or null where there is none: at a prompt's first token.
  void write_lists(JsonWriter& w, const std::vector<PositionLogprobs>& positions,
                   std::vector<TokenLogprob> PositionLogprobs::*list, const Shown& shown) const {
    w.begin_array();
    for (const PositionLogprobs& p : positions) {
      if ((p.*list).empty()) {
        w.null();
        continue;
      }
      w.begin_array();
      for (const TokenLogprob& t : p.*list) write_tuple(w, t, shown);
      w.end_array();
    }
    w.end_array();
  }

  std::vector<Shown> shown_;  ///< for each request
  const bool as_list_, incremental_, timed_;
  const Tokenizer* const tokenizer_;
  const Clock::time_point start_ = Clock::now();
  const double received_ts_ = unix_seconds();  ///< the same moment
  std::vector<size_t> first_sample_;
  std::vector<Sample> samples_;  ///< request-major
};

// ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::InvalidArgument, message); }

// Fields that would change the answer and are not served yet. null, false and empty ask for nothing.
void refuse_unsupported(const Fields& f) {
  for (std::string_view key : {"image_data", "video_data", "audio_data"}) {
    refuse_field(f, key, "media input is not supported yet");
  }
  refuse_field(f, "input_embeds", "input embeddings are not supported; send text or input_ids");
  refuse_field(f, "lora_path", "LoRA adapters are not supported yet");
  refuse_field(f, "return_hidden_states", "hidden states are not supported yet");
  refuse_field(f, "custom_logit_processor", "custom logit processors are not supported");
  refuse_field(f, "max_thinking_tokens", "a thinking budget is not supported yet");
  refuse_field(f, "require_reasoning",
               "a grammar begins with the text here; /v1/chat/completions lets the model think first");
}

// The field's value for each of `count` prompts, from one value for all or from a list of values. `read` reads one.
// Where a value is itself an array (token_ids_logprob), a list of them is known by the arrays in it.
template <typename T, typename Read>
std::vector<T> for_each_prompt(const Fields& f, std::string_view key, size_t count, T fallback, Read read,
                               bool value_is_array = false) {
  const Json* value = f.find(key);
  if (value == nullptr) return std::vector<T>(count, fallback);
  const bool is_list = value_is_array ? is_nested_array(*value) : value->is_array();
  if (!is_list) return std::vector<T>(count, read(*value, f.name(key)));
  if (value->size() != count) {
    refuse(fmt::format("{} has {} entries, but there are {} prompts; give one value for all, or one each", key,
                       value->size(), count));
  }
  std::vector<T> out;
  for (size_t i = 0; i < count; ++i) {
    const Json& item = (*value)[i];
    out.push_back(item.is_null() ? fallback : read(item, fmt::format("{}[{}]", f.name(key), i)));
  }
  return out;
}

}  // namespace

Call parse_generate(const Json& body, EngineApi& engine, const ServerOptions& options,
                    const std::shared_ptr<Sessions>& sessions) {
  const Fields f(body);
  refuse_unsupported(f);
  NativePrompts prompts = read_native_prompts(f);
  const size_t count = prompts.list.size();

  StreamFields stream{.stream_interval = options.stream_interval};
  const Json preferred = read_preferred_sampling(options.preferred_sampling_params);
  const auto read_sampling = [&](const Json& value, const std::string& name) {
    Json params = preferred;
    params.update(Fields(value, name).json());
    return read_sampling_params(Fields(params, name), stream);
  };
  const auto sampling = for_each_prompt<SamplingParams>(
      f, "sampling_params", count, read_sampling(Json::object(), "sampling_params"), read_sampling);
  const auto logprobs = for_each_prompt<bool>(f, "return_logprob", count, false, read_bool);
  const auto starts = for_each_prompt<int>(f, "logprob_start_len", count, -1, read_small_integer);
  const auto tops = for_each_prompt<int>(f, "top_logprobs_num", count, 0, read_small_integer);
  for (const int top : tops) {
    if (top < 0) refuse(fmt::format("top_logprobs_num must be at least 0, got {}", top));
  }
  const auto asked = for_each_prompt<std::vector<int32_t>>(f, "token_ids_logprob", count, {}, read_ids, true);
  const bool logprob_text = f.boolean("return_text_in_logprobs").value_or(false);
  const bool prompt_ids = f.boolean("return_prompt_token_ids").value_or(false);
  const std::string cache_namespace = read_cache_namespace(f);
  const int priority = read_priority(f);
  std::vector<std::string> rids = read_rids(f, count, prompts.is_list);

  for (const SamplingParams& s : sampling) {
    if (s.n != sampling[0].n) refuse("n must be the same for all prompts of a call");
  }
  check_samples(count, sampling[0].n);
  const std::optional<SessionTurn> turn = read_session_turn(f);
  if (turn && sessions == nullptr) refuse("session_params: only a server keeps sessions");
  if (turn && count * static_cast<size_t>(sampling[0].n) > 1) {
    refuse("session_params goes with one prompt and n = 1: a turn of a session is one request");
  }

  Call call;
  call.dialect = Dialect::Native;
  call.stream = f.boolean("stream").value_or(false);
  call.merge_pieces = true;
  call.stream_interval = stream.stream_interval;
  std::vector<Shown> shown;
  for (size_t i = 0; i < count; ++i) {
    Request& r = call.requests.emplace_back();
    r.rid = engine_rid(rids[i]);
    r.prompt = std::move(prompts.list[i]);
    r.sampling = sampling[i];
    r.return_logprob = logprobs[i];
    r.cache_namespace = cache_namespace;
    r.priority = priority;
    if (r.return_logprob) {
      r.logprob_start_len = starts[i];
      r.top_logprobs_num = tops[i];
      r.token_ids_logprob = asked[i];
    }
    Shown& s = shown.emplace_back();
    s.id = rids[i].empty() ? r.rid : rids[i];
    s.n = r.sampling.n;
    s.logprobs = r.return_logprob;
    s.top_logprobs = r.top_logprobs_num > 0;
    s.ids_logprobs = !r.token_ids_logprob.empty();
    s.logprob_text = logprob_text;
    if (turn) {
      const std::optional<int32_t> bos = engine.tokenizer() != nullptr ? engine.tokenizer()->bos_id() : std::nullopt;
      std::vector<int32_t> whole = sessions->prompt(*turn, engine.tokenize(r), bos);
      s.session.emplace(sessions, *turn, s.id, whole);
      r.prompt = std::move(whole);
    }
    if (prompt_ids) {
      s.prompt_token_ids = engine.tokenize(r);
      r.prompt = *s.prompt_token_ids;
    }
  }
  const bool as_list = prompts.is_list || sampling[0].n > 1;
  call.reply = std::make_unique<GenerateReply>(std::move(shown), as_list, options.incremental_streaming_output,
                                               options.enable_metrics, engine.tokenizer());
  return call;
}

}  // namespace sgl
