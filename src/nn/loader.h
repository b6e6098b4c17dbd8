#pragma once
// From names in a checkpoint to weights on a device.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "ops/backend.h"

namespace sgl {

/// How a file stores a linear layer: [out, in], or [in, out] (the hub's GPT-2: "Conv1D").
enum class MatrixLayout { OutIn, InOut };
/// What a matrix is for: layers' may be quantized by the backend, the one that makes logits is not.
enum class MatrixUse { Layer, Head };

/// What of a matrix each rank of a tensor-parallel group has (Shoeybi et al. 2019): all; some outputs of each of its
/// parts; or some inputs, so that its results must be added to the other ranks'.
enum class Split { None, Outputs, Inputs };

/// A place in a checkpoint's tree of names: `w / "self_attn"` is the place below. Cheap to copy; the checkpoint and the
/// backend must outlive it. Thread: one.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, Backend& backend);

  Loader operator/(std::string_view name) const;
  Loader operator/(int index) const { return *this / std::to_string(index); }

  const ModelConfig& config() const { return checkpoint_->config(); }
  bool has(std::string_view name) const;
  int rank() const { return backend_->rank(); }
  int num_ranks() const { return backend_->num_ranks(); }
  /// This rank's share of n equal things, `what` for the error: throws Unsupported where they cannot be shared out.
  int64_t share(int64_t n, const char* what) const;

  /// A vector of n elements in float32, plus `add` (Gemma's norms are stored as w − 1). Throws CorruptFile if it is
  /// missing or of another shape.
  Param vector(std::string_view name, int64_t n, float add = 0.0F) const;
  /// The matrices `names`, [outs[i], in] each (transposed first when stored InOut), merged by rows; a single name may
  /// hold all of `outs`, one after the other. Of each, this rank's share.
  Weight matrix(const std::vector<std::string>& names, int64_t in, const std::vector<int64_t>& outs,
                MatrixLayout layout = MatrixLayout::OutIn, MatrixUse use = MatrixUse::Layer,
                Split split = Split::None) const;
  /// The vectors `names`, outs[i] elements each, one after the other; a missing one is zero; empty if all are missing.
  /// They are biases of such a matrix: split by outputs as its rows are; by inputs, rank 0 has them.
  Param merged_vector(const std::vector<std::string>& names, const std::vector<int64_t>& outs,
                      Split split = Split::None) const;
  /// The same, in host memory.
  std::vector<float> merged_values(const std::vector<std::string>& names, const std::vector<int64_t>& outs,
                                   Split split = Split::None) const;
  /// A table [rows, cols] for look-ups by row. Points into the checkpoint where the device can read that.
  Param table(std::string_view name, int64_t rows, int64_t cols) const;

  /// Counts as used what the checkpoint may have and this use of the model does not need.
  void pass_over(std::string_view name) const { used_->names.insert(full(name)); }

  /// Throws CorruptFile naming the tensors of the checkpoint that nothing has used. Call when the model is built.
  void check_all_used() const;
  /// Bytes and elements of all tensors used so far.
  int64_t bytes_used() const { return used_->bytes; }
  int64_t elements_used() const { return used_->elements; }

 private:
  struct Used {
    std::unordered_set<std::string> names;
    int64_t bytes = 0;
    int64_t elements = 0;
  };
  const FileTensor& require(std::string_view name, const Shape& shape) const;
  Param on_device(const std::vector<float>& values) const;
  void add_share(std::vector<Tensor>& parts, std::vector<Buffer>& keep, const Tensor& matrix,
                 std::span<const int64_t> outs, Split split) const;
  std::string full(std::string_view name) const;

  const Checkpoint* checkpoint_;
  Backend* backend_;
  std::string prefix_;
  std::shared_ptr<Used> used_;
};

}  // namespace sgl
