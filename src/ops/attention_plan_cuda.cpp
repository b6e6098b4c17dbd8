// Which blocks compute a step's attention, and where its tokens' keys and values go: lists made once a step.

#include <algorithm>

#include <fmt/format.h>

#include "ops/backend_cuda.h"
#include "ops/ref_backend.h"
#include "ops/shared_prefix.h"
#include "sgl/error.h"

namespace sgl {
namespace {

// Positions in a part of a sequence: small parts where there is little to do, so that all of the device has some of it;
// else large ones, which need less combining.
constexpr int kSmallestPart = 64, kLargestPart = 1024;
constexpr int kTile = 64;  // positions that a block takes at once
// Bytes of keys and values that need not be read when sequences share a prefix, so that a kernel more pays.
constexpr int64_t kWorthSharing = int64_t{8} << 20;
constexpr int kMostEqualParts = cuda::kMostParts / 2;  // of what is shared, and of a sequence's own

// About equal parts of so many positions, of whole tiles and at most `most` each.
struct Parts {
  int size, count;

  Parts(int positions, int most) {
    const int about = std::clamp((positions + most - 1) / most, 1, kMostEqualParts);
    size = ((positions + about - 1) / about + kTile - 1) / kTile * kTile;
    count = (positions + size - 1) / size;
  }
};

// A sequence with few rows.
struct Decoded {
  BatchSeq seq;
  int rows;
  int kv_begin = 0;                       ///< what comes before is shared
  int first_slot = -1, shared_parts = 0;  ///< of what is shared

  Parts parts(int most) const { return {seq.kv_len - kv_begin, most}; }
};

int part_size(const std::vector<Decoded>& seqs, int kv_heads, int blocks) {
  int size = kSmallestPart;
  for (; size < kLargestPart; size *= 2) {
    int64_t parts = 0;
    for (const Decoded& d : seqs) parts += (d.seq.kv_len - d.kv_begin + size - 1) / size;
    if (parts * kv_heads <= blocks) break;
  }
  return size;
}

constexpr int kWidestTile = 128;  // positions that a prefill kernel takes at once
// Pages of codes are widened and then read: shared by fewer sequences they would rather be read by each.
constexpr size_t kWorthWidening = 6;

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

const CudaBackend::AttentionPlan& CudaBackend::plan_attention(const KvView& kv, int group, int window) {
  AttentionPlan& plan = window == 0 ? step_.whole : step_.windowed;
  if (plan.group == group && plan.window == window && plan.page_size == kv.page_size && plan.dtype == kv.dtype) {
    return plan;
  }
  plan = {};
  plan.group = group;
  plan.window = window;
  plan.page_size = kv.page_size;
  plan.dtype = kv.dtype;
  const PagedBatch& batch = *step_.batch;
  std::vector<cuda::AttentionItem> prefill, shared, decode;
  std::vector<Decoded> few;
  std::vector<size_t> number_of(batch.seqs.size());  // of a sequence among the few
  for (size_t i = 0; i < batch.seqs.size(); ++i) {
    const BatchSeq& s = batch.seqs[i];
    const int rows = s.q_len * group;
    number_of[i] = few.size();
    if (rows <= cuda::kDecodeRows && !deterministic_) {
      few.push_back({s, rows});
    } else {
      for (int row = 0; row < rows; row += cuda::kPrefillRows) prefill.push_back({s, row, 0, s.kv_len});
    }
  }

  std::vector<SharedPrefix> prefixes;
  if (window == 0 && group <= cuda::kDecodeRows && !deterministic_) {
    prefixes = find_shared_prefixes(batch, kv.page_size, kWorthSharing / (2 * kv.page_bytes()));
    if (kv.dtype == DType::F8E4M3) {
      std::erase_if(prefixes, [](const SharedPrefix& prefix) { return prefix.seqs.size() < kWorthWidening; });
    }
  }
  for (const SharedPrefix& prefix : prefixes) {
    for (const int32_t i : prefix.seqs) few[number_of[static_cast<size_t>(i)]].kv_begin = prefix.pages * kv.page_size;
  }
  const int most = part_size(few, kv.num_kv_heads, cuda::decode_blocks(kv));

  // Slots: of each sequence of a prefix as many, for the shared parts and then its own.
  std::vector<int32_t> shared_tokens;
  for (const SharedPrefix& prefix : prefixes) {
    const int count = static_cast<int>(prefix.seqs.size()), rows = count * group, length = prefix.pages * kv.page_size;
    const int blocks = (rows + cuda::kPrefillRows - 1) / cuda::kPrefillRows * kv.num_kv_heads;
    const Parts parts(length, std::max(length / std::max(cuda::shared_blocks(kv) / blocks, 1), kSmallestPart));
    int own = 1;
    for (const int32_t i : prefix.seqs) own = std::max(own, few[number_of[static_cast<size_t>(i)]].parts(most).count);
    const int slots_each = parts.count + own;
    BatchSeq all{static_cast<int32_t>(shared_tokens.size()), count, length,
                 batch.seqs[static_cast<size_t>(prefix.seqs[0])].page_begin};
    for (int row = 0; row < rows; row += cuda::kPrefillRows) {
      for (int part = 0; part < parts.count; ++part) {
        const int begin = part * parts.size;
        shared.push_back(
            {all, row, begin, std::min(begin + parts.size, length), plan.num_slots + part, plan.num_slots, slots_each});
      }
    }
    for (const int32_t i : prefix.seqs) {
      Decoded& d = few[number_of[static_cast<size_t>(i)]];
      d.first_slot = plan.num_slots;
      d.shared_parts = parts.count;
      plan.num_slots += slots_each;
      shared_tokens.push_back(d.seq.q_begin);
    }
  }
  // The longest sequences first, as below: the short ones fill the gaps.
  std::stable_sort(few.begin(), few.end(), [](const Decoded& a, const Decoded& b) {
    return a.seq.kv_len - a.kv_begin > b.seq.kv_len - b.kv_begin;
  });
  for (const Decoded& d : few) {
    const Parts parts = d.parts(most);
    if (parts.count == 1 && d.shared_parts == 0) {
      decode.push_back({d.seq, 0, 0, d.seq.kv_len});
      continue;
    }
    const int first_slot = d.shared_parts > 0 ? d.first_slot : plan.num_slots;
    if (d.shared_parts == 0) plan.num_slots += parts.count;
    for (int part = 0; part < parts.count; ++part) {
      const int begin = d.kv_begin + part * parts.size;
      decode.push_back({d.seq, 0, begin, std::min(begin + parts.size, d.seq.kv_len), first_slot + d.shared_parts + part,
                        first_slot, d.shared_parts + parts.count, d.shared_parts});
    }
    plan.partial_rows = std::max(plan.partial_rows, d.rows);
  }
  const bool widens = kv.dtype == DType::F8E4M3 && (!prefill.empty() || !shared.empty());
  std::vector<int32_t> wide_pages(widens ? batch.pages.size() : 0, -1);
  plan.prefill = plan_rounds(prefill, kv, plan, wide_pages);
  plan.shared = plan_rounds(shared, kv, plan, wide_pages);
  plan.wide_pages = staging().put(wide_pages);
  plan.decode = staging().put(decode);
  plan.shared_tokens = staging().put(shared_tokens);
  plan.num_decode = static_cast<int>(decode.size());
  return plan;
}

// All items at once; of a cache of codes as many as see pages that fit into kWidenedBytes, which are widened for them,
// each once. items: those of a sequence stand together.
std::vector<CudaBackend::AttentionRound> CudaBackend::plan_rounds(std::span<cuda::AttentionItem> items,
                                                                  const KvView& kv, const AttentionPlan& plan,
                                                                  std::vector<int32_t>& wide_pages) {
  std::vector<AttentionRound> rounds;
  std::vector<int32_t> from;
  auto add_round = [&](size_t begin, size_t end) {
    if (begin == end) return;
    // The longest first: blocks start in this order, and the short ones fill the gaps at the end.
    const std::span<cuda::AttentionItem> some = items.subspan(begin, end - begin);
    auto length = [&](const cuda::AttentionItem& i) { return i.seq.kv_len - i.seq.q_len + i.row / plan.group; };
    std::stable_sort(some.begin(), some.end(), [&](const auto& a, const auto& b) { return length(a) > length(b); });
    rounds.push_back({staging().put(std::span<const cuda::AttentionItem>(some)), static_cast<int>(some.size()),
                      staging().put(from), static_cast<int>(from.size())});
  };
  size_t begin = 0;
  if (kv.dtype == DType::F8E4M3 && !items.empty()) {
    const auto most = static_cast<size_t>(kWidenedBytes / (4 * kv.page_bytes()));  // two bytes of a key, and of a value
    const std::vector<int32_t>& pages = step_.batch->pages;
    // Of a page among the round's.
    std::vector<int32_t> place(static_cast<size_t>(*std::max_element(pages.begin(), pages.end())) + 1, -1);
    for (size_t i = 0; i < items.size(); ++i) {
      const BatchSeq& s = items[i].seq;
      if (i > 0 && items[i - 1].seq.page_begin == s.page_begin) continue;
      const int seen_from = plan.window > 0 ? std::max(s.kv_len - s.q_len + 1 - plan.window, 0) : 0;
      const int first = seen_from / kWidestTile * kWidestTile / kv.page_size;
      const int end = (s.kv_len + kv.page_size - 1) / kv.page_size;
      const size_t slot = static_cast<size_t>(s.page_begin) + static_cast<size_t>(first);
      const auto seen = std::span(pages).subspan(slot, static_cast<size_t>(end - first));
      const auto fresh =
          std::count_if(seen.begin(), seen.end(), [&](int32_t page) { return place[static_cast<size_t>(page)] < 0; });
      if (!from.empty() && from.size() + static_cast<size_t>(fresh) > most) {
        add_round(begin, i);
        for (const int32_t page : from) place[static_cast<size_t>(page)] = -1;
        from.clear();
        begin = i;
      }
      for (size_t at = 0; at < seen.size(); ++at) {
        int32_t& found = place[static_cast<size_t>(seen[at])];
        if (found < 0) {
          found = static_cast<int32_t>(from.size());
          from.push_back(seen[at]);
        }
        wide_pages[slot + at] = found;
      }
    }
  }
  add_round(begin, items.size());
  return rounds;
}

// `call` with a round's items, and with their keys and values, which it widens.
cuda::AttentionCall CudaBackend::widen_for(cuda::AttentionCall call, const AttentionRound& round,
                                           const AttentionPlan& plan) {
  call.items = round.items;
  call.num_items = round.num_items;
  if (round.num_pages == 0) return call;
  KvView wide = call.kv;
  wide.dtype = call.q.dtype;
  wide.num_pages = round.num_pages;
  const int64_t bytes = wide.page_bytes() * wide.num_pages;
  wide.k = scratch(wide_, static_cast<size_t>(2 * bytes));
  wide.v = wide.k + bytes;
  cuda::widen_pages(stream_, wide, call.kv, round.pages, round.num_pages);
  call.kv = wide;
  call.pages = plan.wide_pages;
  return call;
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

  const int group = options.num_heads / kv.num_kv_heads;
  const AttentionPlan& plan = plan_attention(kv, group, options.window);
  usual_kv_ = kv;
  if (options.window > 0) usual_window_ = options.window;
  (options.window == 0 ? usual_whole_ : usual_windowed_) = group;
  staging().flush();
  for (const AttentionRound& round : plan.prefill) cuda::attention_prefill(stream_, widen_for(call, round, plan));

  call.num_slots = plan.num_slots;
  call.partial_rows = plan.partial_rows;
  const int64_t parts = int64_t{call.num_slots} * kv.num_kv_heads;
  const auto floats = static_cast<size_t>(parts * call.partial_rows * (kv.head_dim + 1));
  call.partial = reinterpret_cast<float*>(scratch(partial_, floats * sizeof(float)));
  const size_t counters = counters_.bytes();
  call.counters = reinterpret_cast<unsigned*>(scratch(counters_, static_cast<size_t>(parts) * sizeof(unsigned)));
  if (counters_.bytes() != counters) {
    cuda::check(cudaMemsetAsync(counters_.data(), 0, counters_.bytes(), stream_), "attention");
  }
  call.tokens = plan.shared_tokens;
  for (const AttentionRound& round : plan.shared) cuda::attention_shared(stream_, widen_for(call, round, plan));
  call.items = plan.decode;
  call.num_items = plan.num_decode;
  cuda::attention_decode(stream_, call);
  cuda::launched("attention", q);
}

}  // namespace sgl
