#pragma once
// For tests: the recorded results of golden models (tests/golden/README.md).

#include <cstdint>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace sgl::testing {

/// The tensors of expected.safetensors, read without the program's own reader.
class Expected {
 public:
  explicit Expected(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::stringstream text;
    text << in.rdbuf();
    file_ = text.str();
    uint64_t size = 0;
    std::memcpy(&size, file_.data(), 8);
    header_ = nlohmann::json::parse(file_.substr(8, size));
    data_ = 8 + size;
  }
  template <typename From, typename To>
  std::vector<To> get(const std::string& name) const {
    size_t begin = header_.at(name).at("data_offsets")[0], end = header_.at(name).at("data_offsets")[1];
    std::vector<From> v((end - begin) / sizeof(From));
    std::memcpy(v.data(), file_.data() + data_ + begin, end - begin);
    return {v.begin(), v.end()};
  }
  bool has(const std::string& name) const { return header_.contains(name); }

 private:
  std::string file_;
  nlohmann::json header_;
  size_t data_ = 0;
};

}  // namespace sgl::testing
