#pragma once
// Which sequences of a step begin with the same pages: attention can read these once for all of them (cascade
// attention, Ye et al. 2024). Prefixes of any length, for a device where bits may depend on the batch; shared_splits.h
// is for one where they may not.

#include <cstdint>
#include <vector>

#include "ops/backend.h"

namespace sgl {

/// Sequences that begin with the same full pages.
struct SharedPrefix {
  std::vector<int32_t> seqs;  ///< of the batch, by number; at least two
  int pages = 0;              ///< of each that are the same; none holds a token of this step
};

/// Of the sequences with one new token, groups that share prefixes; a sequence is in one of them at most. Where
/// prefixes branch, the groups are those which save the most; each saves at least `worth` reads of a page.
std::vector<SharedPrefix> find_shared_prefixes(const PagedBatch& batch, int page_size, int64_t worth);

}  // namespace sgl
