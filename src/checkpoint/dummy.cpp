// Random weights that cost neither time nor much memory.
//
// All matrices share one pool of normal numbers, as large as the largest of them: a tensor is a window on the pool that
// begins at a place drawn from its name. The pool repeats a base of numbers whose length is prime: rows i and j of a
// matrix would only be equal if i − j were a multiple of that length. It is filled when the first tensor is asked for,
// at memcpy's speed.
//
//   pool  │ base │ base │ base │ …            tensor "…q_proj": [────────────)
//
// The numbers depend on the seed and on names only, not on the order of calls, the machine, or the standard library.

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "checkpoint/config_json.h"
#include "checkpoint/expected_tensors.h"
#include "checkpoint/model_directory.h"
#include "checkpoint/tensor_index.h"
#include "sgl/error.h"
#include "tensor/block_formats.h"

namespace sgl {
namespace {

using Role = ExpectedTensor::Role;

constexpr uint64_t kSeed = 0x5eed'0f'd0'11'00ULL;
constexpr int64_t kBase = 1'048'573;  // numbers; the largest prime below 2^20
constexpr int64_t kSlack = 1 << 20;   // by how much windows of the largest size can move
constexpr int64_t kStep = 64;         // windows begin at multiples of this many numbers: 64-byte aligned
constexpr double kDeviation = 0.02;   // initializer_range of nearly every config

// A full-period mixer of 64 bits (splitmix64: Steele, Lea, Flood 2014).
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
  return x ^ x >> 31;
}

uint64_t hash(std::string_view name) {
  uint64_t h = kSeed;
  for (char c : name) h = mix(h ^ static_cast<unsigned char>(c));
  return h;
}

// Nearly normal: the sum of twelve uniform numbers less 6 has mean 0 and variance 1, and adding is exact and the same
// everywhere, unlike logarithms and cosines.
float normal(uint64_t i) {
  int64_t sum = 0;
  for (uint64_t j = 0; j < 3; ++j) {
    const uint64_t bits = mix(kSeed + 3 * i + j);
    for (int part = 0; part < 4; ++part) sum += static_cast<int64_t>(bits >> (16 * part) & 0xffff);
  }
  return static_cast<float>((static_cast<double>(sum) / 65535.0 - 6.0) * kDeviation);
}

class DummyCheckpoint : public Checkpoint {
 public:
  DummyCheckpoint(const std::string& directory, const std::string& overrides)
      : directory_(directory), config_(read_config(directory, overrides)) {
    if (config_.packed) {
      throw Error(
          ErrorKind::Unsupported,
          fmt::format("{}: config.json has a quantization_config, and dummy weights are numbers; override it with "
                      "{{\"quantization_config\": null}}, and take --quantization to have them quantized",
                      directory_));
    }
    int64_t largest = 0, vectors = 0;
    // An architecture that is not known has no tensors here: the registry refuses it, and names those there are.
    std::vector<ExpectedTensor> expected;
    if (is_known_architecture(config_.architecture)) expected = expected_tensors(config_);
    for (const ExpectedTensor& t : expected) {
      const std::optional<int64_t> bytes = tensor_bytes(config_.dtype, t.shape);
      if (!bytes || *bytes > int64_t{1} << 40) {
        throw Error(ErrorKind::CorruptFile,
                    fmt::format("config.json asks for a tensor {} of shape {}, which is too large", t.name,
                                to_string(t.shape)));
      }
      (t.role == Role::Matrix ? largest : vectors) =
          std::max(t.role == Role::Matrix ? largest : vectors, t.shape.elements());
    }
    pool_elements_ = largest + kSlack;
    const auto bytes = [&](int64_t n) { return static_cast<size_t>(row_bytes(config_.dtype, n)); };
    pool_ = allocate_host(bytes(pool_elements_));
    zeros_ = allocate_host(bytes(vectors));
    ones_ = allocate_host(bytes(vectors));
    const std::vector<float> ones(static_cast<size_t>(vectors), 1.0F);
    quantize_row(config_.dtype, ones.data(), ones_.data(), vectors);
    for (const ExpectedTensor& t : expected) {
      const int64_t room = (pool_elements_ - t.shape.elements()) / kStep;
      const auto begin = static_cast<int64_t>(hash(t.name) % static_cast<uint64_t>(room)) * kStep;
      // Gemma stores its norms as w − 1.
      const std::byte* data = t.role == Role::Matrix                           ? pool_.data() + bytes(begin)
                              : t.role == Role::Norm && !config_.norm_plus_one ? ones_.data()
                                                                               : zeros_.data();
      index_.add({t.name, config_.dtype, t.shape, {data, bytes(t.shape.elements())}});
    }
    index_.finish(directory);
  }

  const ModelConfig& config() const override { return config_; }
  const FileTensor* find(std::string_view name) const override {
    std::call_once(filled_, [&] { fill(); });
    return index_.find(name);
  }
  std::vector<std::string_view> names() const override { return index_.names(); }
  std::string format() const override { return "dummy"; }
  std::string directory() const override { return directory_; }
  void release(const FileTensor&) const override {}  // shared by all

 private:
  void fill() const {
    std::vector<float> numbers(static_cast<size_t>(kBase));
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = normal(i);
    std::vector<std::byte> base(static_cast<size_t>(row_bytes(config_.dtype, kBase)));
    quantize_row(config_.dtype, numbers.data(), base.data(), kBase);
    const auto all = static_cast<size_t>(row_bytes(config_.dtype, pool_elements_));
    for (size_t begin = 0; begin < all; begin += base.size()) {
      std::memcpy(pool_.data() + begin, base.data(), std::min(base.size(), all - begin));
    }
  }

  std::string directory_;
  ModelConfig config_;
  int64_t pool_elements_ = 0;
  Buffer pool_, zeros_, ones_;
  TensorIndex index_;
  mutable std::once_flag filled_;
};

}  // namespace

std::unique_ptr<Checkpoint> open_dummy(const std::string& directory, const std::string& config_overrides) {
  return std::make_unique<DummyCheckpoint>(directory, config_overrides);
}

}  // namespace sgl
