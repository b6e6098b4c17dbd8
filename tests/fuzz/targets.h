#pragma once
// What a fuzzer feeds with bytes that anybody may send or publish.

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sgl::fuzz {

struct Target {
  const char* name;
  /// Must neither crash, nor hang, nor break a rule of its own (it aborts then); an sgl::Error inside is a fine end.
  void (*run)(std::string_view input);
  /// Well-formed inputs to begin with.
  std::vector<std::string> (*seeds)();
};

std::span<const Target> targets();

}  // namespace sgl::fuzz
