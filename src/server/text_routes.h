#pragma once
// Routes that turn text into token ids and back, without the model.

#include <memory>

#include "server/http.h"
#include "server/service.h"

namespace sgl {

/// POST /tokenize {prompt: text or texts, or messages (and tools …); add_special_tokens = true} →
/// {tokens, count, max_model_len}; lists of them for a list of texts.
void handle_tokenize(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// POST /detokenize {tokens: ids, or lists of ids; skip_special_tokens = true} → {text}.
void handle_detokenize(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);

}  // namespace sgl
