#pragma once
// How a single token is shown in log-probability lists.

#include <cstdint>
#include <string>

#include "sgl/tokenizer.h"

namespace sgl {

/// What the token adds to a text: its bytes, perhaps a part of a character, or a special token's spelling. Without a
/// tokenizer "token_id:7".
std::string token_text(const Tokenizer* tokenizer, int32_t id);

}  // namespace sgl
