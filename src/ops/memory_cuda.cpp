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

void check(cudaError_t status, const std::string& what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // no error of what follows, unless it stays
  const bool lost = cudaDeviceSynchronize() != cudaSuccess;
  const std::string message =
      fmt::format("cuda: {}: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status));
  if (lost) throw Error(ErrorKind::DeviceLost, message + "; the device cannot be used any more by this process");
  throw Error(status == cudaErrorMemoryAllocation ? ErrorKind::ResourceExhausted : ErrorKind::Internal, message);
}

void launched(const char* op, const Tensor& operand) {
  const cudaError_t status = cudaGetLastError();
  if (status != cudaSuccess) check(status, fmt::format("{} of {}", op, to_string(operand.shape)));
}

Buffer allocate_device(size_t bytes) {
  if (bytes == 0) return {};
  void* p = nullptr;
  const cudaError_t status = cudaMalloc(&p, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // no error of what follows
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    throw Error(
        ErrorKind::ResourceExhausted,
        fmt::format("the GPU has no {} bytes left for what a step or the weights need: {} of {} are free; a smaller "
                    "--max-total-tokens or --mem-fraction-static leaves more",
                    bytes, free, total));
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

Event::Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreate"); }
Event::~Event() { cudaEventDestroy(event_); }
void Event::record(cudaStream_t stream) { check(cudaEventRecord(event_, stream), "cudaEventRecord"); }
void Event::wait(const std::string& what) { check(cudaEventSynchronize(event_), what); }
void Event::hold(cudaStream_t stream) const { check(cudaStreamWaitEvent(stream, event_, 0), "cudaStreamWaitEvent"); }

Staging::Staging(cudaStream_t stream) : stream_(stream) {
  blocks_.push_back({allocate_pinned(kFirstBlock), allocate_device(kFirstBlock)});
}

std::byte* Staging::reserve(size_t bytes) {
  if (blocks_.back().used + bytes > blocks_.back().pinned.bytes()) {
    flush();
    const size_t size = std::max(2 * blocks_.back().pinned.bytes(), bytes);
    blocks_.push_back({allocate_pinned(size), allocate_device(size)});
  }
  return blocks_.back().pinned.data() + blocks_.back().used;
}

// Takes the place that reserve() gave.
std::byte* Staging::device_place(size_t bytes) {
  Block& block = blocks_.back();
  std::byte* device = block.device.data() + block.used;
  block.used += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return device;
}

void Staging::flush() {
  Block& block = blocks_.back();
  const size_t bytes = std::min(block.used, block.pinned.bytes()) - block.sent;
  if (bytes == 0) return;
  check(cudaMemcpyAsync(block.device.data() + block.sent, block.pinned.data() + block.sent, bytes,
                        cudaMemcpyHostToDevice, stream_),
        "copy of a step's data");
  block.sent += bytes;
}

void Staging::reset() {
  used_.wait("a step");
  blocks_.erase(blocks_.begin(), blocks_.end() - 1);
  blocks_.back().used = blocks_.back().sent = 0;
}

}  // namespace sgl::cuda
