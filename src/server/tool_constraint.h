#pragma once
// What a model must write so that its calls of tools are well-formed, as a structural tag (docs/structured_output.md).

#include <string>
#include <vector>

#include "server/reasoning_parser.h"
#include "server/tool_format.h"

namespace sgl {

struct ToolConstraint {
  enum class Calls {
    Free,  ///< text, in which calls may come
    Some,  ///< nothing but calls, one or more
    One,   ///< nothing but one call
  } calls = Calls::Free;
  bool parallel = true;  ///< false: of calls at most one
};

/// The structural tag's JSON text: calls of `tools` as `format` writes them, with arguments that follow their schemas
/// (with Free: those of strict tools; of others any). An object without `additionalProperties` takes the parameters
/// that it names. `thinking`, if not null: what may or must come first. Requires: tools are not empty. Throws
/// Unsupported, naming the tool, for schemas that the format cannot be held to.
std::string tool_structural_tag(const ToolFormat& format, const std::vector<Tool>& tools, ToolConstraint constraint,
                                const std::string& content, const ReasoningTags* thinking);

/// A format of structural tags that is `inner` after the thinking.
std::string after_thinking(const ReasoningTags& thinking, const std::string& inner);

}  // namespace sgl
