#include "cache/kv_pool.h"

namespace sgl {

KvPool::KvPool(Backend& backend, const KvGeometry& geometry, int64_t num_pages)
    : geometry_(geometry),
      num_pages_(num_pages),
      memory_(backend.allocate(static_cast<size_t>(geometry.page_bytes() * num_pages))) {}

KvView KvPool::layer(int layer) const {
  KvView view;
  view.dtype = geometry_.dtype;
  view.num_pages = num_pages_;
  view.page_size = geometry_.page_size;
  view.num_kv_heads = geometry_.num_kv_heads;
  view.head_dim = geometry_.head_dim;
  view.k = memory_.data() + 2 * layer * num_pages_ * view.page_bytes();
  view.v = view.k + num_pages_ * view.page_bytes();
  return view;
}

}  // namespace sgl
