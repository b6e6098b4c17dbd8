#include "sgl/request.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace sgl {
namespace {

template <typename T>
void append(std::vector<T>& into, std::vector<T>&& next) {
  into.insert(into.end(), std::make_move_iterator(next.begin()), std::make_move_iterator(next.end()));
}

}  // namespace

void merge(Output& into, Output&& next) {
  const size_t here = std::min(static_cast<size_t>(next.replaces), into.token_ids.size());
  into.token_ids.resize(into.token_ids.size() - here);
  next.replaces += into.replaces - static_cast<int>(here);
  append(into.token_ids, std::move(next.token_ids));
  append(into.logprobs, std::move(next.logprobs));
  append(into.prompt_logprobs, std::move(next.prompt_logprobs));
  next.text.insert(0, into.text);
  next.token_ids = std::move(into.token_ids);
  next.logprobs = std::move(into.logprobs);
  next.prompt_logprobs = std::move(into.prompt_logprobs);
  if (next.embedding.empty()) next.embedding = std::move(into.embedding);
  into = std::move(next);
}

}  // namespace sgl
