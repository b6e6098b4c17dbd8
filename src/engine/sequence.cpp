#include "engine/sequence.h"

#include <algorithm>

#include "base/assert.h"

namespace sgl {

void Sequence::append_output(int32_t id, PositionLogprobs logprobs, Output& piece) {
  tokens.push_back(id);
  piece.token_ids.push_back(id);
  if (return_logprob) piece.logprobs.push_back(std::move(logprobs));
  if (constraint) is_forced.push_back(false);
  if (!wants_penalties()) return;
  auto it = std::find_if(output_counts.begin(), output_counts.end(), [&](auto& c) { return c.first == id; });
  if (it == output_counts.end()) {
    output_counts.emplace_back(id, 1);
  } else {
    ++it->second;
  }
}

void Sequence::append_forced(int32_t id, Output& piece) {
  PositionLogprobs logprobs{.token = {0.0F, id}, .top = {}, .asked = {}};
  if (top_logprobs > 0) logprobs.top = {{0.0F, id}};
  for (int32_t asked : asked_ids) logprobs.asked.push_back({asked == id ? std::optional(0.0F) : std::nullopt, asked});
  append_output(id, std::move(logprobs), piece);
  is_forced.back() = true;
  ++forced_tokens;
}

void Sequence::drop_output(size_t keep, Output& piece) {
  SGL_ASSERT(computed <= prompt_len + static_cast<int>(keep), "a token is taken back whose keys are in the cache");
  SGL_ASSERT(!return_logprob || output().size() == keep, "a token is taken back whose log-probability was reported");
  while (output().size() > keep) {
    const int32_t id = tokens.back();
    tokens.pop_back();
    forced_tokens -= is_forced.back() ? 1 : 0;
    is_forced.pop_back();
    if (!piece.token_ids.empty()) {
      piece.token_ids.pop_back();
    } else {
      ++piece.replaces;
    }
    std::erase_if(output_counts, [&](auto& c) { return c.first == id && --c.second == 0; });
  }
}

}  // namespace sgl
