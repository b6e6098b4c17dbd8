#include "ops/shared_prefix.h"

#include <gtest/gtest.h>

namespace sgl {
namespace {

// Sequences with these pages of 16 tokens, all full but the last, which has the new token alone.
PagedBatch batch_of(const std::vector<std::vector<int32_t>>& tables) {
  PagedBatch batch;
  for (const auto& pages : tables) {
    batch.seqs.push_back({static_cast<int32_t>(batch.token_ids.size()), 1, static_cast<int32_t>(pages.size()) * 16 - 15,
                          static_cast<int32_t>(batch.pages.size())});
    batch.pages.insert(batch.pages.end(), pages.begin(), pages.end());
    batch.token_ids.push_back(0);
  }
  return batch;
}

TEST(SharedPrefix, SequencesThatBeginAlikeAreAGroup) {
  const auto groups = find_shared_prefixes(batch_of({{1, 2, 3, 10}, {7, 11}, {1, 2, 3, 12}, {1, 2, 4, 13}}), 16, 1);
  ASSERT_EQ(groups.size(), 1U);
  EXPECT_EQ(groups[0].seqs, (std::vector<int32_t>{0, 2, 3}));
  EXPECT_EQ(groups[0].pages, 2);  // saves 4 reads; the two that share three pages save 3
}

TEST(SharedPrefix, WherePrefixesBranchTheGroupsSaveTheMost) {
  const auto groups = find_shared_prefixes(
      batch_of({{1, 2, 3, 4, 10}, {1, 5, 6, 7, 11}, {1, 2, 3, 4, 12}, {1, 5, 6, 7, 13}, {1, 14}}), 16, 1);
  ASSERT_EQ(groups.size(), 2U);
  EXPECT_EQ(groups[0].seqs, (std::vector<int32_t>{0, 2}));
  EXPECT_EQ(groups[0].pages, 4);
  EXPECT_EQ(groups[1].seqs, (std::vector<int32_t>{1, 3}));
  EXPECT_EQ(groups[1].pages, 4);
}

TEST(SharedPrefix, APageWithANewTokenIsNotShared) {
  // Two sequences with the same first page; the second one's new token is its last.
  PagedBatch batch = batch_of({{1, 2, 3}, {1, 2}});
  batch.seqs[1].kv_len = 32;
  const auto groups = find_shared_prefixes(batch, 16, 1);
  ASSERT_EQ(groups.size(), 1U);
  EXPECT_EQ(groups[0].pages, 1);
}

TEST(SharedPrefix, NothingIsSharedWhereItIsNotWorthIt) {
  const PagedBatch batch = batch_of({{1, 2, 3}, {1, 2, 4}, {1, 2, 5}});
  EXPECT_EQ(find_shared_prefixes(batch, 16, 4).size(), 1U);
  EXPECT_TRUE(find_shared_prefixes(batch, 16, 5).empty());
  EXPECT_TRUE(find_shared_prefixes(PagedBatch{}, 16, 1).empty());
}

TEST(SharedPrefix, SequencesWithMoreNewTokensShareNothing) {
  PagedBatch batch = batch_of({{1, 2, 3}, {1, 2, 4}});
  batch.seqs[0].q_len = 2;
  EXPECT_TRUE(find_shared_prefixes(batch, 16, 1).empty());
}

}  // namespace
}  // namespace sgl
