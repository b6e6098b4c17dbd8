#include "tensor/tensor.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/memory.h"

namespace sgl {

std::string to_string(const Shape& shape) {
  std::string s = "[";
  for (int i = 0; i < shape.rank(); ++i) s += fmt::format("{}{}", i > 0 ? ", " : "", shape[i]);
  return s + "]";
}

Buffer allocate_host(size_t bytes) {
  if (bytes == 0) return {};
  return Buffer(map_memory(bytes), bytes, unmap_memory);
}

Tensor Arena::alloc(DType dtype, Shape shape) {
  auto bytes = static_cast<size_t>(row_bytes(dtype, shape.elements()));
  return Tensor(take((bytes + 63) / 64 * 64), dtype, shape);
}

std::byte* Arena::take(size_t bytes) {
  if (used_ + bytes <= block_.bytes()) {
    std::byte* p = block_.data() + used_;
    used_ += bytes;
    peak_ = std::max(peak_, used_ + overflow_bytes_);
    return p;
  }
  overflow_.push_back(allocate_(std::max<size_t>(bytes, 64)));
  overflow_bytes_ += bytes;
  peak_ = std::max(peak_, used_ + overflow_bytes_);
  return overflow_.back().data();
}

void Arena::rewind(const Scope& scope) {
  used_ = scope.used_;
  overflow_.resize(scope.overflow_);
  overflow_bytes_ = scope.overflow_bytes_;
}

void Arena::reset() {
  overflow_.clear();
  if (peak_ > block_.bytes()) {
    block_ = Buffer();
    block_ = allocate_(peak_ + peak_ / 4);
  }
  used_ = overflow_bytes_ = peak_ = 0;
}

size_t Arena::capacity() const { return block_.bytes(); }

}  // namespace sgl
