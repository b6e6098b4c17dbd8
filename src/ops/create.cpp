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
  const Quantization q = options.quantization;
  if ((q != Quantization::None && options.device == "ref") || (q == Quantization::Fp8 && options.device != "cuda")) {
    throw Error(
        ErrorKind::InvalidArgument,
        fmt::format("the {} device does not quantize weights to {}: cpu makes int8 and int4, cuda fp8, int8 and int4, "
                    "ref nothing",
                    options.device, name(q)));
  }
  if (options.device == "ref") return std::make_unique<RefBackend>(options);
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
