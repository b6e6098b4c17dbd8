#pragma once
// Runs a test's body with the kernels of each instruction set that this machine has.

#include <cstdlib>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "base/cpu.h"

namespace sgl::testing {

/// body(isa): backends that it creates follow $SGL_CPU_ISA, which is as before when all is done. One thread at a time.
template <typename F>
void on_each_isa(F body) {
  constexpr const char* kVariable = "SGL_CPU_ISA";
  const char* set = std::getenv(kVariable);
  const std::optional<std::string> before = set != nullptr ? std::optional<std::string>(set) : std::nullopt;
  for (CpuIsa isa : available_isas()) {
    const std::string its_name(name(isa));
    SCOPED_TRACE(its_name);
    ::setenv(kVariable, its_name.c_str(), 1);
    body(isa);
  }
  before ? ::setenv(kVariable, before->c_str(), 1) : ::unsetenv(kVariable);
}

}  // namespace sgl::testing
