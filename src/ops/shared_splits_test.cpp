#include "ops/shared_splits.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace sgl {
namespace {

constexpr int kSplit = 64, kPage = 16;

// Sequences with one new token each, given their pages; all pages are full.
PagedBatch batch_of(const std::vector<std::vector<int32_t>>& pages) {
  PagedBatch batch;
  for (const std::vector<int32_t>& p : pages) {
    batch.seqs.push_back({static_cast<int32_t>(batch.seqs.size()), 1, static_cast<int32_t>(p.size()) * kPage,
                          static_cast<int32_t>(batch.pages.size())});
    batch.pages.insert(batch.pages.end(), p.begin(), p.end());
    batch.token_ids.push_back(0);
  }
  return batch;
}

std::vector<std::vector<int32_t>> members_of(const SharedSplits& shared) {
  std::vector<std::vector<int32_t>> all;
  for (const SharedTile& t : shared.tiles()) {
    std::vector<int32_t> m(shared.members(t).begin(), shared.members(t).end());
    std::sort(m.begin(), m.end());
    m.insert(m.begin(), t.split);
    all.push_back(std::move(m));
  }
  std::sort(all.begin(), all.end());
  return all;
}

TEST(SharedSplits, GroupsThoseWhoShareWholeSplits) {
  SharedSplits shared;
  shared.find(batch_of({{1, 2, 3, 4, 5, 6, 7, 8, 9},     // splits 1-4, 5-8
                        {20, 21, 22, 23, 24},            // nobody's
                        {1, 2, 3, 4, 5, 6, 7, 8, 10},    // both
                        {1, 2, 3, 4, 5, 6, 30, 31, 32},  // the first, half of the second
                        {1, 2, 3, 4, 40}}),              // the first
              kSplit, kPage, 100, 1);
  EXPECT_EQ(members_of(shared), (std::vector<std::vector<int32_t>>{{0, 0, 2, 3, 4}, {1, 0, 2}}));
  EXPECT_EQ(shared.count(0), 2);
  EXPECT_EQ(shared.count(1), 0);
  EXPECT_EQ(shared.count(3), 1);
  for (int32_t seq : {0, 2, 3, 4}) {
    for (int s = 0; s < shared.count(seq); ++s) {
      const SharedSplits::Place place = shared.place(seq, s);
      const SharedTile& tile = shared.tiles()[static_cast<size_t>(place.tile)];
      EXPECT_EQ(tile.split, s);
      EXPECT_EQ(shared.members(tile)[static_cast<size_t>(place.member)], seq);
    }
  }
}

TEST(SharedSplits, TheSplitOfTheNewTokenIsNobodyElses) {
  PagedBatch batch = batch_of({{1, 2, 3, 4}, {1, 2, 3, 4}});  // the new tokens are the last of their split
  SharedSplits shared;
  shared.find(batch, kSplit, kPage, 100, 1);
  EXPECT_TRUE(shared.tiles().empty());
}

TEST(SharedSplits, SequencesWithSeveralNewTokensTakeNoPart) {
  PagedBatch batch = batch_of({{1, 2, 3, 4, 5}, {1, 2, 3, 4, 6}});
  batch.seqs[0].q_len = 2;
  SharedSplits shared;
  shared.find(batch, kSplit, kPage, 100, 1);
  EXPECT_TRUE(shared.tiles().empty());
  EXPECT_EQ(shared.count(0), 0);
}

TEST(SharedSplits, TilesAreBoundedAndEnough) {
  std::vector<std::vector<int32_t>> pages;
  for (int32_t i = 0; i < 10; ++i) pages.push_back({1, 2, 3, 4, 100 + i});
  SharedSplits shared;
  shared.find(batch_of(pages), kSplit, kPage, 4, 1);
  ASSERT_EQ(shared.tiles().size(), 3U);
  for (const SharedTile& t : shared.tiles()) EXPECT_LE(t.count, 4);
  EXPECT_EQ(shared.largest(), 4);
  shared.find(batch_of(pages), kSplit, kPage, 100, 4);
  EXPECT_GE(shared.tiles().size(), 4U);
  shared.find(batch_of({}), kSplit, kPage, 100, 4);
  EXPECT_TRUE(shared.tiles().empty());
  EXPECT_EQ(shared.largest(), 0);
}

}  // namespace
}  // namespace sgl
