#include "bench/latency.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/serving_report.h"
#include "sgl/error.h"

namespace sgl::bench {
namespace {

using Ids = std::vector<int32_t>;

constexpr int kPrefixTokens = 16;  // of each cached prefix
constexpr size_t kWave = 256;      // requests that fill the cache at once

Ids random_ids(EngineApi& engine, Random& random, int n) {
  const auto vocab = static_cast<uint64_t>(engine.info().vocab_size);
  Ids ids;
  while (static_cast<int>(ids.size()) < n) {
    const auto id = static_cast<int32_t>(random.below(vocab));
    if (engine.tokenizer() == nullptr || !engine.tokenizer()->is_special(id)) ids.push_back(id);
  }
  return ids;
}

/// What the scheduler's thread counts while a batch runs; read when `ended` is set.
struct Watch {
  explicit Watch(size_t size) : last(size), batch(size) {}

  void take(size_t row, const Output& output) {
    const double at = steady_seconds();
    if (!output.token_ids.empty()) {
      if (last[row] == 0 && ++begun == batch) all_begun_at = at;
      if (last[row] != 0) steps_ms.push_back((at - last[row]) * 1000);
      if (begun == batch && at > all_begun_at) tokens_after += static_cast<int64_t>(output.token_ids.size());
      last[row] = at;
    }
    if (output.finish.type == FinishReason::Type::Running) return;
    computed += output.prompt_tokens - output.cached_tokens;
    if (output.finish.type == FinishReason::Type::Abort) error = output.finish.message;
    ended_at = at;
    if (++ended_rows == batch) ended.set_value();
  }

  std::vector<double> last;  ///< when each row had its last token
  std::vector<double> steps_ms;
  size_t batch, begun = 0, ended_rows = 0;
  double all_begun_at = 0, ended_at = 0;
  int64_t tokens_after = 0, computed = 0;
  std::string error;
  std::promise<void> ended;
};

constexpr const char* kWaitingRid = "bench-waits-";

void submit(EngineApi& engine, Ids prompt, int output, std::string rid, OutputCallback on_output) {
  Request request;
  request.rid = std::move(rid);
  request.prompt = std::move(prompt);
  request.sampling.max_new_tokens = output;
  request.sampling.temperature = 0;
  request.sampling.ignore_eos = true;
  engine.submit(std::move(request), std::move(on_output));
}

/// Runs the prompts at once, and puts those of `waiting` into the queue behind them for as long. `start`: when the
/// first was submitted.
std::shared_ptr<Watch> run_batch(EngineApi& engine, const std::vector<Ids>& prompts, int output, double& start,
                                 const std::vector<Ids>& waiting = {}) {
  auto watch = std::make_shared<Watch>(prompts.size());
  start = steady_seconds();
  for (size_t i = 0; i < prompts.size(); ++i) {
    submit(engine, prompts[i], output, "", [watch, i](Output&& piece) { watch->take(i, piece); });
  }
  for (size_t i = 0; i < waiting.size(); ++i) {
    submit(engine, waiting[i], output, fmt::format("{}{}", kWaitingRid, i), [](Output&& /*of no interest*/) {});
  }
  watch->ended.get_future().wait();
  if (!waiting.empty()) {
    engine.abort(kWaitingRid);
    for (EngineStats s = engine.stats(); s.running + s.waiting > 0; s = engine.stats()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  if (!watch->error.empty()) throw Error(ErrorKind::Internal, "a request of the benchmark failed: " + watch->error);
  return watch;
}

std::vector<Ids> fill_cache(EngineApi& engine, Random& random, int count) {
  std::vector<Ids> prefixes;
  for (int i = 0; i < count; ++i) prefixes.push_back(random_ids(engine, random, kPrefixTokens));
  for (size_t at = 0; at < prefixes.size(); at += kWave) {
    std::vector<Ids> wave(prefixes.begin() + static_cast<std::ptrdiff_t>(at),
                          prefixes.begin() + static_cast<std::ptrdiff_t>(std::min(at + kWave, prefixes.size())));
    // A second token, since the last one's page is never cached.
    for (Ids& ids : wave) ids.push_back(ids[0]);
    double start = 0;
    run_batch(engine, wave, 1, start);
  }
  return prefixes;
}

nlohmann::ordered_json speed(const Summary& s) { return {{"p50", s.p50}, {"min", s.min}, {"max", s.max}}; }

}  // namespace

int64_t latency_tokens(const LatencyCase& what, int page_size) {
  const int64_t pages = (what.input + what.output) / page_size + 2;
  return pages * page_size * what.batch + int64_t{2} * page_size * (what.cached_prefixes + 1) + int64_t{64} * page_size;
}

LatencyFigures measure_latency(EngineApi& engine, const LatencyCase& what, int repeat, Random& random) {
  std::vector<double> prefill, decode, first, steps;
  engine.flush_cache(10);
  const std::vector<Ids> prefixes = fill_cache(engine, random, what.cached_prefixes);
  for (int r = 0; r < repeat; ++r) {
    std::vector<Ids> prompts;
    for (int i = 0; i < what.batch; ++i) {
      prompts.push_back(random_ids(engine, random, what.input));
      if (prefixes.empty()) continue;
      const Ids& prefix = prefixes[random.below(prefixes.size())];
      std::copy_n(prefix.begin(), std::min(prefix.size(), prompts.back().size()), prompts.back().begin());
    }
    double start = 0;
    std::shared_ptr<Watch> watch = run_batch(engine, prompts, 1, start);
    first.push_back((watch->all_begun_at - start) * 1000);
    prefill.push_back(static_cast<double>(watch->computed) / (watch->all_begun_at - start));
    if (what.output < 2) continue;
    std::vector<Ids> waiting;
    for (int i = 0; i < what.waiting; ++i) waiting.push_back(random_ids(engine, random, kPrefixTokens));
    watch = run_batch(engine, prompts, what.output, start, waiting);
    decode.push_back(static_cast<double>(watch->tokens_after) / (watch->ended_at - watch->all_begun_at));
    steps.insert(steps.end(), watch->steps_ms.begin(), watch->steps_ms.end());
  }
  return {.what = what,
          .prefill_tok_s = summarize(std::move(prefill)),
          .decode_tok_s = summarize(std::move(decode)),
          .first_token_ms = summarize(std::move(first)),
          .step_ms = summarize(std::move(steps)),
          .resident_bytes = resident_memory()};
}

nlohmann::ordered_json to_json(const LatencyFigures& f) {
  nlohmann::ordered_json out;
  out["batch"] = f.what.batch;
  out["input"] = f.what.input;
  out["output"] = f.what.output;
  out["cached_prefixes"] = f.what.cached_prefixes;
  out["waiting"] = f.what.waiting;
  out["prefill_tok_s"] = speed(f.prefill_tok_s);
  out["decode_tok_s"] = speed(f.decode_tok_s);
  out["first_token_ms"] = speed(f.first_token_ms);
  out["step_ms"] = to_json(f.step_ms);
  out["resident_bytes"] = f.resident_bytes;
  return out;
}

}  // namespace sgl::bench
