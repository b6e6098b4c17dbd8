#pragma once
// Routes that read a model's text as the chat route would: for clients that render prompts themselves.

#include <memory>

#include "server/http.h"
#include "server/service.h"

namespace sgl {

/// POST /parse_function_call {text, tools, tool_call_parser: a name, or the model's} →
/// {normal_text, calls: [{tool_index: which of the tools, name, parameters: JSON text}]}.
void handle_parse_function_call(Service& service, const HttpRequest& request,
                                const std::shared_ptr<Responder>& responder);
/// POST /separate_reasoning {text, reasoning_parser: a name, or the server's} → {reasoning_text, text}.
void handle_separate_reasoning(Service& service, const HttpRequest& request,
                               const std::shared_ptr<Responder>& responder);

}  // namespace sgl
