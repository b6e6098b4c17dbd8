#pragma once
// What a benchmark asks for: sessions of turns, as text, the same for every server.
//
// A workload is a row of a table (kShapes in workload.cpp). All of them are one tree of texts:
//
//   prefix ──┬── branch 1 ──┬── session 1:  turn 1 ── answer ── turn 2 ── answer …
//            │              └── session 2:  …
//            └── branch 2 ── …
//
// The prompt of a turn is everything before it on its path, so whoever caches prefixes need not compute them again.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sgl::bench {

/// How long texts are, in words, which are about as many tokens.
struct Lengths {
  double mean = 0;
  double sigma = 0;  ///< 0: all are `mean` long; else they are log-normal, and this is the deviation of the logarithm
  int max = 1 << 20;
  int min = 4;  ///< with `sigma`
};

struct WorkloadShape {
  std::string name, about;
  int sessions = 1;
  int concurrency = 1;    ///< sessions at once, where no rate is given
  int prefix = 0;         ///< words that all sessions share
  int branches = 0;       ///< the prefix goes on in so many ways; 0: in none
  int branch = 0;         ///< words of a branch
  int turns = 1;          ///< of each session
  Lengths input, output;  ///< of each turn
};

/// The named ones.
const std::vector<WorkloadShape>& workload_shapes();
/// Throws InvalidArgument with the names there are.
const WorkloadShape& workload_shape(const std::string& name);

struct Turn {
  std::string text;       ///< what is new
  int output_tokens = 0;  ///< what the answer shall have
};

struct Session {
  std::string prefix;  ///< before the first turn; may be empty
  std::vector<Turn> turns;
};

struct Workload {
  WorkloadShape shape;
  std::vector<Session> sessions;
  /// Seconds after the start at which each session arrives, rising; empty: as many at once as the shape says.
  std::vector<double> arrivals;
};

/// Texts and arrivals for `seed`; different seeds share no prefix. `rate`: sessions a second, a Poisson process;
/// nullopt: none.
Workload make_workload(const WorkloadShape& shape, uint64_t seed, std::optional<double> rate = std::nullopt);

}  // namespace sgl::bench
