#pragma once
// The fields of a chat request that speak of tools: tools, tool_choice, parallel_tool_calls.

#include <vector>

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

/// The tools' JSON as OpenAI has it, for the chat template.
std::string tools_json(const std::vector<Tool>& tools);

/// For chat templates that know no tools: writes into the conversation what tools there are and how to call them, what
/// has been called, and what came back. The model has never seen the like in training, but may understand.
void explain_tools(ChatPrompt& chat, const std::vector<Tool>& tools, const ToolFormat& format);

}  // namespace sgl
