#include "ops/memory_cuda.h"

#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl::cuda {
namespace {

constexpr size_t kFirstBlock = size_t{1} << 20;
constexpr size_t kAlignment = 256;

void free_device(void* p, size_t /*bytes*/) { cudaFree(p); }
void free_pinned(void* p, size_t /*bytes*/) { cudaFreeHost(p); }

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw Error(status == cudaErrorMemoryAllocation ? ErrorKind::ResourceExhausted : ErrorKind::Internal,
              fmt::format("cuda: {}: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status)));
}

Buffer allocate_device(size_t bytes) {
  if (bytes == 0) return {};
  void* p = nullptr;
  const cudaError_t status = cudaMalloc(&p, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // no error of what follows
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    throw Error(ErrorKind::ResourceExhausted,
                fmt::format("the GPU has no {} bytes left: {} of {} are free", bytes, free, total));
  }
  check(status, "cudaMalloc");
  return Buffer(p, bytes, free_device);
}

Buffer allocate_pinned(size_t bytes) {
  if (bytes == 0) return {};
  void* p = nullptr;
  check(cudaMallocHost(&p, bytes), "cudaMallocHost");
  return Buffer(p, bytes, free_pinned);
}

Staging::Staging(cudaStream_t stream) : stream_(stream) {
  check(cudaEventCreateWithFlags(&copied_, cudaEventDisableTiming), "cudaEventCreate");
  blocks_.push_back({allocate_pinned(kFirstBlock), allocate_device(kFirstBlock)});
}

Staging::~Staging() { cudaEventDestroy(copied_); }

std::byte* Staging::reserve(size_t bytes) {
  if (blocks_.back().used + bytes > blocks_.back().pinned.bytes()) {
    const size_t size = std::max(2 * blocks_.back().pinned.bytes(), bytes);
    blocks_.push_back({allocate_pinned(size), allocate_device(size)});
  }
  return blocks_.back().pinned.data() + blocks_.back().used;
}

std::byte* Staging::send(std::byte* place, size_t bytes) {
  Block& block = blocks_.back();
  std::byte* device = block.device.data() + block.used;
  if (bytes > 0) check(cudaMemcpyAsync(device, place, bytes, cudaMemcpyHostToDevice, stream_), "copy of a step's data");
  block.used += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return device;
}

void Staging::reset() {
  // The copies of the last round. Device memory needs no wait: later copies come after what reads it.
  check(cudaEventRecord(copied_, stream_), "cudaEventRecord");
  check(cudaEventSynchronize(copied_), "the step before");
  blocks_.erase(blocks_.begin(), blocks_.end() - 1);
  blocks_.back().used = 0;
}

}  // namespace sgl::cuda
