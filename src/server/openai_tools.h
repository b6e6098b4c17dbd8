#pragma once
// The fields of a chat request that speak of tools: tools, tool_choice, parallel_tool_calls.

#include <vector>

#include "server/chat_formats.h"
#include "server/json_reader.h"
#include "server/tool_constraint.h"
#include "server/tool_format.h"
#include "sgl/request.h"

namespace sgl {

struct ToolFields {
  std::vector<Tool> offered;   ///< what the prompt tells of; empty: no tools
  std::vector<Tool> callable;  ///< what may be called: one of them if the request names it
  ToolConstraint constraint;

  /// Whether calls must be well-formed: for the choice "required", a named one, and strict tools.
  bool constrained() const;
};

/// Throws ValidationError or InvalidArgument naming the field, Unsupported for tools that are no functions.
ToolFields read_tool_fields(const Fields& fields);

/// Puts the tools into the prompt. A chat template that knows tools gets them as OpenAI's JSON. For others the
/// conversation says what there is and how to call it, what has been called and what came back: the model has never
/// seen the like in training, but may understand.
void give_tools(ChatPrompt& chat, const std::vector<Tool>& tools, const ChatFormats& formats);

}  // namespace sgl
