#include "text/bpe_merges.h"

#include <algorithm>
#include <array>
#include <bit>
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
  constexpr size_t kAhead = 32;  // look-ups in flight
  struct Lookup {
    uint64_t left, right, product;  // hashes
    std::string spelling;           // of the product
  };
  std::array<Lookup, kAhead> batch;
  for (size_t first = 0; first < pairs.size(); first += kAhead) {
    size_t n = std::min(kAhead, pairs.size() - first);
    for (size_t i = 0; i < n; ++i) {
      auto [left, right] = pairs[first + i];
      Lookup& l = batch[i];
      l.spelling.assign(left);
      l.spelling += right.substr(std::min(prefix_size, right.size()));
      l.left = hash_bytes(left), l.right = hash_bytes(right), l.product = hash_bytes(l.spelling);
      vocab.prefetch(l.left), vocab.prefetch(l.right), vocab.prefetch(l.product);
    }
    for (size_t i = 0; i < n; ++i) {
      auto [left, right] = pairs[first + i];
      int32_t a = vocab.find_hashed(left, batch[i].left), b = vocab.find_hashed(right, batch[i].right);
      int32_t product = vocab.find_hashed(batch[i].spelling, batch[i].product);
      if (a < 0 || b < 0 || product < 0) {
        std::string_view missing = a < 0 ? left : b < 0 ? right : std::string_view(batch[i].spelling);
        throw Error(ErrorKind::CorruptFile, fmt::format("merge {} of '{}' and '{}': '{}' is not in the vocabulary",
                                                        first + i, left, right, missing));
      }
      insert(make_key(a, b), static_cast<uint32_t>(first + i), product);
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
