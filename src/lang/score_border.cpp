#include "lang/score_border.h"

#include <algorithm>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl::lang {

size_t score_border(const std::vector<int32_t>& prompt, const std::vector<std::vector<int32_t>>& ids,
                    const std::vector<std::string>& choices) {
  size_t border = prompt.size();
  for (const std::vector<int32_t>& all : ids) {
    const auto leaves = std::mismatch(prompt.begin(), prompt.end(), all.begin(), all.end()).first;
    border = std::min(border, static_cast<size_t>(leaves - prompt.begin()));
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i].size() <= border) {
      throw Error(
          ErrorKind::InvalidArgument,
          fmt::format("select: the choice \"{}\" adds no token to the prompt, so it cannot be scored", choices[i]));
    }
  }
  return border;
}

}  // namespace sgl::lang
