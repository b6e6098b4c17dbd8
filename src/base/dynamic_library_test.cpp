#include "base/dynamic_library.h"

#include <string>

#include <gtest/gtest.h>

#include "sgl/error.h"

namespace sgl {
namespace {

template <typename F>
std::string message_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Unsupported);
    return e.what();
  }
  return "no error";
}

TEST(DynamicLibrary, TakesTheFirstThatOpens) {
  const char* names[] = {"libsgl_has_no_such.so", "libm.so.6", "libc.so.6"};
  DynamicLibrary library("the mathematics", names);
  EXPECT_EQ(library.name(), "libm.so.6");
  auto* floor = reinterpret_cast<double (*)(double)>(library.symbol("floor"));
  EXPECT_EQ(floor(2.5), 2.0);
}

TEST(DynamicLibrary, SaysWhatWasTriedWhenNoneOpens) {
  const char* names[] = {"libsgl_has_no_such.so.13", "libsgl_has_no_such.so"};
  const std::string text = message_of([&] { DynamicLibrary("the moon", names); });
  EXPECT_EQ(text.find("the moon cannot be opened"), 0U) << text;
  for (const char* name : names) EXPECT_NE(text.find(name), std::string::npos) << text;
  EXPECT_NE(text.find("LD_LIBRARY_PATH"), std::string::npos) << text;
}

TEST(DynamicLibrary, AMissingFunctionIsNamed) {
  const char* names[] = {"libm.so.6"};
  DynamicLibrary library("the mathematics", names);
  const std::string text = message_of([&] { library.symbol("sgl_no_such"); });
  EXPECT_NE(text.find("no function sgl_no_such"), std::string::npos) << text;
}

}  // namespace
}  // namespace sgl
