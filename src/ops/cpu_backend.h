#pragma once
// The processor, made fast: inherits the reference and overrides op by op.

#include <string>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "ops/ref_backend.h"

namespace sgl {

class CpuBackend : public RefBackend {
 public:
  /// The instruction set is choose_isa()'s.
  explicit CpuBackend(const BackendOptions& options) : CpuBackend(options, choose_isa()) {}
  CpuBackend(const BackendOptions& options, CpuIsa isa);

  std::string describe() const override;

 private:
  bool quantize_activations_;
  CpuIsa isa_;
  ThreadPool pool_;
};

}  // namespace sgl
