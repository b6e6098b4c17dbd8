#include "tensor/tensor.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl {

std::string to_string(const Shape& shape) {
  std::string s = "[";
  for (int i = 0; i < shape.rank(); ++i) s += fmt::format("{}{}", i > 0 ? ", " : "", shape[i]);
  return s + "]";
}

Buffer allocate_host(size_t bytes) {
  if (bytes == 0) return {};
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) {
    throw Error(ErrorKind::ResourceExhausted, fmt::format("the system refuses {} bytes of memory: {}", bytes, std::strerror(errno)));
  }
  if (bytes >= (size_t{4} << 20)) ::madvise(p, bytes, MADV_HUGEPAGE);
  return Buffer(p, bytes, [](void* q, size_t n) { ::munmap(q, n); });
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
  overflow_.push_back(allocate_host(std::max<size_t>(bytes, 64)));
  overflow_bytes_ += bytes;
  return overflow_.back().data();
}

void Arena::reset() {
  if (!overflow_.empty()) {
    size_t need = used_ + overflow_bytes_;
    overflow_.clear();
    overflow_bytes_ = 0;
    block_ = Buffer();
    block_ = allocate_host(need + need / 4);
  }
  used_ = 0;
}

size_t Arena::capacity() const { return block_.bytes(); }

}  // namespace sgl
