#include "bench/workload.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "bench/random_text.h"
#include "sgl/error.h"

namespace sgl::bench {
namespace {

int draw(const Lengths& lengths, Random& random) {
  if (lengths.sigma == 0) return static_cast<int>(lengths.mean);
  const double length = std::round(random.log_normal(lengths.mean, lengths.sigma));
  return static_cast<int>(std::clamp<double>(length, lengths.min, lengths.max));
}

std::string join(const std::string& a, const std::string& b) { return a.empty() || b.empty() ? a + b : a + " " + b; }

}  // namespace

const std::vector<WorkloadShape>& workload_shapes() {
  // Means of the conversations: Kwon et al. 2023 (vLLM), figure 11; cut where that project's benchmark cuts them.
  static const std::vector<WorkloadShape> shapes = {
      {.name = "alone",
       .about = "one request at a time: prefill and decode speed",
       .sessions = 6,
       .input = {.mean = 512},
       .output = {.mean = 128}},
      {.name = "random",
       .about = "prompts that share nothing",
       .sessions = 48,
       .concurrency = 16,
       .input = {.mean = 140},
       .output = {.mean = 96}},
      {.name = "shared-prefix",
       .about = "one long prefix, a short question each",
       .sessions = 64,
       .concurrency = 16,
       .prefix = 1200,
       .input = {.mean = 16},
       .output = {.mean = 16}},
      {.name = "prefix-tree",
       .about = "a root, four branches, sixteen leaves on each",
       .sessions = 64,
       .concurrency = 8,
       .prefix = 500,
       .branches = 4,
       .branch = 400,
       .input = {.mean = 16},
       .output = {.mean = 16}},
      {.name = "conversations",
       .about = "eight conversations of five turns",
       .sessions = 8,
       .concurrency = 8,
       .turns = 5,
       .input = {.mean = 140},
       .output = {.mean = 96}},
      {.name = "long-context",
       .about = "prompts of nearly 8k tokens, eight at once",
       .sessions = 8,
       .concurrency = 8,
       .input = {.mean = 8000},
       .output = {.mean = 64}},
      {.name = "sharegpt",
       .about = "lengths spread like ShareGPT's: chats",
       .sessions = 64,
       .concurrency = 16,
       .input = {.mean = 161, .sigma = 1, .max = 1024},
       .output = {.mean = 338, .sigma = 1, .max = 1024}},
      {.name = "alpaca",
       .about = "lengths spread like Alpaca's: short instructions",
       .sessions = 128,
       .concurrency = 16,
       .input = {.mean = 19, .sigma = 1, .max = 1024},
       .output = {.mean = 58, .sigma = 1, .max = 1024}},
  };
  return shapes;
}

const WorkloadShape& workload_shape(const std::string& name) {
  std::vector<std::string> names;
  for (const WorkloadShape& s : workload_shapes()) {
    if (s.name == name) return s;
    names.push_back(s.name);
  }
  throw Error(ErrorKind::InvalidArgument,
              fmt::format("unknown workload '{}'; expected one of {}", name, fmt::join(names, ", ")));
}

Workload make_workload(const WorkloadShape& shape, uint64_t seed, std::optional<double> rate) {
  Random random(seed);
  Workload w{.shape = shape, .sessions = {}, .arrivals = {}};
  const std::string root = random_words(random, shape.prefix);
  std::vector<std::string> prefixes;
  for (int i = 0; i < shape.branches; ++i) prefixes.push_back(join(root, random_words(random, shape.branch)));
  if (prefixes.empty()) prefixes.push_back(root);
  for (int i = 0; i < shape.sessions; ++i) {
    Session s{.prefix = prefixes[static_cast<size_t>(i) % prefixes.size()], .turns = {}};
    for (int t = 0; t < shape.turns; ++t) {
      const int words = draw(shape.input, random);
      s.turns.push_back(
          {.text = random_words(random, words), .output_tokens = std::max(draw(shape.output, random), 1)});
    }
    w.sessions.push_back(std::move(s));
  }
  // Branches come in no order, as users do.
  for (size_t i = w.sessions.size(); i > 1; --i) std::swap(w.sessions[i - 1], w.sessions[random.below(i)]);
  if (rate) {
    double at = 0;
    for (size_t i = 0; i < w.sessions.size(); ++i) w.arrivals.push_back(at += random.exponential(*rate));
  }
  return w;
}

}  // namespace sgl::bench
