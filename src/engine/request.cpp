#include "sgl/request.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace sgl {
namespace {

// `next` follows `into`, of which it replaces the last `replaces`; returns how many of these were not in `into`.
template <typename T>
size_t append(std::vector<T>& into, std::vector<T>&& next, size_t replaces) {
  const size_t here = std::min(replaces, into.size());
  into.resize(into.size() - here);
  into.insert(into.end(), std::make_move_iterator(next.begin()), std::make_move_iterator(next.end()));
  return replaces - here;
}

}  // namespace

void merge(Output& into, Output&& next) {
  const auto replaces = static_cast<size_t>(next.replaces);
  next.replaces = into.replaces + static_cast<int>(append(into.token_ids, std::move(next.token_ids), replaces));
  append(into.logprobs, std::move(next.logprobs), replaces);
  append(into.prompt_logprobs, std::move(next.prompt_logprobs), 0);
  next.text.insert(0, into.text);
  next.token_ids = std::move(into.token_ids);
  next.logprobs = std::move(into.logprobs);
  next.prompt_logprobs = std::move(into.prompt_logprobs);
  into = std::move(next);
}

}  // namespace sgl
