#include "cache/page_allocator.h"

#include "base/assert.h"

namespace sgl {

PageAllocator::PageAllocator(int32_t num_pages) {
  SGL_ASSERT(num_pages >= 0, "a pool of {} pages", num_pages);
  is_free_.assign(static_cast<size_t>(num_pages), true);
  stack_.reserve(static_cast<size_t>(num_pages));
  for (PageId page = num_pages; page > 0; --page) stack_.push_back(page - 1);
}

bool PageAllocator::allocate(int n, std::vector<PageId>& out) {
  SGL_ASSERT(n >= 0, "{} pages asked for", n);
  if (n > free_pages()) return false;
  out.reserve(out.size() + static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) {
    PageId page = stack_.back();
    stack_.pop_back();
    is_free_[static_cast<size_t>(page)] = false;
    out.push_back(page);
  }
  return true;
}

void PageAllocator::free(std::span<const PageId> pages) {
  for (size_t i = pages.size(); i > 0; --i) {  // backwards: the next allocation gets them in their old order
    PageId page = pages[i - 1];
    SGL_ASSERT(page >= 0 && page < total(), "page {} does not exist: the pool has {}", page, total());
    SGL_ASSERT(!is_free_[static_cast<size_t>(page)], "page {} is freed twice", page);
    is_free_[static_cast<size_t>(page)] = true;
    stack_.push_back(page);
  }
}

}  // namespace sgl
