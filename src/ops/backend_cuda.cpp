#include "ops/backend_cuda.h"

#include <algorithm>
#include <mutex>
#include <numeric>

#include <fmt/format.h>

#include "base/assert.h"
#include "ops/cpu_backend.h"
#include "sgl/error.h"

namespace sgl {
namespace {

constexpr int kOldest = 80;  // compute capability times ten
constexpr double kGiB = 1024.0 * 1024 * 1024;

// The thread's device from now on: of that rank. Throws Unsupported with the reason where it cannot be used.
cudaDeviceProp use_device(int rank, int ranks) {
  auto fail = [](const std::string& why) {
    throw Error(ErrorKind::Unsupported,
                fmt::format("--device cuda needs an NVIDIA GPU: {}; --device cpu needs none", why));
  };
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) fail(cudaGetErrorString(status));
  if (count == 0) fail("this machine shows none");
  if (count < ranks) {
    throw Error(ErrorKind::Unsupported,
                fmt::format("--tp-size {} needs as many NVIDIA GPUs, and this machine shows {}", ranks, count));
  }
  cuda::check(cudaSetDevice(rank), "cudaSetDevice");
  cudaDeviceProp device{};
  cuda::check(cudaGetDeviceProperties(&device, rank), "cudaGetDeviceProperties");
  if (device.major * 10 + device.minor < kOldest) {
    fail(fmt::format("{} has compute capability {}.{}, but 8.0 or newer is needed", device.name, device.major,
                     device.minor));
  }
  return device;
}

std::string name_of_device(const BackendOptions& options) {
  const cudaDeviceProp device = use_device(options.rank, options.group == nullptr ? 1 : options.group->size());
  return fmt::format("{}, {:.0f} GiB", device.name, static_cast<double>(device.totalGlobalMem) / kGiB);
}

}  // namespace

std::unique_ptr<Backend> create_cuda_backend(const BackendOptions& options) {
  return std::make_unique<CudaBackend>(options);
}

CudaBackend::Stream::Stream() {
  cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
}
CudaBackend::Stream::~Stream() { cudaStreamDestroy(stream_); }

CudaBackend::CudaBackend(const BackendOptions& options)
    : Backend(options),
      type_(options.activations),
      quantization_(options.quantization),
      deterministic_(options.deterministic),
      name_(name_of_device(options)),
      dense_(stream_, options.deterministic),
      staging_{cuda::Staging(stream_), cuda::Staging(stream_)},
      threads_(options.threads > 0 ? options.threads : default_compute_threads()) {
  if (type_ != DType::F32 && type_ != DType::F16 && type_ != DType::BF16) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("the cuda device computes in float32, float16 or bfloat16, not in {}", name(type_)));
  }
  if (quantization_ != Quantization::None && type_ == DType::F32) {
    throw Error(ErrorKind::InvalidArgument,
                "quantized weights are multiplied with float16 or bfloat16, not with float32: take another dtype");
  }
  if (group_ != nullptr) join_group();
}

// Each GPU gets at the memory of all others, and knows where their flags are.
void CudaBackend::join_group() {
  {
    // Kernels of two groups could keep each other's from the processors that they wait for.
    static std::mutex mutex;
    static std::weak_ptr<RankGroup> present;
    const std::lock_guard lock(mutex);
    const auto other = present.lock();
    if (other != nullptr && other != group_) {
      throw Error(ErrorKind::Unsupported,
                  "--tp-size: this process shares a model out to GPUs already, and can do so with one at a time only; "
                  "run the other one in a process of its own");
    }
    present = group_;
  }
  for (int other = 0; other < num_ranks(); ++other) {
    if (other == rank_) continue;
    int can = 0;
    cuda::check(cudaDeviceCanAccessPeer(&can, rank_, other), "cudaDeviceCanAccessPeer");
    if (can == 0) {
      throw Error(
          ErrorKind::Unsupported,
          fmt::format("--tp-size {}: GPU {} cannot reach the memory of GPU {} (nvidia-smi topo -p2p r says which "
                      "can); make others visible by CUDA_VISIBLE_DEVICES",
                      num_ranks(), rank_, other));
    }
    static std::once_flag enabled[RankGroup::kMost][RankGroup::kMost];
    std::call_once(enabled[rank_][other], [&] {
      const cudaError_t status = cudaDeviceEnablePeerAccess(other, 0);
      cudaGetLastError();
      // The program that this is part of may have enabled it.
      if (status != cudaErrorPeerAccessAlreadyEnabled) cuda::check(status, "cudaDeviceEnablePeerAccess");
    });
  }
  const std::vector<uint32_t> none(static_cast<size_t>(num_ranks()), 0);
  flags_ = cuda::allocate_device(none.size() * sizeof(uint32_t));
  upload(flags_.data(), none.data(), flags_.bytes());
  cuda::load_exchange_kernels();
  for (void* other : group_->meet(rank_, this).pointers) peers_.push_back(static_cast<const CudaBackend*>(other));
  group_->leave();
}

cuda::Peers CudaBackend::meet_peers(const Tensor& part) {
  const RankGroup::Meeting meeting = meet(part);
  cuda::Peers peers{.rank = rank_, .size = num_ranks(), .number = meeting.number, .parts = {}, .flags = {}};
  for (size_t r = 0; r < peers_.size(); ++r) {
    peers.parts[r] = meeting.pointers[r];
    peers.flags[r] = reinterpret_cast<uint32_t*>(peers_[r]->flags_.data());
  }
  return peers;
}

void CudaBackend::all_reduce(Tensor out, Tensor part) {
  check_shapes("all_reduce", {{"out", out, "n d"}, {"part", part, "n d"}});
  SGL_ASSERT(out.dtype == part.dtype, "all_reduce: a sum is of its parts' type");
  const cuda::Peers peers = meet_peers(part);
  cuda::all_reduce(stream_, out, peers);
  cuda::launched("all_reduce", out);
  leave();
}

void CudaBackend::all_reduce_norm(Normed& y, Tensor h, Tensor part, const NormWeight& norm) {
  check_shapes("all_reduce_norm", {{"y", y.x, "n d"}, {"h", h, "n d"}, {"part", part, "n d"}, {"norm", norm.w, "d"}});
  SGL_ASSERT(y.x.dtype == part.dtype, "all_reduce_norm: normed rows are of the parts' type");
  const cuda::Peers peers = meet_peers(part);
  cuda::all_reduce_norm(stream_, y.x, h, peers, norm);
  cuda::launched("all_reduce_norm", h);
  leave();
  y.whole = true;
}

void CudaBackend::gather_parts(Tensor out, Tensor part) {
  if (rank_ == 0) check_gathered(out, part, num_ranks());
  const cuda::Peers peers = meet_peers(part);
  cuda::gather_parts(stream_, out, part.cols(), peers);
  cuda::launched("gather_parts", part);
  leave();
}

CudaBackend::~CudaBackend() { cudaStreamSynchronize(stream_); }

std::string CudaBackend::describe() const {
  const size_t v = dense_.version();
  const std::string weights =
      quantization_ == Quantization::None ? "" : fmt::format(", weights in {}", name(quantization_));
  return fmt::format("cuda ({}), {}{}, cuBLASLt {}.{}", name_, name(type_), weights, v / 10000, v / 100 % 100);
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

void CudaBackend::wait() { cuda::check(cudaStreamSynchronize(stream_), step_name_); }

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
  staging().close();
  turn_ ^= 1;
  staging().reset();
  step_name_ = fmt::format("a step of {} tokens of {} sequences", batch.num_tokens(), batch.seqs.size());
  step_ = Step{};
  step_.batch = &batch;
  step_.seqs = staging().put(batch.seqs);
  step_.pages = staging().put(batch.pages);
  step_.token_ids = staging().put(batch.token_ids);
  step_.positions = staging().put(batch.positions);
  // The lists that the layers will ask for, if their cache is the last step's: sent with the rest.
  if (usual_kv_.page_size > 0 && has_pages_of(usual_kv_.page_size)) {
    plan_slots(usual_kv_.page_size);
    if (usual_windowed_ > 0) plan_attention(usual_kv_, usual_windowed_, usual_window_);
    if (usual_whole_ > 0) plan_attention(usual_kv_, usual_whole_, 0);
  }
  staging().flush();
}

// Whether the batch's tables can be of pages of this size.
bool CudaBackend::has_pages_of(int page_size) const {
  const PagedBatch& batch = *step_.batch;
  return std::all_of(batch.seqs.begin(), batch.seqs.end(), [&](const BatchSeq& s) {
    const int pages = (s.kv_len + page_size - 1) / page_size;
    return static_cast<size_t>(s.page_begin + pages) <= batch.pages.size();
  });
}

const int32_t* CudaBackend::send(std::span<const int32_t> values) {
  if (step_.batch != nullptr && values.data() == step_.batch->token_ids.data()) return step_.token_ids;
  if (step_.batch != nullptr && values.data() == step_.batch->positions.data()) return step_.positions;
  const int32_t* sent = staging().put(values);
  staging().flush();
  return sent;
}

void CudaBackend::embedding(Tensor out, std::span<const int32_t> ids, const Tensor& table, float scale) {
  check_shapes("embedding", {{"out", out, "n d"}, {"table", table, "v d"}});
  const CudaBackend& chooser = peers_.empty() ? *this : *peers_[0];
  bool chosen = false;
  for (const int32_t id : ids) {
    chosen = chosen || id < 0;
    if (id < -chooser.num_chosen_ || id >= table.shape[0]) {
      throw Error(ErrorKind::Internal,
                  fmt::format("embedding: id {} is outside of the table's {} rows", id, table.shape[0]));
    }
  }
  if (chosen && &chooser != this) chooser.sampled_.hold(stream_);
  cuda::embedding(stream_, out, send(ids), reinterpret_cast<const int32_t*>(chooser.chosen_.data()), table, scale);
  cuda::launched("embedding", out);
}

void CudaBackend::add_embedding(Tensor h, std::span<const int32_t> ids, const Tensor& table) {
  check_shapes("add_embedding", {{"h", h, "n d"}, {"table", table, "v d"}});
  cuda::add_embedding(stream_, h, send(ids), table);
  cuda::launched("add_embedding", h);
}

void CudaBackend::gather_rows(Tensor out, Tensor x, std::span<const int32_t> rows) {
  check_shapes("gather_rows", {{"out", out, "m d"}, {"x", x, "n d"}});
  cuda::gather_rows(stream_, out, x, send(rows));
  cuda::launched("gather_rows", out);
}

void CudaBackend::rms_norm(Tensor out, Tensor x, Tensor w, float eps) {
  check_shapes("rms_norm", {{"out", out, "n c"}, {"x", x, "n c"}, {"w", w, "d"}});
  cuda::rms_norm(stream_, out, x, w, eps);
  cuda::launched("rms_norm", out);
}

void CudaBackend::add_rms_norm(Tensor out, Tensor h, Tensor x, Tensor w, float eps) {
  check_shapes("add_rms_norm", {{"out", out, "n d"}, {"h", h, "n d"}, {"x", x, "n d"}, {"w", w, "d"}});
  cuda::add_rms_norm(stream_, out, h, x, w, eps);
  cuda::launched("add_rms_norm", out);
}

void CudaBackend::layer_norm(Tensor out, Tensor x, Tensor w, Tensor b, float eps) {
  check_shapes("layer_norm", {{"out", out, "n d"}, {"x", x, "n d"}, {"w", w, "d"}, {"b", b, "d"}});
  cuda::layer_norm(stream_, out, x, w, b, eps);
  cuda::launched("layer_norm", out);
}

void CudaBackend::rope_table(Tensor cos_sin, std::span<const int32_t> positions, std::span<const float> inv_freq,
                             float factor) {
  check_rope_table(cos_sin, positions, inv_freq);
  int which = 0;
  while (which < 2 && !std::equal(inv_freq.begin(), inv_freq.end(), inv_freq_[which].begin(), inv_freq_[which].end())) {
    ++which;
  }
  if (which == 2) {  // the first step, or a test: a model has no more than two tables
    which = inv_freq_[0].empty() || !inv_freq_[1].empty() ? 0 : 1;
    inv_freq_[which].assign(inv_freq.begin(), inv_freq.end());
    scratch(sent_inv_freq_[which], inv_freq.size_bytes());
    upload(sent_inv_freq_[which].data(), inv_freq.data(), inv_freq.size_bytes());
  }
  cuda::rope_table(stream_, cos_sin, send(positions), reinterpret_cast<const float*>(sent_inv_freq_[which].data()),
                   factor);
  cuda::launched("rope_table", cos_sin);
}

void CudaBackend::rope(Tensor x, Tensor cos_sin, int head_dim, bool interleaved) {
  check_rope(x, cos_sin, head_dim);
  cuda::rope(stream_, x, cos_sin, head_dim, interleaved);
  cuda::launched("rope", x);
}

void CudaBackend::gated_act(Tensor out, Tensor x, Act act) {
  check_gated_act(out, x);
  cuda::gated_act(stream_, out, x, act);
  cuda::launched("gated_act", out);
}

void CudaBackend::activation(Tensor out, Tensor x, Act act) {
  check_shapes("activation", {{"out", out, "n d"}, {"x", x, "n d"}});
  cuda::activation(stream_, out, x, act);
  cuda::launched("activation", out);
}

void CudaBackend::add(Tensor h, Tensor x) {
  check_shapes("add", {{"h", h, "n d"}, {"x", x, "n d"}});
  cuda::add(stream_, h, x);
  cuda::launched("add", h);
}

void CudaBackend::softcap(Tensor x, float cap) {
  cuda::softcap(stream_, x, cap);
  cuda::launched("softcap", x);
}

void CudaBackend::scale_columns(Tensor /*x*/, std::span<const float> /*factors*/) {
  throw Error(ErrorKind::Internal, "scale_columns: cuda has no cache in int8");
}

namespace {

// Whether the device can answer all that the row asks for.
bool is_for_device(const SampleRow& row) { return row.top_logprobs == 0 && row.asked_ids.empty(); }

cuda::SampleTask task_of(const SampleRow& row, int32_t index) {
  const bool greedy = row.temperature < 1e-6F || row.top_k == 1 || row.forced >= 0;
  return {.row = index,
          .inverse_temperature = row.temperature < 1e-6F ? 1.0F : 1.0F / row.temperature,
          .draws = !greedy,
          .wants_logprob = row.want_logprob,
          .top_k = row.top_k,
          .top_p = row.top_p,
          .min_p = row.min_p,
          .frequency = row.frequency_penalty,
          .presence = row.presence_penalty,
          .repetition = row.repetition_penalty,
          .forced = row.forced,
          .mask = -1,
          .uniform = counter_uniform(row.seed, row.position),
          .edits = 0,
          .counts_end = 0,
          .bias_end = 0,
          .edits_end = 0};
}

}  // namespace

void CudaBackend::sample(std::span<SampleResult> results, Tensor logits, std::span<const SampleRow> rows) {
  std::vector<int32_t> on_device, on_host;
  for (size_t i = 0; i < rows.size(); ++i) {
    (is_for_device(rows[i]) ? on_device : on_host).push_back(static_cast<int32_t>(i));
  }
  if (!on_device.empty()) sample_on_device(logits, rows, on_device);
  if (!on_host.empty()) sample_on_host(results, logits, rows, on_host);
  if (on_device.empty()) return;
  std::vector<SampleResult> some(on_device.size());
  end_sample(some);
  for (size_t i = 0; i < some.size(); ++i) results[static_cast<size_t>(on_device[i])] = std::move(some[i]);
}

bool CudaBackend::begin_sample(Tensor logits, std::span<const SampleRow> rows) {
  if (!std::all_of(rows.begin(), rows.end(), is_for_device)) return false;
  std::vector<int32_t> all(rows.size());
  std::iota(all.begin(), all.end(), 0);
  sample_on_device(logits, rows, all);
  return true;
}

void CudaBackend::sample_on_device(Tensor logits, std::span<const SampleRow> rows, std::span<const int32_t> which) {
  const auto words = static_cast<size_t>((logits.cols() + 31) / 32);
  std::vector<cuda::SampleTask> tasks;
  std::vector<cuda::SampleEdit> edits;
  std::vector<uint32_t> masks;
  auto edits_end = [&] { return static_cast<int32_t>(edits.size()); };
  for (const int32_t index : which) {
    const SampleRow& row = rows[static_cast<size_t>(index)];
    cuda::SampleTask& task = tasks.emplace_back(task_of(row, index));
    task.edits = edits_end();
    for (auto [id, count] : row.counts) edits.push_back({id, static_cast<float>(count)});
    task.counts_end = edits_end();
    for (auto [id, add] : row.bias) edits.push_back({id, add});
    task.bias_end = edits_end();
    for (const int32_t id : row.banned) edits.push_back({id, 0.0F});
    task.edits_end = edits_end();
    if (row.allowed == nullptr) continue;
    task.mask = static_cast<int32_t>(masks.size());
    masks.insert(masks.end(), row.allowed, row.allowed + words);
  }
  num_choices_ = static_cast<int>(tasks.size());
  num_chosen_ = logits.rows();
  const size_t bytes = tasks.size() * sizeof(cuda::SampleChoice);
  auto* chosen = reinterpret_cast<int32_t*>(scratch(chosen_, rows.size() * sizeof(int32_t)));
  if (choices_.bytes() < bytes) choices_ = cuda::allocate_pinned(2 * bytes);
  const auto* device_masks = masks.empty() ? nullptr : staging().put(masks);
  if (!masks.empty()) staging().flush();
  cuda::sample(stream_, reinterpret_cast<cuda::SampleChoice*>(choices_.data()), chosen, logits, num_choices_,
               staging().put_on_host(tasks), staging().put_on_host(edits), device_masks);
  cuda::launched("sample", logits);
  sampled_.record(stream_);
}

void CudaBackend::end_sample(std::span<SampleResult> results) {
  if (results.empty()) return;
  sampled_.wait(step_name_);
  const auto* choices = reinterpret_cast<const cuda::SampleChoice*>(choices_.data());
  for (size_t i = 0; i < results.size(); ++i) {
    results[i] = SampleResult{};
    results[i].token = std::max(choices[i].token, 0);
    results[i].logprob = choices[i].logprob;
    results[i].bad = choices[i].token < 0;
  }
}

void CudaBackend::sample_on_host(std::span<SampleResult> results, Tensor logits, std::span<const SampleRow> rows,
                                 std::span<const int32_t> which) {
  const size_t row_size = static_cast<size_t>(logits.cols()) * sizeof(float);
  if (host_logits_.bytes() < which.size() * row_size) host_logits_ = cuda::allocate_pinned(which.size() * row_size);
  std::vector<SampleRow> host_rows;
  std::vector<SampleResult> host_results(which.size());
  for (size_t i = 0; i < which.size(); ++i) {
    host_rows.push_back(rows[static_cast<size_t>(which[i])]);
    cuda::check(cudaMemcpyAsync(host_logits_.data() + i * row_size, logits.f32(which[i]), row_size,
                                cudaMemcpyDeviceToHost, stream_),
                "copy of logits");
  }
  cuda::check(cudaStreamSynchronize(stream_), "copy of logits");
  if (host_ == nullptr) host_ = std::make_unique<CpuBackend>(BackendOptions{.threads = threads_});
  host_->sample(host_results,
                Tensor(host_logits_.data(), DType::F32, {static_cast<int64_t>(which.size()), logits.cols()}),
                host_rows);
  for (size_t i = 0; i < which.size(); ++i) results[static_cast<size_t>(which[i])] = std::move(host_results[i]);
}

}  // namespace sgl
