// An sgl or SGLang server, by its native API: POST /generate with the whole text each time; the server's radix cache
// makes that cheap. Choices are scored by log-probabilities of the prompt's end.

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "lang/api_client.h"
#include "lang/request_id.h"
#include "lang/score_border.h"
#include "sgl/program_backend.h"

namespace sgl::lang {
namespace {

Json sampling_params(const GenOptions& o) {
  Json p = {{"max_new_tokens", *o.max_tokens},
            {"min_new_tokens", *o.min_tokens},
            {"n", *o.n},
            {"stop", o.stop.items()},
            {"stop_token_ids", o.stop_token_ids},
            {"temperature", *o.temperature},
            {"top_p", *o.top_p},
            {"top_k", *o.top_k},
            {"min_p", *o.min_p},
            {"frequency_penalty", *o.frequency_penalty},
            {"presence_penalty", *o.presence_penalty},
            {"repetition_penalty", *o.repetition_penalty},
            {"ignore_eos", *o.ignore_eos}};
  if (!o.stop_regex.items().empty()) p["stop_regex"] = o.stop_regex.items();
  if (!o.regex.empty()) p["regex"] = o.regex;
  if (!o.json_schema.empty()) p["json_schema"] = o.json_schema;
  if (!o.ebnf.empty()) p["ebnf"] = o.ebnf;
  if (o.seed) p["sampling_seed"] = *o.seed;
  return p;
}

void add_prompt(Json& body, const Prompt& prompt) {
  body["text"] = prompt.text;
  if (prompt.images.size() == 1) body["image_data"] = prompt.images[0];
  if (prompt.images.size() > 1) body["image_data"] = prompt.images;
}

TokenScore read_score(const Json& tuple) {
  return {.logprob = tuple.at(0).is_null() ? std::nullopt : std::optional(tuple.at(0).get<double>()),
          .id = tuple.at(1).get<int32_t>()};
}

std::vector<TokenScore> read_scores(const Json& info, const char* key) {
  std::vector<TokenScore> out;
  const auto it = info.find(key);
  if (it == info.end() || !it->is_array()) return out;
  for (const Json& tuple : *it) out.push_back(read_score(tuple));
  return out;
}

Meta read_meta(const Json& info) {
  Meta meta;
  meta.rid = info.value("id", "");
  meta.prompt_tokens = info.value("prompt_tokens", 0);
  meta.completion_tokens = info.value("completion_tokens", 0);
  meta.cached_tokens = info.value("cached_tokens", 0);
  if (const auto finish = info.find("finish_reason"); finish != info.end() && finish->is_object()) {
    meta.finish_reason = finish->value("type", "");
    if (const auto matched = finish->find("matched"); matched != finish->end() && !matched->is_null()) {
      meta.matched = matched->is_string() ? matched->get<std::string>() : matched->dump();
    }
  }
  meta.input_token_logprobs = read_scores(info, "input_token_logprobs");
  meta.output_token_logprobs = read_scores(info, "output_token_logprobs");
  if (const auto tops = info.find("output_top_logprobs"); tops != info.end() && tops->is_array()) {
    for (const Json& position : *tops) {
      std::vector<TokenScore>& top = meta.output_top_logprobs.emplace_back();
      if (position.is_null()) continue;
      for (const Json& tuple : position) top.push_back(read_score(tuple));
    }
  }
  return meta;
}

/// An aborted request answers 200 in a stream.
std::optional<Error> abort_of(const Json& info, const std::string& rid) {
  const auto finish = info.find("finish_reason");
  if (finish == info.end() || !finish->is_object() || finish->value("type", "") != "abort") return std::nullopt;
  return Error(ErrorKind::Aborted, "the server ended the request: " + finish->value("message", ""),
               finish->value("status_code", 0), rid);
}

class RuntimeBackend final : public Backend {
 public:
  RuntimeBackend(std::string url, ApiOptions options);

  std::string name() const override { return "runtime " + api_->options().base_url; }
  Capabilities capabilities() const override { return capabilities_; }
  const ChatFormat& chat_format() const override { return format_; }
  void generate(GenerateCall call, GenerateSink sink) override;
  void score(ScoreCall call, ScoreSink sink) override;
  void commit_prefix(const Prompt& prompt, std::function<void()> done) override;
  bool flush_cache() override { return api_->raw("/flush_cache", true).status == 200; }
  std::string server_info() override { return api_->fetch("/server_info").dump(); }

 private:
  struct Scoring;
  std::optional<ChatFormat> derive_format();
  std::string render_tokens(Json request);
  void score_from(const std::shared_ptr<Scoring>& job, int prompt_tokens, int margin);
  void score_alone(const std::shared_ptr<Scoring>& job);

  std::shared_ptr<ApiClient> api_;
  Capabilities capabilities_;
  ChatFormat format_;
  bool incremental_ = false;  ///< events of streams hold new text only
};

std::vector<std::string> key_header(const std::string& key) {
  return key.empty() ? std::vector<std::string>{} : std::vector<std::string>{"Authorization: Bearer " + key};
}

RuntimeBackend::RuntimeBackend(std::string url, ApiOptions options) {
  while (url.ends_with('/')) url.pop_back();
  options.base_url = std::move(url);
  api_ = std::make_shared<ApiClient>(options, key_header(options.api_key));
  const Json model = api_->fetch("/get_model_info");
  const std::string path = model.value("model_path", "");
  Json info = Json::object();
  try {
    info = api_->fetch("/server_info");
  } catch (const Error&) {  // older servers have none; nothing depends on it
  }
  incremental_ = info.value("incremental_streaming_output", false);
  const bool grammars = !info.contains("grammar_backend") || info["grammar_backend"] != "none";
  capabilities_ = {.completion = true,
                   .chat = false,
                   .select = true,
                   .unconditional = true,
                   .regex = grammars,
                   .json_schema = grammars,
                   .ebnf = grammars,
                   .stop_regex = true,
                   .stop_token_ids = true,
                   .logprobs = true,
                   .images = model.value("has_image_understanding", false),
                   .videos = model.value("has_image_understanding", false),
                   .multiple = true,
                   .prefix_cache = true};
  if (!options.chat_template.empty()) {
    format_ = ChatFormat::named(options.chat_template);
  } else if (std::optional<ChatFormat> derived = derive_format()) {
    format_ = std::move(*derived);
  } else {
    format_ = ChatFormat::for_model(path);
  }
}

std::string RuntimeBackend::render_tokens(Json request) {
  request["model"] = "default";
  const Json tokens = api_->fetch("/tokenize", request);
  return api_
      ->fetch("/detokenize",
              Json{{"model", "default"}, {"tokens", tokens.at("tokens")}, {"skip_special_tokens", false}})
      .at("text")
      .get<std::string>();
}

/// The server renders conversations by tokenizing them, if it has that route.
std::optional<ChatFormat> RuntimeBackend::derive_format() {
  try {
    const std::string bos = render_tokens({{"prompt", ""}});
    return ChatFormat::derive(
        [&](const ChatPrompt& chat) -> std::optional<std::string> {
          Json messages = Json::array();
          for (const ChatMessage& m : chat.messages)
            messages.push_back({{"role", m.role}, {"content", m.parts.at(0).text}});
          return render_tokens({{"messages", std::move(messages)},
                                {"add_special_tokens", false},
                                {"add_generation_prompt", chat.add_generation_prompt}});
        },
        bos);
  } catch (const Error&) {
    return std::nullopt;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

void RuntimeBackend::generate(GenerateCall call, GenerateSink sink) {
  const GenOptions& o = call.options;
  const std::string rid = make_request_id();
  Json body;
  add_prompt(body, call.prompt);
  body["sampling_params"] = sampling_params(o);
  body["rid"] = rid;
  if (o.return_logprob.value_or(false)) body["return_logprob"] = true;
  if (o.logprob_start_len) body["logprob_start_len"] = *o.logprob_start_len;
  if (o.top_logprobs_num) body["top_logprobs_num"] = *o.top_logprobs_num;

  if (!sink.on_text) {
    api_->post(
        "/generate", std::move(body), std::move(call.stop),
        [sink, rid](Outcome<Json>&& answer) {
          Outcome<Generated> out{{}, std::move(answer.error)};
          if (!out.error) {
            const Json list =
                answer.value.is_array() ? std::move(answer.value) : Json::array({std::move(answer.value)});
            for (const Json& sample : list) out.value.texts.push_back(sample.at("text").get<std::string>());
            out.value.meta = read_meta(list.at(0).at("meta_info"));
            out.error = abort_of(list.at(0).at("meta_info"), rid);
          }
          sink.on_done(std::move(out));
        },
        rid);
    return;
  }
  body["stream"] = true;
  auto result = std::make_shared<Outcome<Generated>>();
  result->value.texts.emplace_back();
  api_->stream(
      "/generate", std::move(body), std::move(call.stop),
      [sink, result, rid, incremental = incremental_](const Json& event) {
        std::string& text = result->value.texts[0];
        const auto& all = event.at("text").get_ref<const std::string&>();
        const std::string piece = incremental ? all : all.substr(std::min(text.size(), all.size()));
        text += piece;
        result->value.meta = read_meta(event.at("meta_info"));
        result->error = abort_of(event.at("meta_info"), rid);
        if (!piece.empty()) sink.on_text(piece);
      },
      [sink, result](Outcome<Json>&& end) {
        if (end.error) result->error = std::move(end.error);
        sink.on_done(std::move(*result));
      },
      rid);
}

void RuntimeBackend::commit_prefix(const Prompt& prompt, std::function<void()> done) {
  Json body;
  add_prompt(body, prompt);
  body["sampling_params"] = {{"max_new_tokens", 0}};
  // Waited for: not every server lets a request wait for a prefix that another is computing.
  api_->post("/generate", std::move(body), {}, [done = std::move(done)](Outcome<Json>&&) { done(); });
}

// ── select ───────────────────────────────────────────────────────────────────────────────────────────────────────────

// 1. The prompt alone: fills the cache, and tells how many tokens it has.
// 2. Prompt and prompt + choice in one batch, with log-probabilities of the last few positions of the prompt and what
//    follows: where they begin to differ is where scores begin. If that is at the window's first entry, whose
//    log-probability some servers leave out, the window was too small.
// 3. If asked for, the scored ids alone.
struct RuntimeBackend::Scoring {
  ScoreCall call;
  ScoreSink sink;
  ChoiceScores scores;
};

void RuntimeBackend::score(ScoreCall call, ScoreSink sink) {
  auto job = std::make_shared<Scoring>();
  job->call = std::move(call);
  job->sink = std::move(sink);
  job->scores.choices = job->call.choices;
  constexpr int kMargin = 8;
  if (job->call.prompt.text.empty()) {
    score_from(job, 0, kMargin);
    return;
  }
  Json body;
  add_prompt(body, job->call.prompt);
  body["sampling_params"] = {{"max_new_tokens", 0}};
  api_->post("/generate", std::move(body), job->call.stop, [this, job](Outcome<Json>&& answer) {
    if (answer.error) {
      job->sink({{}, std::move(answer.error)});
      return;
    }
    score_from(job, answer.value.at("meta_info").at("prompt_tokens").get<int>(), kMargin);
  });
}

void RuntimeBackend::score_from(const std::shared_ptr<Scoring>& job, int prompt_tokens, int margin) {
  const int start = std::max(prompt_tokens - margin, 0);
  const std::string& prompt = job->call.prompt.text;
  Json texts = Json::array();
  if (!prompt.empty()) texts.push_back(prompt);
  for (const std::string& choice : job->call.choices) texts.push_back(prompt + choice);
  Json body{{"text", std::move(texts)},
            {"sampling_params", {{"max_new_tokens", 0}, {"temperature", 0}}},
            {"return_logprob", true},
            {"logprob_start_len", start}};
  if (const auto& images = job->call.prompt.images; !images.empty()) {
    const Json one = images.size() == 1 ? Json(images[0]) : Json(images);
    body["image_data"] = Json::array();
    for (size_t i = 0; i < body["text"].size(); ++i) body["image_data"].push_back(one);
  }
  api_->post(
      "/generate", std::move(body), job->call.stop, [this, job, start, prompt_tokens, margin](Outcome<Json>&& answer) {
        if (answer.error) {
          job->sink({{}, std::move(answer.error)});
          return;
        }
        std::vector<std::vector<TokenScore>> windows;
        std::vector<std::vector<int32_t>> ids;
        for (const Json& one : answer.value) {
          windows.push_back(read_scores(one.at("meta_info"), "input_token_logprobs"));
          std::vector<int32_t>& list = ids.emplace_back();
          for (const TokenScore& t : windows.back()) list.push_back(t.id);
        }
        std::vector<int32_t> prompt_ids;
        if (!job->call.prompt.text.empty()) {
          prompt_ids = std::move(ids.front());
          ids.erase(ids.begin());
          windows.erase(windows.begin());
        } else if (ids.size() > 1 && std::all_of(ids.begin(), ids.end(),
                                                 [&](const auto& l) { return !l.empty() && l[0] == ids[0][0]; })) {
          prompt_ids = {ids[0][0]};  // what the tokenizer puts before every text
        }
        size_t border = 0;
        try {
          border = score_border(prompt_ids, ids, job->call.choices);
        } catch (const Error& error) {
          job->sink({{}, error});
          return;
        }
        if (border == 0 && start > 0) {
          score_from(job, prompt_tokens, margin * 8);
          return;
        }
        for (size_t i = 0; i < ids.size(); ++i) {
          std::vector<double>& row = job->scores.tokens.emplace_back();
          for (size_t j = border; j < windows[i].size(); ++j) row.push_back(windows[i][j].logprob.value_or(0));
          job->scores.ids.emplace_back(ids[i].begin() + static_cast<std::ptrdiff_t>(border), ids[i].end());
        }
        if (job->call.unconditional)
          score_alone(job);
        else
          job->sink({std::move(job->scores), std::nullopt});
      });
}

void RuntimeBackend::score_alone(const std::shared_ptr<Scoring>& job) {
  Json body{{"input_ids", job->scores.ids},
            {"sampling_params", {{"max_new_tokens", 0}, {"temperature", 0}}},
            {"return_logprob", true},
            {"logprob_start_len", 0}};
  api_->post("/generate", std::move(body), job->call.stop, [job](Outcome<Json>&& answer) {
    if (!answer.error) {
      for (const Json& one : answer.value) {
        std::vector<double>& row = job->scores.unconditional.emplace_back();
        for (const TokenScore& t : read_scores(one.at("meta_info"), "input_token_logprobs"))
          row.push_back(t.logprob.value_or(0));
      }
    }
    job->sink({std::move(job->scores), std::move(answer.error)});
  });
}

}  // namespace
}  // namespace sgl::lang

namespace sgl {

std::shared_ptr<Backend> runtime(const std::string& url, ApiOptions options) {
  return std::make_shared<lang::RuntimeBackend>(url, std::move(options));
}

}  // namespace sgl
