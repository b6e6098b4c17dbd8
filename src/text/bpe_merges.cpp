#include "text/bpe_merges.h"

#include <algorithm>
#include <bit>
#include <span>
#include <string>

#include <fmt/format.h>

#include <sgl/error.h>

namespace sgl {
namespace {

// Sorts as the number does, greatest first.
uint32_t descending(float score) {
  auto bits = std::bit_cast<uint32_t>(score + 0.0F);  // −0 becomes 0
  uint32_t ascending = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
  return ~ascending;
}

size_t count_chars(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

MergeTable::MergeTable(const Vocab& vocab, const std::vector<Pair>& pairs, size_t prefix_size) {
  slots_.assign(std::bit_ceil(std::max<size_t>(2, pairs.size() * 2)), Slot{kFree, 0, -1});
  mask_ = slots_.size() - 1;
  constexpr size_t kBatch = 256;
  std::vector<std::string_view> spellings(3 * kBatch);  // left, right and product of each pair
  std::vector<int32_t> ids(3 * kBatch);
  std::string products;
  for (size_t first = 0; first < pairs.size(); first += kBatch) {
    size_t n = std::min(kBatch, pairs.size() - first), bytes = 0;
    for (size_t i = 0; i < n; ++i) bytes += pairs[first + i].first.size() + pairs[first + i].second.size();
    products.clear();
    products.reserve(bytes);  // so that views of it stay valid
    for (size_t i = 0; i < n; ++i) {
      auto [left, right] = pairs[first + i];
      size_t begin = products.size();
      products += left;
      products += right.substr(std::min(prefix_size, right.size()));
      spellings[3 * i] = left, spellings[3 * i + 1] = right;
      spellings[3 * i + 2] = std::string_view(products).substr(begin);
    }
    vocab.find_many(std::span(spellings).first(3 * n), std::span(ids).first(3 * n));
    for (size_t i = 0; i < n; ++i) __builtin_prefetch(&slots_[mix(make_key(ids[3 * i], ids[3 * i + 1])) & mask_], 1);
    for (size_t i = 0; i < n; ++i) {
      for (size_t part = 0; part < 3; ++part) {
        if (ids[3 * i + part] >= 0) continue;
        throw Error(ErrorKind::CorruptFile,
                    fmt::format("merge {} of '{}' and '{}': '{}' is not in the vocabulary", first + i, spellings[3 * i],
                                spellings[3 * i + 1], spellings[3 * i + part]));
      }
      insert(make_key(ids[3 * i], ids[3 * i + 1]), static_cast<uint32_t>(first + i), ids[3 * i + 2]);
    }
  }
}

void MergeTable::insert(uint64_t key, uint32_t rank, int32_t id) {
  uint64_t i = mix(key) & mask_;
  while (slots_[i].key != kFree && slots_[i].key != key) i = (i + 1) & mask_;
  slots_[i] = {key, rank, id};
}

Merge ScoredMerges::find(const Vocab& vocab, std::string_view word, const BpeSymbol& left,
                         const BpeSymbol& right) const {
  if (left.size == 0 || right.size == 0 || left.size + right.size > vocab.longest()) return {};
  std::string_view joint = word.substr(left.begin, left.size + right.size);
  int32_t id = vocab.find_hashed(joint, hash_bytes(joint));
  if (id < 0) return {};
  auto index = static_cast<size_t>(id);
  uint64_t rank = uint64_t{descending(index < scores_.size() ? scores_[index] : 0.0F)} << 32;
  auto product = static_cast<uint32_t>(id);
  if (ties_ == Ties::ById) return {rank | product, static_cast<uint32_t>(left.id), id};
  auto shortness = [](std::string_view part) { return 0xFFFF - std::min<size_t>(0xFFFF, count_chars(part)); };
  rank |= shortness(joint.substr(0, left.size)) << 16 | shortness(joint.substr(left.size));
  return {rank, product, id};
}

}  // namespace sgl
