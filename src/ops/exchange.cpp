// Memory that the ranks of a tensor-parallel group read from each other.

#include "base/assert.h"
#include "ops/backend.h"

namespace sgl {

// Two places in turns: a rank's part of meeting n + 1 is complete when it has read all parts of meeting n, so that
// those of n may be written over for n + 2. Memory that is too small may go at once: a device that frees it has done
// all of its work, and with it the others what they do with this rank's parts.
Tensor Backend::exchange(DType type, int64_t n, int64_t d) {
  SGL_ASSERT(group_ != nullptr, "a backend that is alone has nobody to exchange anything with");
  Buffer& memory = exchange_[exchanges_ % 2];
  const auto bytes = static_cast<size_t>(row_bytes(type, n * d));
  if (memory.bytes() < bytes) {
    memory = Buffer();
    memory = allocate(bytes + bytes / 4);
  }
  return Tensor(memory.data(), type, {n, d});
}

RankGroup::Meeting Backend::meet(const Tensor& part) { return group_->meet(rank_, part.data); }

void Backend::leave() {
  group_->leave();
  ++exchanges_;
}

}  // namespace sgl
