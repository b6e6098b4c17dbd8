#include "checkpoint/safetensors.h"

#include <string>

#include <gtest/gtest.h>

#include "checkpoint/expect_error.h"
#include "checkpoint/test_files.h"

namespace sgl {
namespace {

using testing::as_bytes;
using testing::expect_error;
using testing::SafetensorsBuilder;

std::vector<FileTensor> parse(const std::string& file) { return parse_safetensors(as_bytes(file), "x.safetensors"); }

void expect_corrupt(const std::string& header, std::initializer_list<const char*> parts, size_t data_bytes = 64) {
  SCOPED_TRACE(header);
  expect_error(ErrorKind::CorruptFile, parts,
               [&] { parse(SafetensorsBuilder::with_header(header) + std::string(data_bytes, '\0')); });
}

TEST(Safetensors, ReadsTensorsInPlace) {
  SafetensorsBuilder b;
  b.add_entry(R"("__metadata__":{"format":"pt","note":"{[\"deep\"]}"})");
  b.add_floats("model.norm.weight", {3}, {1, 2, 3});
  b.add("half", "BF16", {2, 2}, std::string(8, 'x'));
  b.add("scalar", "I64", {}, std::string(8, '\0'));
  b.add("nothing", "F32", {0, 7}, "");
  const std::string file = b.build();
  const std::vector<FileTensor> tensors = parse(file);
  ASSERT_EQ(tensors.size(), 4U);
  EXPECT_EQ(tensors[0].name, "model.norm.weight");
  EXPECT_EQ(tensors[0].dtype, DType::F32);
  EXPECT_EQ(tensors[0].shape, (Shape{3}));
  EXPECT_EQ(reinterpret_cast<const float*>(tensors[0].data.data())[2], 3.0F);
  EXPECT_EQ(tensors[1].shape, (Shape{2, 2}));
  EXPECT_EQ(tensors[1].data.data(), tensors[0].data.data() + 12);  // no copy
  EXPECT_EQ(tensors[2].shape.rank(), 0);
  EXPECT_EQ(tensors[3].data.size(), 0U);
}

TEST(Safetensors, AnEmptyFileOfTensorsIsValid) { EXPECT_TRUE(parse(SafetensorsBuilder::with_header("{}")).empty()); }

TEST(Safetensors, HeaderLengthIsCheckedBeforeItIsUsed) {
  for (uint64_t length : {uint64_t{1000}, uint64_t{1} << 32, ~uint64_t{0}, uint64_t{100'000'001}}) {
    std::string file;
    testing::append(file, length);
    file += "{}";
    expect_error(ErrorKind::CorruptFile, {"x.safetensors", "header"}, [&] { parse(file); });
  }
  expect_error(ErrorKind::CorruptFile, {"too few"}, [] { parse("1234567"); });
  expect_error(ErrorKind::CorruptFile, {"does not begin with {"}, [] { parse(std::string(8, '\0')); });
}

TEST(Safetensors, OffsetsMustLieInTheFile) {
  expect_corrupt(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})", {"tensor a", "[0, 16)", "cut off"}, 15);
  expect_corrupt(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[80,96]}})", {"tensor a"});
  expect_corrupt(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}})", {"tensor a"});
  expect_corrupt(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[18446744073709551600,18446744073709551615]}})",
                 {"tensor a"});
  expect_corrupt(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[-16,0]}})", {"negative"});
}

TEST(Safetensors, ShapeMustMatchTheBytes) {
  expect_corrupt(R"({"a":{"dtype":"F32","shape":[5],"data_offsets":[0,16]}})", {"tensor a", "[5]", "16 bytes"});
  expect_corrupt(R"({"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}})", {"negative"});
  expect_corrupt(R"({"a":{"dtype":"F32","shape":[4.0],"data_offsets":[0,16]}})", {"whole number"});
  expect_corrupt(R"({"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,16]}})", {"number"});
  // 2^32 · 2^32 · 4 is 0 modulo 2^64.
  expect_corrupt(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", {"tensor a"});
  expect_corrupt(R"({"a":{"dtype":"F32","shape":[9223372036854775807,9223372036854775807,0],"data_offsets":[0,0]}})",
                 {"tensor a"});
  expect_corrupt(R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,0]}})", {"dimension"});
}

TEST(Safetensors, TensorsMustNotShareBytes) {
  expect_corrupt(
      R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}})",
      {"a", "b", "share bytes"});
}

TEST(Safetensors, EntriesMustBeComplete) {
  expect_corrupt(R"({"a":{}})", {"tensor a must have"});
  expect_corrupt(R"({"a":{"dtype":"F32","data_offsets":[0,0]}})", {"tensor a must have"});
  expect_corrupt(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", {"tensor a must have"});
  expect_corrupt(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", {"more than two"});
  expect_corrupt(R"({"a":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}})", {"array"});
  expect_corrupt(R"({"a":{"dtype":"F32","shape":4,"data_offsets":[0,16]}})", {"number"});
  expect_corrupt(R"({"a":{"dtype":"F32","shape":[[4]],"data_offsets":[0,16]}})", {"array"});
  expect_corrupt(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16],"more":1}})", {"unknown field"});
  expect_corrupt(R"({"a":{"dtype":"F32","shape":[null],"data_offsets":[0,16]}})", {"null"});
  expect_corrupt(R"({"a":7})", {"number"});
  expect_corrupt(R"({"a":[]})", {"array"});
  expect_corrupt(R"({"a":"b"})", {"string"});
  expect_corrupt(R"({"a":{"shape":{}}})", {"object"});
  expect_corrupt(R"({"a":{"dtype":"F32",)", {"x.safetensors"});
  expect_corrupt(R"({} {})", {"x.safetensors"});
}

TEST(Safetensors, NestingIsRefusedAtOnce) {
  for (const char* open : {"[", "{\"a\":"}) {
    std::string header = "{\"__metadata__\":";
    for (int i = 0; i < 100000; ++i) header += open;
    expect_error(ErrorKind::CorruptFile, {"x.safetensors"}, [&] { parse(SafetensorsBuilder::with_header(header)); });
  }
}

TEST(Safetensors, UnknownTypesAreNamed) {
  SafetensorsBuilder b;
  b.add("model.w", "F8_E5M2", {4}, "1234");
  expect_error(ErrorKind::Unsupported, {"model.w", "F8_E5M2", "supported are F32"}, [&] { parse(b.build()); });
}

TEST(Safetensors, MoreThanFourDimensionsAreRefused) {
  SafetensorsBuilder b;
  b.add_floats("conv", {1, 1, 1, 1, 1}, {1});
  expect_error(ErrorKind::Unsupported, {"conv", "dimensions"}, [&] { parse(b.build()); });
}

}  // namespace
}  // namespace sgl
