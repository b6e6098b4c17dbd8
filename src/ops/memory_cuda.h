#pragma once
// Device memory, the errors of CUDA calls, and the way of a step's small data to the device.

#include <cstring>
#include <cuda_runtime_api.h>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace sgl::cuda {

/// Throws ResourceExhausted when memory is short, DeviceLost when the device answers nothing but errors from now on,
/// else Internal; the message names what was done. A kernel that failed earlier may only show here.
void check(cudaError_t status, const std::string& what);
inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) check(status, std::string(what));
}

/// After an op's launches: throws as check() if one failed, naming the op and its sizes.
void launched(const char* op, const Tensor& operand);

/// Device memory, aligned to 256 bytes. Throws ResourceExhausted with the sizes.
Buffer allocate_device(size_t bytes);
/// Host memory that the device copies from and to by itself.
Buffer allocate_pinned(size_t bytes);

/// A point in a stream that the host can wait for.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(cudaStream_t stream);
  /// Until all that was queued before the last record() is done. `what` names it if it failed.
  void wait(const std::string& what);
  /// Has a stream, of any device, wait for it.
  void hold(cudaStream_t stream) const;

 private:
  cudaEvent_t event_ = nullptr;
};

/// Copies small arrays to the device in the order of the stream: each has its place in pinned memory and the same place
/// in device memory until reset(), so that the host need not wait for the copy. All since the last flush() go together.
class Staging {
 public:
  explicit Staging(cudaStream_t stream);

  /// The array on the device, until the next reset(), for kernels that are launched after flush().
  template <typename T>
  const T* put(std::span<const T> values) {
    std::byte* place = reserve(values.size_bytes());
    if (!values.empty()) std::memcpy(place, values.data(), values.size_bytes());
    return reinterpret_cast<const T*>(device_place(values.size_bytes()));
  }
  template <typename T>
  const T* put(const std::vector<T>& values) {
    return put(std::span<const T>(values));
  }

  /// The array in pinned memory, which the device reads over the bus: for what is read once.
  template <typename T>
  const T* put_on_host(const std::vector<T>& values) {
    const size_t bytes = values.size() * sizeof(T);
    std::byte* place = reserve(bytes);
    if (!values.empty()) std::memcpy(place, values.data(), bytes);
    device_place(bytes);
    return reinterpret_cast<const T*>(place);
  }
  void flush();

  /// After the last put() and the last kernel that reads what it gave.
  void close() { used_.record(stream_); }
  /// All places are free again. Waits for the last close().
  void reset();

 private:
  std::byte* reserve(size_t bytes);
  std::byte* device_place(size_t bytes);

  struct Block {
    Buffer pinned, device;
    size_t used = 0, sent = 0;
  };
  cudaStream_t stream_;
  Event used_;
  std::vector<Block> blocks_;  ///< the last one is filled; those before were too small
};

}  // namespace sgl::cuda
