#include "server/tool_constraint.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include <fmt/format.h>

#include "server/structural_tags.h"

namespace sgl {
namespace {

constexpr std::string_view kNoArguments = R"({"type":"object","properties":{},"additionalProperties":false})";

// ── Arguments ────────────────────────────────────────────────────────────────────────────────────────────────────────

// The schema of a whole object of arguments.
std::string object_schema(const Tool& tool) {
  const Json& p = tool.parameters;
  if (!p.is_object() || p.empty()) return std::string(kNoArguments);
  // Keywords that speak of further members.
  static constexpr std::string_view kOpen[] = {"additionalProperties",
                                               "patternProperties",
                                               "unevaluatedProperties",
                                               "dependentSchemas",
                                               "$ref",
                                               "allOf",
                                               "anyOf",
                                               "oneOf",
                                               "if"};
  const bool names_all =
      p.contains("properties") &&
      std::none_of(std::begin(kOpen), std::end(kOpen), [&](std::string_view key) { return p.contains(key); });
  Json object = p;
  object["type"] = "object";  // whatever else it allows is no object of arguments
  if (names_all) object["additionalProperties"] = false;
  return object.dump();
}

// One parameter of a call whose arguments are no JSON object.
struct Parameter {
  std::string name;
  std::string schema;  ///< text, with the definitions that it may refer to
  const Json* json = nullptr;
  bool required = false;
};

[[noreturn]] void refuse(const Tool& tool, const ToolFormat& format, const std::string& what) {
  throw Error(ErrorKind::Unsupported,
              fmt::format("tools: the parameters of {} cannot be honoured in the calls that the parser {} reads: {}",
                          quote(tool.name), format.name, what));
}

// Required ones first, otherwise in the schema's order.
std::vector<Parameter> read_parameters(const ToolFormat& format, const Tool& tool) {
  std::vector<Parameter> out;
  if (!tool.parameters.is_object() || tool.parameters.empty()) return out;
  for (const auto& [key, value] : tool.parameters.items()) {
    static constexpr std::string_view kKnown[] = {"type",    "properties",  "required", "additionalProperties",
                                                  "$defs",   "definitions", "title",    "description",
                                                  "$schema", "default",     "examples"};
    if (std::find(std::begin(kKnown), std::end(kKnown), key) == std::end(kKnown)) {
      refuse(tool, format, fmt::format("{} beside properties", quote(key)));
    }
  }
  if (const auto properties = tool.parameters.find("properties"); properties != tool.parameters.end()) {
    for (const auto& [name, schema] : properties->items()) {
      Json alone = schema;
      for (const char* key : {"$defs", "definitions"}) {
        if (alone.is_object() && tool.parameters.contains(key)) alone[key] = tool.parameters[key];
      }
      out.push_back({name, alone.dump(), &schema});
    }
  }
  if (const auto required = tool.parameters.find("required"); required != tool.parameters.end()) {
    for (const Json& name : *required) {
      const auto at = std::find_if(out.begin(), out.end(), [&](const Parameter& p) { return name == p.name; });
      if (at == out.end()) refuse(tool, format, fmt::format("it requires {}, which is no property", name.dump()));
      at->required = true;
    }
  }
  std::stable_partition(out.begin(), out.end(), [](const Parameter& p) { return p.required; });
  return out;
}

// city="Paris", days=3
std::string python_arguments(const std::vector<Parameter>& parameters) {
  const auto argument = [](const Parameter& p, std::string_view before) {
    return tags::sequence({tags::constant(fmt::format("{}{}=", before, p.name)), tags::json_schema(p.schema)});
  };
  // What may follow once there is an argument.
  const auto following = [&](size_t from) {
    std::vector<std::string> out;
    for (size_t i = from; i < parameters.size(); ++i) {
      const std::string next = argument(parameters[i], ", ");
      out.push_back(parameters[i].required ? next : tags::optional(next));
    }
    return out;
  };
  std::vector<std::string> first;  // by which argument is the first
  for (size_t i = 0; i < parameters.size(); ++i) {
    std::vector<std::string> all = following(i + 1);
    all.insert(all.begin(), argument(parameters[i], ""));
    first.push_back(tags::sequence(all));
    if (parameters[i].required) return first[0];
  }
  first.push_back(tags::constant(""));
  return tags::either(first);
}

// A value between <parameter=NAME>\n and \n</parameter>\n.
std::string tagged_value(const ToolFormat& format, const Tool& tool, const Parameter& p) {
  if (!is_text_parameter(*p.json)) return tags::json_schema(p.schema);
  // Its text stands as it is, not as a JSON string: of the keywords only those are honoured that have a way to say it
  // so.
  static constexpr std::string_view kKnown[] = {"type",        "enum",     "$defs",    "definitions", "title",
                                                "description", "$comment", "default",  "example",     "examples",
                                                "deprecated",  "readOnly", "writeOnly"};
  for (const auto& [key, value] : p.json->items()) {
    if (!key.starts_with("x-") && std::find(std::begin(kKnown), std::end(kKnown), key) == std::end(kKnown)) {
      refuse(tool, format, fmt::format("{} of {}, a text", key, quote(p.name)));
    }
  }
  if (const auto values = p.json->find("enum"); values != p.json->end()) {
    std::vector<std::string> all;
    for (const Json& v : *values) {
      if (v.is_string()) all.push_back(tags::constant(v.get<std::string>()));
    }
    return tags::either(all);
  }
  return tags::text_without("</parameter>");
}

std::string tagged_arguments(const ToolFormat& format, const Tool& tool) {
  std::vector<std::string> all;
  for (const Parameter& p : read_parameters(format, tool)) {
    // No tag of the format's: up to its end a tag takes any text, "</parameter>" too if no line ends before it.
    const std::string one = tags::sequence({tags::constant(fmt::format("<parameter={}>\n", p.name)),
                                            tagged_value(format, tool, p), tags::constant("\n</parameter>\n")});
    all.push_back(p.required ? one : tags::optional(one));
  }
  return tags::sequence(all);
}

std::string arguments(const ToolFormat& format, const Tool& tool, bool any) {
  switch (format.body) {
    case CallBody::Python:
      return python_arguments(read_parameters(format, tool));
    case CallBody::Tags:
      return tagged_arguments(format, tool);
    case CallBody::Object:
      break;
  }
  return tags::json_schema(any ? R"({"type":"object"})" : object_schema(tool));
}

// ── Calls ────────────────────────────────────────────────────────────────────────────────────────────────────────────

// All calls, less the `skipped` bytes that stand at their beginning.
std::string calls(const ToolFormat& format, const std::vector<Tool>& tools, bool strict_only, bool one,
                  size_t skipped) {
  const ToolFormat::Writing& w = format.writing;
  std::vector<std::string> each;
  for (const Tool& tool : tools) {
    const std::string begin = fmt::format("{}{}{}", w.call_begin, tool.name, w.after_name);
    each.push_back(tags::tag(begin.substr(w.begin.empty() ? skipped : 0),
                             arguments(format, tool, strict_only && !tool.strict), w.call_end));
  }
  const std::string all = tags::separated(each, w.separator, one);
  if (w.begin.empty()) return all;
  return tags::tag(w.begin.substr(skipped), all, w.end);
}

}  // namespace

std::string after_thinking(const ReasoningTags& thinking, const std::string& inner) {
  // What ReasoningParser drops; other white space would stand before the answer, where JSON has none.
  const std::string thought = tags::tag("", tags::any_text(), thinking.end), space = tags::regex("[ \\t\\r\\n]{0,4}");
  if (thinking.begins_inside) return tags::sequence({thought, space, inner});
  return tags::either({inner, tags::sequence({space, tags::constant(thinking.begin), thought, space, inner})});
}

std::string tool_structural_tag(const ToolFormat& format, const std::vector<Tool>& tools, ToolConstraint constraint,
                                const std::string& content, const ReasoningTags* thinking) {
  const bool free = constraint.calls == ToolConstraint::Calls::Free;
  const bool one = !constraint.parallel || constraint.calls == ToolConstraint::Calls::One;
  std::string out;
  if (!free) {
    out = calls(format, tools, false, one, 0);
  } else if (!content.empty()) {
    out = tags::either({calls(format, tools, true, one, 0), content});
  } else if (!format.trigger.empty()) {
    // Where each call has its own tags, the text goes on behind each of them.
    const bool one_each = one || format.writing.begin.empty();
    out = tags::triggered(format.trigger, calls(format, tools, true, one_each, format.trigger.size()), one);
  } else {
    // The whole text is calls, or begins like none and has none behind.
    const char* first = format.body == CallBody::Python ? "\\s*([^\\s\\[<]|<[^|])" : "\\s*([^\\s{<]|<[^|])";
    const auto tagged = std::find_if(format.patterns.begin(), format.patterns.end(),
                                     [](const CallPattern& p) { return p.where == CallPattern::Where::Anywhere; });
    out = tags::either(
        {calls(format, tools, true, one, 0), tags::regex("\\s*<?"),
         tags::sequence({tags::regex(first), tags::text_without(tagged->head.substr(0, tagged->head.find(' ')))})});
  }
  if (thinking != nullptr) out = after_thinking(*thinking, out);
  return tags::whole(out);
}

}  // namespace sgl
