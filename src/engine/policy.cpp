#include "engine/policy.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl {
namespace {

// Looking up more prefixes than this at every step costs more than the order gains (SGLang's bound).
constexpr size_t kMostLookups = 128;

RadixTree::Key key_of(const Sequence& seq) { return {seq.tokens, seq.cache_namespace}; }

void by_arrival(std::deque<std::unique_ptr<Sequence>>& waiting) {
  auto earlier = [](const auto& a, const auto& b) { return a->arrival < b->arrival; };
  if (!std::is_sorted(waiting.begin(), waiting.end(), earlier)) std::sort(waiting.begin(), waiting.end(), earlier);
}

void permute(std::deque<std::unique_ptr<Sequence>>& waiting, const std::vector<int>& order) {
  std::deque<std::unique_ptr<Sequence>> sorted;
  for (int i : order) sorted.push_back(std::move(waiting[static_cast<size_t>(i)]));
  waiting = std::move(sorted);
}

}  // namespace

Policy parse_policy(const std::string& name) {
  if (name == "lpm") return Policy::Lpm;
  if (name == "fcfs") return Policy::Fcfs;
  if (name == "dfs-weight") return Policy::DfsWeight;
  if (name == "lof") return Policy::Lof;
  if (name == "random") return Policy::Random;
  throw Error(ErrorKind::InvalidArgument,
              fmt::format("schedule policy must be lpm, fcfs, dfs-weight, lof or random, got \"{}\"", name));
}

void order_waiting(std::deque<std::unique_ptr<Sequence>>& waiting, Policy policy, const RadixTree& tree,
                   std::mt19937_64& rng) {
  if (waiting.size() < 2) return;
  if (policy == Policy::Random) {
    std::shuffle(waiting.begin(), waiting.end(), rng);
    return;
  }
  by_arrival(waiting);
  if (policy == Policy::Lof) {
    std::stable_sort(waiting.begin(), waiting.end(),
                     [](const auto& a, const auto& b) { return a->max_new_tokens > b->max_new_tokens; });
    return;
  }
  if (policy == Policy::Fcfs || waiting.size() > kMostLookups) return;
  if (policy == Policy::DfsWeight) {
    std::vector<RadixTree::Key> keys;
    for (const auto& seq : waiting) keys.push_back(key_of(*seq));
    permute(waiting, tree.depth_first_order(keys));
    return;
  }
  std::vector<std::pair<int, int>> by_match;  // (−match, place)
  for (size_t i = 0; i < waiting.size(); ++i) {
    by_match.emplace_back(-tree.match_length(key_of(*waiting[i])), static_cast<int>(i));
  }
  std::sort(by_match.begin(), by_match.end());
  std::vector<int> order;
  for (auto [match, i] : by_match) order.push_back(i);
  permute(waiting, order);
}

}  // namespace sgl
