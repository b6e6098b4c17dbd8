#pragma once
// --config file.yaml: flags in a file.

#include <string>
#include <vector>

namespace sgl::cli {

/// The flags that a YAML file holds, as arguments. It is one mapping whose keys are flags without their dashes ("_" may
/// stand for "-"). A value is a text or a number; `true` gives a toggle and `false` or null leaves a flag out; a list
/// gives a flag several times.
///
///   model-path: org/name          --model-path org/name
///   port: 8080                    --port 8080
///   enable-metrics: true          --enable-metrics
///
/// Throws UsageError naming the file, and the line where it is known.
std::vector<std::string> read_config_file(const std::string& path);

}  // namespace sgl::cli
