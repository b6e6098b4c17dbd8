
#include <array>

#include <fmt/format.h>

#include "ops/backend.h"
#include "sgl/error.h"

namespace sgl {

void check_shapes(const char* op, std::initializer_list<ShapeCheck> checks) {
  std::array<int64_t, 128> bound;
  bound.fill(-1);
  for (const ShapeCheck& c : checks) {
    int dim = 0;
    for (const char* p = c.dims; *p != '\0'; ++p) {
      if (*p == ' ') continue;
      if (dim >= c.tensor.shape.rank()) {
        throw Error(ErrorKind::Internal, fmt::format("{}: {} has shape {}, expected [{}]", op, c.tensor_name,
                                                     to_string(c.tensor.shape), c.dims));
      }
      int64_t size = c.tensor.shape[dim++];
      int64_t& want = bound[static_cast<size_t>(*p & 0x7f)];
      if (want < 0) want = size;
      if (want != size) {
        throw Error(ErrorKind::Internal, fmt::format("{}: {} has shape {}; expected [{}] with {} = {}", op,
                                                     c.tensor_name, to_string(c.tensor.shape), c.dims, *p, want));
      }
    }
    if (dim != c.tensor.shape.rank()) {
      throw Error(ErrorKind::Internal, fmt::format("{}: {} has shape {}, expected [{}]", op, c.tensor_name,
                                                   to_string(c.tensor.shape), c.dims));
    }
  }
}

}  // namespace sgl
