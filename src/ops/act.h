#pragma once
// Apart from backend.h so that kernel files need not include the standard library's templates with it (see simd.h).

namespace sgl {

enum class Act { Silu, Gelu, GeluTanh, Relu };

}  // namespace sgl
