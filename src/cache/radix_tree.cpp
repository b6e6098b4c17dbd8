#include "cache/radix_tree.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <utility>

#include "base/assert.h"

namespace sgl {

struct RadixTree::Node {
  Node* parent = nullptr;           ///< null in a root
  const std::string* ns = nullptr;  ///< roots only: their key in roots_
  std::vector<int32_t> tokens;      ///< [pages.size() · page_size]; empty in a root
  std::vector<PageId> pages;
  uint64_t hash = 0;  ///< its key in edges_
  int num_children = 0;
  int locks = 0;             ///< Locks on this node and below; a root keeps none
  uint64_t last_access = 0;  ///< never earlier than a child's

  bool is_root() const { return parent == nullptr; }
  bool is_evictable_leaf() const { return num_children == 0 && locks == 0 && !is_root(); }
};

// No two leaves have the same time: a call marks one path, and a path has one leaf at most.
bool RadixTree::LeastRecentFirst::operator()(const Node* a, const Node* b) const {
  return a->last_access < b->last_access;
}

namespace {

// The finalizer of SplitMix64 (Steele et al. 2014): a bijection in which every input bit reaches every output bit.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

// Users choose the tokens: without a secret they could choose ones that collide and make every lookup a long one.
uint64_t random_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

// Number of leading tokens in which `a` and `b` agree.
size_t common_prefix(TokenSpan a, TokenSpan b) {
  constexpr size_t kBlock = 16;  // compared as one: becomes a few vector instructions
  size_t n = std::min(a.size(), b.size()), i = 0;
  while (i + kBlock <= n && std::memcmp(&a[i], &b[i], kBlock * sizeof(int32_t)) == 0) i += kBlock;
  while (i < n && a[i] == b[i]) ++i;
  return i;
}

}  // namespace

RadixTree::Lock::Lock(Lock&& other) noexcept
    : tree_(std::exchange(other.tree_, nullptr)), node_(std::exchange(other.node_, nullptr)) {}

RadixTree::Lock& RadixTree::Lock::operator=(Lock&& other) noexcept {
  Lock taken(std::move(other));  // also right when other is *this
  std::swap(tree_, taken.tree_);
  std::swap(node_, taken.node_);
  return *this;
}

void RadixTree::Lock::release() {
  if (node_ != nullptr) std::exchange(tree_, nullptr)->unlock(std::exchange(node_, nullptr));
}

RadixTree::RadixTree(int page_size, int hash_bits)
    : page_size_(static_cast<size_t>(page_size)),
      hash_seed_(random_seed()),
      hash_mask_(hash_bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << hash_bits) - 1) {
  SGL_ASSERT(page_size >= 1, "page size {}", page_size);
}

RadixTree::~RadixTree() { SGL_ASSERT(locked_pages_ == 0, "{} pages are still locked", locked_pages_); }

RadixTree::Match RadixTree::match(Key key) {
  Place place = find(key);
  return hold(end_node(place), place.pages);
}

int RadixTree::match_length(Key key) const { return static_cast<int>(find(key).pages * page_size_); }

RadixTree::Inserted RadixTree::insert(Key key, std::span<const PageId> pages) {
  SGL_ASSERT(key.tokens.size() == pages.size() * page_size_, "{} tokens in {} pages of {}", key.tokens.size(),
             pages.size(), page_size_);
  Place place = find(key);
  Node* node = end_node(place);
  if (place.pages < pages.size()) {
    if (node == nullptr) {
      auto [root, is_new] = roots_.try_emplace(std::string(key.ns));
      if (is_new) {
        root->second = std::make_unique<Node>();
        root->second->ns = &root->first;
      }
      node = root->second.get();
    }
    node = add_leaf(node, key.tokens.subspan(place.pages * page_size_), pages.subspan(place.pages));
  }
  Match held = hold(node, pages.size());
  Inserted result{std::move(held.lock), std::move(held.pages), static_cast<int>(place.pages), {}};
  for (size_t i = 0; i < place.pages; ++i) {
    if (pages[i] != result.pages[i]) result.duplicates.push_back(pages[i]);
  }
  return result;
}

int RadixTree::evict(int pages, PageAllocator& free) {
  int freed = 0;
  while (freed < pages && !evictable_leaves_.empty()) {
    Node* leaf = *evictable_leaves_.begin();
    // Only as much as is asked for: what stays of the leaf is still a prefix, and still the next to go.
    size_t count = std::min(leaf->pages.size(), static_cast<size_t>(pages - freed));
    free.free(std::span<const PageId>(leaf->pages).last(count));
    leaf->pages.resize(leaf->pages.size() - count);
    leaf->tokens.resize(leaf->pages.size() * page_size_);
    freed += static_cast<int>(count);
    if (leaf->pages.empty()) remove_leaf(leaf);
  }
  cached_pages_ -= freed;
  return freed;
}

void RadixTree::clear(PageAllocator& free) {
  SGL_ASSERT(locked_pages_ == 0, "{} pages are locked", locked_pages_);
  evict(cached_pages_, free);
}

RadixTree::Place RadixTree::find(Key key) const {
  auto root = roots_.find(key.ns);
  if (root == roots_.end()) return {};
  TokenSpan rest = key.tokens.first(key.tokens.size() / page_size_ * page_size_);
  Place place;
  Node* parent = root->second.get();
  while (!rest.empty()) {
    Node* child = find_child(parent, rest.data());
    if (child == nullptr) break;
    size_t pages = common_prefix(child->tokens, rest) / page_size_;  // ≥ 1: the first page is the key
    place = {child, pages, place.pages + pages};
    if (pages < child->pages.size()) break;
    rest = rest.subspan(pages * page_size_);
    parent = child;
  }
  return place;
}

RadixTree::Node* RadixTree::find_child(const Node* parent, const int32_t* page) const {
  if (parent->num_children == 0) return nullptr;
  auto [it, end] = edges_.equal_range(edge_hash(parent, page));
  for (; it != end; ++it) {
    Node* node = it->second.get();
    if (node->parent == parent && std::equal(page, page + page_size_, node->tokens.data())) return node;
  }
  return nullptr;
}

uint64_t RadixTree::edge_hash(const Node* parent, const int32_t* page) const {
  uint64_t hash = mix(hash_seed_ ^ reinterpret_cast<uintptr_t>(parent));
  for (size_t i = 0; i < page_size_; ++i) hash = mix(hash ^ static_cast<uint32_t>(page[i]));
  return hash & hash_mask_;
}

RadixTree::Node* RadixTree::end_node(const Place& place) {
  if (place.node == nullptr || place.in_node == place.node->pages.size()) return place.node;
  return split(place.node, place.in_node);
}

// parent ─ [0, pages) ─ node: a new node takes the front. The node itself keeps the tail, its children, and the Locks
// that point at it: they protect the whole path, so the front has as many.
RadixTree::Node* RadixTree::split(Node* node, size_t pages) {
  auto own = edges_.equal_range(node->hash).first;
  while (own->second.get() != node) ++own;
  auto edge = edges_.extract(own);

  auto front = std::make_unique<Node>();
  auto page_cut = node->pages.begin() + static_cast<std::ptrdiff_t>(pages);
  auto token_cut = node->tokens.begin() + static_cast<std::ptrdiff_t>(pages * page_size_);
  front->parent = node->parent;
  front->tokens.assign(node->tokens.begin(), token_cut);
  front->pages.assign(node->pages.begin(), page_cut);
  front->hash = node->hash;
  front->num_children = 1;
  front->locks = node->locks;
  front->last_access = node->last_access;

  node->parent = front.get();
  node->tokens = std::vector<int32_t>(token_cut, node->tokens.end());
  node->pages = std::vector<PageId>(page_cut, node->pages.end());
  node->hash = edge_hash(front.get(), node->tokens.data());
  edge.key() = node->hash;
  edges_.insert(std::move(edge));
  return edges_.emplace(front->hash, std::move(front))->second.get();
}

RadixTree::Node* RadixTree::add_leaf(Node* parent, TokenSpan tokens, std::span<const PageId> pages) {
  auto leaf = std::make_unique<Node>();
  leaf->parent = parent;
  leaf->tokens.assign(tokens.begin(), tokens.end());
  leaf->pages.assign(pages.begin(), pages.end());
  leaf->hash = edge_hash(parent, tokens.data());
  leaf->last_access = ++clock_;
  if (parent->is_evictable_leaf()) evictable_leaves_.erase(parent);
  ++parent->num_children;
  cached_pages_ += static_cast<int>(pages.size());
  auto edge = edges_.emplace(leaf->hash, std::move(leaf));
  evictable_leaves_.insert(edge->second.get());
  return edge->second.get();
}

void RadixTree::remove_leaf(Node* leaf) {
  Node* parent = leaf->parent;
  evictable_leaves_.erase(leaf);
  auto own = edges_.equal_range(leaf->hash).first;
  while (own->second.get() != leaf) ++own;
  edges_.erase(own);
  --parent->num_children;
  if (parent->is_evictable_leaf()) evictable_leaves_.insert(parent);
  if (parent->is_root() && parent->num_children == 0) roots_.erase(roots_.find(*parent->ns));
}

RadixTree::Match RadixTree::hold(Node* node, size_t num_pages) {
  Match result{Lock(this, node), std::vector<PageId>(num_pages)};
  ++clock_;
  size_t end = num_pages;
  for (; node != nullptr && !node->is_root(); node = node->parent) {
    if (node->is_evictable_leaf()) evictable_leaves_.erase(node);  // before its time changes: the set is ordered by it
    node->last_access = clock_;
    if (node->locks++ == 0) locked_pages_ += static_cast<int>(node->pages.size());
    end -= node->pages.size();
    std::copy(node->pages.begin(), node->pages.end(), result.pages.begin() + static_cast<std::ptrdiff_t>(end));
  }
  return result;
}

void RadixTree::unlock(Node* node) {
  for (; !node->is_root(); node = node->parent) {
    SGL_ASSERT(node->locks > 0, "a lock is released twice");
    if (--node->locks > 0) continue;
    locked_pages_ -= static_cast<int>(node->pages.size());
    if (node->num_children == 0) evictable_leaves_.insert(node);
  }
}

std::vector<int> RadixTree::depth_first_order(std::span<const Key> keys) const {
  // The part of the tree that the keys match. Its top, which holds what matches nothing, is keyed by null.
  struct Group {
    int weight = 0;                // keys that match here or below
    std::vector<Group*> children;  // by first key
    std::vector<int> keys;         // that end in this node
  };
  std::unordered_map<const Node*, Group> groups;
  std::vector<size_t> matched(keys.size());
  Group& top = groups[nullptr];
  for (size_t i = 0; i < keys.size(); ++i) {
    Place place = find(keys[i]);
    matched[i] = place.pages;
    groups[place.node].keys.push_back(static_cast<int>(i));
    for (const Node* node = place.node; node != nullptr;) {
      Group& group = groups[node];
      node = node->parent->is_root() ? nullptr : node->parent;
      if (group.weight++ == 0) groups[node].children.push_back(&group);
    }
  }

  // Built from its end, on a stack instead of the call stack: a node's own keys after its children's.
  std::vector<int> order;
  order.reserve(keys.size());
  std::vector<Group*> stack{&top};
  while (!stack.empty()) {
    Group* group = stack.back();
    stack.pop_back();
    auto longer = [&](int a, int b) { return matched[static_cast<size_t>(a)] > matched[static_cast<size_t>(b)]; };
    std::stable_sort(group->keys.begin(), group->keys.end(), longer);
    order.insert(order.end(), group->keys.rbegin(), group->keys.rend());
    std::stable_sort(group->children.begin(), group->children.end(),
                     [](const Group* a, const Group* b) { return a->weight > b->weight; });
    stack.insert(stack.end(), group->children.begin(), group->children.end());
  }
  std::reverse(order.begin(), order.end());
  return order;
}

void RadixTree::check() const {
  check_nodes();
  check_shape();
}

// Each node for itself, and the counts.
void RadixTree::check_nodes() const {
  std::vector<PageId> pages;
  size_t locked = 0, leaves = 0;
  for (const auto& [hash, owned] : edges_) {
    Node* node = owned.get();
    SGL_ASSERT(!node->is_root() && !node->pages.empty(), "an edge without a parent or pages");
    SGL_ASSERT(node->tokens.size() == node->pages.size() * page_size_, "{} tokens in {} pages", node->tokens.size(),
               node->pages.size());
    SGL_ASSERT(node->hash == hash && hash == edge_hash(node->parent, node->tokens.data()), "an edge under a wrong key");
    SGL_ASSERT(node->last_access <= clock_, "a node used at {}, after {}", node->last_access, clock_);
    auto in_set = evictable_leaves_.find(node);
    SGL_ASSERT(node->is_evictable_leaf() == (in_set != evictable_leaves_.end() && *in_set == node),
               "{} children, {} locks", node->num_children, node->locks);
    pages.insert(pages.end(), node->pages.begin(), node->pages.end());
    if (node->locks > 0) locked += node->pages.size();
    if (node->is_evictable_leaf()) ++leaves;
  }
  SGL_ASSERT(leaves == evictable_leaves_.size(), "{} leaves, {} in the set", leaves, evictable_leaves_.size());
  SGL_ASSERT(static_cast<int>(pages.size()) == cached_pages_, "{} pages, counted {}", pages.size(), cached_pages_);
  SGL_ASSERT(static_cast<int>(locked) == locked_pages_, "{} pages locked, counted {}", locked, locked_pages_);
  std::sort(pages.begin(), pages.end());
  SGL_ASSERT(std::adjacent_find(pages.begin(), pages.end()) == pages.end(), "a page stands in two places");
}

// Every node hangs below a root and agrees with its children, which differ in their first page.
void RadixTree::check_shape() const {
  std::unordered_map<const Node*, std::vector<const Node*>> children;
  for (const auto& [hash, node] : edges_) children[node->parent].push_back(node.get());

  std::vector<const Node*> stack;
  for (const auto& [ns, root] : roots_) {
    SGL_ASSERT(root->is_root() && root->ns == &ns && root->num_children > 0, "the root of \"{}\"", ns);
    stack.push_back(root.get());
  }
  size_t reached = 0;
  while (!stack.empty()) {
    const Node* node = stack.back();
    stack.pop_back();
    const std::vector<const Node*>& below = children[node];
    SGL_ASSERT(static_cast<int>(below.size()) == node->num_children, "{} children, counted {}", below.size(),
               node->num_children);
    std::set<std::vector<int32_t>> first_pages;
    int locks = 0;
    for (const Node* child : below) {
      auto first = child->tokens.begin();
      SGL_ASSERT(first_pages.emplace(first, first + static_cast<std::ptrdiff_t>(page_size_)).second,
                 "two children with the same first page");
      SGL_ASSERT(node->is_root() || node->last_access >= child->last_access, "a child used after its parent");
      locks += child->locks;
    }
    SGL_ASSERT(node->is_root() ? node->locks == 0 : node->locks >= locks, "{} locks, {} below", node->locks, locks);
    reached += below.size();
    stack.insert(stack.end(), below.begin(), below.end());
  }
  SGL_ASSERT(reached == edges_.size(), "{} nodes, {} below a root", edges_.size(), reached);
}

}  // namespace sgl
