// Which blocks compute a step's attention, and where its tokens' keys and values go: lists made once a step.

#include <algorithm>

#include <fmt/format.h>

#include "ops/backend_cuda.h"
#include "ops/ref_backend.h"
#include "sgl/error.h"

namespace sgl {
namespace {

// Positions in a part of a sequence: small parts where there is little to do, so that all of the device has some of it;
// else large ones, which need less combining.
constexpr int kSmallestPart = 64, kLargestPart = 1024;
constexpr int kTile = 64;  // positions that a block takes at once

int part_size(const std::vector<BatchSeq>& seqs, int kv_heads, int blocks) {
  int size = kSmallestPart;
  for (; size < kLargestPart; size *= 2) {
    int64_t parts = 0;
    for (const BatchSeq& s : seqs) parts += (s.kv_len + size - 1) / size;
    if (parts * kv_heads <= blocks) break;
  }
  return size;
}

constexpr int kMostPlainHead = 640;

}  // namespace

void CudaBackend::store_kv(const KvView& kv, Tensor k, Tensor v, const PagedBatch& batch) {
  check_attention("store_kv", k, kv, batch, kv.num_kv_heads);
  check_attention("store_kv", v, kv, batch, kv.num_kv_heads);
  cuda::store_kv(stream_, kv, k, v, slots_of(kv, batch));
  cuda::launched("store_kv", k);
}

void CudaBackend::rope_store_kv(const KvView& kv, Tensor qkv, Tensor cos_sin, bool interleaved,
                                const PagedBatch& batch) {
  if (interleaved || !cuda::can_rope_store_kv(kv, qkv, cos_sin)) {
    Backend::rope_store_kv(kv, qkv, cos_sin, interleaved, batch);
    return;
  }
  check_rope(qkv, cos_sin, kv.head_dim);
  cuda::rope_store_kv(stream_, kv, qkv, cos_sin, slots_of(kv, batch));
  cuda::launched("rope_store_kv", qkv);
}

const int32_t* CudaBackend::slots_of(const KvView& kv, const PagedBatch& batch) {
  require("store_kv", batch);
  plan_slots(kv.page_size);
  usual_kv_.page_size = kv.page_size;
  staging().flush();
  return step_.slots;
}

void CudaBackend::plan_slots(int page_size) {
  if (step_.slots_page_size == page_size) return;
  const PagedBatch& batch = *step_.batch;
  std::vector<int32_t> slots(static_cast<size_t>(batch.num_tokens()));
  for (const BatchSeq& s : batch.seqs) {
    for (int t = 0; t < s.q_len; ++t) {
      const int position = s.kv_len - s.q_len + t;
      const int32_t page = batch.pages[static_cast<size_t>(s.page_begin + position / page_size)];
      slots[static_cast<size_t>(s.q_begin + t)] = page * page_size + position % page_size;
    }
  }
  step_.slots = staging().put(slots);
  step_.slots_page_size = page_size;
}

void CudaBackend::plan_attention(const KvView& kv, int group) {
  if (step_.group == group) return;
  std::vector<cuda::AttentionItem> prefill, decode;
  int slots = 0, partial_rows = 0;
  const int most = part_size(step_.batch->seqs, kv.num_kv_heads, cuda::decode_blocks(kv));
  for (const BatchSeq& s : step_.batch->seqs) {
    const int rows = s.q_len * group;
    if (rows > cuda::kDecodeRows) {
      for (int row = 0; row < rows; row += cuda::kPrefillRows) prefill.push_back({s, row, 0, s.kv_len});
      continue;
    }
    // About equal parts, of whole tiles.
    const int parts = std::min((s.kv_len + most - 1) / most, cuda::kMostParts);
    const int size = ((s.kv_len + parts - 1) / parts + kTile - 1) / kTile * kTile;
    const int splits = (s.kv_len + size - 1) / size;
    if (splits == 1) {
      decode.push_back({s, 0, 0, s.kv_len});
      continue;
    }
    for (int split = 0; split < splits; ++split) {
      const int begin = split * size;
      decode.push_back({s, 0, begin, std::min(begin + size, s.kv_len), slots + split, slots, splits});
    }
    slots += splits;
    partial_rows = std::max(partial_rows, rows);
  }
  // The longest first: blocks start in this order, and the short ones fill the gaps at the end.
  auto length = [&](const cuda::AttentionItem& item) { return item.seq.kv_len - item.seq.q_len + item.row / group; };
  std::stable_sort(prefill.begin(), prefill.end(), [&](const auto& a, const auto& b) { return length(a) > length(b); });
  step_.group = group;
  step_.prefill = staging().put(prefill);
  step_.decode = staging().put(decode);
  step_.num_prefill = static_cast<int>(prefill.size());
  step_.num_decode = static_cast<int>(decode.size());
  step_.num_slots = slots;
  step_.partial_rows = partial_rows;
}

void CudaBackend::attention(Tensor out, Tensor q, const KvView& kv, const PagedBatch& batch,
                            const AttentionOptions& options) {
  check_attention("attention", q, kv, batch, options.num_heads);
  check_attention("attention", out, kv, batch, options.num_heads);
  require("attention", batch);
  cuda::AttentionCall call{};
  call.out = out;
  call.q = q;
  call.kv = kv;
  call.seqs = step_.seqs;
  call.pages = step_.pages;
  call.options = options;
  if (!cuda::attention_on_tensor_cores(out, q, kv)) {
    if (kv.head_dim > kMostPlainHead) {
      throw Error(ErrorKind::Unsupported,
                  fmt::format("the cuda device has attention for heads of up to {}; these are {}", kMostPlainHead,
                              kv.head_dim));
    }
    if (step_.tokens == nullptr) {
      std::vector<int32_t> tokens(static_cast<size_t>(2 * batch.num_tokens()));
      for (size_t i = 0; i < batch.seqs.size(); ++i) {
        const BatchSeq& s = batch.seqs[i];
        for (int t = 0; t < s.q_len; ++t) {
          tokens[static_cast<size_t>(2 * (s.q_begin + t))] = static_cast<int32_t>(i);
          tokens[static_cast<size_t>(2 * (s.q_begin + t) + 1)] = s.kv_len - s.q_len + t;
        }
      }
      step_.tokens = staging().put(tokens);
      staging().flush();
    }
    cuda::attention_plain(stream_, call, step_.tokens);
    cuda::launched("attention", q);
    return;
  }

  plan_attention(kv, options.num_heads / kv.num_kv_heads);
  usual_kv_ = kv;
  usual_group_ = options.num_heads / kv.num_kv_heads;
  staging().flush();
  call.items = step_.prefill;
  call.num_items = step_.num_prefill;
  cuda::attention_prefill(stream_, call);

  call.items = step_.decode;
  call.num_items = step_.num_decode;
  call.num_slots = step_.num_slots;
  call.partial_rows = step_.partial_rows;
  const int64_t parts = int64_t{call.num_slots} * kv.num_kv_heads;
  const auto floats = static_cast<size_t>(parts * call.partial_rows * (kv.head_dim + 1));
  call.partial = reinterpret_cast<float*>(scratch(partial_, floats * sizeof(float)));
  const size_t counters = counters_.bytes();
  call.counters = reinterpret_cast<unsigned*>(scratch(counters_, static_cast<size_t>(parts) * sizeof(unsigned)));
  if (counters_.bytes() != counters) {
    cuda::check(cudaMemsetAsync(counters_.data(), 0, counters_.bytes(), stream_), "attention");
  }
  cuda::attention_decode(stream_, call);
  cuda::launched("attention", q);
}

}  // namespace sgl
