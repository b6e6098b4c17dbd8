// The automaton of Aho and Corasick (1975), over bytes. A node of the trie of stops stands for the longest beginning of
// a stop that the text ends with. Where there is none, what is left to know is how the character at hand goes on: the
// root has siblings for that, the states of UTF-8 (Unicode's table 3-7). Then failure links keep the text valid by
// themselves:
//   stops é (C3 A9) and ê (C3 AA):     root ─C3→ ·   ─A9→ stop, ─AA→ stop, and otherwise as from its failure link,
//                                      kOne ─80…BF→ root

#include "grammar/free_text.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>

#include <fmt/format.h>

#include <sgl/error.h>

namespace sgl::grammar {
namespace {

using NodeId = uint32_t;

// In the middle of a character: so many bytes are missing, or the next one has less choice than others.
enum : NodeId { kNowhere, kRoot, kOne, kTwo, kThree, kAfterE0, kAfterED, kAfterF0, kAfterF4, kFirstOfTrie };

using Row = std::array<NodeId, 256>;

struct Node {
  Row next{};              // while the trie is built: children only
  NodeId fail = kNowhere;  // the longest proper end of this node's text that is a node
  NodeId rest = kRoot;     // where UTF-8 alone would stand
  size_t stop = SIZE_MAX;  // the first of those that end here
};

std::vector<Node> utf8_nodes() {
  std::vector<Node> nodes(kFirstOfTrie);
  auto edge = [&](NodeId from, unsigned low, unsigned high, NodeId to) {
    for (unsigned byte = low; byte <= high; ++byte) nodes[from].next[byte] = to;
  };
  edge(kRoot, 0x00, 0x7F, kRoot);
  edge(kRoot, 0xC2, 0xDF, kOne);
  edge(kRoot, 0xE0, 0xEF, kTwo);
  edge(kRoot, 0xE0, 0xE0, kAfterE0);
  edge(kRoot, 0xED, 0xED, kAfterED);
  edge(kRoot, 0xF0, 0xF0, kAfterF0);
  edge(kRoot, 0xF1, 0xF3, kThree);
  edge(kRoot, 0xF4, 0xF4, kAfterF4);
  edge(kOne, 0x80, 0xBF, kRoot);
  edge(kTwo, 0x80, 0xBF, kOne);
  edge(kThree, 0x80, 0xBF, kTwo);
  edge(kAfterE0, 0xA0, 0xBF, kOne);
  edge(kAfterED, 0x80, 0x9F, kOne);
  edge(kAfterF0, 0x90, 0xBF, kTwo);
  edge(kAfterF4, 0x80, 0x8F, kTwo);
  for (NodeId id = kRoot; id < kFirstOfTrie; ++id) nodes[id].rest = id;
  return nodes;
}

std::vector<Node> aho_corasick(const std::vector<TextStop>& stops) {
  std::vector<Node> nodes = utf8_nodes();
  const std::vector<Node> utf8 = nodes;
  for (size_t s = 0; s < stops.size(); ++s) {
    NodeId at = kRoot;
    for (char c : stops[s].text) {
      const auto byte = static_cast<uint8_t>(c);
      NodeId child = nodes[at].next[byte];
      if (child < kFirstOfTrie) {
        child = static_cast<NodeId>(nodes.size());
        nodes.emplace_back();
        nodes[child].rest = utf8[nodes[at].rest].next[byte];
        nodes[at].next[byte] = child;
      }
      at = child;
    }
    nodes[at].stop = std::min(nodes[at].stop, s);
  }
  // Breadth first: a failure link leads to a shorter text, whose row is whole by then.
  std::vector<NodeId> order;
  auto add_children = [&](NodeId parent) {
    for (unsigned byte = 0; byte < 256; ++byte) {
      const NodeId child = nodes[parent].next[byte];
      if (child < kFirstOfTrie) continue;
      nodes[child].fail = parent == kRoot ? utf8[kRoot].next[byte] : nodes[nodes[parent].fail].next[byte];
      order.push_back(child);
    }
  };
  add_children(kRoot);
  for (size_t i = 0; i < order.size(); ++i) {
    add_children(order[i]);
    Node& node = nodes[order[i]];
    const Node& fail = nodes[node.fail];
    node.stop = std::min(node.stop, fail.stop);
    for (unsigned byte = 0; byte < 256; ++byte) {
      if (node.next[byte] == kNowhere) node.next[byte] = fail.next[byte];
    }
  }
  return nodes;
}

}  // namespace

TermId free_text(Automaton& a, const std::vector<TextStop>& stops, bool may_end) {
  size_t total = 0;
  for (const TextStop& stop : stops) total += stop.text.size();
  if (total > kMostStopBytes) {
    throw Error(
        ErrorKind::Unsupported,
        fmt::format("structural tag: the strings that end or may not stand in free text have {} bytes, at most {} "
                    "are taken",
                    total, kMostStopBytes));
  }
  const std::vector<Node> nodes = aho_corasick(stops);
  std::vector<RuleId> rules(nodes.size());
  for (NodeId id = kRoot; id < nodes.size(); ++id) rules[id] = a.new_rule("free text", false);
  for (NodeId id = kRoot; id < nodes.size(); ++id) {
    const Node& node = nodes[id];
    std::map<NodeId, ByteSet> bytes;
    for (unsigned byte = 0; byte < 256; ++byte) {
      if (node.next[byte] != kNowhere) bytes[node.next[byte]].set(byte);
    }
    std::vector<TermId> options;
    for (const auto& [to, set] : bytes) {
      const size_t stop = nodes[to].stop;
      options.push_back(a.cat(a.bytes(set), stop == SIZE_MAX ? a.call(rules[to]) : stops[stop].after));
    }
    if (may_end && node.rest == kRoot) options.push_back(kEpsilon);
    a.define(rules[id], a.alt(options));
  }
  return a.call(rules[kRoot]);
}

}  // namespace sgl::grammar
