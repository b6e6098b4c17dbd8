#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "base/half.h"
#include "ops/ref_backend.h"
#include "sgl/error.h"

namespace sgl {
namespace {

float load(const KvView& kv, const std::byte* base, int64_t index) {
  switch (kv.dtype) {
    case DType::F16:
      return to_float(reinterpret_cast<const f16*>(base)[index]);
    case DType::BF16:
      return to_float(reinterpret_cast<const bf16*>(base)[index]);
    default:
      return reinterpret_cast<const float*>(base)[index];
  }
}

void store(const KvView& kv, std::byte* base, int64_t index, float x) {
  switch (kv.dtype) {
    case DType::F16:
      reinterpret_cast<f16*>(base)[index] = to_f16(x);
      break;
    case DType::BF16:
      reinterpret_cast<bf16*>(base)[index] = to_bf16(x);
      break;
    default:
      reinterpret_cast<float*>(base)[index] = x;
  }
}

// Index of (position, kv head, 0) of a sequence: pages are [page_size, num_kv_heads, head_dim].
int64_t element(const KvView& kv, const PagedBatch& batch, const BatchSeq& seq, int64_t position, int64_t head) {
  int64_t page = batch.pages[static_cast<size_t>(seq.page_begin + position / kv.page_size)];
  return ((page * kv.page_size + position % kv.page_size) * kv.num_kv_heads + head) * kv.head_dim;
}

}  // namespace

void check_attention(const char* op, Tensor x, const KvView& kv, const PagedBatch& batch, int num_heads) {
  auto fail = [&](const std::string& what) { throw Error(ErrorKind::Internal, fmt::format("{}: {}", op, what)); };
  if (x.cols() != int64_t{num_heads} * kv.head_dim || x.rows() != batch.num_tokens()) {
    fail(fmt::format("tensor is {}; expected [{}, {} · {}]", to_string(x.shape), batch.num_tokens(), num_heads,
                     kv.head_dim));
  }
  if (num_heads % kv.num_kv_heads != 0) fail(fmt::format("{} heads over {} KV heads", num_heads, kv.num_kv_heads));
  for (const BatchSeq& s : batch.seqs) {
    int64_t num_pages = (int64_t{s.kv_len} + kv.page_size - 1) / kv.page_size;
    if (s.q_len > s.kv_len || s.page_begin + num_pages > static_cast<int64_t>(batch.pages.size())) {
      fail(fmt::format("a sequence of {} new of {} tokens does not fit its pages", s.q_len, s.kv_len));
    }
  }
}

void RefBackend::store_kv(const KvView& kv, Tensor k, Tensor v, const PagedBatch& batch) {
  check_attention("store_kv", k, kv, batch, kv.num_kv_heads);
  check_attention("store_kv", v, kv, batch, kv.num_kv_heads);
  for (const BatchSeq& seq : batch.seqs) {
    for (int64_t t = 0; t < seq.q_len; ++t) {
      for (int64_t head = 0; head < kv.num_kv_heads; ++head) {
        int64_t at = element(kv, batch, seq, seq.kv_len - seq.q_len + t, head);
        for (int64_t j = 0; j < kv.head_dim; ++j) {
          store(kv, kv.k, at + j, k.f32(seq.q_begin + t)[head * kv.head_dim + j]);
          store(kv, kv.v, at + j, v.f32(seq.q_begin + t)[head * kv.head_dim + j]);
        }
      }
    }
  }
}

// out[i] = Σ_j softmax_j(cap(scale · q[i]·k[j])) v[j] over the positions j that i sees   (Vaswani et al. 2017, eq. 1)
void RefBackend::attention(Tensor out, Tensor q, const KvView& kv, const PagedBatch& batch, const AttentionOptions& o) {
  check_attention("attention", q, kv, batch, o.num_heads);
  check_attention("attention", out, kv, batch, o.num_heads);
  const int64_t group = o.num_heads / kv.num_kv_heads;
  std::vector<double> p;
  std::vector<double> acc(static_cast<size_t>(kv.head_dim));
  for (const BatchSeq& seq : batch.seqs) {
    for (int64_t t = 0; t < seq.q_len; ++t) {
      const int64_t position = seq.kv_len - seq.q_len + t;
      const int64_t first = o.window > 0 ? std::max<int64_t>(0, position - o.window + 1) : 0;
      const int64_t last = o.causal ? position : seq.kv_len - 1;
      for (int64_t h = 0; h < o.num_heads; ++h) {
        const float* query = q.f32(seq.q_begin + t) + h * kv.head_dim;
        p.assign(static_cast<size_t>(last - first + 1), 0.0);
        double largest = -INFINITY;
        for (int64_t j = first; j <= last; ++j) {
          int64_t at = element(kv, batch, seq, j, h / group);
          double dot = 0;
          for (int64_t d = 0; d < kv.head_dim; ++d) dot += double{query[d]} * load(kv, kv.k, at + d);
          dot *= o.scale;
          if (o.softcap > 0) dot = o.softcap * std::tanh(dot / o.softcap);
          p[static_cast<size_t>(j - first)] = dot;
          largest = std::max(largest, dot);
        }
        double sum = 0;
        for (double& x : p) sum += x = std::exp(x - largest);
        acc.assign(acc.size(), 0.0);
        for (int64_t j = first; j <= last; ++j) {
          int64_t at = element(kv, batch, seq, j, h / group);
          for (int64_t d = 0; d < kv.head_dim; ++d) {
            acc[static_cast<size_t>(d)] += p[static_cast<size_t>(j - first)] * load(kv, kv.v, at + d);
          }
        }
        float* result = out.f32(seq.q_begin + t) + h * kv.head_dim;
        for (int64_t d = 0; d < kv.head_dim; ++d) result[d] = static_cast<float>(acc[static_cast<size_t>(d)] / sum);
      }
    }
  }
}

}  // namespace sgl
