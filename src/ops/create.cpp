#include <fmt/format.h>

#include "ops/cpu_backend.h"
#include "ops/ref_backend.h"
#include "sgl/error.h"

namespace sgl {

std::unique_ptr<Backend> Backend::create(const BackendOptions& options) {
  if (options.threads < 0) {
    throw Error(ErrorKind::InvalidArgument, fmt::format("threads must be at least 0, got {}", options.threads));
  }
  if (options.device == "ref") return std::make_unique<RefBackend>();
  if (options.device == "cpu") return std::make_unique<CpuBackend>(options);
  throw Error(ErrorKind::InvalidArgument, fmt::format("unknown device '{}'; expected cpu or ref", options.device));
}

}  // namespace sgl
