#pragma once
// For tests: a call that must throw one kind of Error whose message says certain things.

#include <functional>
#include <initializer_list>
#include <string>

#include <gtest/gtest.h>

#include "sgl/error.h"

namespace sgl::testing {

inline void expect_error(ErrorKind kind, std::initializer_list<const char*> parts, const std::function<void()>& call) {
  try {
    call();
    ADD_FAILURE() << "no error; expected one about " << *parts.begin();
  } catch (const Error& e) {
    EXPECT_EQ(static_cast<int>(e.kind()), static_cast<int>(kind)) << e.what();
    for (const char* part : parts) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what() << "\n  does not say: " << part;
    }
  }
}

}  // namespace sgl::testing
