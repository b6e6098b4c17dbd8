#include "checkpoint/safetensors.h"

#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "checkpoint/tensor_index.h"
#include "sgl/error.h"

namespace sgl {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeader = 100'000'000;  // the reference implementation's limit

constexpr std::pair<std::string_view, DType> kDTypes[] = {
    {"F32", DType::F32}, {"F16", DType::F16},   {"BF16", DType::BF16},     {"F64", DType::F64},
    {"I8", DType::I8},   {"U8", DType::U8},     {"I16", DType::I16},       {"I32", DType::I32},
    {"I64", DType::I64}, {"BOOL", DType::Bool}, {"F8_E4M3", DType::F8E4M3}};

struct Entry {
  std::string name, dtype;
  Shape shape;
  std::array<uint64_t, 2> offsets{};
  int num_offsets = 0;
  bool has_shape = false;
};

// Reads the header as it is parsed, so that no tree is built and its depth is bounded by construction: what does not
// belong at a place ends the parse. Functions return false for that, with `error` saying why.
//
//   {"NAME": {"dtype": …, "shape": [ … ], "data_offsets": [ … ]}}
//   depth 1   2                      3
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  std::vector<Entry> entries;
  std::string error;

  bool start_object(size_t) override {
    if (++depth_ > 2) return fail("an object inside of a tensor's entry");
    if (depth_ == 2 && !in_metadata_) entries.push_back({.name = key_, .dtype = {}, .shape = {}});
    return true;
  }
  bool end_object() override {
    if (depth_ == 2 && !in_metadata_) {
      const Entry& e = entries.back();
      if (e.dtype.empty() || !e.has_shape || e.num_offsets != 2) {
        return fail(fmt::format("tensor {} must have dtype, shape and two data_offsets", e.name));
      }
    }
    --depth_;
    in_metadata_ = false;
    return true;
  }
  bool key(std::string& k) override {
    if (depth_ == 1) {
      key_ = std::move(k);
      in_metadata_ = key_ == "__metadata__";
    } else if (!in_metadata_) {
      field_ = k == "dtype"          ? Field::DType
               : k == "shape"        ? Field::Shape
               : k == "data_offsets" ? Field::Offsets
                                     : Field::Other;
      if (field_ == Field::Other)
        return fail(fmt::format("tensor {} has the unknown field {}", key_, k.substr(0, 100)));
    }
    return true;
  }
  bool start_array(size_t) override {
    if (depth_ != 2 || in_metadata_ || in_array_ || field_ == Field::DType) return fail("an array where none belongs");
    in_array_ = true;
    if (field_ == Field::Shape) entries.back().has_shape = true;
    return true;
  }
  bool end_array() override {
    in_array_ = false;
    return true;
  }
  bool string(std::string& s) override {
    if (in_metadata_ && depth_ == 2) return true;
    if (depth_ != 2 || in_array_ || field_ != Field::DType) return fail("a string where none belongs");
    entries.back().dtype = std::move(s);
    return true;
  }
  bool number_unsigned(uint64_t n) override {
    if (!in_array_) return fail("a number where none belongs");
    Entry& e = entries.back();
    if (field_ == Field::Offsets) {
      if (e.num_offsets == 2) return fail(fmt::format("tensor {} has more than two data_offsets", e.name));
      e.offsets[static_cast<size_t>(e.num_offsets++)] = n;
      return true;
    }
    if (n > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return fail(fmt::format("tensor {} has a dimension of {}", e.name, n));
    }
    if (e.shape.rank() == Shape::kMaxRank) {
      throw Error(ErrorKind::Unsupported, fmt::format("tensor {} has more than {} dimensions, which is not supported",
                                                      e.name, Shape::kMaxRank));
    }
    e.shape.push_back(static_cast<int64_t>(n));
    return true;
  }
  bool number_integer(int64_t n) override { return fail(fmt::format("the negative number {} in tensor {}", n, key_)); }
  bool number_float(double, const std::string& s) override {
    return fail(fmt::format("{} where a whole number below 2^63 belongs, in tensor {}", s.substr(0, 100), key_));
  }
  bool null() override { return fail("null where it does not belong"); }
  bool boolean(bool) override { return fail("a boolean where none belongs"); }
  bool binary(binary_t&) override { return fail("binary data"); }
  bool parse_error(size_t, const std::string&, const json::exception& e) override { return fail(e.what()); }

 private:
  enum class Field { DType, Shape, Offsets, Other };

  bool fail(std::string why) {
    error = std::move(why);
    return false;
  }

  int depth_ = 0;
  bool in_metadata_ = false, in_array_ = false;
  std::string key_;
  Field field_ = Field::Other;
};

[[noreturn]] void corrupt(const std::string& path, const std::string& why) {
  throw Error(ErrorKind::CorruptFile, fmt::format("{} is not a valid safetensors file: {}", path, why));
}

DType dtype_of(const Entry& e, const std::string& path) {
  for (const auto& [spelling, dtype] : kDTypes) {
    if (e.dtype == spelling) return dtype;
  }
  throw Error(
      ErrorKind::Unsupported,
      fmt::format("{}: tensor {} has type {}, which is not supported; supported are F32, F16, BF16, F64, I8, U8, "
                  "I16, I32, I64, BOOL, F8_E4M3",
                  path, e.name, e.dtype.substr(0, 100)));
}

}  // namespace

std::vector<FileTensor> parse_safetensors(std::span<const std::byte> file, const std::string& path) {
  uint64_t header = 0;
  if (file.size() < sizeof(header)) corrupt(path, fmt::format("it has {} bytes, too few for a header", file.size()));
  std::memcpy(&header, file.data(), sizeof(header));
  if (header > kMaxHeader || header > file.size() - sizeof(header)) {
    corrupt(path, fmt::format("its header should have {} bytes; the file has {}, and at most {} are allowed", header,
                              file.size(), kMaxHeader));
  }
  const char* text = reinterpret_cast<const char*>(file.data()) + sizeof(header);
  HeaderReader reader;
  if (header == 0 || text[0] != '{') corrupt(path, "its header does not begin with {");
  if (!json::sax_parse(text, text + header, &reader)) corrupt(path, reader.error);

  const std::span<const std::byte> data = file.subspan(sizeof(header) + header);
  std::vector<FileTensor> tensors;
  std::vector<FilePart> parts;
  tensors.reserve(reader.entries.size());
  parts.reserve(reader.entries.size());
  for (Entry& e : reader.entries) {
    const DType dtype = dtype_of(e, path);
    const auto [begin, end] = e.offsets;
    if (begin > end || end > data.size()) {
      corrupt(path,
              fmt::format("tensor {} should be at bytes [{}, {}); the file has {} bytes of data: it may be cut off",
                          e.name, begin, end, data.size()));
    }
    const std::optional<int64_t> bytes = tensor_bytes(dtype, e.shape);
    if (!bytes || static_cast<uint64_t>(*bytes) != end - begin) {
      corrupt(path, fmt::format("tensor {} of type {} and shape {} cannot have {} bytes", e.name, e.dtype,
                                to_string(e.shape), end - begin));
    }
    tensors.push_back({std::move(e.name), dtype, e.shape, data.subspan(begin, end - begin)});
    parts.push_back({begin, end, tensors.back().name});
  }
  check_no_overlap(parts, path);
  return tensors;
}

}  // namespace sgl
