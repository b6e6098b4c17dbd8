#pragma once
// For tests: model files made in memory, and directories that go away. Nothing here checks what it is given, so that a
// test can write any nonsense.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace sgl::testing {

inline std::span<const std::byte> as_bytes(std::string_view s) {
  return {reinterpret_cast<const std::byte*>(s.data()), s.size()};
}

template <typename T>
void append(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// All bytes that this program has asked operator new for so far, freed or not.
size_t allocated_bytes();

/// A safetensors file. Tensors stand in the order of add().
class SafetensorsBuilder {
 public:
  /// `shape` outermost first; `dtype` as the format spells it.
  void add(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape,
           const std::string& data) {
    add_entry(fmt::format(R"("{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", name, dtype,
                          fmt::join(shape, ","), data_.size(), data_.size() + data.size()));
    data_ += data;
  }
  void add_floats(const std::string& name, const std::vector<int64_t>& shape, const std::vector<float>& values) {
    add(name, "F32", shape, bytes_of(values));
  }
  /// A piece of the header's JSON, such as `"__metadata__":{"format":"pt"}`.
  void add_entry(const std::string& json) { header_ += (header_.empty() ? "" : ",") + json; }

  /// `aligned`: pads the header with spaces to a multiple of 8, as writers do.
  std::string build(bool aligned = true) const {
    std::string header = "{" + header_ + "}";
    while (aligned && header.size() % 8 != 0) header += ' ';
    return with_header(header) + data_;
  }
  static std::string with_header(const std::string& header) {
    std::string file;
    append<uint64_t>(file, header.size());
    return file + header;
  }

 private:
  std::string header_, data_;
};

/// A GGUF file. Keys and tensors stand in the order of the calls.
class GgufBuilder {
 public:
  enum Type : uint32_t { U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64 };

  /// A key with a value of the C++ type's own code.
  template <typename T>
  GgufBuilder& key(const std::string& name, T value) {
    begin_key(name, code<T>());
    append(keys_, value);
    return *this;
  }
  GgufBuilder& key(const std::string& name, const char* value) {
    begin_key(name, String);
    keys_ += string(value);
    return *this;
  }
  template <typename T>
  GgufBuilder& array(const std::string& name, const std::vector<T>& values) {
    begin_array(name, code<T>(), values.size());
    keys_ += bytes_of(values);
    return *this;
  }
  GgufBuilder& strings(const std::string& name, const std::vector<std::string>& values) {
    begin_array(name, String, values.size());
    for (const std::string& v : values) keys_ += string(v);
    return *this;
  }
  /// A key whose value, type code included, is given byte by byte.
  GgufBuilder& raw_key(const std::string& name, const std::string& type_and_value) {
    keys_ += string(name) + type_and_value;
    ++num_keys_;
    return *this;
  }

  /// `dims` innermost first, as in the file; `type` is the file's code (0: F32, 1: F16, 8: Q8_0, …).
  GgufBuilder& tensor(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type,
                      const std::string& data) {
    data_.resize((data_.size() + 31) / 32 * 32);
    raw_tensor(name, dims, type, data_.size());
    data_ += data;
    return *this;
  }
  GgufBuilder& raw_tensor(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
    tensors_ += string(name);
    append<uint32_t>(tensors_, static_cast<uint32_t>(dims.size()));
    for (uint64_t d : dims) append(tensors_, d);
    append(tensors_, type);
    append(tensors_, offset);
    ++num_tensors_;
    return *this;
  }

  std::string build(uint32_t version = 3) const { return build_counted(version, num_tensors_, num_keys_); }
  std::string build_counted(uint32_t version, uint64_t num_tensors, uint64_t num_keys) const {
    std::string file = "GGUF";
    append(file, version);
    append(file, num_tensors);
    append(file, num_keys);
    file += keys_ + tensors_;
    file.resize((file.size() + 31) / 32 * 32);
    return file + data_;
  }
  static std::string string(const std::string& s) {
    std::string result;
    append<uint64_t>(result, s.size());
    return result + s;
  }

 private:
  template <typename T>
  static constexpr uint32_t code() {
    if constexpr (std::is_same_v<T, bool>)
      return Bool;
    else if constexpr (std::is_same_v<T, float>)
      return F32;
    else if constexpr (std::is_same_v<T, double>)
      return F64;
    else if constexpr (std::is_same_v<T, uint8_t>)
      return U8;
    else if constexpr (std::is_same_v<T, int8_t>)
      return I8;
    else if constexpr (std::is_same_v<T, uint16_t>)
      return U16;
    else if constexpr (std::is_same_v<T, int16_t>)
      return I16;
    else if constexpr (std::is_same_v<T, uint32_t>)
      return U32;
    else if constexpr (std::is_same_v<T, int32_t>)
      return I32;
    else if constexpr (std::is_same_v<T, uint64_t>)
      return U64;
    else
      return I64;
  }
  void begin_key(const std::string& name, uint32_t type) {
    keys_ += string(name);
    append(keys_, type);
    ++num_keys_;
  }
  void begin_array(const std::string& name, uint32_t type, uint64_t count) {
    begin_key(name, Array);
    append(keys_, type);
    append(keys_, count);
  }

  std::string keys_, tensors_, data_;
  uint64_t num_keys_ = 0, num_tensors_ = 0;
};

/// A new directory, removed with what is in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sgl_test_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make " + pattern);
    path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  /// Writes a file and returns its path.
  std::string write(const std::string& name, std::string_view content) const {
    const std::string file = path_ + "/" + name;
    std::ofstream(file, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
    return file;
  }

 private:
  std::string path_;
};

}  // namespace sgl::testing
