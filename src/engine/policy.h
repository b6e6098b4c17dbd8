#pragma once
// In which order waiting requests are tried for admission.

#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cache/radix_tree.h"
#include "engine/sequence.h"

namespace sgl {

enum class Policy {
  Lpm,        ///< longest cached prefix first; first come first served when more than 128 wait
  Fcfs,       ///< first come, first served
  DfsWeight,  ///< requests that share cached prefixes stand together, heavier subtrees first
  Lof,        ///< longest output first, by max_new_tokens
  Random,
};

/// Whether the order depends on what is cached.
inline bool needs_cache(Policy policy) { return policy == Policy::Lpm || policy == Policy::DfsWeight; }

/// Throws InvalidArgument naming the choices.
Policy parse_policy(const std::string& name);

/// Sorts `waiting` for this step. Stable: equals stay in order of arrival.
void order_waiting(std::deque<std::unique_ptr<Sequence>>& waiting, Policy policy, const RadixTree& tree,
                   std::mt19937_64& rng);

}  // namespace sgl
