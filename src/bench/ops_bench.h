#pragma once
// Times ops of the cpu backend, with the shapes of real models, beside the machine's roofs.

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/thread_pool.h"
#include "bench/roofs.h"
#include "bench/timing.h"
#include "ops/backend.h"

namespace sgl::bench {

/// What a run of an op must do at least.
struct OpWork {
  double bytes = 0;  ///< read and written
  double ops = 0;    ///< multiplications and additions
  Arithmetic arithmetic = Arithmetic::Float32;
  int64_t working_set = 0;  ///< bytes that runs touch in turn, which decides on the cache they come from; 0: `bytes`
};

struct OpFigures {
  std::string name;  ///< "linear/qwen0.5b/down Q4_K 4864x896 m16": the op up to the first '/'
  Timing time;
  OpWork work;
};

/// Which cases to time.
struct OpsChoice {
  std::string op{}, filter{};  ///< the exact name of an op, or empty; a part of the cases' names
  double seconds = 0.1;        ///< a case
  bool wants(const std::string& name) const;
};

/// The larger of the shares of the two roofs that `f` reaches: bytes against the reading speed, operations against the
/// best unit; 0 if it has neither. Above 1 is possible: roofs are measured, and writing hits other limits than reading.
double share_of_roof(const OpFigures& f, const Roofs& roofs);

class OpsBench {
 public:
  /// threads: 0: as the machine suggests. `on_figures` gets each case's.
  OpsBench(int threads, OpsChoice choice, std::function<void(const OpFigures&)> on_figures);

  std::string device() const { return fast_->describe(); }
  /// Runs the cases that are wanted and returns how many there were.
  int run();

 private:
  bool wants(const std::string& name) const { return choice_.wants(name); }
  void report(const std::string& name, const OpWork& work, const std::function<void()>& run);

  // Groups of cases: ops_cases.cpp.
  void run_linear(const char* model, const char* matrix, DType format, int64_t in, int64_t out, bool exact = false);
  void run_prepare(DType format, int64_t in, int64_t out);
  void run_attention(const char* model, int heads, int kv_heads, int head_dim, int seqs, int q_len, int kv_len,
                     DType dtype = DType::F16);
  void run_embedding(const char* model, DType format, int64_t hidden, int64_t vocab);
  void run_rows(const char* model, int64_t hidden, int64_t inter, int64_t vocab);
  void run_sampling(const char* model, int64_t rows, int64_t vocab);
  void run_thread_pool();

  const OpsChoice choice_;
  const std::function<void(const OpFigures&)> on_figures_;
  ThreadPool pool_;
  std::unique_ptr<Backend> fast_, exact_;  ///< exact: activations stay float32
  std::mt19937 random_{1};
  int cases_ = 0;
};

std::string table_head();
std::string table_line(const OpFigures& f, const Roofs& roofs);
nlohmann::ordered_json to_json(const OpFigures& f, const Roofs& roofs);

}  // namespace sgl::bench
