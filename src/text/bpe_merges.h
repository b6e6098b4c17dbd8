#pragma once
// Which neighbouring tokens a BPE joins, and in which order: from a list of merges, or from SentencePiece scores.

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "text/vocab.h"

namespace sgl {

/// What joining two neighbours would give. The smallest (rank, tie) in a word goes first, the leftmost among equals.
struct Merge {
  uint64_t rank = UINT64_MAX;
  uint32_t tie = 0;
  int32_t id = -1;  ///< −1: they do not join

  bool before(const Merge& o) const { return rank != o.rank ? rank < o.rank : tie < o.tie; }
};

/// A token of a word that is being merged.
struct BpeSymbol {
  int32_t id = -1;
  uint32_t begin = 0, size = 0;  ///< its place in the word's text; size 0: not spelled there (unknown, byte fallback)
};

/// The list of merges of tokenizer.json: (left, right) → position in the list.
class MergeTable {
 public:
  using Pair = std::pair<std::string_view, std::string_view>;

  MergeTable() = default;
  /// `pairs` in order of rank. The product of (a, b) is a + b without the first `prefix_size` bytes of b. A pair that
  /// comes again overrides. Throws CorruptFile where a, b or the product is not in `vocab`.
  /// Cost: three look-ups a pair; they are fetched ahead, since the vocabulary does not fit the processor's caches.
  MergeTable(const Vocab& vocab, const std::vector<Pair>& pairs, size_t prefix_size);

  Merge find(const Vocab&, std::string_view /*word*/, const BpeSymbol& left, const BpeSymbol& right) const {
    uint64_t key = make_key(left.id, right.id);
    for (uint64_t i = mix(key) & mask_;; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.key == key) return {slot.rank, 0, slot.id};
      if (slot.key == kFree) return {};
    }
  }

 private:
  struct Slot {
    uint64_t key;
    uint32_t rank;
    int32_t id;
  };
  static constexpr uint64_t kFree = UINT64_MAX;  // ids are not negative, so no pair has this key
  static uint64_t make_key(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  static uint64_t mix(uint64_t key) {
    key *= 0x9E3779B97F4A7C15;
    return key ^ key >> 32;
  }
  void insert(uint64_t key, uint32_t rank, int32_t id);

  std::vector<Slot> slots_ = std::vector<Slot>(1, Slot{kFree, 0, -1});  // a power of two, at most half full
  uint64_t mask_ = 0;
};

/// SentencePiece's rule (Kudo & Richardson 2018): any two neighbours whose joint spelling is a token may join, the
/// highest score first. A vocabulary of 262k tokens has half a million such pairs; none is stored here, a pair is
/// looked up by its spelling.
///
/// Equal scores, and two ways to make one token, are ordered as the published tokenizer.json files order their merges:
///   ById      by the product's id, then by the left part's id                            (Llama 2)
///   ByLength  by the length of the left part, then of the right, longest first, then by id   (Gemma)
class ScoredMerges {
 public:
  enum class Ties { ById, ByLength };
  ScoredMerges() = default;
  ScoredMerges(std::vector<float> scores, Ties ties) : scores_(std::move(scores)), ties_(ties) {}

  Merge find(const Vocab& vocab, std::string_view word, const BpeSymbol& left, const BpeSymbol& right) const;

 private:
  std::vector<float> scores_;  // by id; an id without a score has 0
  Ties ties_ = Ties::ById;
};

}  // namespace sgl
