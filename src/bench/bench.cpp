#include "bench/bench.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <utility>

#include <fmt/format.h>

#include "base/file_writer.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "bench/device_ops.h"
#include "bench/machine.h"
#include "bench/offline_load.h"
#include "bench/ops_bench.h"
#include "bench/random_text.h"
#include "sgl/error.h"

namespace sgl::bench {
namespace {

using Json = nlohmann::ordered_json;

void write_json(const std::string& file, const Json& document) {
  if (!file.empty()) write_file(file, document.dump(2) + "\n");
}

Json document(const char* benchmark) { return {{"benchmark", benchmark}, {"machine", machine_info()}}; }

/// Runs each workload at each rate by `run`, and reports.
int run_loads(const LoadOptions& o, Json document, std::ostream& out,
              const std::function<LoadResult(const Workload&, const std::function<void()>& on_answer)>& run) {
  std::vector<ServingFigures> all;
  uint64_t seed = o.seed;
  document["results"] = Json::array();
  for (const WorkloadShape& shape : o.workloads) {
    for (const std::optional<double>& rate : o.rates) {
      const Workload workload = make_workload(shape, seed, rate);
      LoadResult result;
      {
        Progress progress(shape.name, int64_t{shape.sessions} * shape.turns, Progress::Unit::Items);
        int64_t answers = 0;
        result = run(workload, [&] { progress.update(++answers); });
        progress.finish();
      }
      ServingFigures figures = serving_figures(workload, result, o.slo);
      figures.request_rate = rate;
      figures.seed = seed++;  // the next run shall find nothing of this one in a cache
      Json json = to_json(figures);
      if (o.details) {
        for (const Answer& a : result.answers) json["answers"].push_back(to_json(a));
      }
      document["results"].push_back(std::move(json));
      all.push_back(std::move(figures));
    }
  }
  out << table(all, o.slo) << std::flush;
  write_json(o.json_file, document);
  for (const ServingFigures& f : all) {
    if (f.failed > 0) return 1;
  }
  return 0;
}

Json json_of(const Slo& slo) {
  Json out = Json::object();
  if (slo.ttft_ms) out["ttft_ms"] = *slo.ttft_ms;
  if (slo.itl_ms) out["itl_ms"] = *slo.itl_ms;
  if (slo.tpot_ms) out["tpot_ms"] = *slo.tpot_ms;
  if (slo.e2e_ms) out["e2e_ms"] = *slo.e2e_ms;
  return out;
}

}  // namespace

int run_ops(const OpsOptions& o, std::ostream& out) {
  out << describe_machine() << "\n" << std::flush;
  const OpsChoice choice{.op = o.op, .filter = o.filter, .seconds = o.seconds};
  std::string device;
  Roofs roofs;
  Json results = Json::array();
  auto print_head = [&] { out << device << "\n" << table(roofs) << "\n" << table_head() << std::flush; };
  auto take = [&](const OpFigures& f) {
    out << table_line(f, roofs) << std::flush;
    results.push_back(to_json(f, roofs));
  };
  int cases = 0;
  if (o.device == "cpu") {
    ThreadPool pool(o.threads > 0 ? o.threads : default_compute_threads());
    roofs = measure_roofs(pool);
    OpsBench bench(pool.threads(), choice, take);
    device = bench.device();
    print_head();
    cases = bench.run();
  } else {
    const Quantization quantization = quantization_named(o.quantization).value_or(Quantization::None);
    const std::unique_ptr<Backend> backend =
        Backend::create({.device = o.device, .threads = o.threads, .quantization = quantization});
    DeviceOps bench(*backend, DeviceSizes{}, choice, take);
    device = backend->describe();
    roofs = bench.measure_roofs();
    print_head();
    cases = bench.run();
  }
  if (cases == 0) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("no case has the op '{}' and '{}' in its name; without --op and --filter all are listed",
                            o.op, o.filter));
  }
  Json json = document("ops");
  json["device"] = device;
  json["roofs"] = to_json(roofs);
  json["results"] = std::move(results);
  write_json(o.json_file, json);
  return 0;
}

int run_latency(EngineApi& engine, const LatencyOptions& o, std::ostream& out) {
  Random random(o.seed);
  Json json = document("latency");
  json["model"] = engine.info().served_model_name;
  json["context_length"] = engine.info().context_length;
  json["device"] = engine.info().device;
  json["results"] = Json::array();
  out << describe_machine() << "\n" << engine.info().served_model_name << " on " << engine.info().device << "\n\n";
  std::optional<ThreadPool> pool;
  std::optional<RoofProbe> roofs;
  if (o.roofs) {
    pool.emplace(engine.options().threads);
    roofs.emplace(*pool, engine.info().weight_bytes);
  }
  out << fmt::format("{:>6} {:>6} {:>6} {:>8} {:>7} {:>13} {:>14} {:>13} {:>12} {:>10} {:>8} {:>9}{}\n", "batch", "in",
                     "out", "prefixes", "waiting", "prefill tok/s", "first token ms", "decode tok/s", "step ms p50",
                     "p99", "host us", "RSS MB", o.roofs ? "  of units  of reading   GB/s" : "");
  for (const LatencyCase& c : o.cases) {
    const LatencyFigures f = measure_latency(engine, c, o.repeat, random, roofs ? &*roofs : nullptr);
    out << fmt::format("{:6} {:6} {:6} {:8} {:7} {:13.1f} {:14.1f} {:13.1f} {:12.2f} {:10.2f} {:8.1f} {:9.0f}", c.batch,
                       c.input, c.output, c.cached_prefixes, c.waiting, f.prefill_tok_s.p50, f.first_token_ms.p50,
                       f.decode_tok_s.p50, f.step_ms.p50, f.step_ms.p99, f.scheduling_us.p50,
                       static_cast<double>(f.resident_bytes) / 1e6);
    if (o.roofs) {
      out << fmt::format("{:8.0f} %{:>12} {:6.0f}", f.prefill_share->p50 * 100,
                         f.decode_share ? fmt::format("{:.0f} %", f.decode_share->p50 * 100) : "-", f.read_gb_s->p50);
    }
    out << "\n" << std::flush;
    json["results"].push_back(to_json(f));
  }
  write_json(o.json_file, json);
  return 0;
}

int run_throughput(EngineApi& engine, const LoadOptions& o, std::ostream& out) {
  Json json = document("throughput");
  json["model"] = engine.info().served_model_name;
  json["device"] = engine.info().device;
  json["slo"] = json_of(o.slo);
  out << describe_machine() << "\n" << engine.info().served_model_name << " on " << engine.info().device << "\n\n";
  const EngineStats before = engine.stats();
  const int status =
      run_loads(o, std::move(json), out, [&](const Workload& workload, const std::function<void()>& on_answer) {
        return run_offline(engine, workload, on_answer);
      });
  const EngineStats after = engine.stats();
  const auto steps = static_cast<double>(after.steps - before.steps);
  out << fmt::format("\n{} steps; the scheduler's thread took {:.0f} us a step besides computing them\n", steps,
                     (after.scheduling_seconds - before.scheduling_seconds) * 1e6 / std::max(steps, 1.0));
  return status;
}

int run_serving(Target target, const LoadOptions& o, std::ostream& out) {
  prepare(target);
  Json json = document("serving");
  json["url"] = target.url;
  json["model"] = target.model;
  json["api"] = target.chat ? "chat" : "completions";
  json["ignore_eos"] = target.ignore_eos;
  json["slo"] = json_of(o.slo);
  out << fmt::format("{}, model {}; {}\n\n", target.url, target.model,
                     target.ignore_eos ? "answers of full length" : "answers may end early: ignore_eos is refused");
  return run_loads(o, std::move(json), out, [&](const Workload& workload, const std::function<void()>& on_answer) {
    return run_http(target, workload, on_answer);
  });
}

}  // namespace sgl::bench
