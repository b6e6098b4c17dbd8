#include "cache/radix_tree.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace sgl {
namespace {

using Tokens = std::vector<int32_t>;
using Pages = std::vector<PageId>;
using Key = RadixTree::Key;

// Inserts `tokens` with fresh pages, frees the duplicates as a finished sequence does, and lets go of the lock.
RadixTree::Inserted insert(RadixTree& tree, PageAllocator& pool, const Tokens& tokens, size_t page_size,
                           std::string_view ns = {}) {
  Pages pages;
  EXPECT_TRUE(pool.allocate(static_cast<int>(tokens.size() / page_size), pages));
  RadixTree::Inserted result = tree.insert({tokens, ns}, pages);
  pool.free(result.duplicates);
  tree.check();
  return result;
}

Pages match(RadixTree& tree, const Tokens& tokens, std::string_view ns = {}) {
  int length = tree.match_length({tokens, ns});
  Pages pages = tree.match({tokens, ns}).pages;
  tree.check();
  EXPECT_EQ(tree.match_length({tokens, ns}), length);
  return pages;
}

TEST(RadixTree, EmptyTreeMatchesNothing) {
  RadixTree tree(2);
  RadixTree::Match m = tree.match({Tokens{1, 2, 3}});
  EXPECT_TRUE(m.pages.empty());
  EXPECT_FALSE(m.lock);
  EXPECT_EQ(tree.match_length({}), 0);
  EXPECT_EQ(tree.counts().nodes, 0);
  tree.check();
}

TEST(RadixTree, MatchEndsAtWholePages) {
  RadixTree tree(2);
  PageAllocator pool(8);
  insert(tree, pool, {1, 2, 3, 4}, 2);  // root ─ 1 2 · 3 4, pages 0 1
  EXPECT_EQ(match(tree, {1, 2, 3, 4}), (Pages{0, 1}));
  EXPECT_EQ(match(tree, {1, 2, 3, 4, 5, 6}), (Pages{0, 1}));
  EXPECT_EQ(match(tree, {1, 2, 3}), (Pages{0}));     // half a page is no page
  EXPECT_EQ(match(tree, {1, 2, 3, 9}), (Pages{0}));  // nor is one that differs at its end
  EXPECT_EQ(match(tree, {1}), Pages{});
  EXPECT_EQ(match(tree, {1, 9, 3, 4}), Pages{});
  EXPECT_EQ(match(tree, {3, 4}), Pages{});  // a prefix, not any part
}

TEST(RadixTree, MatchInsideANodeSplitsIt) {
  RadixTree tree(1);
  PageAllocator pool(8);
  insert(tree, pool, {1, 2, 3, 4}, 1);  // root ─ 1 2 3 4
  EXPECT_EQ(tree.counts().nodes, 1);
  EXPECT_EQ(tree.match_length({Tokens{1, 2, 9}}), 2);
  EXPECT_EQ(tree.counts().nodes, 1) << "match_length must not split";

  RadixTree::Match m = tree.match({Tokens{1, 2, 9}});  // root ─ 1 2 ─ 3 4, the first node locked
  EXPECT_EQ(m.pages, (Pages{0, 1}));
  EXPECT_EQ(tree.counts().nodes, 2);
  EXPECT_EQ(tree.counts().locked, 2);
  EXPECT_EQ(tree.counts().evictable(), 2);
  tree.check();
  EXPECT_EQ(match(tree, {1, 2, 3, 4}), (Pages{0, 1, 2, 3}));
}

TEST(RadixTree, SequencesPartWhereTheyDiffer) {
  RadixTree tree(2);
  PageAllocator pool(16);
  insert(tree, pool, {1, 2, 3, 4, 5, 6}, 2);
  RadixTree::Inserted second = insert(tree, pool, {1, 2, 3, 4, 7, 8, 9, 9}, 2);
  insert(tree, pool, {8, 8}, 2);
  // root ─┬─ 1 2 · 3 4 ─┬─ 5 6            pages 0 1, 2
  //       │             └─ 7 8 · 9 9      pages 5 6 (3 and 4 were duplicates of 0 and 1)
  //       └─ 8 8
  EXPECT_EQ(second.present, 2);
  EXPECT_EQ(second.duplicates, (Pages{3, 4}));
  EXPECT_EQ(second.pages, (Pages{0, 1, 5, 6}));
  EXPECT_EQ(tree.counts().nodes, 4);
  EXPECT_EQ(tree.counts().cached, 6);
  EXPECT_EQ(match(tree, {1, 2, 3, 4, 5, 6, 7, 8}), (Pages{0, 1, 2}));
  EXPECT_EQ(match(tree, {1, 2, 3, 4, 7, 8, 9, 9}), (Pages{0, 1, 5, 6}));
  EXPECT_EQ(pool.free_pages() + tree.counts().cached, 16);
}

TEST(RadixTree, InsertOfACachedKeyAddsNothing) {
  RadixTree tree(2);
  PageAllocator pool(8);
  insert(tree, pool, {1, 2, 3, 4}, 2);
  RadixTree::Inserted again = insert(tree, pool, {1, 2}, 2);  // ends inside the node: root ─ 1 2 ─ 3 4
  EXPECT_EQ(again.present, 1);
  EXPECT_EQ(again.duplicates, (Pages{2}));
  EXPECT_EQ(again.pages, (Pages{0}));
  EXPECT_EQ(tree.counts().locked, 1);
  EXPECT_EQ(tree.counts().cached, 2);
  RadixTree::Inserted nothing = tree.insert({}, {});
  EXPECT_FALSE(nothing.lock);
  EXPECT_EQ(nothing.present, 0);
}

TEST(RadixTree, SharedPagesAreNoDuplicates) {
  // A sequence that matched page 0 and computed pages of its own gives all of them to the tree.
  RadixTree tree(1);
  PageAllocator pool(8);
  insert(tree, pool, {1}, 1);
  RadixTree::Match m = tree.match({Tokens{1, 2, 3}});
  Pages pages = m.pages;
  ASSERT_TRUE(pool.allocate(2, pages));
  RadixTree::Inserted result = tree.insert({Tokens{1, 2, 3}}, pages);
  EXPECT_EQ(result.present, 1);
  EXPECT_TRUE(result.duplicates.empty());
  EXPECT_EQ(result.pages, pages);
}

TEST(RadixTree, EvictTakesTheLeastRecentlyUsedLeafFirst) {
  RadixTree tree(1);
  PageAllocator pool(16);
  insert(tree, pool, {1, 2}, 1);
  insert(tree, pool, {1, 3}, 1);
  insert(tree, pool, {4, 5}, 1);
  match(tree, {1, 2});
  // root ─┬─ 1 ─┬─ 2     used: 1 at 4, 2 at 4
  //       │     └─ 3     2
  //       └─ 4 5         3
  auto lengths = [&] {
    return std::vector{tree.match_length({Tokens{1, 2}}), tree.match_length({Tokens{1, 3}}),
                       tree.match_length({Tokens{4, 5}})};
  };
  EXPECT_EQ(tree.evict(1, pool), 1);
  EXPECT_EQ(lengths(), (std::vector{2, 1, 2}));
  EXPECT_EQ(tree.evict(1, pool), 1);  // a leaf's end can go alone
  EXPECT_EQ(lengths(), (std::vector{2, 1, 1}));
  tree.check();
  EXPECT_EQ(tree.evict(2, pool), 2);  // 4, then 2; now 1 is a leaf
  EXPECT_EQ(lengths(), (std::vector{1, 1, 0}));
  EXPECT_EQ(tree.evict(5, pool), 1);
  EXPECT_EQ(tree.evict(5, pool), 0);
  EXPECT_EQ(tree.counts().nodes, 0);
  EXPECT_EQ(pool.free_pages(), 16);
  tree.check();
}

TEST(RadixTree, MatchLengthIsNoUse) {
  RadixTree tree(1);
  PageAllocator pool(4);
  insert(tree, pool, {1}, 1);
  insert(tree, pool, {2}, 1);
  EXPECT_EQ(tree.match_length({Tokens{1}}), 1);
  tree.evict(1, pool);
  EXPECT_EQ(tree.match_length({Tokens{1}}), 0);
  EXPECT_EQ(tree.match_length({Tokens{2}}), 1);
}

TEST(RadixTree, EvictSkipsLockedPaths) {
  RadixTree tree(1);
  PageAllocator pool(16);
  insert(tree, pool, {1, 2, 3}, 1);
  insert(tree, pool, {1, 2, 4}, 1);
  RadixTree::Match m = tree.match({Tokens{1, 2, 3}});
  // root ─ 1 2 ─┬─ 3     locked, and so is 1 2
  //             └─ 4
  EXPECT_EQ(tree.counts().locked, 3);
  EXPECT_EQ(tree.evict(16, pool), 1);
  EXPECT_EQ(tree.counts().cached, 3);
  m.lock.release();
  EXPECT_FALSE(m.lock);
  EXPECT_EQ(tree.counts().locked, 0);
  EXPECT_EQ(tree.evict(16, pool), 3);
  tree.check();
}

TEST(RadixTree, LocksOnOneNodeAreCounted) {
  RadixTree tree(1);
  PageAllocator pool(4);
  insert(tree, pool, {1, 2}, 1);
  RadixTree::Match a = tree.match({Tokens{1, 2}});
  RadixTree::Match b = tree.match({Tokens{1, 2}});
  a.lock.release();
  a.lock.release();  // nothing left to release
  EXPECT_EQ(tree.counts().locked, 2);
  EXPECT_EQ(tree.evict(2, pool), 0);
  b.lock = {};
  EXPECT_EQ(tree.counts().locked, 0);
}

TEST(RadixTree, ALockedNodeThatIsSplitStaysLocked) {
  RadixTree tree(1);
  PageAllocator pool(16);
  insert(tree, pool, {1, 2, 3, 4}, 1);
  RadixTree::Match whole = tree.match({Tokens{1, 2, 3, 4}});
  RadixTree::Match half = tree.match({Tokens{1, 2, 7}});  // root ─ 1 2 (2 locks) ─ 3 4 (1 lock)
  tree.check();
  EXPECT_EQ(tree.counts().locked, 4);
  EXPECT_EQ(tree.evict(4, pool), 0);
  whole.lock.release();
  EXPECT_EQ(tree.counts().locked, 2);
  EXPECT_EQ(tree.evict(4, pool), 2);
  half.lock.release();
  EXPECT_EQ(tree.counts().locked, 0);
  tree.check();
}

TEST(RadixTree, LocksMove) {
  RadixTree tree(1);
  PageAllocator pool(8);
  insert(tree, pool, {1}, 1);
  insert(tree, pool, {2, 3}, 1);
  RadixTree::Lock a = tree.match({Tokens{1}}).lock;
  RadixTree::Lock b = std::move(a);
  EXPECT_FALSE(a);  // NOLINT(bugprone-use-after-move): a moved-from lock is empty
  EXPECT_EQ(tree.counts().locked, 1);
  b = tree.match({Tokens{2, 3}}).lock;  // lets go of 1
  EXPECT_EQ(tree.counts().locked, 2);
  RadixTree::Lock& same = b;
  b = std::move(same);
  EXPECT_TRUE(b);
  EXPECT_EQ(tree.counts().locked, 2);
}

TEST(RadixTree, NamespacesNeverShare) {
  RadixTree tree(1);
  PageAllocator pool(8);
  insert(tree, pool, {1, 2}, 1);
  EXPECT_EQ(match(tree, {1, 2}, "adapter"), Pages{});
  RadixTree::Inserted other = insert(tree, pool, {1, 2}, 1, "adapter");
  EXPECT_EQ(other.present, 0);
  EXPECT_EQ(other.pages, (Pages{2, 3}));
  EXPECT_EQ(match(tree, {1, 2}), (Pages{0, 1}));
  EXPECT_EQ(match(tree, {1, 2}, "adapter"), (Pages{2, 3}));
  other.lock.release();
  tree.evict(2, pool);  // the least recently used is the one without a namespace
  EXPECT_EQ(tree.match_length({Tokens{1, 2}}), 0);
  EXPECT_EQ(tree.match_length({Tokens{1, 2}, "adapter"}), 2);
  tree.check();
}

TEST(RadixTree, ClearReturnsEveryPage) {
  RadixTree tree(1);
  PageAllocator pool(8);
  insert(tree, pool, {1, 2, 3}, 1);
  insert(tree, pool, {1, 4}, 1, "x");
  tree.clear(pool);
  EXPECT_EQ(tree.counts().cached, 0);
  EXPECT_EQ(pool.free_pages(), 8);
  tree.check();
  insert(tree, pool, {1, 2, 3}, 1);
  EXPECT_EQ(tree.counts().cached, 3);
}

TEST(RadixTreeDeathTest, BrokenRulesAbort) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  RadixTree tree(2);
  PageAllocator pool(8);
  RadixTree::Inserted held = insert(tree, pool, {1, 2}, 2);
  EXPECT_DEATH(tree.clear(pool), "1 pages are locked");
  EXPECT_DEATH(tree.insert({Tokens{1, 2, 3}}, Pages{0}), "3 tokens in 1 pages of 2");
  EXPECT_DEATH(RadixTree(0), "page size 0");
  EXPECT_DEATH(
      {
        tree.insert({Tokens{5, 5}}, Pages{0});  // the tree's own page a second time
        tree.check();
      },
      "a page stands in two places");
}

TEST(RadixTree, DepthFirstOrderVisitsHeavySubtreesFirst) {
  RadixTree tree(1);
  PageAllocator pool(32);
  for (const Tokens& t : {Tokens{1, 2, 3}, Tokens{1, 2, 4}, Tokens{5, 6}, Tokens{7}}) insert(tree, pool, t, 1);
  // root ─┬─ 1 2 ─┬─ 3
  //       │       └─ 4
  //       ├─ 5 6
  //       └─ 7
  std::vector<Tokens> tokens = {
      {9},           // 0  nothing
      {5, 6, 6},     // 1  5 6
      {1, 2, 3, 9},  // 2  1 2 ─ 3
      {1, 2, 9},     // 3  1 2
      {7, 7},        // 4  7
      {1, 9},        // 5  half of 1 2
      {1, 2, 4},     // 6  1 2 ─ 4
      {5, 9},        // 7  half of 5 6
      {1, 2, 4, 4},  // 8  1 2 ─ 4
      {8},           // 9  nothing
      {1, 2, 8},     // 10 1 2
  };
  std::vector<Key> keys;
  for (const Tokens& t : tokens) keys.push_back({t});
  EXPECT_EQ(tree.depth_first_order(keys), (std::vector{6, 8, 2, 3, 10, 5, 1, 7, 4, 0, 9}));
  EXPECT_EQ(tree.counts().nodes, 5) << "must not split";
  EXPECT_EQ(tree.depth_first_order({}), std::vector<int>{});
}

TEST(RadixTree, DepthFirstOrderSpansNamespaces) {
  RadixTree tree(1);
  PageAllocator pool(8);
  insert(tree, pool, {1}, 1);
  insert(tree, pool, {1}, 1, "x");
  Tokens one{1};
  std::vector<Key> keys = {{one}, {one, "x"}, {one, "none"}, {one}, {one, "x"}, {one, "x"}};
  EXPECT_EQ(tree.depth_first_order(keys), (std::vector{1, 4, 5, 0, 3, 2}));
}

TEST(RadixTree, TenThousandNestedNodesNeedNoStack) {
  constexpr int kDepth = 10000;
  RadixTree tree(1);
  PageAllocator pool(kDepth + 1);
  Tokens tokens(kDepth);
  std::iota(tokens.begin(), tokens.end(), 0);
  RadixTree::Inserted whole = insert(tree, pool, tokens, 1);
  // Cut from the end, so that each match splits the first node: root ─ 0 … 9997 ─ 9998 ─ 9999.
  for (size_t cut = kDepth - 1; cut > 0; --cut) tree.match({TokenSpan(tokens).first(cut)});
  EXPECT_EQ(tree.counts().nodes, kDepth);
  EXPECT_EQ(tree.counts().locked, kDepth);
  EXPECT_EQ(tree.match({tokens}).pages, whole.pages);
  tokens.push_back(-1);  // one more turn, by the sequence that holds the lock
  Pages pages = whole.pages;
  ASSERT_TRUE(pool.allocate(1, pages));
  whole = tree.insert({tokens}, pages);
  EXPECT_EQ(whole.present, kDepth);
  EXPECT_EQ(whole.pages, pages);
  std::vector<Key> keys{{TokenSpan(tokens).first(1)}, {tokens}};
  EXPECT_EQ(tree.depth_first_order(keys), (std::vector{1, 0}));
  whole.lock.release();
  EXPECT_EQ(tree.evict(kDepth, pool), kDepth);
  EXPECT_EQ(tree.match_length({tokens}), 1);
  tree.check();
}

// What the tree must do, said as simply as possible: a table of every cached prefix of whole pages.
class NaiveCache {
 public:
  struct Entry {
    PageId page;
    int used;
    int locks = 0;
  };
  using Name = std::pair<std::string, Tokens>;  // namespace, prefix

  explicit NaiveCache(size_t page_size) : page_size_(page_size) {}

  Pages find(const std::string& ns, const Tokens& tokens) const {
    Pages pages;
    for (size_t n = page_size_; n <= tokens.size(); n += page_size_) {
      auto it = entries_.find(prefix(ns, tokens, n));
      if (it == entries_.end()) break;
      pages.push_back(it->second.page);
    }
    return pages;
  }

  void use(const std::string& ns, const Tokens& tokens, size_t num_pages) {
    ++clock_;
    for (size_t n = 1; n <= num_pages; ++n) entries_.at(prefix(ns, tokens, n * page_size_)).used = clock_;
  }

  void lock(const std::string& ns, const Tokens& tokens, size_t num_pages, int by) {
    for (size_t n = 1; n <= num_pages; ++n) entries_.at(prefix(ns, tokens, n * page_size_)).locks += by;
  }

  // Returns the pages that `tokens` has in the cache now.
  Pages insert(const std::string& ns, const Tokens& tokens, const Pages& pages) {
    for (size_t n = 0; n < pages.size(); ++n) {
      entries_.try_emplace(prefix(ns, tokens, (n + 1) * page_size_), Entry{pages[n], 0});
    }
    return find(ns, tokens);
  }

  int evict(int num_pages) {
    int freed = 0;
    for (; freed < num_pages; ++freed) {
      auto victim = entries_.end();
      for (auto it = entries_.begin(); it != entries_.end(); ++it) {
        if (it->second.locks > 0 || !is_leaf(it)) continue;
        if (victim == entries_.end() || it->second.used < victim->second.used) victim = it;
      }
      if (victim == entries_.end()) break;
      entries_.erase(victim);
    }
    return freed;
  }

  bool is_leaf(std::map<Name, Entry>::const_iterator it) const {
    auto next = std::next(it);  // an extension sorts right behind its prefix
    return next == entries_.end() || next->first.first != it->first.first ||
           !std::equal(it->first.second.begin(), it->first.second.end(), next->first.second.begin(),
                       next->first.second.begin() +
                           static_cast<std::ptrdiff_t>(std::min(it->first.second.size(), next->first.second.size())));
  }

  const std::map<Name, Entry>& entries() const { return entries_; }

 private:
  static Name prefix(const std::string& ns, const Tokens& tokens, size_t n) {
    return {ns, Tokens(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(n))};
  }
  size_t page_size_;
  std::map<Name, Entry> entries_;
  int clock_ = 0;
};

struct RandomCase {
  int page_size;
  int hash_bits;  // 1: nearly all keys collide
};

// Sequences come, grow, give their pages to the tree and go, as in the scheduler, in a pool that is too small for them.
class RadixTreeRandom : public testing::TestWithParam<RandomCase> {
 protected:
  static constexpr int kTotal = 64;
  const uint32_t seed_ = 20240607 + static_cast<uint32_t>(GetParam().page_size * GetParam().hash_bits);

  struct Sequence {
    std::string ns;
    Tokens tokens;  // whole pages
    Pages pages;    // [0, shared): the tree's, locked; then its own
    size_t shared = 0;
    RadixTree::Lock lock;
  };

  uint32_t below(uint32_t n) { return random_() % n; }

  // Pages that differ in their last token only; few enough that sequences often share.
  Tokens random_tokens(uint32_t num_pages) {
    Tokens tokens;
    for (uint32_t i = 0; i < num_pages; ++i) {
      tokens.insert(tokens.end(), page_size_ - 1, 7);
      tokens.push_back(static_cast<int32_t>(below(3)));
    }
    return tokens;
  }

  void start() {
    if (sequences_.size() >= 6) return abort();
    Sequence s;
    s.ns = below(4) == 0 ? "x" : "";
    s.tokens = random_tokens(below(9));
    Pages expected = naive_.find(s.ns, s.tokens);
    Tokens ragged = s.tokens;
    ragged.insert(ragged.end(), below(static_cast<uint32_t>(page_size_)), 7);  // no whole page: must not matter
    RadixTree::Match m = tree_.match({ragged, s.ns});
    ASSERT_EQ(m.pages, expected);
    s.tokens.resize(expected.size() * page_size_);
    s.pages = std::move(m.pages);
    s.shared = expected.size();
    s.lock = std::move(m.lock);
    naive_.use(s.ns, s.tokens, s.shared);
    naive_.lock(s.ns, s.tokens, s.shared, 1);
    sequences_.push_back(std::move(s));
  }

  void grow() {
    if (sequences_.empty()) return;
    Sequence& s = sequences_[below(static_cast<uint32_t>(sequences_.size()))];
    auto n = below(5);
    if (s.pages.size() + n > 12) return;
    if (int lacking = static_cast<int>(n) - pool_.free_pages(); lacking > 0) evict(lacking);
    if (!pool_.allocate(static_cast<int>(n), s.pages)) return;
    Tokens more = random_tokens(n);
    s.tokens.insert(s.tokens.end(), more.begin(), more.end());
  }

  void insert() {
    if (sequences_.empty()) return;
    Sequence& s = sequences_[below(static_cast<uint32_t>(sequences_.size()))];
    Pages before = naive_.find(s.ns, s.tokens);
    Pages after = naive_.insert(s.ns, s.tokens, s.pages);
    Pages duplicates;
    for (size_t i = s.shared; i < before.size(); ++i) duplicates.push_back(s.pages[i]);

    RadixTree::Inserted result = tree_.insert({s.tokens, s.ns}, s.pages);
    ASSERT_EQ(result.present, static_cast<int>(before.size()));
    ASSERT_EQ(result.pages, after);
    ASSERT_EQ(result.duplicates, duplicates);
    pool_.free(duplicates);
    naive_.use(s.ns, s.tokens, after.size());
    naive_.lock(s.ns, s.tokens, s.shared, -1);
    naive_.lock(s.ns, s.tokens, after.size(), 1);
    s.shared = after.size();
    s.pages = after;
    s.lock = std::move(result.lock);
  }

  // Drops a sequence with the pages it has not given to the tree.
  void abort() {
    if (sequences_.empty()) return;
    std::swap(sequences_[below(static_cast<uint32_t>(sequences_.size()))], sequences_.back());
    Sequence& s = sequences_.back();
    pool_.free(std::span<const PageId>(s.pages).subspan(s.shared));
    naive_.lock(s.ns, s.tokens, s.shared, -1);
    sequences_.pop_back();
  }

  void evict(int num_pages) { ASSERT_EQ(tree_.evict(num_pages, pool_), naive_.evict(num_pages)); }

  void flush() {
    while (!sequences_.empty()) abort();
    tree_.clear(pool_);
    naive_.evict(kTotal);
    ASSERT_EQ(pool_.free_pages(), kTotal);
  }

  void step() {
    uint32_t choice = below(1000);
    if (choice < 1) return below(2) == 0 ? flush() : evict(kTotal);
    if (choice < 250) return start();
    if (choice < 550) return grow();
    if (choice < 850) return insert();
    if (choice < 950) return abort();
    evict(static_cast<int>(below(6)));
  }

  // The tree holds what the naive cache holds; every page has one owner.
  void compare() {
    tree_.check();
    int locked = 0;
    Pages pages;
    for (auto it = naive_.entries().begin(); it != naive_.entries().end(); ++it) {
      const auto& [ns, tokens] = it->first;
      pages.push_back(it->second.page);
      if (it->second.locks > 0) ++locked;
      if (naive_.is_leaf(it)) {
        ASSERT_EQ(tree_.match_length({tokens, ns}), static_cast<int>(tokens.size()));
      }
    }
    ASSERT_EQ(tree_.counts().cached, static_cast<int>(naive_.entries().size()));
    ASSERT_EQ(tree_.counts().locked, locked);
    for (const Sequence& s : sequences_) {
      pages.insert(pages.end(), s.pages.begin() + static_cast<std::ptrdiff_t>(s.shared), s.pages.end());
    }
    ASSERT_EQ(pool_.free_pages() + static_cast<int>(pages.size()), kTotal);
    std::sort(pages.begin(), pages.end());
    ASSERT_TRUE(std::adjacent_find(pages.begin(), pages.end()) == pages.end()) << "a page has two owners";
  }

  size_t page_size_ = static_cast<size_t>(GetParam().page_size);
  PageAllocator pool_{kTotal};
  RadixTree tree_{GetParam().page_size, GetParam().hash_bits};
  NaiveCache naive_{page_size_};
  std::mt19937 random_{seed_};
  std::vector<Sequence> sequences_;  // after the tree: their locks must go first
};

TEST_P(RadixTreeRandom, AgreesWithANaiveCache) {
  std::printf("seed %u\n", seed_);
  for (int operation = 0; operation < 100000; ++operation) {
    SCOPED_TRACE(testing::Message() << "seed " << seed_ << ", operation " << operation);
    ASSERT_NO_FATAL_FAILURE(step());
    ASSERT_NO_FATAL_FAILURE(compare());
  }
}

INSTANTIATE_TEST_SUITE_P(PageSizes, RadixTreeRandom,
                         testing::Values(RandomCase{1, 64}, RandomCase{4, 64}, RandomCase{16, 64}, RandomCase{4, 1}),
                         [](const testing::TestParamInfo<RandomCase>& c) {
                           return "Page" + std::to_string(c.param.page_size) + "Hash" +
                                  std::to_string(c.param.hash_bits);
                         });

}  // namespace
}  // namespace sgl
