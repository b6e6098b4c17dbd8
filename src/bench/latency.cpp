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

  double decode_seconds() const { return ended_at - all_begun_at; }
  double steps() const { return static_cast<double>(std::max<int64_t>(after.steps - before.steps, 1)); }
  Work work() const { return after.work - before.work; }

  std::vector<double> last;  ///< when each row had its last token
  std::vector<double> steps_ms;
  size_t batch, begun = 0, ended_rows = 0;
  double all_begun_at = 0, ended_at = 0;
  int64_t tokens_after = 0, computed = 0;
  std::string error;
  EngineStats before, after;  ///< taken by who waits
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
  watch->before = engine.stats();
  start = steady_seconds();
  for (size_t i = 0; i < prompts.size(); ++i) {
    submit(engine, prompts[i], output, "", [watch, i](Output&& piece) { watch->take(i, piece); });
  }
  for (size_t i = 0; i < waiting.size(); ++i) {
    submit(engine, waiting[i], output, fmt::format("{}{}", kWaitingRid, i), [](Output&& /*of no interest*/) {});
  }
  watch->ended.get_future().wait();
  if (!waiting.empty()) {
    watch->after = engine.stats();  // may lack the last step: those that wait now run at once
    engine.abort(kWaitingRid);
  }
  // The last pieces of a step come before what the step counted.
  const auto tokens = watch->error.empty() ? static_cast<int64_t>(prompts.size()) * output : 0;
  EngineStats idle = engine.stats();
  while (idle.running + idle.waiting > 0 || idle.generation_tokens < watch->before.generation_tokens + tokens) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    idle = engine.stats();
  }
  if (waiting.empty()) watch->after = idle;
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

double least_seconds(const Work& w, const Roofs& roofs) {
  return static_cast<double>(w.quantized_ops) / roofs.best_or_float(Arithmetic::Int8)->ops_s +
         static_cast<double>(w.bfloat16_ops) / roofs.best_or_float(Arithmetic::Bfloat16)->ops_s +
         static_cast<double>(w.float_ops) / roofs.best_or_float(Arithmetic::Float32)->ops_s;
}

int64_t latency_tokens(const LatencyCase& what, int page_size) {
  const int64_t pages = (what.input + what.output) / page_size + 2;
  return pages * page_size * what.batch + int64_t{2} * page_size * (what.cached_prefixes + 1) + int64_t{64} * page_size;
}

LatencyFigures measure_latency(EngineApi& engine, const LatencyCase& what, int repeat, Random& random,
                               RoofProbe* roofs) {
  std::vector<double> prefill, decode, first, steps, scheduling, read_gb_s, prefill_shares, decode_shares;
  engine.flush_cache(10);
  const std::vector<Ids> prefixes = fill_cache(engine, random, what.cached_prefixes);
  Roofs before = roofs == nullptr ? Roofs() : roofs->measure();
  for (int r = 0; r < repeat; ++r) {
    std::vector<Ids> prompts;
    for (int i = 0; i < what.batch; ++i) {
      prompts.push_back(random_ids(engine, random, what.input));
      if (prefixes.empty()) continue;
      const Ids& prefix = prefixes[random.below(prefixes.size())];
      std::copy_n(prefix.begin(), std::min(prefix.size(), prompts.back().size()), prompts.back().begin());
    }
    double start = 0;
    const std::shared_ptr<Watch> prompt = run_batch(engine, prompts, 1, start);
    const double prompt_seconds = prompt->all_begun_at - start;
    first.push_back(prompt_seconds * 1000);
    prefill.push_back(static_cast<double>(prompt->computed) / prompt_seconds);
    std::shared_ptr<Watch> answer;
    if (what.output >= 2) {
      std::vector<Ids> waiting;
      for (int i = 0; i < what.waiting; ++i) waiting.push_back(random_ids(engine, random, kPrefixTokens));
      answer = run_batch(engine, prompts, what.output, start, waiting);
      decode.push_back(static_cast<double>(answer->tokens_after) / answer->decode_seconds());
      steps.insert(steps.end(), answer->steps_ms.begin(), answer->steps_ms.end());
      scheduling.push_back((answer->after.scheduling_seconds - answer->before.scheduling_seconds) * 1e6 /
                           answer->steps());
    }
    if (roofs == nullptr) continue;
    const Roofs after = roofs->measure();
    const double least = (least_seconds(prompt->work(), before) + least_seconds(prompt->work(), after)) / 2;
    prefill_shares.push_back(least / prompt_seconds);
    const double roof = (before.read_bytes_s(0) + after.read_bytes_s(0)) / 2;
    read_gb_s.push_back(roof / 1e9);
    if (answer) {
      const double bytes_a_step = static_cast<double>(answer->work().weight_bytes) / answer->steps();
      decode_shares.push_back(bytes_a_step * (what.output - 1) / answer->decode_seconds() / roof);
    }
    before = after;
  }
  LatencyFigures f{.what = what,
                   .prefill_tok_s = summarize(std::move(prefill)),
                   .decode_tok_s = summarize(std::move(decode)),
                   .first_token_ms = summarize(std::move(first)),
                   .step_ms = summarize(std::move(steps)),
                   .scheduling_us = summarize(std::move(scheduling)),
                   .resident_bytes = resident_memory() - (roofs == nullptr ? 0 : roofs->bytes())};
  if (roofs != nullptr) {
    f.prefill_share = summarize(std::move(prefill_shares));
    f.read_gb_s = summarize(std::move(read_gb_s));
    if (!decode_shares.empty()) f.decode_share = summarize(std::move(decode_shares));
  }
  return f;
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
  out["scheduling_us"] = speed(f.scheduling_us);
  if (f.read_gb_s) out["machine_reads_gb_s"] = speed(*f.read_gb_s);
  if (f.prefill_share) out["prefill_share_of_units"] = speed(*f.prefill_share);
  if (f.decode_share) out["decode_share_of_reading"] = speed(*f.decode_share);
  out["resident_bytes"] = f.resident_bytes;
  return out;
}

}  // namespace sgl::bench
