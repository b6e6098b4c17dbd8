#include "ops/cublaslt_cuda.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "ops/memory_cuda.h"
#include "sgl/error.h"

namespace sgl::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{64} << 20;  // NVIDIA advises 32 MiB; and more than any second-level cache
constexpr int64_t kTimedRows = 512;
constexpr int kProposals = 8, kTimings = 5;
constexpr size_t kMostPlans = 8192;  // some steps of every length; then all are made anew

constexpr const char* kNames[] = {
    "libcublasLt.so.13",
    "libcublasLt.so.12",
    "libcublasLt.so",
    "/usr/local/cuda/lib64/libcublasLt.so.13",
    "/usr/local/cuda/lib64/libcublasLt.so.12",
};

template <typename F>
void find(const DynamicLibrary& library, F& function, const char* name) {
  function = reinterpret_cast<F>(library.symbol(name));
}

constexpr int64_t kFixedRows = 256;      // for which fixed ways are chosen
constexpr int64_t kFirstTimedRows = 32;  // fewer have kernels of their own
int64_t next_timed_rows(int64_t rows) { return rows + rows / ((rows & (rows - 1)) == 0 ? 2 : 3); }

// Up to this many rows share their way of computing.
int64_t rounded_rows(int64_t n) {
  int64_t rows = kFirstTimedRows;
  while (rows < n) rows = next_timed_rows(rows);
  return rows;
}

cudaDataType_t data_type(DType t) {
  if (t == DType::U8) return CUDA_R_8F_E4M3;
  if (t == DType::I8) return CUDA_R_8I;
  if (t == DType::I32) return CUDA_R_32I;
  return t == DType::F32 ? CUDA_R_32F : t == DType::F16 ? CUDA_R_16F : CUDA_R_16BF;
}

// A scale for each row of x and of w. Headers before 12.9 do not have these names.
constexpr size_t kFirstWithRowScales = 120900;
constexpr int kRowScales = 3;  // CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F
constexpr auto kScaleModeOfW = static_cast<cublasLtMatmulDescAttributes_t>(31);  // CUBLASLT_MATMUL_DESC_A_SCALE_MODE
constexpr auto kScaleModeOfX = static_cast<cublasLtMatmulDescAttributes_t>(32);  // CUBLASLT_MATMUL_DESC_B_SCALE_MODE

bool is_hopper_or_newer() {
  int device = 0, major = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute");
  return major >= 9;
}

}  // namespace

std::span<const char* const> cublaslt_names() { return kNames; }

std::vector<int64_t> DenseProducts::timed_rows() {
  std::vector<int64_t> all;
  for (int64_t rows = kFirstTimedRows; rows <= kTimedRows; rows = next_timed_rows(rows)) all.push_back(rows);
  return all;
}

CublasLt::CublasLt(std::span<const char* const> names)
    : library("cuBLASLt, which the cuda device computes with,", names) {
  find(library, create, "cublasLtCreate");
  find(library, destroy, "cublasLtDestroy");
  find(library, version, "cublasLtGetVersion");
  find(library, status_string, "cublasLtGetStatusString");
  find(library, matmul, "cublasLtMatmul");
  find(library, heuristic, "cublasLtMatmulAlgoGetHeuristic");
  find(library, algo_check, "cublasLtMatmulAlgoCheck");
  find(library, desc_create, "cublasLtMatmulDescCreate");
  find(library, desc_destroy, "cublasLtMatmulDescDestroy");
  find(library, desc_set, "cublasLtMatmulDescSetAttribute");
  find(library, layout_create, "cublasLtMatrixLayoutCreate");
  find(library, layout_destroy, "cublasLtMatrixLayoutDestroy");
  find(library, preference_create, "cublasLtMatmulPreferenceCreate");
  find(library, preference_destroy, "cublasLtMatmulPreferenceDestroy");
  find(library, preference_set, "cublasLtMatmulPreferenceSetAttribute");
}

size_t DenseProducts::Hash::operator()(const Shape& s) const {
  size_t h = 0;
  for (int64_t x : {s.n, s.out, s.in, s.y_stride, s.x_stride, s.w_stride, int64_t{static_cast<int>(s.type)},
                    int64_t{static_cast<int>(s.y_type)}}) {
    h = (h ^ static_cast<size_t>(x)) * 0x9e3779b97f4a7c15ULL;
    h ^= h >> 29;
  }
  return h;
}

DenseProducts::DenseProducts(cudaStream_t stream, bool fixed)
    : stream_(stream), fixed_(fixed), workspace_(allocate_device(kWorkspaceBytes)) {
  const cublasStatus_t status = lt_.create(&handle_);
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw Error(ErrorKind::Unsupported,
                fmt::format("cuBLASLt ({}) does not start: {}", lt_.library.name(), lt_.status_string(status)));
  }
  has_fp8_ = lt_.version() >= kFirstWithRowScales && is_hopper_or_newer();
}

DenseProducts::~DenseProducts() {
  for (auto& [shape, plan] : plans_) destroy(plan);
  lt_.destroy(handle_);
}

void DenseProducts::check(cublasStatus_t status, const char* what, const Shape& s) const {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(ErrorKind::Internal, fmt::format("cuda: linear of [{}, {}] by [{}, {}] in {}: {} says {}", s.n, s.in,
                                               s.out, s.in, name(s.type), what, lt_.status_string(status)));
}

void DenseProducts::destroy(Plan& plan) {
  if (plan.w != nullptr) lt_.layout_destroy(plan.w);
  if (plan.x != nullptr) lt_.layout_destroy(plan.x);
  if (plan.y != nullptr) lt_.layout_destroy(plan.y);
  if (plan.desc != nullptr) lt_.desc_destroy(plan.desc);
  plan = {};
}

void DenseProducts::make_layouts(Plan& plan, const Shape& s) const {
  auto u = [](int64_t x) { return static_cast<uint64_t>(x); };
  check(lt_.layout_create(&plan.w, data_type(s.type), u(s.in), u(s.out), s.w_stride), "layout of w", s);
  check(lt_.layout_create(&plan.x, data_type(s.type), u(s.in), u(s.n), s.x_stride), "layout of x", s);
  check(lt_.layout_create(&plan.y, data_type(s.y_type), u(s.out), u(s.n), s.y_stride), "layout of y", s);
}

// cuBLASLt's matrices are column by column: what is w [out, in] here is [in, out] there. So it computes
// yᵀ [out, n] = wᵀᵀ · xᵀ.
DenseProducts::Plan DenseProducts::make_plan(const Shape& s, const Operands& operands) {
  Plan plan;
  try {
    const bool int8 = s.type == DType::I8;
    check(lt_.desc_create(&plan.desc, int8 ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F, int8 ? CUDA_R_32I : CUDA_R_32F),
          "cublasLtMatmulDescCreate", s);
    const cublasOperation_t transposed = CUBLAS_OP_T;
    check(lt_.desc_set(plan.desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)), "TRANSA", s);
    if (s.type == DType::U8) {
      check(lt_.desc_set(plan.desc, kScaleModeOfW, &kRowScales, sizeof(kRowScales)), "the mode of scales", s);
      check(lt_.desc_set(plan.desc, kScaleModeOfX, &kRowScales, sizeof(kRowScales)), "the mode of scales", s);
    }
    make_layouts(plan, s);
    if (s.type == DType::U8) set_scales(plan, operands);  // without them nothing is proposed
    plan.algo = choose(plan, s, operands);
  } catch (...) {
    destroy(plan);
    throw;
  }
  return plan;
}

std::optional<cublasLtMatmulAlgo_t> DenseProducts::choose(const Plan& plan, const Shape& s, const Operands& operands) {
  Shape about = s;
  about.n = fixed_ ? kFixedRows : rounded_rows(s.n);
  if (fixed_ && s.n != kFixedRows && !chosen_.contains(about)) plan_of(about, operands);
  if (const auto known = chosen_.find(about); known != chosen_.end()) {
    cublasLtMatmulHeuristicResult_t fits{};
    if (lt_.algo_check(handle_, plan.desc, plan.w, plan.x, plan.y, plan.y, &known->second, &fits) ==
            CUBLAS_STATUS_SUCCESS &&
        fits.state == CUBLAS_STATUS_SUCCESS && fits.workspaceSize <= workspace_.bytes()) {
      return known->second;
    }
    if (fixed_) return std::nullopt;
  }
  cublasLtMatmulHeuristicResult_t proposals[kProposals] = {};
  int found = 0;
  cublasLtMatmulPreference_t preference = nullptr;
  try {
    check(lt_.preference_create(&preference), "cublasLtMatmulPreferenceCreate", s);
    auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      check(lt_.preference_set(preference, attribute, &value, sizeof(value)), "a preference", s);
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
    if (fixed_) prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
    for (auto attribute : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                           CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      prefer(attribute, uint32_t{16});
    }
    const cublasStatus_t status =
        lt_.heuristic(handle_, plan.desc, plan.w, plan.x, plan.y, plan.y, preference, kProposals, proposals, &found);
    if (status != CUBLAS_STATUS_NOT_SUPPORTED && status != CUBLAS_STATUS_INVALID_VALUE) {
      check(status, "cublasLtMatmulAlgoGetHeuristic", s);
    }
  } catch (...) {
    if (preference != nullptr) lt_.preference_destroy(preference);
    throw;
  }
  lt_.preference_destroy(preference);
  if (found == 0 || proposals[0].state != CUBLAS_STATUS_SUCCESS) return std::nullopt;
  if (fixed_) chosen_[about] = proposals[0].algo;
  if (fixed_ || s.n > kTimedRows) return proposals[0].algo;

  // A sum must not grow by being timed.
  Operands timed = operands;
  Buffer other;
  if (operands.add) {
    other = allocate_device(static_cast<size_t>(row_bytes(s.y_type, s.n * s.y_stride)));
    timed.y.data = other.data();
    cuda::check(cudaMemsetAsync(other.data(), 0, other.bytes(), stream_), "timing of products");
  }
  int best = 0;
  float least = INFINITY;
  for (int i = 0; i < found; ++i) {
    if (proposals[i].state != CUBLAS_STATUS_SUCCESS) continue;
    const float time = time_of(plan, proposals[i].algo, timed);
    if (time >= least) continue;
    least = time;
    best = i;
  }
  cuda::check(cudaStreamSynchronize(stream_), "timing of products");
  if (!std::isfinite(least)) return std::nullopt;
  chosen_[about] = proposals[best].algo;
  return proposals[best].algo;
}

// The median time of a product whose weights are not in a cache, in ms; infinite where it does not work.
float DenseProducts::time_of(const Plan& plan, const cublasLtMatmulAlgo_t& algo, const Operands& operands) {
  cudaEvent_t begin = nullptr, end = nullptr;
  cuda::check(cudaEventCreate(&begin), "cudaEventCreate");
  cuda::check(cudaEventCreate(&end), "cudaEventCreate");
  std::array<float, kTimings> times{};
  bool works = run(plan, algo, operands) == CUBLAS_STATUS_SUCCESS;
  for (float& time : times) {
    if (!works) break;
    cuda::check(cudaMemsetAsync(workspace_.data(), 0, workspace_.bytes(), stream_), "timing of products");
    cuda::check(cudaEventRecord(begin, stream_), "cudaEventRecord");
    works = run(plan, algo, operands) == CUBLAS_STATUS_SUCCESS;
    cuda::check(cudaEventRecord(end, stream_), "cudaEventRecord");
    cuda::check(cudaEventSynchronize(end), "timing of products");
    cuda::check(cudaEventElapsedTime(&time, begin, end), "cudaEventElapsedTime");
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::sort(times.begin(), times.end());
  return works ? times[kTimings / 2] : INFINITY;
}

void DenseProducts::set_scales(const Plan& plan, const Operands& o) {
  for (auto [attribute, scales] : {std::pair{CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, o.w_scales},
                                   {CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, o.x_scales}}) {
    lt_.desc_set(plan.desc, attribute, &scales, sizeof(scales));
  }
}

cublasStatus_t DenseProducts::run(const Plan& plan, const cublasLtMatmulAlgo_t& algo, const Operands& o) {
  const float one = 1.0F, of_y = o.add ? 1.0F : 0.0F;
  const int32_t int_one = 1, int_zero = 0;
  const bool int8 = o.w.dtype == DType::I8;
  const void* alpha = int8 ? static_cast<const void*>(&int_one) : &one;
  const void* beta = int8 ? static_cast<const void*>(&int_zero) : &of_y;
  if (o.w_scales != nullptr) set_scales(plan, o);
  return lt_.matmul(handle_, plan.desc, alpha, o.w.data, plan.w, o.x.data, plan.x, beta, o.y.data, plan.y, o.y.data,
                    plan.y, &algo, workspace_.data(), workspace_.bytes(), stream_);
}

DenseProducts::Shape DenseProducts::shape_of(const Operands& o) {
  return {o.x.rows(), o.w.rows(), o.w.cols(), o.y.row_stride, o.x.row_stride, o.w.row_stride, o.w.dtype, o.y.dtype};
}

const DenseProducts::Plan& DenseProducts::plan_of(const Shape& shape, const Operands& operands) {
  if (const auto found = plans_.find(shape); found != plans_.end()) return found->second;
  if (plans_.size() >= kMostPlans) {
    for (auto& [old, plan] : plans_) destroy(plan);
    plans_.clear();
  }
  return plans_.emplace(shape, make_plan(shape, operands)).first->second;
}

bool DenseProducts::multiply_if_possible(const Operands& o) {
  const Shape shape = shape_of(o);
  const Plan& plan = plan_of(shape, o);
  if (!plan.algo) return false;
  check(run(plan, *plan.algo, o), "cublasLtMatmul", shape);
  return true;
}

void DenseProducts::multiply(Tensor y, Tensor x, Tensor w, bool add) {
  const Operands operands{y, x, w, add};
  if (!multiply_if_possible(operands)) check(CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmul", shape_of(operands));
}

bool DenseProducts::multiply_fp8(Tensor y, Tensor x, const float* x_scales, Tensor w, const float* w_scales, bool add) {
  return multiply_if_possible({y, x, w, add, x_scales, w_scales});
}

bool DenseProducts::multiply_int8(Tensor y, Tensor x, Tensor w) { return multiply_if_possible({y, x, w, false}); }

}  // namespace sgl::cuda
