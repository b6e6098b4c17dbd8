#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <fmt/format.h>

#include "base/e4m3.h"
#include "base/half.h"
#include "ops/ref_backend.h"
#include "sgl/error.h"

namespace sgl {
namespace {

constexpr int64_t kBlock = 32;  // Q8_0: elements with one scale

// The row (position, kv head) of a sequence: pages are [page_size, num_kv_heads, head_dim]. A row in Q8_0 is its int8
// numbers, then the float16 scales of its blocks.
std::byte* row_of(const KvView& kv, std::byte* base, const PagedBatch& batch, const BatchSeq& seq, int64_t position,
                  int64_t head) {
  int64_t page = batch.pages[static_cast<size_t>(seq.page_begin + position / kv.page_size)];
  int64_t row = (page * kv.page_size + position % kv.page_size) * kv.num_kv_heads + head;
  return base + row * row_bytes(kv.dtype, kv.head_dim);
}

float load(const KvView& kv, const std::byte* row, int64_t i) {
  switch (kv.dtype) {
    case DType::F16:
      return to_float(reinterpret_cast<const f16*>(row)[i]);
    case DType::BF16:
      return to_float(reinterpret_cast<const bf16*>(row)[i]);
    case DType::F8E4M3:
      return from_e4m3(reinterpret_cast<const uint8_t*>(row)[i]);
    case DType::Q8_0: {
      const auto* scales = reinterpret_cast<const f16*>(row + kv.head_dim);
      return static_cast<float>(reinterpret_cast<const int8_t*>(row)[i]) * to_float(scales[i / kBlock]);
    }
    default:
      return reinterpret_cast<const float*>(row)[i];
  }
}

void store(const KvView& kv, std::byte* row, const float* x) {
  const int64_t n = kv.head_dim;
  switch (kv.dtype) {
    case DType::F16:
      std::transform(x, x + n, reinterpret_cast<f16*>(row), to_f16);
      break;
    case DType::BF16:
      std::transform(x, x + n, reinterpret_cast<bf16*>(row), to_bf16);
      break;
    case DType::F8E4M3:
      std::transform(x, x + n, reinterpret_cast<uint8_t*>(row), to_e4m3);
      break;
    case DType::Q8_0:
      for (int64_t block = 0; block < n; block += kBlock) {
        float largest = 0;
        for (int64_t i = block; i < block + kBlock; ++i) largest = std::max(largest, std::abs(x[i]));
        const f16 rounded = to_f16(largest / 127.0F);
        const float scale = to_float(rounded), inverse = scale > 0 ? 1.0F / scale : 0.0F;
        reinterpret_cast<f16*>(row + n)[block / kBlock] = rounded;
        for (int64_t i = block; i < block + kBlock; ++i) {
          const float y = std::clamp(x[i] * inverse, -127.0F, 127.0F);
          reinterpret_cast<int8_t*>(row)[i] = static_cast<int8_t>(std::nearbyint(y));
        }
      }
      break;
    default:
      std::copy_n(x, n, reinterpret_cast<float*>(row));
  }
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
        const int64_t position = seq.kv_len - seq.q_len + t;
        store(kv, row_of(kv, kv.k, batch, seq, position, head), k.f32(seq.q_begin + t) + head * kv.head_dim);
        store(kv, row_of(kv, kv.v, batch, seq, position, head), v.f32(seq.q_begin + t) + head * kv.head_dim);
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
          const std::byte* key = row_of(kv, kv.k, batch, seq, j, h / group);
          double dot = 0;
          for (int64_t d = 0; d < kv.head_dim; ++d) dot += double{query[d]} * load(kv, key, d);
          dot *= o.scale;
          if (o.softcap > 0) dot = o.softcap * std::tanh(dot / o.softcap);
          p[static_cast<size_t>(j - first)] = dot;
          largest = std::max(largest, dot);
        }
        double sum = 0;
        for (double& x : p) sum += x = std::exp(x - largest);
        acc.assign(acc.size(), 0.0);
        for (int64_t j = first; j <= last; ++j) {
          const std::byte* value = row_of(kv, kv.v, batch, seq, j, h / group);
          for (int64_t d = 0; d < kv.head_dim; ++d) {
            acc[static_cast<size_t>(d)] += p[static_cast<size_t>(j - first)] * load(kv, value, d);
          }
        }
        float* result = out.f32(seq.q_begin + t) + h * kv.head_dim;
        for (int64_t d = 0; d < kv.head_dim; ++d) result[d] = static_cast<float>(acc[static_cast<size_t>(d)] / sum);
      }
    }
  }
}

}  // namespace sgl
