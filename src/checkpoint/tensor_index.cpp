#include "checkpoint/tensor_index.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl {

void TensorIndex::finish(const std::string& path) {
  std::sort(tensors_.begin(), tensors_.end(), [](const FileTensor& a, const FileTensor& b) { return a.name < b.name; });
  auto twice = std::adjacent_find(tensors_.begin(), tensors_.end(),
                                  [](const FileTensor& a, const FileTensor& b) { return a.name == b.name; });
  if (twice != tensors_.end()) {
    throw Error(ErrorKind::CorruptFile, fmt::format("{} has two tensors of the name {}", path, twice->name));
  }
}

const FileTensor* TensorIndex::find(std::string_view name) const {
  auto it = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                             [](const FileTensor& t, std::string_view n) { return t.name < n; });
  return it != tensors_.end() && it->name == name ? &*it : nullptr;
}

std::vector<std::string_view> TensorIndex::names() const {
  std::vector<std::string_view> result;
  result.reserve(tensors_.size());
  for (const FileTensor& t : tensors_) result.emplace_back(t.name);
  return result;
}

std::optional<DType> TensorIndex::main_dtype() const {
  std::array<size_t, 256> bytes{};
  for (const FileTensor& t : tensors_) bytes[static_cast<size_t>(t.dtype)] += t.data.size();
  auto most = std::max_element(bytes.begin(), bytes.end());
  if (*most == 0) return std::nullopt;
  return static_cast<DType>(most - bytes.begin());
}

std::optional<int64_t> tensor_bytes(DType dtype, const Shape& shape) {
  constexpr int64_t kMax = int64_t{1} << 62;
  const BlockLayout block = block_layout(dtype);
  int64_t elements = 1, bytes = 0;
  bool empty = false;
  for (int i = 0; i < shape.rank(); ++i) {
    // A zero must not hide an overflow, whichever comes first.
    empty = empty || shape[i] == 0;
    if (shape[i] < 0 || __builtin_mul_overflow(elements, std::max<int64_t>(shape[i], 1), &elements) ||
        elements > kMax) {
      return std::nullopt;
    }
  }
  if (empty) elements = 0;
  const int64_t cols = shape.rank() > 0 ? shape[shape.rank() - 1] : 1;
  if (cols % block.elements != 0) return std::nullopt;
  if (__builtin_mul_overflow(elements / block.elements, int64_t{block.bytes}, &bytes) || bytes > kMax)
    return std::nullopt;
  return bytes;
}

void check_no_overlap(std::vector<FilePart>& parts, const std::string& path) {
  std::erase_if(parts, [](const FilePart& p) { return p.begin == p.end; });
  std::sort(parts.begin(), parts.end(), [](const FilePart& a, const FilePart& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < parts.size(); ++i) {
    if (parts[i].begin < parts[i - 1].end) {
      throw Error(ErrorKind::CorruptFile,
                  fmt::format("{}: the tensors {} and {} share bytes", path, parts[i - 1].name, parts[i].name));
    }
  }
}

}  // namespace sgl
