// Quantized checkpoints of all writers against the rows they were packed from, and what does not fit together.

#include "checkpoint/packed_weights.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/e4m3.h"
#include "base/file.h"
#include "base/half.h"
#include "checkpoint/expect_error.h"
#include "checkpoint/packed_test_files.h"
#include "checkpoint/safetensors.h"
#include "tensor/block_formats.h"

namespace sgl {
namespace {

using testing::awq;
using testing::bytes_of;
using testing::compressed;
using testing::expect_error;
using testing::gptq;
using testing::Packing;
using testing::QuantizedMatrix;
using testing::SafetensorsBuilder;
using testing::TemporaryDirectory;

constexpr const char* kName = "model.layers.0.self_attn.q_proj.";

std::string config(const std::string& quantization) {
  return R"({"architectures":["LlamaForCausalLM"],"torch_dtype":"float16","quantization_config":)" + quantization + "}";
}

void expect_equal(const Packing& packing, const QuantizedMatrix& q, DType type) {
  SCOPED_TRACE(packing.config);
  SafetensorsBuilder file;
  packing.add(file, kName, q);
  // Some writers add a bias to every layer.
  file.add(std::string(kName) + "bias", "F16", {q.out}, std::string(static_cast<size_t>(2 * q.out), '\0'));
  TemporaryDirectory d;
  d.write("config.json", config(packing.config));
  d.write("model.safetensors", file.build());
  const auto c = Checkpoint::open(d.path());
  ASSERT_EQ(c->names(), (std::vector<std::string_view>{"model.layers.0.self_attn.q_proj.weight"}));
  const FileTensor& t = *c->find(c->names()[0]);
  EXPECT_EQ(t.shape, (Shape{q.out, q.in}));
  ASSERT_EQ(name(t.dtype), name(type));
  const Buffer rows = unpack(t);
  ASSERT_EQ(static_cast<int64_t>(rows.bytes()), t.bytes());
  std::vector<float> got(static_cast<size_t>(q.out * q.in)), want = q.values();
  dequantize_row(t.dtype, rows.data(), got.data(), q.out * q.in);
  if (type == DType::F16) {
    for (float& x : want) x = to_float(to_f16(x));
  }
  EXPECT_EQ(got, want);
  c->release(t);
}

// What the writers' own code packs and unpacks (tests/data/make_packed_weights.py).
TEST(PackedWeights, AgreesWithTheWritersOwnCode) {
  const MappedFile file(std::string(SGL_SOURCE_DIR) + "/tests/data/packed_weights.safetensors");
  struct Case {
    const char* prefix;
    PackedWeights how;
  };
  using Method = PackedWeights::Method;
  for (const Case& c : {Case{"awq.", {.method = Method::Awq, .group_size = 32}},
                        Case{"gptq.", {.method = Method::Gptq, .group_size = 32, .zeros_less_one = true}},
                        Case{"compressed.", {.method = Method::CompressedTensors, .group_size = 32}}}) {
    SCOPED_TRACE(c.prefix);
    std::vector<FileTensor> tensors = parse_safetensors(file.bytes(), "packed_weights.safetensors");
    std::erase_if(tensors, [&](const FileTensor& t) { return !t.name.starts_with(c.prefix); });
    join_packed(tensors, c.how);
    ASSERT_EQ(tensors.size(), 2U);
    ASSERT_EQ(tensors[0].name, std::string(c.prefix) + "expected");
    ASSERT_EQ(tensors[1].shape, tensors[0].shape);
    const int64_t n = tensors[0].shape.elements();
    std::vector<float> want(static_cast<size_t>(n)), got(want.size());
    dequantize_row(DType::F32, tensors[0].data.data(), want.data(), n);
    dequantize_row(tensors[1].dtype, unpack(tensors[1]).data(), got.data(), n);
    if (c.how.method == Method::Awq) {
      for (float& x : got) x = to_float(to_f16(x));  // it computes in halves
    }
    EXPECT_EQ(got, want);
  }
}

TEST(PackedWeights, AllWritersGiveTheRowsThatWerePacked) {
  struct Case {
    int64_t out, in, group;
    DType type;
  };
  for (const Case& c :
       {Case{8, 128, 128, DType::Int4G128}, Case{24, 384, 128, DType::Int4G128}, Case{16, 512, 256, DType::Int4G128},
        Case{40, 256, 32, DType::Int4G32}, Case{8, 192, 64, DType::Int4G32}, Case{16, 96, 96, DType::Int4G32}}) {
    SCOPED_TRACE(fmt::format("{} x {} in groups of {}", c.out, c.in, c.group));
    QuantizedMatrix q(c.out, c.in, c.group, 20261127);
    expect_equal(awq(c.group), q, c.type);
    expect_equal(gptq(c.group == c.in ? -1 : c.group, true), q, c.type);
    expect_equal(gptq(c.group, false), q, c.type);
    expect_equal(compressed(c.group, false), q, c.type);
    std::fill(q.zeros.begin(), q.zeros.end(), 8);
    expect_equal(compressed(c.group, true), q, c.type);
  }
}

TEST(PackedWeights, ColumnsOutOfOrderBecomeHalves) {
  QuantizedMatrix q(16, 256, 64, 7);
  std::shuffle(q.group_of_column.begin(), q.group_of_column.end(), std::mt19937(3));
  expect_equal(gptq(64, true, true), q, DType::F16);
}

// Codes and scales of one number, by rows, by rows in a column, and by blocks, as the writers' configs say them.
TEST(PackedWeights, Fp8BecomesBfloat16) {
  struct Case {
    const char* quantization;
    const char* scale;
    std::vector<int64_t> shape;
  };
  constexpr int64_t kOut = 130, kIn = 200;
  const char* by_blocks = R"({"quant_method":"fp8","activation_scheme":"dynamic","weight_block_size":[128,64]})";
  const std::string compressed_fp8 =
      R"({"quant_method":"compressed-tensors","format":"float-quantized","config_groups":{"group_0":{"weights":
         {"num_bits":8,"type":"float","strategy":"channel"},"input_activations":{"num_bits":8,"dynamic":true}}}})";
  for (const Case& c :
       {Case{R"({"quant_method":"fp8","activation_scheme":"static"})", "weight_scale", {}},
        Case{R"({"quant_method":"fbgemm_fp8"})", "weight_scale", {kOut, 1}},
        Case{compressed_fp8.c_str(), "weight_scale", {kOut, 1}}, Case{compressed_fp8.c_str(), "weight_scale", {1}},
        Case{by_blocks, "weight_scale_inv", {2, 4}}}) {
    SCOPED_TRACE(c.quantization);
    std::mt19937 random(11);
    std::string codes;
    for (int64_t i = 0; i < kOut * kIn; ++i) {
      const auto code = static_cast<uint8_t>(random() % 256);
      codes += static_cast<char>((code & 0x7f) == 0x7f ? 0 : code);
    }
    int64_t count = 1;
    for (const int64_t n : c.shape) count *= n;
    std::vector<float> scales, want;
    for (int64_t i = 0; i < count; ++i) scales.push_back(1e-3F * static_cast<float>(1 + random() % 100));
    for (int64_t r = 0; r < kOut; ++r) {
      for (int64_t k = 0; k < kIn; ++k) {
        const int64_t of = count == 1 ? 0 : count == 8 ? r / 128 * 4 + k / 64 : r;
        const float number = from_e4m3(static_cast<uint8_t>(codes[static_cast<size_t>(r * kIn + k)]));
        want.push_back(to_float(to_bf16(number * scales[static_cast<size_t>(of)])));
      }
    }
    SafetensorsBuilder file;
    file.add(std::string(kName) + "weight", "F8_E4M3", {kOut, kIn}, codes);
    file.add_floats(std::string(kName) + c.scale, c.shape, scales);
    file.add_floats(std::string(kName) + "input_scale", {}, {0.5F});
    file.add("model.layers.0.self_attn.o_proj.weight", "BF16", {1, 1}, "ab");
    TemporaryDirectory d;
    d.write("config.json", config(c.quantization));
    d.write("model.safetensors", file.build());
    const auto checkpoint = Checkpoint::open(d.path());
    ASSERT_EQ(checkpoint->names().size(), 3U);  // and the scale of activations, which the loader passes over
    const FileTensor& t = *checkpoint->find(std::string(kName) + "weight");
    EXPECT_EQ(t.shape, (Shape{kOut, kIn}));
    EXPECT_EQ(name(t.dtype), name(DType::BF16));
    const Buffer rows = unpack(t);
    std::vector<float> got(want.size());
    dequantize_row(t.dtype, rows.data(), got.data(), kOut * kIn);
    EXPECT_EQ(got, want);
  }
}

TEST(PackedWeights, ABiasThatSaysSomethingStays) {
  SafetensorsBuilder file;
  awq(128).add(file, kName, QuantizedMatrix(8, 128, 128, 5));
  file.add_floats(std::string(kName) + "bias", {8}, {0, 0, 0, 1, 0, 0, 0, 0});
  TemporaryDirectory d;
  d.write("config.json", config(awq(128).config));
  d.write("model.safetensors", file.build());
  EXPECT_NE(Checkpoint::open(d.path())->find(std::string(kName) + "bias"), nullptr);
}

// Scales of other types, one group for each row, groups that nothing set, and 8 bits.
TEST(PackedWeights, WhatWritersVary) {
  auto rows_of = [](const std::string& quantization, const SafetensorsBuilder& file) {
    TemporaryDirectory d;
    d.write("config.json", config(quantization));
    d.write("model.safetensors", file.build());
    const auto c = Checkpoint::open(d.path());
    const FileTensor& t = *c->find(std::string(kName) + "weight");
    std::vector<float> rows(static_cast<size_t>(t.shape.elements()));
    dequantize_row(t.dtype, unpack(t).data(), rows.data(), t.shape.elements());
    return rows;
  };
  const std::string n = kName;
  QuantizedMatrix q(8, 64, 64, 3);
  std::fill(q.zeros.begin(), q.zeros.end(), 8);
  std::vector<bf16> scales;
  for (f16& s : q.scales) {
    scales.push_back(to_bf16(to_float(s)));
    s = to_f16(to_float(scales.back()));
  }
  for (const char* group : {"-1", "null"}) {
    SafetensorsBuilder of_rows;
    of_rows.add(n + "weight_packed", "I32", {8, 8},
                testing::pack_words(8, 8, [&](auto o, auto r, int i) { return q.code(o, 8 * r + i); }));
    of_rows.add(n + "weight_scale", "BF16", {8, 1}, bytes_of(scales));
    of_rows.add(n + "weight_g_idx", "I32", {64}, bytes_of(std::vector<int32_t>(64, -1)));
    EXPECT_EQ(rows_of(fmt::format(R"({{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{{
                  "group_0":{{"weights":{{"num_bits":4,"type":"int","strategy":"channel","group_size":{}}}}}}}}})",
                                  group),
                      of_rows),
              q.values());
  }

  // Symmetric bytes, as the words of both methods hold them.
  std::vector<uint8_t> by_rows(8 * 64), by_columns(8 * 64);
  std::vector<float> want;
  for (size_t o = 0; o < 8; ++o) {
    for (size_t k = 0; k < 64; ++k) {
      const auto code = static_cast<uint8_t>(o * 64 + k * 7);
      by_rows[o * 64 + k] = code;
      by_columns[(k / 4 * 8 + o) * 4 + k % 4] = code;
      want.push_back(static_cast<float>(code - 128) * to_float(q.scales[o]));
    }
  }
  SafetensorsBuilder of_rows, of_columns;
  of_rows.add(n + "weight_packed", "I32", {8, 16}, bytes_of(by_rows));
  of_rows.add(n + "weight_scale", "F16", {8, 1}, bytes_of(q.scales));
  of_columns.add(n + "qweight", "I32", {16, 8}, bytes_of(by_columns));
  of_columns.add(n + "scales", "F16", {1, 8}, bytes_of(q.scales));
  SafetensorsBuilder asymmetric = of_columns;
  of_columns.add(n + "qzeros", "I32", {1, 2}, bytes_of(std::vector<uint32_t>(2, 0x7f7f7f7f)));
  asymmetric.add(n + "qzeros", "I32", {1, 2}, bytes_of(std::vector<uint32_t>{0x7f7f7f7f, 0x7f7f7f7e}));
  const std::string gptq8 = R"({"quant_method":"gptq","bits":8,"group_size":-1})";
  EXPECT_EQ(rows_of(R"({"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"group_0":{
                "weights":{"num_bits":8,"type":"int","strategy":"channel"}}}})",
                    of_rows),
            want);
  EXPECT_EQ(rows_of(gptq8, of_columns), want);
  expect_error(ErrorKind::Unsupported, {"qzeros has zero points other than 128"}, [&] { rows_of(gptq8, asymmetric); });
}

TEST(PackedWeights, EarlyWritersConfigsAreFilesOfTheirOwn) {
  const QuantizedMatrix q(8, 128, 128, 5);
  for (const auto& [name, text] :
       {std::pair{"quantize_config.json", R"({"bits":4,"group_size":128,"desc_act":false})"},
        {"quant_config.json", R"({"zero_point":true,"q_group_size":128,"w_bit":4,"version":"GEMM"})"}}) {
    SafetensorsBuilder file;
    (name[5] == 'i' ? gptq(128, true) : awq(128)).add(file, kName, q);
    TemporaryDirectory d;
    d.write("config.json", R"({"architectures":["LlamaForCausalLM"],"torch_dtype":"float16"})");
    d.write("model.safetensors", file.build());
    expect_error(ErrorKind::Unsupported, {"q_proj.qweight holds codes", "no quantization_config"},
                 [&] { Checkpoint::open(d.path()); });
    d.write(name, text);
    const auto c = Checkpoint::open(d.path());
    const FileTensor& t = *c->find(std::string(kName) + "weight");
    std::vector<float> rows(static_cast<size_t>(t.shape.elements()));
    dequantize_row(t.dtype, unpack(t).data(), rows.data(), t.shape.elements());
    EXPECT_EQ(rows, q.values());
  }
}

TEST(PackedWeights, WhatDoesNotFitTogetherIsNamed) {
  auto expect_refused = [](ErrorKind kind, std::initializer_list<const char*> parts, const std::string& quantization,
                           const SafetensorsBuilder& file) {
    TemporaryDirectory d;
    d.write("config.json", config(quantization));
    d.write("model.safetensors", file.build());
    expect_error(kind, parts, [&] { Checkpoint::open(d.path()); });
  };
  const std::string how = R"({"quant_method":"gptq","bits":4,"group_size":128})", n = kName;
  auto zeros = [](int64_t elements, int64_t bytes) { return std::string(static_cast<size_t>(elements * bytes), '\0'); };
  SafetensorsBuilder file;
  file.add(n + "qweight", "I32", {16, 8}, zeros(16 * 8, 4));
  expect_refused(ErrorKind::CorruptFile, {"q_proj.qweight but no", "q_proj.scales"}, how, file);
  SafetensorsBuilder short_scales = file, no_zeros = file;
  short_scales.add(n + "scales", "F16", {2, 8}, zeros(16, 2));
  expect_refused(ErrorKind::CorruptFile, {"q_proj.scales has shape", "expected [1, 8]"}, how, short_scales);
  no_zeros.add(n + "scales", "F16", {1, 8}, zeros(8, 2));
  expect_refused(ErrorKind::CorruptFile, {"no model.layers.0.self_attn.q_proj.qzeros"}, how, no_zeros);
  SafetensorsBuilder whole = no_zeros, wrong_group = no_zeros, twice = no_zeros;
  for (SafetensorsBuilder* b : {&whole, &wrong_group, &twice}) b->add(n + "qzeros", "I32", {1, 1}, zeros(1, 4));
  wrong_group.add(n + "g_idx", "I32", {128}, bytes_of(std::vector<int32_t>(128, 1)));
  expect_refused(ErrorKind::CorruptFile, {"g_idx names group 1 of 1 for column 0"}, how, wrong_group);
  twice.add(n + "weight", "F16", {1}, zeros(1, 2));
  expect_refused(ErrorKind::CorruptFile, {"q_proj.weight is there beside"}, how, twice);
  expect_refused(ErrorKind::Unsupported, {"8 outputs and 128 inputs in groups of 48"},
                 R"({"quant_method":"gptq","bits":4,"group_size":48})", whole);
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{0, int64_t{1} << 61}, {int64_t{1} << 61, 0}}) {
    SafetensorsBuilder empty;
    empty.add(n + "qweight", "I32", {rows, cols}, "");
    empty.add(n + "scales", "F16", {0}, "");
    expect_refused(ErrorKind::CorruptFile, {"qweight must be a matrix of int32 that is not empty"}, how, empty);
    SafetensorsBuilder empty8;
    empty8.add(n + "weight", "F8_E4M3", {rows, cols}, "");
    empty8.add_floats(n + "weight_scale", {}, {1.0F});
    expect_refused(ErrorKind::CorruptFile, {"weight must be a matrix that is not empty"}, R"({"quant_method":"fp8"})",
                   empty8);
  }
  SafetensorsBuilder of_floats;
  of_floats.add(n + "qweight", "F32", {16, 8}, zeros(16 * 8, 4));
  of_floats.add(n + "scales", "F16", {1, 8}, zeros(8, 2));
  expect_refused(ErrorKind::CorruptFile, {"must be a matrix of int32"}, how, of_floats);
  for (const auto& [quantization, word] : std::initializer_list<std::pair<const char*, const char*>>{
           {R"({"quant_method":"gptq","bits":3})", "bits = 3"},
           {R"({"quant_method":"awq","bits":8})", "bits = 8"},
           {R"({"quant_method":"gptq","is_marlin_format":true})", "is_marlin_format"},
           {R"({"quant_method":"gptq","bits":4,"dynamic":{"+:.*mlp.*":{"bits":8}}})", "bits of its own"},
           {R"({"quant_method":"compressed-tensors","format":"pack-quantized","transform_config":{"config_groups":{
               "R3":{"apply":[{"location":"q_attn"}]}}}})",
            "applied at \"q_attn\""},
           {R"({"quant_method":"gptq","checkpoint_format":"marlin"})", "checkpoint_format marlin"},
           {R"({"quant_method":"awq","version":"gemv"})", "version gemv"},
           {R"({"quant_method":"compressed-tensors","format":"int-quantized"})", "format int-quantized"}}) {
    expect_refused(ErrorKind::Unsupported, {"quantization_config", word, "pack-quantized"}, quantization, whole);
  }

  SafetensorsBuilder fp8;
  fp8.add(n + "weight", "F8_E4M3", {16, 8}, zeros(16 * 8, 1));
  expect_refused(ErrorKind::CorruptFile, {"q_proj.weight is fp8, and there is no", "weight_scale"},
                 R"({"quant_method":"fp8"})", fp8);
  expect_refused(ErrorKind::Unsupported, {"q_proj.weight holds codes", "of another method"}, how, fp8);
  fp8.add_floats(n + "weight_scale", {8}, std::vector<float>(8, 1.0F));
  expect_refused(ErrorKind::CorruptFile, {"weight_scale has shape [8]", "expected one number or [16, 1]"},
                 R"({"quant_method":"fp8"})", fp8);
  expect_refused(ErrorKind::CorruptFile, {"weight_scale has shape [8]", "expected one number or [4, 2]"},
                 R"({"quant_method":"fp8","weight_block_size":[4,4]})", fp8);
  expect_refused(ErrorKind::CorruptFile, {"weight_block_size", "two numbers"},
                 R"({"quant_method":"fp8","weight_block_size":[128]})", fp8);
}

}  // namespace
}  // namespace sgl
