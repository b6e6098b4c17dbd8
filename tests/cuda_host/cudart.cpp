// CUDA's runtime for a device that computes nothing (device.h): what this project calls of it, and what nvcc's objects
// do.

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <cuda_runtime_api.h>
#include <map>
#include <mutex>

#include "cuda_host/device.h"

namespace sgl::testing {

FakeDevice& fake_device() {
  static FakeDevice device;
  return device;
}

namespace {

std::mutex mutex;

std::map<void*, size_t>& sizes() {
  static std::map<void*, size_t> all;
  return all;
}

cudaError_t status() { return fake_device().is_lost() ? cudaErrorIllegalAddress : cudaSuccess; }

cudaError_t count_launch() {
  std::atomic_ref(fake_device().launches).fetch_add(1);  // ranks launch at once
  return status();
}

thread_local int present = 0;

// Zeros: a token that the device did not choose is 0. Exactly so many bytes, so that a sanitizer sees what is beyond.
cudaError_t allocate(void** p, size_t bytes, bool on_device) {
  const std::lock_guard lock(mutex);
  FakeDevice& device = fake_device();
  if (on_device && device.used + bytes > device.memory) return cudaErrorMemoryAllocation;
  if (::posix_memalign(p, 256, bytes > 0 ? bytes : 1) != 0) return cudaErrorMemoryAllocation;
  std::memset(*p, 0, bytes);
  sizes()[*p] = on_device ? bytes : 0;
  device.used += on_device ? bytes : 0;
  ++device.allocations;
  return status();
}

cudaError_t release(void* p) {
  if (p == nullptr) return cudaSuccess;
  const std::lock_guard lock(mutex);
  const auto found = sizes().find(p);
  if (found == sizes().end()) return cudaErrorInvalidValue;
  fake_device().used -= found->second;
  --fake_device().allocations;
  sizes().erase(found);
  std::free(p);
  return status();
}

int encode_tensor_map(...) { return 0; }

}  // namespace
}  // namespace sgl::testing

using sgl::testing::fake_device;
using sgl::testing::status;

extern "C" {

void** __cudaRegisterFatBinary(void* /*binary*/) {
  static void* handle;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void** /*handle*/) {}
void __cudaUnregisterFatBinary(void** /*handle*/) {}
void __cudaRegisterFunction(void** /*handle*/, const char* /*host*/, char* /*device*/, const char* /*name*/,
                            int /*limit*/, uint3* /*thread*/, uint3* /*block*/, dim3* /*threads*/, dim3* /*blocks*/,
                            int* /*warps*/) {}
void __cudaRegisterVar(void** /*handle*/, char* /*host*/, char* /*device*/, const char* /*name*/, int /*external*/,
                       size_t /*size*/, int /*constant*/, int /*global*/) {}
unsigned __cudaPushCallConfiguration(dim3 /*grid*/, dim3 /*block*/, size_t /*shared*/, void* /*stream*/) { return 0; }
cudaError_t __cudaPopCallConfiguration(dim3* /*grid*/, dim3* /*block*/, size_t* /*shared*/, void* /*stream*/) {
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = static_cast<cudaKernel_t>(const_cast<void*>(function));
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t /*kernel*/, dim3 /*grid*/, dim3 /*block*/, void** /*arguments*/,
                               size_t /*shared*/, cudaStream_t /*stream*/) {
  return sgl::testing::count_launch();
}
cudaError_t cudaLaunchKernel(const void* /*kernel*/, dim3 /*grid*/, dim3 /*block*/, void** /*arguments*/,
                             size_t /*shared*/, cudaStream_t /*stream*/) {
  return sgl::testing::count_launch();
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* /*kernel*/, void** /*arguments*/) {
  const cudaError_t launched = sgl::testing::count_launch();
  const bool is_empty = config->gridDim.x == 0 || config->gridDim.y == 0 || config->blockDim.x == 0;
  return is_empty || config->gridDim.y > 65535 ? cudaErrorInvalidConfiguration : launched;
}

// A Hopper, so that all of its ways are planned.
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int /*device*/) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? 9 : attribute == cudaDevAttrMultiProcessorCount ? 132 : 0;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int /*device*/) {
  std::memset(p, 0, sizeof(*p));
  std::strcpy(p->name, "a device that computes nothing");
  p->major = 9;
  p->multiProcessorCount = 132;
  p->totalGlobalMem = fake_device().memory;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = sgl::testing::present;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  sgl::testing::present = device;
  return device < fake_device().gpus ? cudaSuccess : cudaErrorInvalidDevice;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = fake_device().gpus;
  return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int* can, int /*device*/, int /*other*/) {
  *can = fake_device().are_peers ? 1 : 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceEnablePeerAccess(int /*other*/, unsigned /*flags*/) { return cudaSuccess; }
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = fake_device().memory;
  *free = *total - fake_device().used;
  return status();
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* a, const void* /*kernel*/) {
  std::memset(a, 0, sizeof(*a));
  a->binaryVersion = 90;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void* /*kernel*/, cudaFuncAttribute /*attribute*/, int /*value*/) {
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void* /*kernel*/, int /*threads*/,
                                                                   size_t /*shared*/, unsigned /*flags*/) {
  *blocks = 3;
  return cudaSuccess;
}
cudaError_t cudaGetDriverEntryPointByVersion(const char* /*name*/, void** function, unsigned /*version*/,
                                             unsigned long long /*flags*/, cudaDriverEntryPointQueryResult* result) {
  *function = reinterpret_cast<void*>(sgl::testing::encode_tensor_map);
  *result = cudaDriverEntryPointSuccess;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** p, size_t bytes) { return sgl::testing::allocate(p, bytes, true); }
cudaError_t cudaMallocHost(void** p, size_t bytes) { return sgl::testing::allocate(p, bytes, false); }
cudaError_t cudaFree(void* p) { return sgl::testing::release(p); }
cudaError_t cudaFreeHost(void* p) { return sgl::testing::release(p); }
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind /*kind*/,
                            cudaStream_t /*stream*/) {
  std::memcpy(to, from, bytes);
  return status();
}
cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t /*stream*/) {
  std::memset(p, value, bytes);
  return status();
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned /*flags*/) {
  *stream = nullptr;
  return status();
}
cudaError_t cudaStreamDestroy(cudaStream_t /*stream*/) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t /*stream*/) { return status(); }
cudaError_t cudaDeviceSynchronize() { return status(); }
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = nullptr;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned /*flags*/) { return cudaEventCreate(event); }
cudaError_t cudaEventDestroy(cudaEvent_t /*event*/) { return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t /*event*/, cudaStream_t /*stream*/) { return status(); }
cudaError_t cudaStreamWaitEvent(cudaStream_t /*stream*/, cudaEvent_t /*event*/, unsigned /*flags*/) { return status(); }
cudaError_t cudaEventSynchronize(cudaEvent_t /*event*/) { return status(); }
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t /*begin*/, cudaEvent_t /*end*/) {
  *ms = 1.0F;
  return status();
}

cudaError_t cudaGetLastError() { return status(); }
const char* cudaGetErrorName(cudaError_t e) { return e == cudaSuccess ? "cudaSuccess" : "cudaErrorIllegalAddress"; }
const char* cudaGetErrorString(cudaError_t e) { return e == cudaSuccess ? "no error" : "the device was made to fail"; }

}  // extern "C"
