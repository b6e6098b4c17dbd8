#include "ops/shared_prefix.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

namespace sgl {
namespace {

// The page tables form a tree: sequences with the same pages so far are a branch.
struct PrefixTree {
  const PagedBatch& batch;
  int page_size;
  int64_t worth;

  // The page after `depth` others; −1 where the new token's page begins or would.
  int32_t page_at(int32_t seq, int depth) const {
    const BatchSeq& s = batch.seqs[static_cast<size_t>(seq)];
    return depth < (s.kv_len - 1) / page_size
               ? batch.pages[static_cast<size_t>(s.page_begin) + static_cast<size_t>(depth)]
               : -1;
  }

  // How many pages all of a branch share, of which `depth` are known. Requires: it is not empty.
  int common_pages(std::span<const int32_t> branch, int depth) const {
    auto shared = [&](int at) {
      const int32_t page = page_at(branch.front(), at);
      return page >= 0 && std::all_of(branch.begin(), branch.end(), [&](int32_t s) { return page_at(s, at) == page; });
    };
    while (shared(depth)) ++depth;
    return depth;
  }

  // Adds a branch's groups: itself, or what is found in its own branches if that saves more. Returns how many reads
  // they save. Sorts the branch.
  int64_t collect(std::span<int32_t> branch, int depth, std::vector<SharedPrefix>& groups) const {
    if (branch.size() < 2) return 0;
    const int common = common_pages(branch, depth);
    const int64_t saved = static_cast<int64_t>(branch.size() - 1) * common;
    std::sort(branch.begin(), branch.end(), [&](int32_t a, int32_t b) {
      return std::pair(page_at(a, common), a) < std::pair(page_at(b, common), b);
    });
    std::vector<SharedPrefix> deeper;
    int64_t saved_deeper = 0;
    for (auto first = branch.begin(); first != branch.end();) {
      const int32_t page = page_at(*first, common);
      const auto last = std::find_if(first, branch.end(), [&](int32_t s) { return page_at(s, common) != page; });
      if (page >= 0) saved_deeper += collect({first, last}, common + 1, deeper);
      first = last;
    }
    if (saved_deeper >= saved) {
      std::move(deeper.begin(), deeper.end(), std::back_inserter(groups));
      return saved_deeper;
    }
    if (saved < worth) return 0;
    groups.push_back({{branch.begin(), branch.end()}, common});
    return saved;
  }
};

}  // namespace

std::vector<SharedPrefix> find_shared_prefixes(const PagedBatch& batch, int page_size, int64_t worth) {
  std::vector<int32_t> seqs;
  for (size_t i = 0; i < batch.seqs.size(); ++i) {
    if (batch.seqs[i].q_len == 1) seqs.push_back(static_cast<int32_t>(i));
  }
  std::vector<SharedPrefix> groups;
  PrefixTree{batch, page_size, std::max<int64_t>(worth, 1)}.collect(seqs, 0, groups);
  return groups;
}

}  // namespace sgl
