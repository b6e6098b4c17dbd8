#include "base/cpu.h"

#include <cstdlib>

#include <gtest/gtest.h>

#include "sgl/error.h"

namespace sgl {
namespace {

class CpuIsaChoice : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const char* old = std::getenv("SGL_CPU_ISA")) old_ = old;
    ::unsetenv("SGL_CPU_ISA");
  }
  void TearDown() override {
    if (old_.empty()) {
      ::unsetenv("SGL_CPU_ISA");
    } else {
      ::setenv("SGL_CPU_ISA", old_.c_str(), 1);
    }
  }
  std::string old_;
};

TEST_F(CpuIsaChoice, IsTheBestWithoutAWish) { EXPECT_EQ(choose_isa(), available_isas().back()); }

TEST_F(CpuIsaChoice, FollowsTheEnvironment) {
  for (CpuIsa isa : available_isas()) {
    ::setenv("SGL_CPU_ISA", std::string(name(isa)).c_str(), 1);
    EXPECT_EQ(choose_isa(), isa);
  }
}

TEST_F(CpuIsaChoice, RefusesAnUnknownNameAndSaysWhichThereAre) {
  ::setenv("SGL_CPU_ISA", "sse9", 1);
  try {
    choose_isa();
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument);
    EXPECT_NE(std::string(e.what()).find("generic, avx2, avx512, avx512_bf16, amx"), std::string::npos) << e.what();
  }
}

TEST_F(CpuIsaChoice, RefusesWhatTheMachineLacks) {
  if (available_isas().back() == CpuIsa::Amx) GTEST_SKIP() << "this machine has them all";
  ::setenv("SGL_CPU_ISA", "amx", 1);
  EXPECT_THROW(choose_isa(), Error);
}

}  // namespace
}  // namespace sgl
