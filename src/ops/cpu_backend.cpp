#include "ops/cpu_backend.h"

#include <algorithm>

#include <fmt/format.h>

namespace sgl {
namespace {

#if defined(__x86_64__)
#define SGL_FOR_ISA(isa, function) \
  ((isa) >= CpuIsa::Avx512 ? avx512::function() : (isa) == CpuIsa::Avx2 ? avx2::function() : generic::function())
#else
#define SGL_FOR_ISA(isa, function) (static_cast<void>(isa), generic::function())
#endif

constexpr size_t kSlabBytes = size_t{64} << 20;

}  // namespace

Buffer WeightMemory::take(size_t bytes) {
  bytes = (bytes + 63) / 64 * 64;
  if (slabs_.empty() || used_ + bytes > slabs_.back().bytes()) {
    slabs_.push_back(allocate_host(std::max(bytes, kSlabBytes)));
    used_ = 0;
  }
  std::byte* p = slabs_.back().data() + used_;
  used_ += bytes;
  return Buffer(p, bytes, [](void*, size_t) {});
}

std::byte* Scratch::get(size_t bytes) {
  if (bytes > memory_.bytes()) {
    memory_ = Buffer();
    memory_ = allocate_host(bytes + bytes / 4);
  }
  return memory_.data();
}

CpuBackend::CpuBackend(const BackendOptions& options, CpuIsa isa)
    : RefBackend(options),
      quantize_activations_(options.quantize_activations),
      quantization_(options.quantization),
      isa_(isa),
      pool_(options.threads > 0 ? options.threads : default_compute_threads()),
      int8_(SGL_FOR_ISA(isa, int8_kernels)),
      float_(SGL_FOR_ISA(isa, float_kernels)),
      attention_(SGL_FOR_ISA(isa, attention_kernels)),
      vector_(SGL_FOR_ISA(isa, vector_kernels)) {
#if defined(__x86_64__)
  if (quantize_activations_ && isa >= CpuIsa::Avx512Bf16) {
    bf16_ = isa == CpuIsa::Amx ? amx::bf16_kernels() : avx512bf16::bf16_kernels();
  }
#endif
}

std::string CpuBackend::describe() const {
  const std::string weights =
      quantization_ == Quantization::None ? "" : fmt::format(", weights in {}", name(quantization_));
  return fmt::format("cpu, {}, {} thread{}{}{}", name(isa_), pool_.threads(), pool_.threads() == 1 ? "" : "s", weights,
                     quantize_activations_ ? "" : ", activations not quantized");
}

}  // namespace sgl
