#pragma once
// The backends of one tensor-parallel group (Shoeybi et al. 2019, Megatron-LM): one for each rank, each with its own
// thread, all in this process. They compute the same steps; where a product's inputs are shared out, they add up.

#include <array>
#include <cstdint>
#include <span>

#include "base/rendezvous.h"
#include "sgl/error.h"

namespace sgl {

/// What a rank gets that waits for one which has failed.
class AnotherRankFailed : public Error {
 public:
  AnotherRankFailed() : Error(ErrorKind::Internal, "another rank of the tensor-parallel group has failed") {}
};

class RankGroup {
 public:
  static constexpr int kMost = 8;

  /// Requires: 1 ≤ size ≤ kMost.
  explicit RankGroup(int size) : size_(size), rendezvous_(size) {}

  int size() const { return size_; }

  struct Meeting {
    uint32_t number;                  ///< rises from meeting to meeting
    std::span<void* const> pointers;  ///< of each rank, until leave()
  };
  /// Waits for all ranks and hands round a pointer of each. Throws AnotherRankFailed after cancel().
  Meeting meet(int rank, void* mine) {
    pointers_[static_cast<size_t>(rank)] = mine;
    return {come(), std::span(pointers_).first(static_cast<size_t>(size_))};
  }
  /// Ends a meeting: waits until all ranks have done what they met for. On a device, they have launched it: whatever a
  /// rank's host waits for from now on, it waits for nothing that another host has still to do.
  void leave() { come(); }

  /// Who cannot come any more, because of an error, says so: nobody waits for it. When all ranks have ended,
  /// restart().
  void cancel() { rendezvous_.cancel(); }
  void restart() { rendezvous_.restart(); }

 private:
  uint32_t come() {
    const auto [met, number] = rendezvous_.meet();
    if (!met) throw AnotherRankFailed();
    return number;
  }

  const int size_;
  Rendezvous rendezvous_;
  std::array<void*, kMost> pointers_{};
};

}  // namespace sgl
