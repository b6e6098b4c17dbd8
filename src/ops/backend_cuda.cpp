#include "ops/backend_cuda.h"

#include <algorithm>

#include <fmt/format.h>

#include "ops/cpu_backend.h"
#include "sgl/error.h"

namespace sgl {
namespace {

constexpr int kOldest = 80;  // compute capability times ten
constexpr double kGiB = 1024.0 * 1024 * 1024;

// Which device is used, before anything else is asked of it. Throws Unsupported with the reason.
cudaDeviceProp usable_device() {
  auto fail = [](const std::string& why) {
    throw Error(ErrorKind::Unsupported,
                fmt::format("--device cuda needs an NVIDIA GPU: {}; --device cpu needs none", why));
  };
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) fail(cudaGetErrorString(status));
  if (count == 0) fail("this machine shows none");
  cudaDeviceProp device{};
  cuda::check(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  if (device.major * 10 + device.minor < kOldest) {
    fail(fmt::format("{} has compute capability {}.{}, but 8.0 or newer is needed", device.name, device.major,
                     device.minor));
  }
  return device;
}

std::string name_of_device() {
  const cudaDeviceProp device = usable_device();
  return fmt::format("{}, {:.0f} GiB", device.name, static_cast<double>(device.totalGlobalMem) / kGiB);
}

void launched(const char* op) { cuda::check(cudaGetLastError(), op); }

}  // namespace

std::unique_ptr<Backend> create_cuda_backend(const BackendOptions& options) {
  return std::make_unique<CudaBackend>(options);
}

CudaBackend::Stream::Stream() {
  cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
}
CudaBackend::Stream::~Stream() { cudaStreamDestroy(stream_); }

CudaBackend::CudaBackend(const BackendOptions& options)
    : type_(options.activations),
      name_(name_of_device()),
      dense_(stream_),
      staging_(stream_),
      threads_(options.threads > 0 ? options.threads : default_compute_threads()) {
  if (type_ != DType::F32 && type_ != DType::F16 && type_ != DType::BF16) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("the cuda device computes in float32, float16 or bfloat16, not in {}", name(type_)));
  }
}

CudaBackend::~CudaBackend() { cudaStreamSynchronize(stream_); }

std::string CudaBackend::describe() const {
  const size_t v = dense_.version();
  return fmt::format("cuda ({}), {}, cuBLASLt {}.{}", name_, name(type_), v / 10000, v / 100 % 100);
}

int64_t CudaBackend::available_memory() const {
  size_t free = 0, total = 0;
  cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return static_cast<int64_t>(free);
}

void CudaBackend::upload(std::byte* device, const void* host, size_t bytes) {
  cuda::check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_), "copy to the device");
  cuda::check(cudaStreamSynchronize(stream_), "copy to the device");
}

void CudaBackend::download(void* host, const std::byte* device, size_t bytes) {
  cuda::check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_), "copy from the device");
  cuda::check(cudaStreamSynchronize(stream_), "copy from the device");
}

std::byte* CudaBackend::scratch(Buffer& memory, size_t bytes) {
  if (memory.bytes() < bytes) {
    memory = Buffer();  // cudaFree waits for what uses it
    memory = cuda::allocate_device(bytes + bytes / 4);
  }
  return memory.data();
}

void CudaBackend::require(const char* op, const PagedBatch& batch) const {
  if (step_.batch == &batch) return;
  throw Error(ErrorKind::Internal, fmt::format("{}: the batch was not announced by begin()", op));
}

void CudaBackend::begin(const PagedBatch& batch) {
  staging_.reset();
  step_ = Step{};
  step_.batch = &batch;
  step_.seqs = staging_.put(batch.seqs);
  step_.pages = staging_.put(batch.pages);
}

void CudaBackend::embedding(Tensor out, std::span<const int32_t> ids, const Tensor& table, float scale) {
  check_shapes("embedding", {{"out", out, "n d"}, {"table", table, "v d"}});
  for (const int32_t id : ids) {
    if (id < 0 || id >= table.shape[0]) {
      throw Error(ErrorKind::Internal,
                  fmt::format("embedding: id {} is outside of the table's {} rows", id, table.shape[0]));
    }
  }
  cuda::embedding(stream_, out, staging_.put(ids), table, scale);
  launched("embedding");
}

void CudaBackend::add_embedding(Tensor h, std::span<const int32_t> ids, const Tensor& table) {
  check_shapes("add_embedding", {{"h", h, "n d"}, {"table", table, "v d"}});
  cuda::add_embedding(stream_, h, staging_.put(ids), table);
  launched("add_embedding");
}

void CudaBackend::gather_rows(Tensor out, Tensor x, std::span<const int32_t> rows) {
  check_shapes("gather_rows", {{"out", out, "m d"}, {"x", x, "n d"}});
  cuda::gather_rows(stream_, out, x, staging_.put(rows));
  launched("gather_rows");
}

void CudaBackend::rms_norm(Tensor out, Tensor x, Tensor w, float eps) {
  check_shapes("rms_norm", {{"out", out, "n c"}, {"x", x, "n c"}, {"w", w, "d"}});
  cuda::rms_norm(stream_, out, x, w, eps);
  launched("rms_norm");
}

void CudaBackend::add_rms_norm(Tensor out, Tensor h, Tensor x, Tensor w, float eps) {
  check_shapes("add_rms_norm", {{"out", out, "n d"}, {"h", h, "n d"}, {"x", x, "n d"}, {"w", w, "d"}});
  cuda::add_rms_norm(stream_, out, h, x, w, eps);
  launched("add_rms_norm");
}

void CudaBackend::layer_norm(Tensor out, Tensor x, Tensor w, Tensor b, float eps) {
  check_shapes("layer_norm", {{"out", out, "n d"}, {"x", x, "n d"}, {"w", w, "d"}, {"b", b, "d"}});
  cuda::layer_norm(stream_, out, x, w, b, eps);
  launched("layer_norm");
}

void CudaBackend::rope_table(Tensor cos_sin, std::span<const int32_t> positions, std::span<const float> inv_freq,
                             float factor) {
  check_rope_table(cos_sin, positions, inv_freq);
  cuda::rope_table(stream_, cos_sin, staging_.put(positions), staging_.put(inv_freq), factor);
  launched("rope_table");
}

void CudaBackend::rope(Tensor x, Tensor cos_sin, int head_dim, bool interleaved) {
  check_rope(x, cos_sin, head_dim);
  cuda::rope(stream_, x, cos_sin, head_dim, interleaved);
  launched("rope");
}

void CudaBackend::gated_act(Tensor out, Tensor x, Act act) {
  check_gated_act(out, x);
  cuda::gated_act(stream_, out, x, act);
  launched("gated_act");
}

void CudaBackend::activation(Tensor out, Tensor x, Act act) {
  check_shapes("activation", {{"out", out, "n d"}, {"x", x, "n d"}});
  cuda::activation(stream_, out, x, act);
  launched("activation");
}

void CudaBackend::add(Tensor h, Tensor x) {
  check_shapes("add", {{"h", h, "n d"}, {"x", x, "n d"}});
  cuda::add(stream_, h, x);
  launched("add");
}

void CudaBackend::softcap(Tensor x, float cap) {
  cuda::softcap(stream_, x, cap);
  launched("softcap");
}

namespace {

// What argmax answers: the likeliest token, as it is, and nothing about the others.
bool is_plain_greedy(const SampleRow& row) {
  return (row.temperature < 1e-6F || row.top_k == 1) && row.forced < 0 && !row.want_logprob && row.top_logprobs == 0 &&
         row.asked_ids.empty() && row.counts.empty() && row.bias.empty() && row.banned.empty() &&
         row.allowed == nullptr;
}

}  // namespace

void CudaBackend::sample(std::span<SampleResult> results, Tensor logits, std::span<const SampleRow> rows) {
  if (rows.empty()) return;
  std::vector<size_t> others;
  std::vector<int32_t> chosen(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!is_plain_greedy(rows[i])) others.push_back(i);
  }
  if (others.size() < rows.size()) {
    auto* ids = reinterpret_cast<int32_t*>(scratch(chosen_, rows.size() * sizeof(int32_t)));
    cuda::argmax(stream_, ids, logits);
    launched("sample");
    download(chosen.data(), reinterpret_cast<std::byte*>(ids), rows.size() * sizeof(int32_t));
    for (size_t i = 0; i < rows.size(); ++i) {
      results[i] = SampleResult{.token = std::max(chosen[i], 0), .bad = chosen[i] < 0};
    }
  }
  if (others.empty()) return;

  const auto vocab = static_cast<size_t>(logits.cols());
  if (host_logits_.bytes() < others.size() * vocab * sizeof(float)) {
    host_logits_ = cuda::allocate_pinned(others.size() * vocab * sizeof(float));
  }
  std::vector<SampleRow> host_rows;
  std::vector<SampleResult> host_results(others.size());
  for (size_t i = 0; i < others.size(); ++i) {
    host_rows.push_back(rows[others[i]]);
    cuda::check(
        cudaMemcpyAsync(host_logits_.data() + i * vocab * sizeof(float), logits.f32(static_cast<int64_t>(others[i])),
                        vocab * sizeof(float), cudaMemcpyDeviceToHost, stream_),
        "copy of logits");
  }
  cuda::check(cudaStreamSynchronize(stream_), "copy of logits");
  if (host_ == nullptr) host_ = std::make_unique<CpuBackend>(BackendOptions{.threads = threads_});
  host_->sample(host_results,
                Tensor(host_logits_.data(), DType::F32, {static_cast<int64_t>(others.size()), logits.cols()}),
                host_rows);
  for (size_t i = 0; i < others.size(); ++i) results[others[i]] = std::move(host_results[i]);
}

}  // namespace sgl
