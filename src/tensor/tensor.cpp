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
    return p;
  }
  overflow_.push_back(allocate_(std::max<size_t>(bytes, 64)));
  overflow_bytes_ += bytes;
  return overflow_.back().data();
}

void Arena::reset() {
  if (!overflow_.empty()) {
    size_t need = used_ + overflow_bytes_;
    overflow_.clear();
    overflow_bytes_ = 0;
    block_ = Buffer();
    block_ = allocate_(need + need / 4);
  }
  used_ = 0;
}

size_t Arena::capacity() const { return block_.bytes(); }

}  // namespace sgl
