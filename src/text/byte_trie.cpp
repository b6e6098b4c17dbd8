#include "text/byte_trie.h"

namespace sgl {

// The slot that holds `key`, or the free one where it belongs. Requires: a free slot exists.
size_t ByteTrie::place(uint64_t key) const {
  size_t mask = edges_.size() - 1;
  uint64_t mixed = key * 0x9E3779B97F4A7C15;
  size_t i = static_cast<size_t>(mixed ^ mixed >> 32) & mask;
  while (edges_[i].key != 0 && edges_[i].key != key) i = (i + 1) & mask;
  return i;
}

void ByteTrie::grow() {
  std::vector<Edge> old(edges_.empty() ? 64 : edges_.size() * 2, Edge{0, 0});
  old.swap(edges_);
  for (const Edge& e : old) {
    if (e.key != 0) edges_[place(e.key)] = e;
  }
}

void ByteTrie::add(std::string_view key, int32_t value) {
  if (key.empty()) return;
  uint32_t node = kRoot;
  for (char byte : key) {
    uint32_t next = child(node, byte);
    if (next == kNone) {
      next = static_cast<uint32_t>(values_.size());
      values_.push_back(-1);
      if (node == kRoot) {
        first_[static_cast<unsigned char>(byte)] = next;
      } else {
        if ((used_ + 1) * 2 > edges_.size()) grow();
        uint64_t edge = (uint64_t{node} << 8 | static_cast<unsigned char>(byte)) + 1;
        edges_[place(edge)] = {edge, next};
        ++used_;
      }
    }
    node = next;
  }
  values_[node] = value;
}

uint32_t ByteTrie::child(uint32_t node, char byte) const {
  if (node == kRoot) return first_[static_cast<unsigned char>(byte)];
  if (edges_.empty()) return kNone;
  const Edge& e = edges_[place((uint64_t{node} << 8 | static_cast<unsigned char>(byte)) + 1)];
  return e.key != 0 ? e.child : kNone;
}

ByteTrie::Match ByteTrie::longest(std::string_view text, size_t at) const {
  Match best;
  uint32_t node = kRoot;
  for (size_t i = at; i < text.size(); ++i) {
    node = child(node, text[i]);
    if (node == kNone) break;
    if (values_[node] >= 0) best = {values_[node], i + 1 - at};
  }
  return best;
}

}  // namespace sgl
