// What programs cost, and what they gain. Not a test: prints a table.
//
//   program_bench overhead              the language alone, on a backend that does nothing
//   program_bench sharing [MODEL [NAME]]   programs with shared prefixes against the same requests without a prefix
//                                          cache; NAME: only those whose names begin so

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "sgl/program.h"

using namespace sgl;
using Clock = std::chrono::steady_clock;

namespace {

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

class NullBackend final : public Backend {
 public:
  std::string name() const override { return "null"; }
  Capabilities capabilities() const override { return {}; }
  const ChatFormat& chat_format() const override { return format_; }
  void generate(GenerateCall, GenerateSink sink) override { sink.on_done({{.texts = {"x"}}, {}}); }

 private:
  const ChatFormat format_ = ChatFormat::named("default");
};

double resident_mb() {
  std::ifstream in("/proc/self/statm");
  double size = 0, resident = 0;
  in >> size >> resident;
  return resident * 4096 / 1e6;
}

void overhead() {
  const RunOptions options{.backend = std::make_shared<NullBackend>()};
  std::vector<double> times;
  for (int i = 0; i < 500; ++i) {
    const auto start = Clock::now();
    run_with(options, [](State& s) {
      for (int g = 0; g < 10; ++g) {
        for (int c = 0; c < 100; ++c) s += "a constant ";
        s += gen("x");
      }
    }).sync();
    times.push_back(milliseconds_since(start));
  }
  std::sort(times.begin(), times.end());
  std::printf("1,000 constants and 10 gens: %.3f ms (median of %zu), %.3f ms (best)\n", times[times.size() / 2],
              times.size(), times[0]);

  const double before = resident_mb();
  std::vector<Run<void>> live;
  for (int i = 0; i < 10'000; ++i) {
    live.push_back(
        run_with(options, [](State& s) { s += "a state with some text, a variable and a backend " + gen("x"); }));
  }
  std::printf("10,000 live states: %.1f MB\n", resident_mb() - before);
}

std::string chronicle(int lines) {
  std::string out;
  for (int i = 0; i < lines; ++i) {
    out += cat("In ", 1900 + i, " the village of Larn had ", 400 + i * 7, " inhabitants, and the harvest was ",
               i % 3 == 0 ? "poor" : "good", ".\n");
  }
  return out;
}

// Each ends when all its texts are there.
void fork_of_16(const RunOptions& options) {
  run_with(options, [](State& s) {
    s += chronicle(36);  // some 1,000 tokens
    auto forks = s.fork(16);
    forks += [](int i) {
      return cat("Question ", i, ": how many lived there in ", 1900 + 2 * i, "?\nAnswer:") +
             gen("a", {.max_tokens = 8});
    };
    forks.join();
  });
}

void few_shot_64(const RunOptions& options) {
  const std::string shots = chronicle(24);
  std::vector<int> rows(64);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int>(i);
  run_batch([&](State& s, int i) { s += shots + cat("In ", 1930 + i, " the village") + gen("a", {.max_tokens = 8}); },
            rows, {.run = options});
}

void tree_of_thought(const RunOptions& options) {
  run_with(options, [](State& s) {
    s += chronicle(20) + "How will the village grow?\n";
    auto plans = s.fork(4);
    plans += [](int i) { return cat("Plan ", i, ":") + gen("plan", {.max_tokens = 12, .ignore_eos = true}); };
    std::vector<Forks> ways;
    for (State& plan : plans) {
      ways.push_back(plan.fork(3));
      ways.back() += [](int i) {
        return cat("\nWay ", i, ":") + gen("way", {.max_tokens = 12, .ignore_eos = true}) +
               "\nGrade:" + select("grade", {" 1", " 2", " 3", " 4", " 5"});
      };
    }
    for (Forks& fork : ways) fork.join();
  });
}

void agents(const RunOptions& options) {
  std::vector<int> rows(8);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int>(i);
  run_batch(
      [](State& s, int i) {
        s += chronicle(20) + cat("Agent ", i, " works on the village.\n");
        for (int turn = 0; turn < 6; ++turn) {
          s += cat("Thought ", turn, ":") + gen("thought", {.max_tokens = 8, .ignore_eos = true});
          s["thought"].str();  // an agent looks at what came
          s += cat("\nObservation ", turn, ": the harvest was ", (i + turn) % 2 ? "good" : "poor", ".\n");
        }
      },
      rows, {.run = options});
}

struct Cost {
  double seconds = 0;
  int64_t prefill = 0;
};

Cost measure(const std::shared_ptr<Engine>& e, const std::function<void(const RunOptions&)>& workload) {
  const RunOptions options{.backend = engine(e), .gen = {.temperature = 0}};
  e->flush_cache(5);
  const EngineStats before = e->stats();
  const auto start = Clock::now();
  workload(options);
  const double seconds = milliseconds_since(start) / 1000;
  const EngineStats after = e->stats();
  return {seconds, (after.prompt_tokens - after.cached_tokens) - (before.prompt_tokens - before.cached_tokens)};
}

/// `only`: the beginning of a workload's name.
void sharing(const std::string& model, const std::string& only) {
  const std::vector<std::pair<std::string, std::function<void(const RunOptions&)>>> workloads = {
      {"fork of 16 on 1,000 tokens", fork_of_16},
      {"64-row few-shot batch", few_shot_64},
      {"tree of thought, 4 × 3", tree_of_thought},
      {"8 agents of 6 turns", agents}};
  auto load = [&](bool cached) {
    return std::make_shared<Engine>(EngineOptions{
        .model_path = model, .max_total_tokens = 65536, .disable_radix_cache = !cached, .decode_log_interval = 0});
  };
  const std::shared_ptr<Engine> without = load(false), with = load(true);
  std::printf("| Program | Independent requests | | As a program | | |\n|---|---|---|---|---|---|\n");
  std::printf("| | time | prefill tokens | time | prefill tokens | faster |\n");
  for (const auto& [name, workload] : workloads) {
    if (!name.starts_with(only)) continue;
    const Cost off = measure(without, workload), on = measure(with, workload);
    std::printf("| %s | %.2f s | %lld | %.2f s | %lld | %.1f× |\n", name.c_str(), off.seconds,
                static_cast<long long>(off.prefill), on.seconds, static_cast<long long>(on.prefill),
                off.seconds / on.seconds);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "overhead";
  try {
    if (what == "sharing")
      sharing(argc > 2 ? argv[2] : "", argc > 3 ? argv[3] : "");
    else
      overhead();
  } catch (const std::exception& error) {
    std::cerr << "program_bench: " << error.what() << std::endl;
    return 1;
  }
}
