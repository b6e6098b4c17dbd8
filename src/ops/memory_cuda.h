#pragma once
// Device memory, the errors of CUDA calls, and the way of a step's small data to the device.

#include <cstring>
#include <cuda_runtime_api.h>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace sgl::cuda {

/// Throws Internal, or ResourceExhausted when memory is short, that names what was done. A kernel that failed earlier
/// may only show here.
void check(cudaError_t status, const char* what);

/// Device memory, aligned to 256 bytes. Throws ResourceExhausted with the sizes.
Buffer allocate_device(size_t bytes);
/// Host memory that the device copies from and to by itself.
Buffer allocate_pinned(size_t bytes);

/// Copies small arrays to the device in the order of the stream: each has its place in pinned memory and the same place
/// in device memory until reset(), so that the host need not wait for the copy. Grows, for which it waits.
class Staging {
 public:
  explicit Staging(cudaStream_t stream);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  /// The array on the device, until the reset() after the next one: kernels that were launched before a reset() read it
  /// safely.
  template <typename T>
  const T* put(std::span<const T> values) {
    std::byte* place = reserve(values.size_bytes());
    if (!values.empty()) std::memcpy(place, values.data(), values.size_bytes());
    return reinterpret_cast<const T*>(send(place, values.size_bytes()));
  }
  template <typename T>
  const T* put(const std::vector<T>& values) {
    return put(std::span<const T>(values));
  }

  /// All places are free again. Waits for the copies that are under way.
  void reset();

 private:
  std::byte* reserve(size_t bytes);
  std::byte* send(std::byte* place, size_t bytes);

  struct Block {
    Buffer pinned, device;
    size_t used = 0;
  };
  cudaStream_t stream_;
  cudaEvent_t copied_ = nullptr;
  std::vector<Block> blocks_;  ///< the last one is filled; those before were too small
};

}  // namespace sgl::cuda
