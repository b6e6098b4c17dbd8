#pragma once
// How models write calls of tools: one row a format, which the parser reads (tool_parser.h) and the constraint writes
// (tool_constraint.h). Names are those of --tool-call-parser.

#include <string>
#include <string_view>
#include <vector>

#include "server/json_reader.h"

namespace sgl {

/// A function that the model may call.
struct Tool {
  std::string name;
  std::string description;
  Json parameters;      ///< the JSON Schema of its arguments; null: it takes none
  bool strict = false;  ///< its calls must follow the schema
};

enum class CallBody {
  Object,  ///< a JSON object: the arguments, or name and arguments, as the pattern says
  Python,  ///< keyword arguments up to the closing parenthesis: city="Paris", days=3)
  Tags,    ///< <parameter=city>\nParis\n</parameter> … </function>
};

/// What stands before the arguments of a call. A blank stands for any white space.
struct CallPattern {
  enum class Where {
    Anywhere,
    Start,      ///< only at the beginning of the text
    AfterCall,  ///< only behind another call
  } where = Where::Anywhere;
  std::string_view head;
  /// What separates the function's name, which follows the head, from the body. Empty: the body is an object that holds
  /// the name as "name" and the arguments as "arguments" or "parameters".
  std::string_view after_name;
};

struct ToolFormat {
  std::string_view name;
  CallBody body = CallBody::Object;
  std::vector<CallPattern> patterns;
  std::vector<std::string_view> tails;  ///< what may follow a call; dropped

  /// How calls are written, exactly: begin (call_begin NAME after_name ARGUMENTS call_end, separated) end.
  struct Writing {
    std::string_view begin, call_begin, after_name, call_end, separator, end;
  } writing;
  std::string_view trigger;  ///< what the calls begin with in the middle of text; empty: they are all of the text
  /// The tags may be special tokens, which the text must show.
  bool special_tokens = false;
  std::string_view template_mark;  ///< a chat template that mentions this is of a model that writes this format
};

/// CallBody::Tags: whether a parameter with this schema is written as plain text, not as JSON.
bool is_text_parameter(const Json& schema);

const std::vector<ToolFormat>& tool_formats();
/// By a name of SGLang's, several of which may mean one format; null if there is none.
const ToolFormat* find_tool_format(std::string_view name);
/// All names, for messages and --help.
std::vector<std::string> tool_parser_names();

/// Whether a chat template puts the request's tools into the prompt.
bool template_knows_tools(std::string_view chat_template);
/// The format that a model with this chat template writes; hermes where it does not say.
const ToolFormat& tool_format_of_template(std::string_view chat_template);

}  // namespace sgl
