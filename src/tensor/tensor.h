#pragma once
// Tensor: a view of at most four dimensions on memory that somebody else owns. Buffer: the owner.

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tensor/dtype.h"

namespace sgl {

/// Sizes of up to four dimensions, outermost first.
class Shape {
 public:
  static constexpr int kMaxRank = 4;
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : rank_(static_cast<int>(dims.size())) {
    assert(rank_ <= kMaxRank);
    int i = 0;
    for (int64_t d : dims) dims_[static_cast<size_t>(i++)] = d;
  }
  int rank() const { return rank_; }
  int64_t operator[](int i) const { return dims_[static_cast<size_t>(i)]; }
  int64_t& operator[](int i) { return dims_[static_cast<size_t>(i)]; }
  void push_back(int64_t d) { dims_[static_cast<size_t>(rank_++)] = d; }
  int64_t elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= dims_[static_cast<size_t>(i)];
    return n;
  }
  bool operator==(const Shape& o) const = default;

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

std::string to_string(const Shape& shape);

/// A view: rows of `shape[last]` contiguous elements; the stride between rows may be wider than a row.
/// Block formats are always contiguous. Copying a Tensor copies the view.
struct Tensor {
  std::byte* data = nullptr;
  DType dtype = DType::F32;
  Shape shape;
  int64_t row_stride = 0;  ///< elements from one row (last dimension) to the next; ≥ shape[last]

  Tensor() = default;
  Tensor(void* p, DType t, Shape s) : data(static_cast<std::byte*>(p)), dtype(t), shape(s) {
    row_stride = shape.rank() > 0 ? shape[shape.rank() - 1] : 1;
  }

  bool empty() const { return data == nullptr || shape.elements() == 0; }
  int64_t cols() const { return shape.rank() > 0 ? shape[shape.rank() - 1] : 1; }
  int64_t rows() const { return cols() == 0 ? 0 : shape.elements() / cols(); }

  /// Row i (all leading dimensions flattened) as T. Requires: T fits dtype.
  template <typename T>
  T* row(int64_t i) const {
    return reinterpret_cast<T*>(data) + i * row_stride;
  }
  float* f32(int64_t i = 0) const {
    assert(dtype == DType::F32);
    return row<float>(i);
  }
  /// Rows [begin, begin + n).
  Tensor slice_rows(int64_t begin, int64_t n) const {
    Tensor t = *this;
    t.data += row_bytes(dtype, begin * row_stride);
    t.shape = Shape{n, cols()};
    return t;
  }
  /// Columns [begin, begin + n) of every row. Requires: not a block format.
  Tensor slice_cols(int64_t begin, int64_t n) const {
    Tensor t = *this;
    t.data += row_bytes(dtype, begin);
    t.shape = Shape{rows(), n};
    return t;
  }
};

/// Owns memory, aligned to 64 bytes; freed when the owner goes (move-only).
class Buffer {
 public:
  using Free = void (*)(void*, size_t);
  Buffer() = default;
  Buffer(void* data, size_t bytes, Free free) : data_(static_cast<std::byte*>(data)), bytes_(bytes), free_(free) {}
  Buffer(Buffer&& o) noexcept { *this = std::move(o); }
  Buffer& operator=(Buffer&& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(bytes_, o.bytes_);
    std::swap(free_, o.free_);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (data_ != nullptr) free_(data_, bytes_);
  }

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  Free free_ = nullptr;
};

/// Host memory, zero on demand (fresh pages from the system; huge pages where it offers them for large sizes).
/// Throws ResourceExhausted with the size when the system refuses.
Buffer allocate_host(size_t bytes);

/// Bump allocator for a step's temporaries: no free of single tensors, but of all since a Scope began, and with reset()
/// of all. Grows between resets only: the first step of a new size allocates, later ones do not. Thread: one.
class Arena {
 public:
  /// What is allocated while it lives is free again when it goes, for others to overwrite. Scopes nest.
  class Scope {
   public:
    explicit Scope(Arena& arena)
        : arena_(arena),
          used_(arena.used_),
          overflow_(arena.overflow_.size()),
          overflow_bytes_(arena.overflow_bytes_) {}
    ~Scope() { arena_.rewind(*this); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    friend class Arena;
    Arena& arena_;
    size_t used_, overflow_, overflow_bytes_;
  };

  /// `allocate` gives the memory: the backend's, or the host's.
  explicit Arena(std::function<Buffer(size_t)> allocate = allocate_host) : allocate_(std::move(allocate)) {}
  Tensor alloc(DType dtype, Shape shape);
  void reset();
  size_t used() const { return used_; }
  size_t capacity() const;

 private:
  std::byte* take(size_t bytes);
  void rewind(const Scope& scope);
  std::function<Buffer(size_t)> allocate_;
  Buffer block_;
  std::vector<Buffer> overflow_;
  size_t used_ = 0;
  size_t overflow_bytes_ = 0;
  size_t peak_ = 0;  ///< most bytes at once since the last reset
};

}  // namespace sgl
