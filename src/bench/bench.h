#pragma once
// `sgl bench`: what the commands measure, and how they are asked to. cli/bench*.cpp turns flags into these options.
//
//   ops         each op of the cpu backend, beside the machine's roofs        ops_bench.h
//               or, on cuda, those that decide, beside the device's           device_ops.h
//   latency     one batch through the engine in this process                  latency.h
//   throughput  a workload through the engine in this process                 offline_load.h
//   serving     a workload over HTTP to any server with OpenAI's API          http_load.h
//
// Each prints a table to `out` while it runs, writes a JSON document to `json_file` unless that is empty, and returns
// the exit status: 1 if a request failed. All throw Error.

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "bench/http_load.h"
#include "bench/latency.h"
#include "bench/serving_report.h"
#include "bench/workload.h"
#include "server/engine_api.h"

namespace sgl::bench {

struct OpsOptions {
  std::string device = "cpu";  ///< or one that works while the host goes on: "cuda"
  std::string quantization;    ///< of its weights: "fp8", "int8", "int4"; empty: none. Not of cpu's: cases name formats
  int threads = 0;             ///< 0: as the machine suggests
  std::string op, filter;      ///< the op's name; a part of the case's name
  double seconds = 0.1;        ///< for each case
  std::string json_file;
};
int run_ops(const OpsOptions& options, std::ostream& out);

struct LatencyOptions {
  std::vector<LatencyCase> cases;
  int repeat = 3;
  bool roofs = false;  ///< also measure the machine, between the repetitions
  uint64_t seed = 1;
  std::string json_file;
};
int run_latency(EngineApi& engine, const LatencyOptions& options, std::ostream& out);

/// What throughput and serving share.
struct LoadOptions {
  std::vector<WorkloadShape> workloads;
  std::vector<std::optional<double>> rates = {std::nullopt};  ///< every workload runs at each
  Slo slo;
  uint64_t seed = 1;
  bool details = false;  ///< every answer in the JSON
  std::string json_file;
};
int run_throughput(EngineApi& engine, const LoadOptions& options, std::ostream& out);
int run_serving(Target target, const LoadOptions& options, std::ostream& out);

}  // namespace sgl::bench
