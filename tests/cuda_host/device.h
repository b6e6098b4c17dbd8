#pragma once
// A GPU that computes nothing, for tests of the host's part of the cuda backend where there is no GPU: memory is the
// host's, so that a sanitizer sees every access to what the host prepares; copies copy, and kernels do nothing.
// cudart.cpp stands for CUDA's runtime, cublaslt.cpp for cuBLASLt.

#include <cstddef>
#include <cstdint>

namespace sgl::testing {

struct FakeDevice {
  size_t memory = size_t{16} << 30;  ///< bytes in all
  size_t used = 0;
  int64_t allocations = 0;  ///< that are not freed
  int64_t launches = 0;     ///< of kernels
  int gpus = 1;             ///< with this memory together
  bool are_peers = true;    ///< each reaches the others' memory
  int64_t lost_after = -1;  ///< so many launches; then every call fails. −1: never
  bool is_lost() const { return lost_after >= 0 && __atomic_load_n(&launches, __ATOMIC_RELAXED) >= lost_after; }
};

/// The one that all calls go to. Set it when no engine is at work.
FakeDevice& fake_device();

}  // namespace sgl::testing
