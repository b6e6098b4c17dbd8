#pragma once
// Which pages of the KV pool are free.
//
// A page has exactly one owner: this free list, a sequence, or the radix tree. Free pages are a stack: the page freed
// last is taken first, since it is the likeliest to be in the processor's caches, and memory that was never used stays
// untouched (not even mapped) while a used page is free. A fresh pool hands out 0, 1, 2, …, and pages that are freed
// together come back in the same order, so that a sequence's pages mostly lie side by side.

#include <cstdint>
#include <span>
#include <vector>

namespace sgl {

/// Index of a page in every layer's KV storage, in [0, total pages).
using PageId = int32_t;

/// Thread: the scheduler's only. Cost: O(pages taken or freed).
class PageAllocator {
 public:
  /// All `num_pages` (≥ 0) pages are free.
  explicit PageAllocator(int32_t num_pages);

  /// Appends `n` (≥ 0) pages to `out`. When fewer are free, returns false and changes nothing.
  [[nodiscard]] bool allocate(int n, std::vector<PageId>& out);

  /// Takes pages back. Asserts that each is in range and not free already.
  void free(std::span<const PageId> pages);

  int free_pages() const { return static_cast<int>(stack_.size()); }
  int total() const { return static_cast<int>(is_free_.size()); }

 private:
  std::vector<PageId> stack_;  ///< the free pages; the next one to hand out is last
  std::vector<bool> is_free_;  ///< by page: whether it is in stack_
};

}  // namespace sgl
