#include "server/token_text.h"

#include <fmt/format.h>

namespace sgl {

std::string token_text(const Tokenizer* tokenizer, int32_t id) {
  if (tokenizer == nullptr) return fmt::format("token_id:{}", id);
  return tokenizer->is_special(id) ? std::string(tokenizer->token(id)) : tokenizer->token_bytes(id);
}

}  // namespace sgl
