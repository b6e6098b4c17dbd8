#pragma once
// cuBLASLt, opened at run time: the program needs neither the library nor a GPU before the cuda backend is made.

#include <array>
#include <cstdint>
#include <cublasLt.h>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/dynamic_library.h"
#include "tensor/tensor.h"

namespace sgl::cuda {

/// Under which names the library is looked for: by the system's rules first, then where NVIDIA's installer puts it.
std::span<const char* const> cublaslt_names();

/// The functions that matmul() calls, found in the library.
struct CublasLt {
  /// Throws Unsupported, naming what was tried, when the library or a function is missing.
  explicit CublasLt(std::span<const char* const> names = cublaslt_names());

  DynamicLibrary library;
  decltype(&::cublasLtCreate) create;
  decltype(&::cublasLtDestroy) destroy;
  decltype(&::cublasLtGetVersion) version;
  decltype(&::cublasLtGetStatusString) status_string;
  decltype(&::cublasLtMatmul) matmul;
  decltype(&::cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&::cublasLtMatmulAlgoCheck) algo_check;
  decltype(&::cublasLtMatmulDescCreate) desc_create;
  decltype(&::cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&::cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&::cublasLtMatrixLayoutCreate) layout_create;
  decltype(&::cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&::cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&::cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&::cublasLtMatmulPreferenceSetAttribute) preference_set;
};

/// Dense products on one stream. How a shape is best computed is found once and remembered: cuBLASLt is asked, and of
/// what it proposes for few rows, as in decoding, the fastest is found by timing it on the first product with about as
/// many rows. So the way that sums are ordered can differ between two runs of the program. Unless it is fixed: then a
/// shape is computed as cuBLASLt proposes for some rows, however many there are, and each sum by one block: what a row
/// comes to does not depend on the others.
class DenseProducts {
 public:
  /// Up to how many rows share what was found by timing: powers of two, and the numbers halfway.
  static std::vector<int64_t> timed_rows();

  DenseProducts(cudaStream_t stream, bool fixed);
  ~DenseProducts();
  DenseProducts(const DenseProducts&) = delete;
  DenseProducts& operator=(const DenseProducts&) = delete;

  /// y = x · wᵀ, or y += that if `add`, with float32 sums. x: [n, in], w: [out, in] of one type; y: [n, out] of the
  /// same or float32. Rows are aligned to 16 bytes. float32 products are full float32 (no TF32).
  void multiply(Tensor y, Tensor x, Tensor w, bool add);

  /// Whether multiply_fp8() can do anything: cuBLASLt 12.9 on Hopper or newer.
  bool has_fp8() const { return has_fp8_; }
  /// The same with e4m3 numbers, as DType::U8, each row with its scale: x_scales [n], w_scales [out]. Sums are as exact
  /// as FP8 tensor cores have them (no fast accumulation). False where cuBLASLt has no such product: then nothing was
  /// done. Requires: has_fp8().
  bool multiply_fp8(Tensor y, Tensor x, const float* x_scales, Tensor w, const float* w_scales, bool add);
  /// y = x · wᵀ of int8 codes, DType::I8, in int32: [n, out], rows one after the other. False as above; cuBLASLt wants
  /// fours of outputs.
  bool multiply_int8(Tensor y, Tensor x, Tensor w);
  size_t version() const { return lt_.version(); }

 private:
  struct Shape {
    int64_t n, out, in, y_stride, x_stride, w_stride;
    DType type, y_type;
    bool operator==(const Shape&) const = default;
  };
  struct Hash {
    size_t operator()(const Shape& s) const;
  };
  struct Plan {
    cublasLtMatmulDesc_t desc = nullptr;
    cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;
    std::optional<cublasLtMatmulAlgo_t> algo;  ///< none: there is no way
  };
  struct Operands {
    Tensor y, x, w;
    bool add;
    const float *x_scales = nullptr, *w_scales = nullptr;  ///< of e4m3 numbers
  };
  static Shape shape_of(const Operands& operands);
  /// False where cuBLASLt has no such product.
  bool multiply_if_possible(const Operands& operands);
  const Plan& plan_of(const Shape& shape, const Operands& operands);
  Plan make_plan(const Shape& shape, const Operands& operands);
  void make_layouts(Plan& plan, const Shape& shape) const;
  std::optional<cublasLtMatmulAlgo_t> choose(const Plan& plan, const Shape& shape, const Operands& operands);
  float time_of(const Plan& plan, const cublasLtMatmulAlgo_t& algo, const Operands& operands);
  cublasStatus_t run(const Plan& plan, const cublasLtMatmulAlgo_t& algo, const Operands& operands);
  void set_scales(const Plan& plan, const Operands& operands);
  void destroy(Plan& plan);
  void check(cublasStatus_t status, const char* what, const Shape& shape) const;

  CublasLt lt_;
  cudaStream_t stream_;
  bool fixed_;
  cublasLtHandle_t handle_ = nullptr;
  bool has_fp8_ = false;
  Buffer workspace_;
  std::unordered_map<Shape, Plan, Hash> plans_;
  std::unordered_map<Shape, cublasLtMatmulAlgo_t, Hash> chosen_;  ///< by shapes whose n is rounded up, or fixed
};

}  // namespace sgl::cuda
