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
  constexpr const char* kName = "SGL_CPU_ISA";
  struct Variable {
    std::optional<std::string> before;
    Variable() {
      if (const char* set = std::getenv(kName)) before = set;
    }
    ~Variable() { before ? ::setenv(kName, before->c_str(), 1) : ::unsetenv(kName); }
  } variable;
  for (CpuIsa isa : available_isas()) {
    const std::string its_name(name(isa));
    SCOPED_TRACE(its_name);
    ::setenv(kName, its_name.c_str(), 1);
    body(isa);
  }
}

}  // namespace sgl::testing
