// Two ops at once, one after the other: for devices that have no kernel of their own for them.

#include "ops/backend.h"

namespace sgl {

void Backend::linear_add(Tensor h, Tensor x, const Weight& w, Tensor bias, Tensor scratch) {
  linear(scratch, x, w, bias);
  add(h, scratch);
}

void Backend::linear_add_norm(Normed& y, Tensor h, Tensor x, const Weight& w, Tensor bias, const NormWeight& norm,
                              Tensor scratch) {
  linear(scratch, x, w, bias);
  add_rms_norm(y.x, h, scratch, norm.w, norm.eps);
  y.whole = true;
}

void Backend::gated_linear(Tensor out, Tensor x, const Weight& w, Tensor bias, Act act, Tensor scratch) {
  linear(scratch, x, w, bias);
  gated_act(out, scratch, act);
}

void Backend::rope_store_kv(const KvView& kv, Tensor qkv, Tensor cos_sin, bool interleaved, const PagedBatch& batch) {
  const int64_t nkv = int64_t{kv.num_kv_heads} * kv.head_dim, nq = qkv.cols() - 2 * nkv;
  rope(qkv.slice_cols(0, nq + nkv), cos_sin, kv.head_dim, interleaved);  // q's and k's heads stand side by side
  store_kv(kv, qkv.slice_cols(nq, nkv), qkv.slice_cols(nq + nkv, nkv), batch);
}

}  // namespace sgl
