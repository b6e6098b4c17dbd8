#include "ops/cpu_backend.h"

#include <fmt/format.h>

namespace sgl {

CpuBackend::CpuBackend(const BackendOptions& options, CpuIsa isa)
    : quantize_activations_(options.quantize_activations),
      isa_(isa),
      pool_(options.threads > 0 ? options.threads : default_compute_threads()) {}

std::string CpuBackend::describe() const {
  return fmt::format("cpu, {}, {} thread{}{}", name(isa_), pool_.threads(), pool_.threads() == 1 ? "" : "s",
                     quantize_activations_ ? "" : ", activations not quantized");
}

}  // namespace sgl
