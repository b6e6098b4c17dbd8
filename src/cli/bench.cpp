// sgl bench: which benchmark, and those of the engine without a server.

#include "cli/bench.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/log.h"
#include "bench/bench.h"
#include "cli/cli.h"
#include "cli/flags.h"

namespace sgl::cli {
namespace {

constexpr int kMaxInt = std::numeric_limits<int>::max();

constexpr const char* kHelp = R"(usage: sgl bench BENCHMARK [FLAGS]

Measures this machine, the engine, or a server.

Benchmarks:
  ops         each operation of the CPU backend, or those that decide on a GPU, beside what it could do at best
  latency     one batch through the engine in this process: prefill and decode speed
  throughput  many requests through the engine in this process
  serving     many requests to a server that speaks OpenAI's API, this one or another

  sgl bench BENCHMARK --help      the benchmark's flags

Each prints a table, and writes JSON to the file that --json names. Try:

  sgl bench ops --op linear --filter m16
  sgl bench latency --batch-size 1,16 --input-len 512 --output-len 128
  sgl bench serving --url http://127.0.0.1:30000 --workload random,shared-prefix
)";

struct Benchmark {
  const char* name;
  int (*run)(const std::vector<std::string>&, World&);
};
constexpr Benchmark kBenchmarks[] = {
    {"ops", bench_ops}, {"latency", bench_latency}, {"throughput", bench_throughput}, {"serving", bench_serving}};

}  // namespace

int bench(const std::vector<std::string>& arguments, World& world) {
  if (arguments.empty()) {
    throw UsageError("a benchmark is missing: ops, latency, throughput or serving; sgl bench --help says more");
  }
  const std::string& first = arguments[0];
  if (first == "--help" || first == "-h") {
    world.out << kHelp;
    return 0;
  }
  std::vector<std::string> names;
  for (const Benchmark& b : kBenchmarks) {
    if (first == b.name) return b.run({arguments.begin() + 1, arguments.end()}, world);
    names.emplace_back(b.name);
  }
  const std::string near = nearest(first, names);
  throw UsageError(fmt::format("unknown benchmark '{}'{}; sgl bench --help lists them", first,
                               near.empty() ? "" : fmt::format(", did you mean {}?", near)));
}

std::vector<std::string> name_list(const std::string& flag, const std::string& text) {
  std::vector<std::string> names;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    names.push_back(text.substr(at, comma - at));
    if (names.back().empty())
      throw UsageError(fmt::format("{}: expected values with commas between, got '{}'", flag, text));
    at = comma + 1;
  }
  return names;
}

std::vector<int> integer_list(const std::string& flag, const std::string& text, int64_t min, int64_t max) {
  std::vector<int> out;
  for (const std::string& name : name_list(flag, text)) {
    int64_t n = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), n);
    if (error != std::errc() || end != name.data() + name.size() || n < min || n > max) {
      throw UsageError(
          fmt::format("{}: expected integers in [{}, {}] with commas between, got '{}'", flag, min, max, text));
    }
    out.push_back(static_cast<int>(n));
  }
  return out;
}

int bench_ops(const std::vector<std::string>& arguments, World& world) {
  sgl::bench::OpsOptions o;
  Flags f(
      "bench ops", "sgl bench ops [--op OP] [--filter TEXT] [FLAGS]",
      "Times every operation of the CPU backend with the shapes of real models. First it measures the machine's roofs: "
      "how fast it reads from its caches and its memory, and how fast each of its units multiplies. Each line gives "
      "the share of them that the operation reaches; weights go through enough copies to come from memory. "
      "SGL_CPU_ISA chooses the instruction set of the operations, not of the roofs. With --device cuda: the products, "
      "attention, norms and sampling of Llama-3-8B's shape, beside a copy of the GPU's memory and a product of 8192 x "
      "8192 x 8192; a time of a few microseconds can be what the host takes to start the operation.");
  f.group("What to run");
  f.text("--op", o.op, "OP", "this operation only: linear, attention, rms_norm, … (default: all)");
  f.text("--filter", o.filter, "TEXT", "cases with this in their name only (default: all)");
  f.number("--seconds", o.seconds, 0, 3600, "time for each case (default: 0.1)");
  f.choice("--device", o.device, {"cpu", "cuda"}, "cuda: an NVIDIA GPU, in builds with CUDA (default: cpu)");
  f.choice("--quantization", o.quantization, {"fp8", "int8", "int4"},
           "on cuda, quantize the matrices of the products, but for the head's and the roof's (default: leave them)");
  f.integer("--threads", o.threads, 0, 4096, "compute threads; 0: as the machine suggests (default: 0)");
  f.text("--json", o.json_file, "FILE", "where a JSON document goes (default: nowhere)");
  if (!f.parse(arguments, world.out, world.columns)) return 0;
  if (!o.quantization.empty() && o.device == "cpu") {
    throw UsageError("--quantization is for --device cuda; the cases of cpu have weights of every format");
  }
  return sgl::bench::run_ops(o, world.out);
}

int bench_latency(const std::vector<std::string>& arguments, World& world) {
  EngineOptions engine;
  sgl::bench::LatencyOptions o;
  std::vector<int> batches = {1, 16}, inputs = {512}, outputs = {128}, prefixes = {0}, waiting = {0};
  std::string log_level;
  Flags f("bench latency", "sgl bench latency [--model-path MODEL] [--batch-size 1,16] [FLAGS]",
          "Computes one batch at a time with the engine in this process, and says how fast its prompts and then its "
          "answers are computed: medians over the repetitions. With lists of values every combination is measured.");
  f.group("Batches");
  auto list = [&](const char* flag, std::vector<int>& to, int min, int max, const std::string& help) {
    f.text_to(
        flag, [&to, flag, min, max](const std::string& s) { to = integer_list(flag, s, min, max); }, "N,…", help);
  };
  list("--batch-size", batches, 1, 16384, "requests that are computed together (default: 1,16)");
  list("--input-len", inputs, 1, kMaxInt, "tokens of each prompt (default: 512)");
  list("--output-len", outputs, 1, kMaxInt, "tokens of each answer (default: 128)");
  list("--cached-prefixes", prefixes, 0, 1 << 24,
       "other prompts of 16 tokens that the prefix cache holds; each prompt begins with one of them (default: 0)");
  list("--waiting-requests", waiting, 0, 1 << 20,
       "other requests that wait in the queue while the answers of the largest batch are made (default: 0)");
  f.toggle("--roofs", o.roofs,
           "on the cpu device, also measure, between the repetitions, how fast the machine reads as much memory as the "
           "model has weights and how fast it multiplies; give the shares of these that decode and prefill reach");
  f.integer("--repeat", o.repeat, 1, 1 << 20, "times that each is measured (default: 3)");
  f.integer("--seed", o.seed, 0, kMaxInt, "of the prompts (default: 1)");
  f.text("--json", o.json_file, "FILE", "where a JSON document goes (default: nowhere)");
  add_model_flags(f, engine);
  add_compute_flags(f, engine);
  add_scheduler_flags(f, engine);
  f.group("Logging");
  add_log_level(f, log_level, "warn");
  if (!f.parse(arguments, world.out, world.columns)) return 0;
  log::init(log_level);
  if (o.roofs && engine.device == "cuda") {
    throw UsageError("--roofs measures the processor, and --device is cuda; leave one of them out");
  }

  int64_t tokens = 0;
  for (int p : prefixes) {
    for (int w : waiting) {
      for (int b : batches) {
        for (int in : inputs) {
          for (int out : outputs) {
            o.cases.push_back({.batch = b, .input = in, .output = out, .cached_prefixes = p, .waiting = w});
            tokens = std::max(tokens, sgl::bench::latency_tokens(o.cases.back(), engine.page_size));
          }
        }
      }
    }
  }
  if (!engine.max_total_tokens) engine.max_total_tokens = tokens;
  if (engine.max_running_requests == 0) engine.max_running_requests = *std::max_element(batches.begin(), batches.end());
  engine.max_queued_requests += *std::max_element(waiting.begin(), waiting.end());
  engine.decode_log_interval = 0;
  return sgl::bench::run_latency(*world.load(engine), o, world.out);
}

}  // namespace sgl::cli
