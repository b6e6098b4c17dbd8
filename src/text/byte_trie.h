#pragma once
// A set of byte strings with a number each, to be found at a place in a text: added tokens, unigram pieces.
//
// Edges (node, byte) → node live in one hash table, so building needs no sorting and a walk costs one probe a byte.

#include <cstdint>
#include <string_view>
#include <vector>

namespace sgl {

class ByteTrie {
 public:
  ByteTrie() = default;

  /// A string that comes again overrides its earlier number. Empty strings are ignored. Requires: value ≥ 0.
  void add(std::string_view key, int32_t value);
  bool empty() const { return values_.size() == 1; }

  static constexpr uint32_t kRoot = 0, kNone = UINT32_MAX;
  /// The node below `node` along `byte`, or kNone.
  uint32_t child(uint32_t node, char byte) const;
  /// The number of the string that ends at `node`, or −1.
  int32_t value(uint32_t node) const { return values_[node]; }
  /// Whether any string begins with `byte`.
  bool begins(char byte) const { return first_[static_cast<unsigned char>(byte)] != kNone; }

  struct Match {
    int32_t value = -1;
    size_t size = 0;
  };
  /// The longest string that stands in `text` at `at`; value −1 if none.
  Match longest(std::string_view text, size_t at) const;

 private:
  struct Edge {
    uint64_t key;  // node << 8 | byte, plus 1 so that 0 is free
    uint32_t child;
  };
  size_t place(uint64_t key) const;
  void grow();

  std::vector<int32_t> values_ = {-1};
  std::vector<uint32_t> first_ = std::vector<uint32_t>(256, kNone);  // the root's children, looked up most
  std::vector<Edge> edges_;  // open addressing, a power of two, at most half full
  size_t used_ = 0;
};

}  // namespace sgl
