#pragma once
// What EngineStats mean to an operator.

#include <algorithm>
#include <cstdint>

#include "sgl/engine.h"

namespace sgl {

inline double share(int64_t part, int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(std::max<int64_t>(whole, 1));
}

/// Tokens generated a second of late; none while nothing runs.
inline double throughput_now(const EngineStats& s) { return s.running == 0 ? 0 : s.gen_throughput; }

/// Tokens that the KV pool holds at most.
inline int64_t pool_tokens(const EngineStats& s) { return s.total_pages * s.page_size; }

/// Tokens of pages that the cache alone holds: evicted when others need them.
inline int64_t evictable_tokens(const EngineStats& s) { return (s.cached_pages - s.cached_pages_locked) * s.page_size; }

/// Tokens of pages that running requests hold: not free, and not in the cache alone.
inline int64_t used_tokens(const EngineStats& s) {
  return (s.total_pages - s.free_pages) * s.page_size - evictable_tokens(s);
}

}  // namespace sgl
