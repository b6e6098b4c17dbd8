#pragma once
// The answers of POST /v1/chat/completions, whole and in chunks.

#include <memory>

#include "server/answer_parser.h"
#include "server/generation.h"
#include "server/openai_common.h"

namespace sgl {

/// `answer`: what is looked for in the texts. Keeps `tokenizer`, which may be null.
std::unique_ptr<Reply> make_chat_reply(OpenAiForm form, std::shared_ptr<const AnswerFormat> answer,
                                       const Tokenizer* tokenizer);

}  // namespace sgl
