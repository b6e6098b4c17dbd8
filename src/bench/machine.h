#pragma once
// What a benchmark's figures belong to.

#include <string>

#include <nlohmann/json.hpp>

namespace sgl::bench {

/// {"cpu", "cores", "instruction_set", "memory_bytes", "sgl", "commit", "compiler", "build"}.
nlohmann::ordered_json machine_info();

/// The same on a line.
std::string describe_machine();

}  // namespace sgl::bench
