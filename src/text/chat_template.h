#pragma once
// A conversation → the prompt that the model was trained on, by the model's own chat template.
//
// The template sees what transformers' apply_chat_template would show it: messages as dicts, tools as JSON, special
// tokens by name, tool-call arguments as objects, reasoning under both of its names. Clients of an API do not know what
// a template can take, so its abilities are probed once, and messages are given in a form that it takes:
//
//   content of text parts only    one string, the parts joined by newlines; a list of parts if the template wants lists
//   content with an image         a list of parts; InvalidArgument if the template takes only text
//   no content, tool calls        None, unless the template fails on it or prints "None"; then ""
//   no content, no tool calls     ""
//   arguments of a tool call      the parsed object; as written if that is no JSON object, or the template wants text

#include <ctime>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sgl/request.h"
#include "text/jinja.h"

namespace sgl {

struct ChatTemplateOptions {
  /// More special tokens by their name in tokenizer_config.json: "pad_token", "unk_token", …
  std::map<std::string, std::string> special_tokens{};
  std::function<std::tm()> now{};  ///< local time for the template; empty: the machine's
};

/// Immutable; any number of threads may render at the same time.
class ChatTemplate {
 public:
  /// An empty token is undefined in the template. Throws CorruptFile or Unsupported when `source` is no template that
  /// this program can run; the message has the line.
  explicit ChatTemplate(std::string source, const std::string& bos_token = "", const std::string& eos_token = "",
                        ChatTemplateOptions options = {});

  /// The prompt's text, special tokens included: encode it without adding any. Throws InvalidArgument when the template
  /// refuses the conversation (its own message is in it), fails on it, or takes too long.
  ///
  /// With continue_final_message no generation prompt is added, and the text ends where the last message's content
  /// does.
  std::string render(const ChatPrompt& chat) const;

  const std::string& source() const { return source_; }
  /// Whether `content` must be, or may be, a list of parts.
  bool takes_text() const { return abilities_.text; }
  bool takes_parts() const { return abilities_.parts; }

 private:
  struct Abilities {
    bool text = true;              ///< content may be a string
    bool parts = false;            ///< content may be a list of {"type": "text", "text": …}
    bool null_content = true;      ///< content may be None beside tool calls
    bool object_arguments = true;  ///< a tool call's arguments may be an object
  };
  using Variables = std::vector<std::pair<std::string_view, jinja::Value>>;

  Variables variables(jinja::Value messages, bool add_generation_prompt) const;
  void probe();
  /// The rendering of a tiny conversation, or nothing if the template fails on it.
  std::optional<std::string> probe_messages(const Abilities& abilities, const std::vector<ChatMessage>& messages) const;

  // The values that the template sees. `suffix` is put after the last text of the content.
  static jinja::Value messages_value(jinja::Heap& heap, const Abilities& abilities,
                                     const std::vector<ChatMessage>& messages, std::string_view suffix);
  static jinja::Value message_value(jinja::Heap& heap, const Abilities& abilities, const ChatMessage& message,
                                    std::string_view suffix);
  static jinja::Value content_value(jinja::Heap& heap, const Abilities& abilities, const ChatMessage& message,
                                    std::string_view suffix);
  static jinja::Value tool_call_value(jinja::Heap& heap, const Abilities& abilities, const ToolCall& call);

  std::string source_;
  jinja::Template template_;
  std::map<std::string, std::string> special_tokens_;
  jinja::RenderOptions options_;
  Abilities abilities_;
};

/// The source of a built-in template (builtin_chat_templates()) or the content of a file. Throws NotFound with the list
/// of names.
std::string load_chat_template(const std::string& name_or_path);

/// Names of the built-in templates: formats that many models share. Theirs own is better where there is one: these know
/// no tools.
std::vector<std::string> builtin_chat_templates();
/// Null if there is none of that name.
const char* find_builtin_chat_template(std::string_view name);

}  // namespace sgl
