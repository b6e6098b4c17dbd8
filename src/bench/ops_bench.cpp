#include "bench/ops_bench.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace sgl::bench {
namespace {

struct Shares {
  double bytes = 0, ops = 0;
};

Shares shares(const OpFigures& f, const Roofs& roofs) {
  Shares s;
  const int64_t working_set = f.work.working_set > 0 ? f.work.working_set : static_cast<int64_t>(f.work.bytes);
  if (f.work.bytes > 0) s.bytes = f.work.bytes / f.time.best / roofs.read_bytes_s(working_set);
  const Roofs::Unit* unit = roofs.best_or_float(f.work.arithmetic);
  if (f.work.ops > 0 && unit != nullptr) s.ops = f.work.ops / f.time.best / unit->ops_s;
  return s;
}

}  // namespace

double share_of_roof(const OpFigures& f, const Roofs& roofs) {
  const Shares s = shares(f, roofs);
  return std::max(s.bytes, s.ops);
}

bool OpsChoice::wants(const std::string& name) const {
  return (op.empty() || name.starts_with(op + "/")) && name.find(filter) != std::string::npos;
}

OpsBench::OpsBench(int threads, OpsChoice choice, std::function<void(const OpFigures&)> on_figures)
    : choice_(std::move(choice)),
      on_figures_(std::move(on_figures)),
      pool_(threads > 0 ? threads : default_compute_threads()),
      fast_(Backend::create({.device = "cpu", .threads = pool_.threads()})),
      exact_(Backend::create({.device = "cpu", .threads = pool_.threads(), .quantize_activations = false})) {}

void OpsBench::report(const std::string& name, const OpWork& work, const std::function<void()>& run) {
  if (!wants(name)) return;
  ++cases_;
  on_figures_({name, time_it(choice_.seconds, pool_.threads() == 1, run), work});
}

std::string table_head() {
  return fmt::format("{:56} {:>10} {:>10} {:>8} {:>5} {:>8} {:>5}\n{:56} {:>10} {:>10} {:>8} {:>5} {:>8} {:>5}\n", "",
                     "best", "median", "", "of", "", "of", "op / case", "us", "us", "GB/s", "roof", "GOP/s", "roof");
}

std::string table_line(const OpFigures& f, const Roofs& roofs) {
  const Shares s = shares(f, roofs);
  std::string out = fmt::format("{:56} {:10.2f} {:10.2f}", f.name, f.time.best * 1e6, f.time.median * 1e6);
  if (f.work.bytes > 0) out += fmt::format(" {:8.1f} {:3.0f} %", f.work.bytes / f.time.best / 1e9, 100 * s.bytes);
  if (f.work.ops > 0) out += fmt::format(" {:8.0f} {:3.0f} %", f.work.ops / f.time.best / 1e9, 100 * s.ops);
  return out + "\n";
}

nlohmann::ordered_json to_json(const OpFigures& f, const Roofs& roofs) {
  const Shares s = shares(f, roofs);
  nlohmann::ordered_json out{{"name", f.name}, {"best_us", f.time.best * 1e6}, {"median_us", f.time.median * 1e6}};
  if (f.work.bytes > 0) {
    out["gb_s"] = f.work.bytes / f.time.best / 1e9;
    out["share_of_read_roof"] = s.bytes;
  }
  if (f.work.ops > 0) {
    out["gop_s"] = f.work.ops / f.time.best / 1e9;
    out["share_of_arithmetic_roof"] = s.ops;
  }
  return out;
}

}  // namespace sgl::bench
