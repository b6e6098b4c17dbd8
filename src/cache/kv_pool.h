#pragma once
// The storage of keys and values: for each layer, an array of pages. Which page belongs to whom is PageAllocator's and
// RadixTree's business.

#include <cstdint>
#include <vector>

#include "ops/backend.h"

namespace sgl {

/// What one page holds, summed over layers.
struct KvGeometry {
  int num_layers = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  DType dtype = DType::F32;
  int page_size = 0;  ///< tokens
  int64_t page_bytes() const {
    return 2 * int64_t{num_layers} * row_bytes(dtype, int64_t{page_size} * num_kv_heads * head_dim);
  }
};

/// Owns the memory. Fixed at construction.
class KvPool {
 public:
  /// Throws ResourceExhausted when the backend has not got the memory.
  KvPool(Backend& backend, const KvGeometry& geometry, int64_t num_pages);

  const KvGeometry& geometry() const { return geometry_; }
  int64_t num_pages() const { return num_pages_; }
  KvView layer(int layer) const;

 private:
  KvGeometry geometry_;
  int64_t num_pages_;
  Buffer memory_;  ///< [layer][k, v][page][page bytes of one layer]
};

}  // namespace sgl
