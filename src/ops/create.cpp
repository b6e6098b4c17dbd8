#include <fmt/format.h>

#include "ops/cpu_backend.h"
#include "ops/ref_backend.h"
#include "sgl/error.h"

namespace sgl {

std::unique_ptr<Backend> create_cuda_backend(const BackendOptions& options);  // backend_cuda.cpp, in builds with CUDA

std::unique_ptr<Backend> Backend::create(const BackendOptions& options) {
  if (options.threads < 0) {
    throw Error(ErrorKind::InvalidArgument, fmt::format("threads must be at least 0, got {}", options.threads));
  }
  const Quantization of_other = options.device == "cuda" ? Quantization::Int8 : Quantization::Fp8;
  if (options.quantization == of_other) {
    throw Error(ErrorKind::InvalidArgument, fmt::format("the {} device does not quantize weights to {}", options.device,
                                                        of_other == Quantization::Int8 ? "int8" : "fp8"));
  }
  if (options.device == "ref") return std::make_unique<RefBackend>();
  if (options.device == "cpu") return std::make_unique<CpuBackend>(options);
  if (options.device == "cuda") {
#ifdef SGL_CUDA
    return create_cuda_backend(options);
#else
    throw Error(ErrorKind::Unsupported,
                "this program was built without CUDA: build it with 'cmake --preset cuda', or take --device cpu");
#endif
  }
  throw Error(ErrorKind::InvalidArgument,
              fmt::format("unknown device '{}'; expected cpu, cuda or ref", options.device));
}

}  // namespace sgl
