#pragma once
// The tensors of a checkpoint by name, and the checks on sizes that every format shares.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace sgl {

/// Built once, then read by any thread.
class TensorIndex {
 public:
  void add(FileTensor t) { tensors_.push_back(std::move(t)); }
  /// Sorts. Throws CorruptFile naming a tensor that is there twice. Call once, before the functions below.
  void finish(const std::string& path);

  const FileTensor* find(std::string_view name) const;
  std::vector<std::string_view> names() const;
  const std::vector<FileTensor>& tensors() const { return tensors_; }
  std::vector<FileTensor>& tensors() { return tensors_; }
  /// The type that holds the most bytes; nullopt without tensors.
  std::optional<DType> main_dtype() const;

 private:
  std::vector<FileTensor> tensors_;
};

/// Bytes of a tensor of these dimensions (outermost first); nullopt if one is negative, if the last is not a multiple
/// of the format's block, or if the number of elements or bytes exceeds 2^62.
std::optional<int64_t> tensor_bytes(DType dtype, const Shape& shape);

/// A part of a file, for the check that no two parts overlap.
struct FilePart {
  uint64_t begin, end;
  std::string_view name;
};
/// Throws CorruptFile naming two parts that share bytes. Sorts `parts`.
void check_no_overlap(std::vector<FilePart>& parts, const std::string& path);

}  // namespace sgl
