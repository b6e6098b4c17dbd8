#pragma once
// Maps prefixes of token sequences to the KV pages that hold them (RadixAttention: Zheng et al. 2024, §3).
//
// A node is an edge of the tree: a run of whole pages, their token ids and their page ids. Nodes are split where two
// sequences part and where a match or an insert ends, so a node is locked, used and evicted as one; only its tail can
// be evicted alone. Page size 2, three sequences, "·" where a page ends:
//
//   root ─┬─ 1 2 · 3 4 ─┬─ 5 6                  [1 2 3 4 5 6], [1 2 3 4 7 8 9 9] and [8 8].
//         │             └─ 7 8 · 9 9            [1 2 3 9] matches one page, 1 2: a page is shared as a whole
//         └─ 8 8                                or not at all.
//
// The children of all nodes are in one hash table, keyed by (parent, first page), so a leaf costs no table of its own,
// and no walk recurses however deep the tree is. A lock on a node counts on all its ancestors; unlocked nodes are
// therefore whole subtrees, and every unlocked page can be evicted. Unlocked leaves wait in an ordered set, least
// recently used first. Recency is a count of calls, not wall time, so that runs can be repeated.

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cache/page_allocator.h"

namespace sgl {

using TokenSpan = std::span<const int32_t>;

/// Owns the pages it was given until evict() returns them.
/// Thread: the scheduler's only. Cost: match and insert O(tokens), evict O(pages + nodes · log leaves).
class RadixTree {
  struct Node;

 public:
  /// What a prefix is looked up by. Namespaces (adapter, salt, …) never share anything; they cost nothing while empty.
  struct Key {
    TokenSpan tokens;
    std::string_view ns = {};
  };

  /// Keeps a prefix from eviction while it lives. Move-only; an empty one holds nothing. Must not outlive the tree.
  class Lock {
   public:
    Lock() = default;
    Lock(Lock&& other) noexcept;
    /// Releases what this held, after taking over `other`'s.
    Lock& operator=(Lock&& other) noexcept;
    ~Lock() { release(); }
    void release();
    explicit operator bool() const { return node_ != nullptr; }

   private:
    friend class RadixTree;
    Lock(RadixTree* tree, Node* node) : tree_(tree), node_(node) {}
    RadixTree* tree_ = nullptr;
    Node* node_ = nullptr;  ///< end of the prefix
  };

  struct Match {
    Lock lock;                  ///< on all of `pages`; empty when there are none
    std::vector<PageId> pages;  ///< of the leading pages.size() · page_size tokens
  };

  struct Inserted {
    Lock lock;                       ///< on the whole key
    std::vector<PageId> pages;       ///< the tree's pages of the whole key: the caller's page table from now on
    int present = 0;                 ///< leading pages that the tree had before
    std::vector<PageId> duplicates;  ///< the caller's own pages among those: still the caller's, to be freed
  };

  struct Counts {
    int cached = 0;  ///< pages the tree owns
    int locked = 0;  ///< of them, protected by a Lock
    int nodes = 0;
    int evictable() const { return cached - locked; }
  };

  /// `page_size` ≥ 1 tokens. Tests pass few `hash_bits` to make keys collide.
  explicit RadixTree(int page_size, int hash_bits = 64);
  /// Requires: no Lock lives. Returns no pages.
  ~RadixTree();
  RadixTree(const RadixTree&) = delete;
  RadixTree& operator=(const RadixTree&) = delete;

  /// The longest cached prefix of `key`, in whole pages, marked as used now and locked. May split a node.
  Match match(Key key);

  /// Length in tokens of what match() would find. Changes nothing, recency included: for policies that ask often.
  int match_length(Key key) const;

  /// Order in which keys that share cached prefixes stand together (`dfs-weight`): depth-first through the nodes that
  /// the keys match, subtrees that more keys match first (then the one with the earliest key), longer matches before
  /// shorter ones on the same path, equal ones and unmatched ones in their given order. Returns indices into `keys`.
  /// Cost: O(nodes on the keys' paths + keys · log keys).
  std::vector<int> depth_first_order(std::span<const Key> keys) const;

  /// Caches `key`, whose KV is in `pages`, marks it as used now and locks it. The tree becomes the owner of
  /// pages[present, end); of the pages before, the caller frees `duplicates` once no launched step reads them.
  /// Requires: tokens.size() = pages.size() · page_size; pages that are the tree's already are locked by the caller.
  Inserted insert(Key key, std::span<const PageId> pages);

  /// Returns `pages` pages to `free`, or all unlocked ones if they are fewer; returns how many. Least recently used
  /// leaves go first, each from its end; a node whose last child went is a leaf. Never touches what a Lock protects.
  int evict(int pages, PageAllocator& free);

  /// Returns every page to `free`. Requires: nothing is locked.
  void clear(PageAllocator& free);

  Counts counts() const { return {cached_pages_, locked_pages_, static_cast<int>(edges_.size())}; }  ///< O(1)

  /// Asserts every invariant of the structure. Cost: O(tokens · log tokens); for tests.
  void check() const;

 private:
  struct LeastRecentFirst {
    bool operator()(const Node* a, const Node* b) const;
  };
  /// Where a walk down the tree ended: after `in_node` ≥ 1 pages of `node`; `node` is null when nothing matched.
  struct Place {
    Node* node = nullptr;
    size_t in_node = 0;
    size_t pages = 0;  ///< from the root
  };

  Place find(Key key) const;
  Node* find_child(const Node* parent, const int32_t* page) const;
  uint64_t edge_hash(const Node* parent, const int32_t* page) const;
  /// Makes a node end at `place`, by a split if need be, and returns it.
  Node* end_node(const Place& place);
  Node* split(Node* node, size_t pages);
  Node* add_leaf(Node* parent, TokenSpan tokens, std::span<const PageId> pages);
  void remove_leaf(Node* leaf);
  /// Locks the path from the root to `node` (null: nothing), marks it as used now, collects its `num_pages` pages.
  Match hold(Node* node, size_t num_pages);
  void unlock(Node* node);
  void check_nodes() const;
  void check_shape() const;

  const size_t page_size_;
  const uint64_t hash_seed_, hash_mask_;
  std::map<std::string, std::unique_ptr<Node>, std::less<>> roots_;  ///< by namespace; each has a child
  std::unordered_multimap<uint64_t, std::unique_ptr<Node>> edges_;   ///< all other nodes, by edge_hash
  std::set<Node*, LeastRecentFirst> evictable_leaves_;               ///< neither locks nor children
  uint64_t clock_ = 0;                                               ///< calls that marked a path as used
  int cached_pages_ = 0, locked_pages_ = 0;
};

}  // namespace sgl
