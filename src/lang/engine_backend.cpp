// The engine in this process: texts go in as they are, choices are scored by token ids in one batch, and branches share
// what the radix cache holds. Pieces come on the scheduler's thread and are handed to a worker. What a call reports to
// owns the program, and with it perhaps this backend and its engine, so the worker must be the one to let go of it: on
// the scheduler's thread the engine would wait for itself.

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "lang/callback_thread.h"
#include "lang/request_id.h"
#include "lang/score_border.h"
#include "lang/worker.h"
#include "sgl/engine.h"
#include "sgl/program_backend.h"
#include "sgl/program_json.h"

namespace sgl::lang {
namespace {

using Type = FinishReason::Type;

SamplingParams sampling_of(const GenOptions& o) {
  SamplingParams p;
  p.max_new_tokens = o.max_tokens;
  p.min_new_tokens = o.min_tokens.value_or(0);
  p.stop = o.stop.items();
  p.stop_regex = o.stop_regex.items();
  p.stop_token_ids = o.stop_token_ids;
  p.ignore_eos = o.ignore_eos.value_or(false);
  p.temperature = static_cast<float>(o.temperature.value_or(1));
  p.top_p = static_cast<float>(o.top_p.value_or(1));
  p.top_k = o.top_k.value_or(-1);
  p.min_p = static_cast<float>(o.min_p.value_or(0));
  p.frequency_penalty = static_cast<float>(o.frequency_penalty.value_or(0));
  p.presence_penalty = static_cast<float>(o.presence_penalty.value_or(0));
  p.repetition_penalty = static_cast<float>(o.repetition_penalty.value_or(1));
  p.seed = o.seed;
  p.n = o.n.value_or(1);
  p.regex = o.regex;
  p.json_schema = o.json_schema;
  p.ebnf = o.ebnf;
  return p;
}

TokenScore score_of(const TokenLogprob& t) { return {.logprob = t.logprob, .id = t.id}; }

void add_meta(Meta& meta, const Output& piece) {
  meta.rid = piece.rid;
  meta.prompt_tokens = piece.prompt_tokens;
  meta.completion_tokens = piece.completion_tokens;
  meta.cached_tokens = piece.cached_tokens;
  for (const PositionLogprobs& p : piece.prompt_logprobs) meta.input_token_logprobs.push_back(score_of(p.token));
  for (const PositionLogprobs& p : piece.logprobs) {
    meta.output_token_logprobs.push_back(score_of(p.token));
    if (p.top.empty()) continue;
    std::vector<TokenScore>& top = meta.output_top_logprobs.emplace_back();
    for (const TokenLogprob& t : p.top) top.push_back(score_of(t));
  }
  meta.finish_reason = piece.finish.type == Type::Stop ? "stop" : piece.finish.type == Type::Length ? "length" : "";
  if (const auto* text = std::get_if<std::string>(&piece.finish.matched)) meta.matched = *text;
  if (const auto* id = std::get_if<int32_t>(&piece.finish.matched)) meta.matched = std::to_string(*id);
}

/// Aborts the requests of a call when its program gives up. They come back within a step of the model.
struct Abort {
  std::shared_ptr<Engine> engine;
  std::string rid;
  void operator()() const { engine->abort(rid); }
};
using AbortOnStop = std::optional<std::stop_callback<Abort>>;

class EngineBackend final : public Backend {
 public:
  explicit EngineBackend(std::shared_ptr<Engine> engine)
      : owned_(std::make_shared<Owned>(std::move(engine))), engine_(owned_->engine), worker_(owned_->worker) {
    if (engine_->tokenizer() == nullptr) {
      throw Error(ErrorKind::InvalidArgument,
                  "programs work on text: the engine must not be loaded with skip_tokenizer_init");
    }
    format_ = find_format();
    Endings::all();
  }
  ~EngineBackend() override {
    engine_.reset();
    worker_.reset();
    destroy_owner(std::move(owned_));
  }

  std::string name() const override { return "engine " + engine_->info().served_model_name; }
  Capabilities capabilities() const override {
    const bool grammars = engine_->info().has_grammars;
    return {.completion = true,
            .chat = false,
            .select = true,
            .unconditional = true,
            .regex = grammars,
            .json_schema = grammars,
            .ebnf = grammars,
            .stop_regex = true,
            .stop_token_ids = true,
            .logprobs = true,
            .multiple = true,
            .prefix_cache = !engine_->options().disable_radix_cache};
  }
  const ChatFormat& chat_format() const override { return format_; }

  void generate(GenerateCall call, GenerateSink sink) override;
  void score(ScoreCall call, ScoreSink sink) override;
  void commit_prefix(const Prompt& prompt, std::function<void()> done) override;
  bool flush_cache() override { return engine_->flush_cache(10); }
  std::string server_info() override;

 private:
  // In this order: the engine ends its requests, then the worker hands over what came of them.
  struct Owned {
    explicit Owned(std::shared_ptr<Engine> e) : worker(std::make_shared<Worker>()), engine(std::move(e)) {}
    std::shared_ptr<Worker> worker;
    std::shared_ptr<Engine> engine;
  };

  ChatFormat find_format() const {
    const ModelInfo& info = engine_->info();
    if (info.has_chat_template) {
      const Tokenizer& tokenizer = *engine_->tokenizer();
      std::string bos;
      const std::optional<int32_t> id = tokenizer.bos_id();
      const std::vector<int32_t> empty = tokenizer.encode("");
      if (id && std::find(empty.begin(), empty.end(), *id) != empty.end()) bos = tokenizer.token(*id);
      auto render = [&](const ChatPrompt& chat) { return std::optional(engine_->render_chat(chat)); };
      if (std::optional<ChatFormat> derived = ChatFormat::derive(render, bos)) return *derived;
    }
    return ChatFormat::for_model(info.model_path);
  }

  /// Sends the ids and calls `done(scores)` on the worker.
  void score_ids(std::vector<std::vector<int32_t>> ids, size_t start, const std::stop_token& stop,
                 std::function<void(Outcome<std::vector<std::vector<double>>>&&)> done);

  std::shared_ptr<Owned> owned_;
  std::shared_ptr<Engine> engine_;
  std::shared_ptr<Worker> worker_;
  ChatFormat format_;
};

void EngineBackend::generate(GenerateCall call, GenerateSink sink) {
  struct Job {
    GenerateSink sink;
    Outcome<Generated> out;
    int left;
    std::shared_ptr<void> stay = Endings::all().hold();
    AbortOnStop abort;  // set after the request is in: registered before the worker sees its end
    std::mutex mutex;
  };
  auto job = std::make_shared<Job>();
  job->sink = std::move(sink);
  job->left = call.options.n.value_or(1);
  job->out.value.texts.resize(static_cast<size_t>(job->left));

  Request request;
  request.rid = make_request_id();
  request.prompt = std::move(call.prompt.text);
  request.sampling = sampling_of(call.options);
  request.return_logprob = call.options.return_logprob.value_or(false);
  request.logprob_start_len = call.options.logprob_start_len.value_or(-1);
  request.top_logprobs_num = call.options.top_logprobs_num.value_or(0);
  const std::string rid = request.rid;

  auto on_piece = [job](const Output& piece) {
    const auto index = static_cast<size_t>(piece.index);
    job->out.value.texts[index] += piece.text;
    if (index == 0) add_meta(job->out.value.meta, piece);
    if (job->sink.on_text && !piece.text.empty()) job->sink.on_text(piece.text);
    if (piece.finish.type == Type::Running) return;
    if (piece.finish.type == Type::Abort) {
      job->out.error = Error(ErrorKind::Aborted, "the engine ended the request: " + piece.finish.message,
                             piece.finish.status, piece.rid);
    }
    if (--job->left > 0) return;
    {
      std::lock_guard lock(job->mutex);
      job->abort.reset();
    }
    const std::shared_ptr<void> stay = std::move(job->stay);  // goes after the program
    const GenerateSink last = std::move(job->sink);           // the scheduler's thread may hold the job longer
    last.on_done(std::move(job->out));
  };
  std::lock_guard lock(job->mutex);  // the end waits until the abort is registered
  engine_->submit(std::move(request), [worker = worker_, on_piece](Output&& piece) {
    worker->post([on_piece, piece = std::move(piece)] { on_piece(piece); });
  });
  job->abort.emplace(call.stop, Abort{engine_, rid});
}

void EngineBackend::score_ids(std::vector<std::vector<int32_t>> ids, size_t start, const std::stop_token& stop,
                              std::function<void(Outcome<std::vector<std::vector<double>>>&&)> done) {
  struct Job {
    std::function<void(Outcome<std::vector<std::vector<double>>>&&)> done;
    Outcome<std::vector<std::vector<double>>> out;
    size_t left;
    std::shared_ptr<void> stay = Endings::all().hold();
    AbortOnStop abort;
    std::mutex mutex;
  };
  auto job = std::make_shared<Job>();
  job->done = std::move(done);
  job->left = ids.size();
  job->out.value.resize(ids.size());
  const std::string rid = make_request_id();
  auto on_piece = [job](size_t i, const Output& piece) {
    for (const PositionLogprobs& p : piece.prompt_logprobs) {
      job->out.value[i].push_back(p.token.logprob.value_or(0.0F));  // nothing stands before the first: no evidence
    }
    if (piece.finish.type == Type::Running) return;
    if (piece.finish.type == Type::Abort) {
      job->out.error = Error(ErrorKind::Aborted, "the engine ended the request: " + piece.finish.message,
                             piece.finish.status, piece.rid);
    }
    if (--job->left > 0) return;
    {
      std::lock_guard lock(job->mutex);
      job->abort.reset();
    }
    const std::shared_ptr<void> stay = std::move(job->stay);
    const auto last = std::move(job->done);
    last(std::move(job->out));
  };
  std::lock_guard lock(job->mutex);
  size_t sent = 0;
  try {
    for (; sent < ids.size(); ++sent) {
      Request request;
      request.rid = fmt::format("{}_{}", rid, sent);  // an abort of `rid` ends them all
      request.prompt = std::move(ids[sent]);
      request.sampling.max_new_tokens = 0;
      request.sampling.temperature = 0;
      request.return_logprob = true;
      request.logprob_start_len = static_cast<int>(start);
      engine_->submit(std::move(request), [worker = worker_, on_piece, i = sent](Output&& piece) {
        worker->post([on_piece, i, piece = std::move(piece)] { on_piece(i, piece); });
      });
    }
  } catch (const Error& error) {
    if (sent == 0) throw;                                     // nothing is under way
    worker_->post([job, error, unsent = ids.size() - sent] {  // the others end first
      job->out.error = error;
      job->left -= unsent;
      if (job->left > 0) return;
      const std::shared_ptr<void> stay = std::move(job->stay);
      const auto last = std::move(job->done);
      last(std::move(job->out));
    });
  }
  job->abort.emplace(stop, Abort{engine_, rid});
}

void EngineBackend::score(ScoreCall call, ScoreSink sink) {
  auto tokens_of = [&](std::string text) {
    Request request;
    request.prompt = std::move(text);
    return engine_->tokenize(request);
  };
  const std::vector<int32_t> prompt = tokens_of(call.prompt.text);
  std::vector<std::vector<int32_t>> ids;
  for (const std::string& choice : call.choices) ids.push_back(tokens_of(call.prompt.text + choice));
  const size_t border = score_border(prompt, ids, call.choices);

  auto scores = std::make_shared<ChoiceScores>();
  scores->choices = std::move(call.choices);
  for (const std::vector<int32_t>& all : ids)
    scores->ids.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(border), all.end());
  auto finish = [scores, sink](std::optional<Error> error) { sink({std::move(*scores), std::move(error)}); };
  score_ids(std::move(ids), border, call.stop,
            [this, scores, finish, unconditional = call.unconditional, stop = call.stop](auto&& tokens) {
              scores->tokens = std::move(tokens.value);
              if (tokens.error || !unconditional) {
                finish(std::move(tokens.error));
                return;
              }
              try {
                score_ids(scores->ids, 0, stop, [scores, finish](auto&& alone) {
                  scores->unconditional = std::move(alone.value);
                  finish(std::move(alone.error));
                });
              } catch (const Error& error) {
                finish(error);
              }
            });
}

void EngineBackend::commit_prefix(const Prompt& prompt, std::function<void()> done) {
  // Not waited for: a request whose prefix is being computed waits for it in the scheduler.
  Request request;
  request.prompt = prompt.text;
  request.sampling.max_new_tokens = 0;
  try {
    engine_->submit(std::move(request), [](Output&&) {});
  } catch (const Error&) {  // a hint: the calls that follow will say what is wrong
  }
  done();
}

std::string EngineBackend::server_info() {
  const ModelInfo& info = engine_->info();
  const EngineStats s = engine_->stats();
  return fmt::format(
      R"({{"model_path":{},"context_length":{},"prompt_tokens":{},"cached_tokens":{},"generation_tokens":{}}})",
      json_quote(info.model_path), info.context_length, s.prompt_tokens, s.cached_tokens, s.generation_tokens);
}

}  // namespace
}  // namespace sgl::lang

namespace sgl {

std::shared_ptr<Backend> engine(EngineOptions options) { return engine(std::make_shared<Engine>(std::move(options))); }
std::shared_ptr<Backend> engine(std::shared_ptr<Engine> engine) {
  return std::make_shared<lang::EngineBackend>(std::move(engine));
}

}  // namespace sgl
