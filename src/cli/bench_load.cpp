// sgl bench throughput and sgl bench serving: workloads for the engine in this process, or for a server.

#include <charconv>
#include <limits>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/log.h"
#include "bench/bench.h"
#include "cli/bench.h"
#include "cli/flags.h"

namespace sgl::cli {
namespace {

using sgl::bench::LoadOptions;
using sgl::bench::WorkloadShape;

constexpr int kMaxInt = std::numeric_limits<int>::max();

/// What the flags change about the named workloads.
struct Changes {
  std::string workloads = "random";
  std::string rates;
  std::optional<int> sessions, concurrency, prefix, input, output, turns;
};

std::string workload_help() {
  std::string out = "what to send, names with commas between: ";
  for (const WorkloadShape& s : sgl::bench::workload_shapes()) out += fmt::format("{}: {}; ", s.name, s.about);
  return out + "(default: random)";
}

void add_load_flags(Flags& f, Changes& c, LoadOptions& o) {
  f.group("Workload");
  f.text("--workload", c.workloads, "NAME,…", workload_help());
  f.integer("--requests", c.sessions, 1, kMaxInt, "how many, or conversations (default: the workload's)");
  f.integer("--concurrency", c.concurrency, 1, 65536, "at once (default: the workload's)");
  f.text("--request-rate", c.rates, "X,…",
         "arrivals a second, at random times (a Poisson process) whether the server keeps up or not; each is a run of "
         "its own; inf: --concurrency decides (default: inf)");
  f.integer("--input-len", c.input, 1, kMaxInt,
            "words, which are about tokens, of each prompt (default: the workload's)");
  f.integer("--output-len", c.output, 1, kMaxInt, "tokens of each answer (default: the workload's)");
  f.integer("--prefix-len", c.prefix, 0, kMaxInt, "words that all prompts begin with (default: the workload's)");
  f.integer("--turns", c.turns, 1, kMaxInt, "of each conversation (default: the workload's)");
  f.integer("--seed", o.seed, 0, kMaxInt, "of texts and arrivals; each run takes the next (default: 1)");
  f.group("Goodput: answers a second that keep all limits given");
  f.number("--slo-ttft-ms", o.slo.ttft_ms, 0, 1e9, "time to the first token");
  f.number("--slo-itl-ms", o.slo.itl_ms, 0, 1e9, "time between tokens, kept by 99 % of an answer's");
  f.number("--slo-tpot-ms", o.slo.tpot_ms, 0, 1e9, "mean time between an answer's tokens");
  f.number("--slo-e2e-ms", o.slo.e2e_ms, 0, 1e9, "time to the end of the answer");
  f.group("Output");
  f.text("--json", o.json_file, "FILE", "where a JSON document goes (default: nowhere)");
  f.toggle("--details", o.details, "put every answer's times into it");
}

void apply(const Changes& c, LoadOptions& o) {
  for (const std::string& name : name_list("--workload", c.workloads)) {
    WorkloadShape shape;
    try {
      shape = sgl::bench::workload_shape(name);
    } catch (const Error& e) {
      throw UsageError(std::string("--workload: ") + e.what());
    }
    shape.sessions = c.sessions.value_or(shape.sessions);
    shape.concurrency = c.concurrency.value_or(shape.concurrency);
    shape.prefix = c.prefix.value_or(shape.prefix);
    shape.turns = c.turns.value_or(shape.turns);
    if (c.input) shape.input = {.mean = static_cast<double>(*c.input)};
    if (c.output) shape.output = {.mean = static_cast<double>(*c.output)};
    o.workloads.push_back(std::move(shape));
  }
  if (c.rates.empty()) return;
  o.rates.clear();
  for (const std::string& text : name_list("--request-rate", c.rates)) {
    double rate = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rate);
    if (error != std::errc() || end != text.data() + text.size() || !(rate > 0)) {
      throw UsageError(fmt::format("--request-rate: expected positive numbers or inf, got '{}'", text));
    }
    o.rates.push_back(rate == std::numeric_limits<double>::infinity() ? std::nullopt : std::optional(rate));
  }
}

}  // namespace

int bench_throughput(const std::vector<std::string>& arguments, World& world) {
  EngineOptions engine;
  Changes changes;
  LoadOptions o;
  std::string log_level;
  Flags f("bench throughput", "sgl bench throughput [--model-path MODEL] [--workload NAME,…] [FLAGS]",
          "Sends a workload through the engine in this process, without HTTP, as one program would that has all its "
          "prompts at hand.");
  add_load_flags(f, changes, o);
  add_model_flags(f, engine);
  add_compute_flags(f, engine);
  add_scheduler_flags(f, engine);
  f.group("Logging");
  add_log_level(f, log_level, "warn");
  if (!f.parse(arguments, world.out, world.columns)) return 0;
  log::init(log_level);
  apply(changes, o);
  engine.decode_log_interval = 0;
  return sgl::bench::run_throughput(*world.load(engine), o, world.out);
}

int bench_serving(const std::vector<std::string>& arguments, World& world) {
  Changes changes;
  LoadOptions o;
  sgl::bench::Target target{.url = "http://127.0.0.1:30000", .api_key = "", .model = ""};
  std::string api = "completions";
  Flags f(
      "bench serving", "sgl bench serving [--url URL] [--workload NAME,…] [FLAGS]",
      "Sends a workload to any server that speaks OpenAI's API (this one, llama-server, vLLM, SGLang, …) and measures "
      "what its clients see. Prompts are seeded, so every server gets the same ones. TTFT: time to the first token; "
      "ITL: time between two tokens; TPOT: its mean over an answer; E2E: time of the whole answer. The columns "
      "prefill and decode are a request's own speeds: the server's, where requests come one at a time.");
  f.group("Server");
  f.text("--url", target.url, "URL", "http://HOST:PORT, without /v1 (default: http://127.0.0.1:30000)");
  f.text("--model", target.model, "NAME", "the model to ask for (default: the first that the server lists)");
  f.text("--api-key", target.api_key, "KEY", "sent as a bearer token (default: none)");
  f.choice("--api", api, {"completions", "chat"}, "which route under /v1 (default: completions)");
  f.number("--timeout", target.timeout_s, 0, 1e6, "seconds for one request (default: 600)");
  add_load_flags(f, changes, o);
  if (!f.parse(arguments, world.out, world.columns)) return 0;
  target.chat = api == "chat";
  apply(changes, o);
  return sgl::bench::run_serving(target, o, world.out);
}

}  // namespace sgl::cli
