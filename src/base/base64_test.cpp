#include "base/base64.h"

#include <gtest/gtest.h>

namespace sgl {
namespace {

TEST(Base64, TestVectorsOfTheStandard) {  // RFC 4648, section 10
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foob"), "Zm9vYg==");
  EXPECT_EQ(base64("fooba"), "Zm9vYmE=");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
}

TEST(Base64, TakesAnyBytes) { EXPECT_EQ(base64(std::string("\x00\xff\xfe\x80", 4)), "AP/+gA=="); }

}  // namespace
}  // namespace sgl
