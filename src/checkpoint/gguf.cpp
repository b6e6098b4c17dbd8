#include "checkpoint/gguf.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "checkpoint/tensor_index.h"
#include "sgl/error.h"

namespace sgl {

static_assert(std::endian::native == std::endian::little, "GGUF files are read in place: little-endian machines only");

namespace {

constexpr uint64_t kMaxNameLength = 1024;
constexpr int kMaxArrayDepth = 4;

struct TensorType {
  uint32_t code;
  const char* name;
  std::optional<DType> dtype;  ///< nullopt: named in the error, no more
};

// The numbers that files use; those that are not here were never released, or taken back.
constexpr TensorType kTensorTypes[] = {{0, "F32", DType::F32},
                                       {1, "F16", DType::F16},
                                       {2, "Q4_0", DType::Q4_0},
                                       {3, "Q4_1", DType::Q4_1},
                                       {6, "Q5_0", DType::Q5_0},
                                       {7, "Q5_1", DType::Q5_1},
                                       {8, "Q8_0", DType::Q8_0},
                                       {9, "Q8_1", {}},
                                       {10, "Q2_K", DType::Q2_K},
                                       {11, "Q3_K", DType::Q3_K},
                                       {12, "Q4_K", DType::Q4_K},
                                       {13, "Q5_K", DType::Q5_K},
                                       {14, "Q6_K", DType::Q6_K},
                                       {15, "Q8_K", {}},
                                       {16, "IQ2_XXS", {}},
                                       {17, "IQ2_XS", {}},
                                       {18, "IQ3_XXS", {}},
                                       {19, "IQ1_S", {}},
                                       {20, "IQ4_NL", DType::IQ4_NL},
                                       {21, "IQ3_S", {}},
                                       {22, "IQ2_S", {}},
                                       {23, "IQ4_XS", {}},
                                       {24, "I8", DType::I8},
                                       {25, "I16", DType::I16},
                                       {26, "I32", DType::I32},
                                       {27, "I64", DType::I64},
                                       {28, "F64", DType::F64},
                                       {29, "IQ1_M", {}},
                                       {30, "BF16", DType::BF16},
                                       {34, "TQ1_0", {}},
                                       {35, "TQ2_0", {}},
                                       {39, "MXFP4", {}},
                                       {40, "NVFP4", {}},
                                       {41, "Q1_0", {}}};

DType dtype_of(uint32_t code, std::string_view tensor, const std::string& path) {
  std::string spelling = fmt::format("number {}", code), supported;
  for (const TensorType& t : kTensorTypes) {
    if (t.code == code && t.dtype) return *t.dtype;
    if (t.code == code) spelling = t.name;
    if (t.dtype) supported += fmt::format("{}{}", supported.empty() ? "" : ", ", t.name);
  }
  throw Error(ErrorKind::Unsupported, fmt::format("{}: tensor {} has type {}, which is not supported; supported are {}",
                                                  path, tensor, spelling, supported));
}

// What a name of the file looks like in an error: short, and printable.
std::string printable(std::string_view s) {
  std::string result;
  for (char c : s.substr(0, 100)) result += c >= ' ' && c < 127 ? c : '?';
  return result;
}

template <typename T>
T load(const std::byte* p) {
  T x;
  std::memcpy(&x, p, sizeof(T));
  return x;
}

}  // namespace

// A position in the file that cannot pass its end.
class GgufFile::Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  size_t position() const { return position_; }
  uint64_t left() const { return bytes_.size() - position_; }
  const std::byte* here() const { return bytes_.data() + position_; }

  void skip(uint64_t n, std::string_view what) {
    if (n > left()) {
      corrupt(fmt::format("{} at byte {} needs {} bytes, the file has {} more: it may be cut off", what, position_, n,
                          left()));
    }
    position_ += static_cast<size_t>(n);
  }
  template <typename T>
  T read(std::string_view what) {
    const std::byte* p = here();
    skip(sizeof(T), what);
    return load<T>(p);
  }
  std::string_view read_string(std::string_view what) {
    const uint64_t length = read<uint64_t>(what);
    const char* p = reinterpret_cast<const char*>(here());
    skip(length, what);
    return {p, static_cast<size_t>(length)};
  }
  // A count of things of at least `min_bytes` each: more than the file has room for is refused before anything is
  // allocated.
  uint64_t read_count(std::string_view what, uint64_t min_bytes) {
    const uint64_t n = read<uint64_t>(what);
    check_count(n, what, min_bytes);
    return n;
  }
  void check_count(uint64_t n, std::string_view what, uint64_t min_bytes) const {
    if (n > left() / min_bytes) {
      corrupt(fmt::format("{} is {}, for which the {} bytes that follow are too few", what, n, left()));
    }
  }
  [[noreturn]] void corrupt(const std::string& why) const {
    throw Error(ErrorKind::CorruptFile, fmt::format("{} is not a valid GGUF file: {}", path_, why));
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& path_;
  size_t position_ = 0;
};

GgufFile::GgufFile(const std::string& path) : file_(path), bytes_(file_.bytes()), path_(path) { parse(); }

GgufFile::GgufFile(std::span<const std::byte> bytes, std::string path) : bytes_(bytes), path_(std::move(path)) {
  parse();
}

void GgufFile::adopt(std::unique_ptr<GgufFile> part) {
  tensors_.insert(tensors_.end(), part->tensors_.begin(), part->tensors_.end());
  parts_.push_back(std::move(part));
}

void GgufFile::parse() {
  Reader r(bytes_, path_);
  if (r.left() < 4 || std::memcmp(r.here(), "GGUF", 4) != 0) r.corrupt("it does not begin with GGUF");
  r.skip(4, "the magic number");
  version_ = r.read<uint32_t>("the version");
  if (version_ != 2 && version_ != 3) {
    const bool swapped = (version_ & 0xffff) == 0 && version_ != 0;
    throw Error(ErrorKind::Unsupported,
                swapped ? fmt::format("{} is a big-endian GGUF file, which is not supported", path_)
                        : fmt::format("{} is a GGUF file of version {}; supported are 2 and 3", path_, version_));
  }
  const auto num_tensors = r.read_count("the number of tensors", 24);
  const auto num_values = r.read_count("the number of key-values", 13);
  for (uint64_t i = 0; i < num_values; ++i) {
    const std::string_view key = r.read_string("a key");
    if (key.empty() || key.size() > kMaxNameLength) r.corrupt(fmt::format("a key of {} bytes", key.size()));
    if (!values_.emplace(key, read_value(r, key)).second)
      r.corrupt(fmt::format("two values of the key {}", printable(key)));
    keys_.push_back(key);
  }
  r.check_count(num_tensors, "the number of tensors", 24);
  tensors_.reserve(num_tensors);
  std::vector<uint64_t> offsets;
  offsets.reserve(num_tensors);
  for (uint64_t i = 0; i < num_tensors; ++i) {
    tensors_.push_back(read_tensor(r));
    offsets.push_back(r.read<uint64_t>("a tensor's offset"));
  }
  place_tensors(r, offsets);
}

void GgufFile::place_tensors(const Reader& r, const std::vector<uint64_t>& offsets) {
  const int64_t alignment = integer("general.alignment").value_or(32);
  if (alignment < 8 || alignment > 65536 || !std::has_single_bit(static_cast<uint64_t>(alignment))) {
    r.corrupt(fmt::format("general.alignment must be a power of two in [8, 65536], got {}", alignment));
  }
  const uint64_t step = static_cast<uint64_t>(alignment), begin = (r.position() + step - 1) / step * step;
  const uint64_t size = begin > bytes_.size() ? 0 : bytes_.size() - begin;
  std::vector<FilePart> parts;
  parts.reserve(tensors_.size());
  for (size_t i = 0; i < tensors_.size(); ++i) {
    FileTensor& t = tensors_[i];
    const uint64_t offset = offsets[i], bytes = static_cast<uint64_t>(*tensor_bytes(t.dtype, t.shape));
    if (offset % step != 0) {
      r.corrupt(fmt::format("tensor {} is at byte {}, not a multiple of {}", printable(t.name), offset, step));
    }
    if (offset > size || bytes > size - offset) {
      r.corrupt(fmt::format("tensor {} should be at bytes [{}, + {}); the file has {} bytes of data: it may be cut off",
                            printable(t.name), offset, bytes, size));
    }
    t.data = bytes == 0 ? std::span<const std::byte>() : bytes_.subspan(begin + offset, bytes);
    parts.push_back({offset, offset + bytes, t.name});
  }
  check_no_overlap(parts, path_);
}

GgufFile::Value GgufFile::read_value(Reader& r, std::string_view key) {
  Value v;
  auto read_type = [&] {
    const auto code = r.read<uint32_t>("a type");
    if (code > static_cast<uint32_t>(Type::F64)) {
      r.corrupt(fmt::format("the key {} has the unknown type {}", printable(key), code));
    }
    return static_cast<Type>(code);
  };
  v.type = read_type();
  if (v.type == Type::Array) {
    v.array = true;
    v.type = read_type();
    v.count = r.read_count("an array's length", v.type == Type::Array ? 12 : v.type == Type::String ? 8 : 1);
  }
  v.data = r.here();
  skip_elements(r, v.type, v.count, 0, key);
  return v;
}

void GgufFile::skip_elements(Reader& r, Type type, uint64_t count, int depth, std::string_view key) {
  if (type == Type::String) {
    for (uint64_t i = 0; i < count; ++i) r.read_string("a string");
  } else if (type == Type::Array) {
    if (depth == kMaxArrayDepth) r.corrupt(fmt::format("arrays in {} are nested too deep", printable(key)));
    for (uint64_t i = 0; i < count; ++i) {
      const auto inner = r.read<uint32_t>("a type");
      if (inner > static_cast<uint32_t>(Type::F64))
        r.corrupt(fmt::format("an array in {} of an unknown type", printable(key)));
      const uint64_t n = r.read_count("an array's length", inner == static_cast<uint32_t>(Type::Array) ? 12 : 1);
      skip_elements(r, static_cast<Type>(inner), n, depth + 1, key);
    }
  } else {
    constexpr uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    const uint64_t size = bytes[static_cast<size_t>(type)];
    r.check_count(count, "an array's length", size);
    r.skip(count * size, "a value");
  }
}

FileTensor GgufFile::read_tensor(Reader& r) {
  FileTensor t;
  const std::string_view tensor = r.read_string("a tensor's name");
  if (tensor.empty() || tensor.size() > kMaxNameLength)
    r.corrupt(fmt::format("a tensor's name of {} bytes", tensor.size()));
  t.name = tensor;
  const auto rank = r.read<uint32_t>("a tensor's rank");
  if (rank > Shape::kMaxRank) r.corrupt(fmt::format("tensor {} has {} dimensions", printable(tensor), rank));
  int64_t dims[Shape::kMaxRank] = {};
  for (uint32_t i = 0; i < rank; ++i) {
    const auto d = r.read<uint64_t>("a dimension");
    if (d > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      r.corrupt(fmt::format("tensor {} has a dimension of {}", printable(tensor), d));
    }
    dims[i] = static_cast<int64_t>(d);
  }
  for (uint32_t i = rank; i > 0; --i) t.shape.push_back(dims[i - 1]);
  t.dtype = dtype_of(r.read<uint32_t>("a tensor's type"), printable(tensor), path_);
  if (!tensor_bytes(t.dtype, t.shape)) {
    r.corrupt(fmt::format("tensor {} of type {} cannot have the shape {}", printable(tensor), sgl::name(t.dtype),
                          to_string(t.shape)));
  }
  return t;
}

std::vector<std::string_view> GgufFile::keys() const { return keys_; }

bool GgufFile::is_array(std::string_view key) const {
  auto it = values_.find(key);
  return it != values_.end() && it->second.array;
}

const GgufFile::Value* GgufFile::find(std::string_view key, bool array) const {
  auto it = values_.find(key);
  if (it == values_.end()) return nullptr;
  if (it->second.array != array) wrong_type(key, array ? "an array" : "a single value");
  return &it->second;
}

void GgufFile::wrong_type(std::string_view key, const char* expected) const {
  const Value& v = values_.find(key)->second;
  constexpr const char* names[] = {"uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
                                   "bool",  "string", "array",  "uint64", "int64",  "float64"};
  throw Error(ErrorKind::CorruptFile,
              fmt::format("{}: the key {} must be {}, got {}{}", path_, printable(key), expected,
                          v.array ? "an array of " : "", names[static_cast<size_t>(v.type)]));
}

namespace {

// Calls f with each element as the C++ type of its code; false for strings and arrays.
template <typename F>
bool visit_numbers(uint32_t type, const std::byte* data, uint64_t count, F f) {
  auto each = [&]<typename T>(T) {
    for (uint64_t i = 0; i < count; ++i) f(load<T>(data + i * sizeof(T)));
    return true;
  };
  switch (type) {
    case 0:
      return each(uint8_t{});
    case 1:
      return each(int8_t{});
    case 2:
      return each(uint16_t{});
    case 3:
      return each(int16_t{});
    case 4:
      return each(uint32_t{});
    case 5:
      return each(int32_t{});
    case 6:
      return each(float{});
    case 7:
      return each(uint8_t{});  // bool; a byte that is neither 0 nor 1 must not become one
    case 10:
      return each(uint64_t{});
    case 11:
      return each(int64_t{});
    case 12:
      return each(double{});
    default:
      return false;
  }
}

}  // namespace

std::optional<double> GgufFile::number(std::string_view key) const {
  const Value* v = find(key, false);
  if (v == nullptr) return std::nullopt;
  double result = 0;
  const bool ok = v->type != Type::Bool && visit_numbers(static_cast<uint32_t>(v->type), v->data, 1,
                                                         [&](auto x) { result = static_cast<double>(x); });
  if (!ok || !std::isfinite(result)) wrong_type(key, "a finite number");
  return result;
}

std::optional<int64_t> GgufFile::integer(std::string_view key) const {
  const Value* v = find(key, false);
  if (v == nullptr) return std::nullopt;
  if (v->type == Type::F32 || v->type == Type::F64) wrong_type(key, "an integer");
  int64_t result = 0;
  bool fits = true;
  const bool ok = visit_numbers(static_cast<uint32_t>(v->type), v->data, 1, [&](auto x) {
    fits = !(std::is_same_v<decltype(x), uint64_t> && static_cast<int64_t>(x) < 0);
    result = static_cast<int64_t>(+x);
  });
  if (!ok || !fits) wrong_type(key, "an integer below 2^63");
  return result;
}

std::optional<int32_t> GgufFile::token_id(std::string_view key) const {
  const std::optional<int64_t> id = integer(key);
  if (!id || *id == std::numeric_limits<uint32_t>::max() || *id == -1) return std::nullopt;
  if (*id < 0 || *id > INT32_MAX) {
    throw Error(ErrorKind::CorruptFile, fmt::format("{}: {} must be a token id, got {}", path_, key, *id));
  }
  return static_cast<int32_t>(*id);
}

std::optional<bool> GgufFile::boolean(std::string_view key) const {
  const Value* v = find(key, false);
  if (v == nullptr) return std::nullopt;
  if (v->type != Type::Bool) wrong_type(key, "a bool");
  return load<uint8_t>(v->data) != 0;
}

std::optional<std::string_view> GgufFile::string(std::string_view key) const {
  const Value* v = find(key, false);
  if (v == nullptr) return std::nullopt;
  if (v->type != Type::String) wrong_type(key, "a string");
  return std::string_view(reinterpret_cast<const char*>(v->data) + sizeof(uint64_t), load<uint64_t>(v->data));
}

std::vector<std::string_view> GgufFile::strings(std::string_view key) const {
  std::vector<std::string_view> result;
  const Value* v = find(key, true);
  if (v == nullptr) return result;
  if (v->type != Type::String) wrong_type(key, "an array of strings");
  result.reserve(v->count);
  const std::byte* p = v->data;  // every length was checked when the file was opened
  for (uint64_t i = 0; i < v->count; ++i) {
    const auto length = load<uint64_t>(p);
    result.emplace_back(reinterpret_cast<const char*>(p) + sizeof(length), length);
    p += sizeof(length) + length;
  }
  return result;
}

std::vector<float> GgufFile::floats(std::string_view key) const {
  std::vector<float> result;
  const Value* v = find(key, true);
  if (v == nullptr) return result;
  if (v->type == Type::String || v->type == Type::Array || v->type == Type::Bool)
    wrong_type(key, "an array of numbers");
  result.reserve(v->count);
  visit_numbers(static_cast<uint32_t>(v->type), v->data, v->count,
                [&](auto x) { result.push_back(static_cast<float>(x)); });
  return result;
}

std::vector<int32_t> GgufFile::ints(std::string_view key) const {
  std::vector<int32_t> result;
  const Value* v = find(key, true);
  if (v == nullptr) return result;
  if (v->type == Type::F32 || v->type == Type::F64) wrong_type(key, "an array of integers");
  result.reserve(v->type == Type::String || v->type == Type::Array ? 0 : v->count);
  bool fits = true;
  const bool ok = visit_numbers(static_cast<uint32_t>(v->type), v->data, v->count, [&](auto x) {
    if constexpr (sizeof(x) > 4 || std::is_same_v<decltype(x), uint32_t>) {
      fits = fits && x <= static_cast<decltype(x)>(INT32_MAX) &&
             (!std::is_signed_v<decltype(x)> || x >= static_cast<decltype(x)>(INT32_MIN));
    }
    result.push_back(static_cast<int32_t>(x));
  });
  if (!ok || !fits) wrong_type(key, "an array of 32-bit integers");
  return result;
}

}  // namespace sgl
