#include "cache/page_allocator.h"

#include <algorithm>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace sgl {
namespace {

using Pages = std::vector<PageId>;

TEST(PageAllocator, FreshPoolHandsOutPagesInOrder) {
  PageAllocator pages(5);
  Pages a;
  ASSERT_TRUE(pages.allocate(2, a));
  ASSERT_TRUE(pages.allocate(3, a));  // appends
  EXPECT_EQ(a, (Pages{0, 1, 2, 3, 4}));
  EXPECT_EQ(pages.free_pages(), 0);
  EXPECT_EQ(pages.total(), 5);
}

TEST(PageAllocator, TooFewPagesChangeNothing) {
  PageAllocator pages(3);
  Pages a{77};
  EXPECT_FALSE(pages.allocate(4, a));
  EXPECT_EQ(a, Pages{77});
  EXPECT_EQ(pages.free_pages(), 3);
  EXPECT_TRUE(pages.allocate(3, a));
  EXPECT_FALSE(pages.allocate(1, a));
  EXPECT_TRUE(pages.allocate(0, a));
}

TEST(PageAllocator, LastFreedPagesComeFirstInTheirOldOrder) {
  PageAllocator pages(10);
  Pages a, b, c;
  ASSERT_TRUE(pages.allocate(3, a));
  ASSERT_TRUE(pages.allocate(3, b));
  pages.free(a);
  pages.free(b);
  ASSERT_TRUE(pages.allocate(4, c));
  EXPECT_EQ(c, (Pages{3, 4, 5, 0}));
}

TEST(PageAllocator, EmptyPoolWorks) {
  PageAllocator pages(0);
  Pages a;
  EXPECT_TRUE(pages.allocate(0, a));
  EXPECT_FALSE(pages.allocate(1, a));
  pages.free(a);
  EXPECT_EQ(pages.free_pages(), 0);
}

TEST(PageAllocatorDeathTest, DoubleFreeAndForeignPagesAbort) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  PageAllocator pages(4);
  Pages a;
  ASSERT_TRUE(pages.allocate(2, a));
  EXPECT_DEATH(pages.free(Pages{0, 0}), "page 0 is freed twice");
  EXPECT_DEATH(pages.free(Pages{3}), "page 3 is freed twice");
  EXPECT_DEATH(pages.free(Pages{4}), "page 4 does not exist: the pool has 4");
  EXPECT_DEATH(pages.free(Pages{-1}), "page -1 does not exist");
  EXPECT_DEATH((void)pages.allocate(-1, a), "-1 pages asked for");
}

TEST(PageAllocator, EveryPageHasOneOwner) {
  constexpr int kTotal = 50;
  constexpr uint32_t kSeed = 7;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  PageAllocator pages(kTotal);
  std::vector<Pages> held;
  for (int step = 0; step < 20000; ++step) {
    if (Pages mine; random() % 2 == 0 && pages.allocate(static_cast<int>(random() % 8), mine)) {
      held.push_back(mine);
    } else if (!held.empty()) {
      std::swap(held[random() % held.size()], held.back());
      pages.free(held.back());
      held.pop_back();
    }
    Pages all;
    for (const Pages& h : held) all.insert(all.end(), h.begin(), h.end());
    ASSERT_EQ(pages.free_pages() + static_cast<int>(all.size()), kTotal);
    std::sort(all.begin(), all.end());
    ASSERT_TRUE(std::adjacent_find(all.begin(), all.end()) == all.end()) << "a page was handed out twice";
  }
}

}  // namespace
}  // namespace sgl
