#pragma once
// A model's tokens: one pool of bytes, an offset for each id, and a hash table from spelling to id.
//
// Vocabularies have up to 262k tokens and are read at every start, so there is one allocation for all spellings and the
// table is filled in one pass at the end. Look-ups in bulk overlap their cache misses.

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sgl {

/// 64 well-mixed bits of a short string (multiply-and-fold over eight bytes at a time).
inline uint64_t hash_bytes(std::string_view s) {
  constexpr uint64_t k0 = 0x9E3779B97F4A7C15, k1 = 0xD6E8FEB86659FD93;
  auto fold = [](uint64_t a, uint64_t b) {
    __extension__ using Wide = unsigned __int128;
    Wide product = static_cast<Wide>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  const char* p = s.data();
  size_t n = s.size();
  uint64_t h = k0 ^ n;
  for (; n > 8; n -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    h = fold(h ^ word, k1);
  }
  uint64_t word = 0;
  if (n != 0) std::memcpy(&word, p, n);
  return fold(h ^ word, k0);
}

/// Immutable once finish() was called; const functions may then be called from any thread.
class Vocab {
 public:
  Vocab() = default;

  /// Makes room for `num_tokens` whose spellings have `num_bytes` together.
  void reserve(size_t num_tokens, size_t num_bytes);

  /// Gives `id` a spelling. Ids may come in any order and leave holes; an id that comes again gets the new spelling.
  /// Throws CorruptFile for an id out of proportion or negative: it must be less than 4 · reserved tokens + 2^20, so
  /// that a hostile file cannot make the table huge.
  void add(std::string_view spelling, int64_t id);

  /// Call once after the last add(): builds the index. Of several ids with one spelling, the largest is found.
  void finish();

  std::optional<int32_t> find(std::string_view spelling) const {
    int32_t id = find_hashed(spelling, hash_bytes(spelling));
    return id < 0 ? std::nullopt : std::optional<int32_t>(id);
  }
  /// The same with a hash that the caller has: −1 if absent.
  int32_t find_hashed(std::string_view spelling, uint64_t hash) const;
  /// ids[i] = the id of spellings[i], or −1. Several times faster than one by one while the vocabulary is not in the
  /// processor's caches: memory is fetched ahead. Requires: equal sizes.
  void find_many(std::span<const std::string_view> spellings, std::span<int32_t> ids) const;

  /// Empty for holes and ids out of range.
  std::string_view spelling(int32_t id) const {
    if (id < 0 || static_cast<size_t>(id) >= spans_.size()) return {};
    const Span& s = spans_[static_cast<size_t>(id)];
    return {pool_.data() + s.begin, s.size};
  }
  /// One more than the largest id.
  int32_t size() const { return static_cast<int32_t>(spans_.size()); }
  /// Length in bytes of the longest spelling.
  size_t longest() const { return longest_; }

 private:
  struct Span {
    uint32_t begin = 0, size = 0;
  };
  struct Slot {
    uint32_t tag;  // upper half of the hash
    int32_t id;    // −1: free
  };
  size_t first_slot(uint64_t hash) const { return static_cast<size_t>(hash) & mask_; }

  std::string pool_;
  std::vector<Span> spans_;
  std::vector<Slot> slots_ = std::vector<Slot>(1, Slot{0, -1});  // open addressing, a power of two, at most half full
  size_t mask_ = 0;
  size_t reserved_ = 0, longest_ = 0;
};

}  // namespace sgl
