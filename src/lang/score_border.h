#pragma once
// Where the scores of choices begin.
//
// Prompt and choice are tokenized as one text, so a choice's first characters may merge with the prompt's last token.
// All choices are scored from the first position where any of them leaves the prompt's tokens; so they stay
// comparable when one merges and another does not:
//
//   prompt       The  sky  is
//   + " blue"    The  sky  is  ␣blue         scored from ␣blue
//   + "land"     The  sky  island            leaves at "is": all are scored from there
//
// (What a merged token replaces is scored too, for each choice.)

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace sgl::lang {

/// First position to score. `prompt`: its tokens alone; `ids`: tokens of prompt + choice. Throws InvalidArgument if a
/// choice adds no token behind it.
size_t score_border(const std::vector<int32_t>& prompt, const std::vector<std::vector<int32_t>>& ids,
                    const std::vector<std::string>& choices);

}  // namespace sgl::lang
