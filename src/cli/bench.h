#pragma once
// The commands behind `sgl bench`: each turns its flags into options of bench/bench.h.

#include <cstdint>
#include <string>
#include <vector>

#include "cli/cli.h"

namespace sgl::cli {

int bench_ops(const std::vector<std::string>& arguments, World& world);
int bench_latency(const std::vector<std::string>& arguments, World& world);
int bench_throughput(const std::vector<std::string>& arguments, World& world);
int bench_serving(const std::vector<std::string>& arguments, World& world);

/// "1,2,4" → {1, 2, 4}. Throws UsageError that names `flag` on anything but integers in [min, max].
std::vector<int> integer_list(const std::string& flag, const std::string& text, int64_t min, int64_t max);
/// Names between commas. Throws UsageError on an empty one.
std::vector<std::string> name_list(const std::string& flag, const std::string& text);

}  // namespace sgl::cli
