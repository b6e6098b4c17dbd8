#include "ops/cublaslt_cuda.h"

#include <fmt/format.h>

#include "ops/memory_cuda.h"
#include "sgl/error.h"

namespace sgl::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what NVIDIA advises for Hopper
constexpr size_t kMostPlans = 8192;                   // some steps of every length; then all are made anew

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

cudaDataType_t data_type(DType t) { return t == DType::F32 ? CUDA_R_32F : t == DType::F16 ? CUDA_R_16F : CUDA_R_16BF; }

}  // namespace

std::span<const char* const> cublaslt_names() { return kNames; }

CublasLt::CublasLt(std::span<const char* const> names)
    : library("cuBLASLt, which the cuda device computes with,", names) {
  find(library, create, "cublasLtCreate");
  find(library, destroy, "cublasLtDestroy");
  find(library, version, "cublasLtGetVersion");
  find(library, status_string, "cublasLtGetStatusString");
  find(library, matmul, "cublasLtMatmul");
  find(library, heuristic, "cublasLtMatmulAlgoGetHeuristic");
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

DenseProducts::DenseProducts(cudaStream_t stream) : stream_(stream), workspace_(allocate_device(kWorkspaceBytes)) {
  const cublasStatus_t status = lt_.create(&handle_);
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw Error(ErrorKind::Unsupported,
                fmt::format("cuBLASLt ({}) does not start: {}", lt_.library.name(), lt_.status_string(status)));
  }
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

// cuBLASLt's matrices are column by column: what is w [out, in] here is [in, out] there. So it computes
// yᵀ [out, n] = wᵀᵀ · xᵀ.
DenseProducts::Plan DenseProducts::make_plan(const Shape& s) {
  Plan plan;
  cublasLtMatmulPreference_t preference = nullptr;
  try {
    auto u = [](int64_t x) { return static_cast<uint64_t>(x); };
    check(lt_.desc_create(&plan.desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate", s);
    const cublasOperation_t transposed = CUBLAS_OP_T;
    check(lt_.desc_set(plan.desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)), "TRANSA", s);
    check(lt_.layout_create(&plan.w, data_type(s.type), u(s.in), u(s.out), s.w_stride), "layout of w", s);
    check(lt_.layout_create(&plan.x, data_type(s.type), u(s.in), u(s.n), s.x_stride), "layout of x", s);
    check(lt_.layout_create(&plan.y, data_type(s.y_type), u(s.out), u(s.n), s.y_stride), "layout of y", s);
    check(lt_.preference_create(&preference), "cublasLtMatmulPreferenceCreate", s);
    auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      check(lt_.preference_set(preference, attribute, &value, sizeof(value)), "a preference", s);
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
    for (auto attribute : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                           CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      prefer(attribute, uint32_t{16});
    }
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    check(lt_.heuristic(handle_, plan.desc, plan.w, plan.x, plan.y, plan.y, preference, 1, &best, &found),
          "cublasLtMatmulAlgoGetHeuristic", s);
    check(found > 0 ? best.state : CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmulAlgoGetHeuristic", s);
    plan.algo = best.algo;
  } catch (...) {
    if (preference != nullptr) lt_.preference_destroy(preference);
    destroy(plan);
    throw;
  }
  lt_.preference_destroy(preference);
  return plan;
}

void DenseProducts::multiply(Tensor y, Tensor x, Tensor w, bool add) {
  const Shape shape{x.rows(), w.rows(), w.cols(), y.row_stride, x.row_stride, w.row_stride, w.dtype, y.dtype};
  auto found = plans_.find(shape);
  if (found == plans_.end()) {
    if (plans_.size() >= kMostPlans) {
      for (auto& [old, plan] : plans_) destroy(plan);
      plans_.clear();
    }
    found = plans_.emplace(shape, make_plan(shape)).first;
  }
  const Plan& plan = found->second;
  const float one = 1.0F, of_y = add ? 1.0F : 0.0F;
  check(lt_.matmul(handle_, plan.desc, &one, w.data, plan.w, x.data, plan.x, &of_y, y.data, plan.y, y.data, plan.y,
                   &plan.algo, workspace_.data(), workspace_.bytes(), stream_),
        "cublasLtMatmul", shape);
}

}  // namespace sgl::cuda
