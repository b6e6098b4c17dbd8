#include "ops/shared_splits.h"

#include <algorithm>

namespace sgl {

void SharedSplits::find(const PagedBatch& batch, int split, int page_size, int64_t most, int64_t wanted) {
  tiles_.clear();
  largest_ = 0;
  members_.clear();
  order_.clear();
  places_.resize(batch.seqs.size());
  for (std::vector<Place>& p : places_) p.clear();

  const int pages_a_split = split / page_size;
  // Pages of whole splits before the one that the new token is in.
  auto pages_of = [&](int32_t s) {
    const BatchSeq& seq = batch.seqs[static_cast<size_t>(s)];
    const int splits = (seq.kv_len - 1) / split;
    return std::span(batch.pages)
        .subspan(static_cast<size_t>(seq.page_begin), static_cast<size_t>(splits) * static_cast<size_t>(pages_a_split));
  };
  for (size_t i = 0; i < batch.seqs.size(); ++i) {
    if (batch.seqs[i].q_len == 1 && batch.seqs[i].kv_len > split) order_.push_back(static_cast<int32_t>(i));
  }
  if (order_.size() < 2) return;
  std::sort(order_.begin(), order_.end(),
            [&](int32_t a, int32_t b) { return std::ranges::lexicographical_compare(pages_of(a), pages_of(b)); });

  // Sequences with the same beginning are neighbours now. common_[i]: whole splits that order_[i] and the next share.
  common_.assign(order_.size(), 0);
  int32_t longest = 0;
  int64_t shared = 0;  // splits of sequences, about
  for (size_t i = 0; i + 1 < order_.size(); ++i) {
    const std::span<const int32_t> a = pages_of(order_[i]), b = pages_of(order_[i + 1]);
    const auto same = std::ranges::mismatch(a, b).in1 - a.begin();
    common_[i] = static_cast<int32_t>(same / pages_a_split);
    longest = std::max(longest, common_[i]);
    shared += common_[i];
  }
  const int64_t size = std::clamp<int64_t>(shared / std::max<int64_t>(wanted, 1), 2, std::max<int64_t>(most, 2));

  for (int32_t s = 0; s < longest; ++s) {
    for (size_t begin = 0; begin < order_.size();) {
      size_t end = begin + 1;
      while (common_[end - 1] > s) ++end;
      // A group in tiles as even as they go.
      const auto n = static_cast<int64_t>(end - begin), parts = n == 1 ? 0 : (n + size - 1) / size;
      for (int64_t part = 0; part < parts; ++part) {
        const int64_t from = n * part / parts, to = n * (part + 1) / parts;
        const auto tile = static_cast<int32_t>(tiles_.size());
        tiles_.push_back({s, static_cast<int32_t>(members_.size()), static_cast<int32_t>(to - from)});
        largest_ = std::max(largest_, to - from);
        for (int64_t i = from; i < to; ++i) {
          const int32_t seq = order_[begin + static_cast<size_t>(i)];
          places_[static_cast<size_t>(seq)].push_back({tile, static_cast<int32_t>(i - from)});
          members_.push_back(seq);
        }
      }
      begin = end;
    }
  }
}

}  // namespace sgl
