#pragma once
// Which sequences of a step share whole splits of their context, so that attention reads those keys and values once for
// all of them with the same bits as for one (shared_prefix.h is for devices that do not promise that; cf. Juravsky et
// al. 2024, "Hydragen"; Ye et al. 2025, "FlashInfer", section on shared prefixes).

#include <cstdint>
#include <span>
#include <vector>

#include "ops/backend.h"

namespace sgl {

/// Sequences whose pages of one split are the same pages.
struct SharedTile {
  int32_t split = 0;
  int32_t first = 0, count = 0;  ///< in SharedSplits::members()
};

/// Found once a step. Only sequences with one new token take part: longer ones fill a tile by themselves. A sequence's
/// shared splits are its first ones, since who shares a page shares all before it.
class SharedSplits {
 public:
  /// Tiles hold at most `most` sequences, and are cut smaller where there would be fewer than `wanted`. Requires:
  /// split is a multiple of page_size.
  void find(const PagedBatch& batch, int split, int page_size, int64_t most, int64_t wanted);

  std::span<const SharedTile> tiles() const { return tiles_; }
  /// Indices of PagedBatch::seqs.
  std::span<const int32_t> members(const SharedTile& t) const {
    return std::span(members_).subspan(static_cast<size_t>(t.first), static_cast<size_t>(t.count));
  }
  /// Sequences of the largest tile.
  int64_t largest() const { return largest_; }
  /// How many splits of a sequence are in tiles.
  int count(int32_t seq) const { return static_cast<int>(places_[static_cast<size_t>(seq)].size()); }

  struct Place {
    int32_t tile, member;  ///< of tiles(), of members(tile)
  };
  Place place(int32_t seq, int split) const { return places_[static_cast<size_t>(seq)][static_cast<size_t>(split)]; }

 private:
  std::vector<SharedTile> tiles_;
  int64_t largest_ = 0;
  std::vector<int32_t> members_;
  std::vector<std::vector<Place>> places_;  // [sequence][split]
  std::vector<int32_t> order_, common_;
};

}  // namespace sgl
