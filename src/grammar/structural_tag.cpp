// Structural tags: free text in which some strings, the triggers, begin a part that must follow a schema.
//   {"structures": [{"begin": "<f>", "schema": {…}, "end": "</f>"}], "triggers": ["<f"]}         SGLang's old form
//   {"type": "structural_tag", "format": {"type": "triggered_tags", …}}                          the new one

#include <algorithm>
#include <initializer_list>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <sgl/error.h>

#include "grammar/compile.h"
#include "grammar/free_text.h"
#include "grammar/json_schema.h"
#include "grammar/regex_syntax.h"

namespace sgl::grammar {
namespace {

using Type = JsonValue::Type;
constexpr int kDeepestFormat = 100;

// An object of the tag's JSON text and its place. A member that is absent or null has its default.
struct Part {
  const JsonValue& json;
  std::string place;  // a JSON pointer

  [[noreturn]] void fail(const std::string& what, ErrorKind kind = ErrorKind::InvalidArgument) const {
    throw Error(kind, fmt::format("structural tag: {} at {}", what, place));
  }
  // A member with another name would change the meaning, or is a slip of the pen.
  void only(std::initializer_list<std::string_view> names) const {
    if (!json.is(Type::Object)) fail("expected an object");
    for (const JsonMember& m : json.members) {
      if (std::find(names.begin(), names.end(), m.name) == names.end()) {
        throw Error(ErrorKind::Unsupported,
                    fmt::format("structural tag: '{}' at {}/{} is not supported; known here: {}", m.name, place, m.name,
                                fmt::join(names, ", ")));
      }
    }
  }
  const JsonValue* find(std::string_view name, Type type, const char* expected) const {
    const JsonValue* value = json.find(name);
    if (value == nullptr || value->is(Type::Null)) return nullptr;
    if (!value->is(type)) fail(fmt::format("'{}' must be {}", name, expected));
    return value;
  }
  std::string string(std::string_view name) const {
    const JsonValue* value = find(name, Type::String, "a string");
    if (value == nullptr) fail(fmt::format("'{}' must be a string", name));
    return value->text;
  }
  bool flag(std::string_view name) const {
    const JsonValue* value = find(name, Type::Boolean, "true or false");
    return value != nullptr && value->boolean;
  }
  std::vector<std::string> strings(std::string_view name) const {
    std::vector<std::string> out;
    const JsonValue* array = find(name, Type::Array, "a list of strings");
    if (array == nullptr) return out;
    for (const JsonValue& item : array->items) {
      if (!item.is(Type::String) || item.text.empty()) {
        fail(fmt::format("'{}' must be a list of strings that are not empty", name));
      }
      out.push_back(item.text);
    }
    return out;
  }
  Part member(std::string_view name) const {
    const JsonValue* value = json.find(name);
    if (value == nullptr) fail(fmt::format("'{}' is missing", name));
    return {*value, fmt::format("{}/{}", place, name)};
  }
  std::vector<Part> list(std::string_view name) const {
    const JsonValue* array = find(name, Type::Array, "a list");
    if (array == nullptr) fail(fmt::format("'{}' must be a list", name));
    std::vector<Part> out;
    for (const JsonValue& item : array->items) out.push_back({item, fmt::format("{}/{}/{}", place, name, out.size())});
    return out;
  }
};

class TagCompiler {
 public:
  TagCompiler(CharTerms& chars, const GrammarOptions& options)
      : chars_(chars), a_(chars.automaton()), options_(options) {}

  TermId compile(const Part& root) {
    const bool has_format = root.json.find("format") != nullptr;
    if (!has_format && (root.json.find("structures") == nullptr || root.json.find("triggers") == nullptr)) {
      root.fail("expected {\"structures\": […], \"triggers\": […]} or {\"type\": \"structural_tag\", \"format\": {…}}");
    }
    if (root.json.find("type") != nullptr && root.string("type") != "structural_tag") {
      root.fail("'type' must be \"structural_tag\"");
    }
    if (has_format) {
      root.only({"type", "format"});
      return format_term(root.member("format"), 0);
    }
    root.only({"type", "structures", "triggers"});
    std::vector<Tag> tags;
    for (const Part& s : root.list("structures")) {
      s.only({"begin", "schema", "end"});
      tags.push_back({s.string("begin"), schema_term(s.member("schema")), s.string("end")});
    }
    return triggered(root, tags, false, false);
  }

 private:
  struct Tag {
    std::string begin;
    TermId content;
    std::string end;
  };

  TermId schema_term(const Part& schema) { return SchemaCompiler(chars_, schema.json, options_).compile(); }

  TermId format_term(const Part& format, int depth) {
    if (depth > kDeepestFormat) {
      throw Error(ErrorKind::Unsupported,
                  fmt::format("structural tag: formats nested more than {} deep", kDeepestFormat));
    }
    const std::string type = format.string("type");
    if (type == "const_string") {
      format.only({"type", "value"});
      return a_.literal(format.string("value"));
    }
    if (type == "json_schema") return json_term(format);
    if (type == "regex") {
      format.only({"type", "pattern"});
      return compile_regex(chars_, format.string("pattern"));
    }
    if (type == "grammar") {
      format.only({"type", "grammar"});
      return compile_ebnf(chars_, format.string("grammar"));
    }
    if (type == "any_text") {
      format.only({"type", "excludes"});
      return free_text(a_, excluded(format), true);
    }
    if (type == "sequence" || type == "or") {
      format.only({"type", "elements"});
      std::vector<TermId> parts;
      for (const Part& element : format.list("elements")) parts.push_back(format_term(element, depth + 1));
      if (type == "or") return a_.alt(parts);
      TermId t = kEpsilon;
      for (size_t i = parts.size(); i-- > 0;) t = a_.cat(parts[i], t);
      return t;
    }
    if (type == "tag") return tag_term(read_tag(format, depth));
    if (type == "triggered_tags") {
      format.only({"type", "triggers", "tags", "at_least_one", "stop_after_first", "excludes"});
      return triggered(format, read_tags(format, depth), format.flag("at_least_one"), format.flag("stop_after_first"));
    }
    if (type == "tags_with_separator") {
      format.only({"type", "tags", "separator", "at_least_one", "stop_after_first"});
      std::vector<TermId> options;
      for (const Tag& tag : read_tags(format, depth)) options.push_back(tag_term(tag));
      TermId one = a_.alt(options);
      TermId all = format.flag("stop_after_first")
                       ? one
                       : a_.cat(one, a_.star(a_.cat(a_.literal(format.string("separator")), one)));
      return format.flag("at_least_one") ? all : a_.optional(all);
    }
    format.fail(fmt::format("the format type '{}' is not supported", type), ErrorKind::Unsupported);
  }

  TermId json_term(const Part& format) {
    format.only({"type", "json_schema", "style", "any_order"});
    if (const JsonValue* style = format.find("style", Type::String, "a string"); style && style->text != "json") {
      format.fail(fmt::format("the style '{}' is not supported, only \"json\"", style->text), ErrorKind::Unsupported);
    }
    if (format.flag("any_order")) {
      format.fail("any_order is not supported: members come in the schema's order", ErrorKind::Unsupported);
    }
    return schema_term(format.member("json_schema"));
  }

  Tag read_tag(const Part& format, int depth) {
    format.only({"type", "begin", "content", "end"});
    if (format.json.find("type") != nullptr && format.string("type") != "tag") format.fail("expected a tag");
    Tag tag{format.string("begin"), kNone, format.string("end")};
    const Part content = format.member("content");
    const JsonValue* type = content.json.find("type");
    if (type != nullptr && type->is(Type::String) && type->text == "any_text" && !tag.end.empty()) {
      // Up to the end tag, which the text does not hold.
      content.only({"type", "excludes"});
      Stops stops = excluded(content);
      add_stop(stops, tag.end, kEpsilon, content);
      tag.content = free_text(a_, stops, false);
      tag.end.clear();
    } else {
      tag.content = format_term(content, depth + 1);
    }
    return tag;
  }
  std::vector<Tag> read_tags(const Part& format, int depth) {
    std::vector<Tag> tags;
    for (const Part& tag : format.list("tags")) tags.push_back(read_tag(tag, depth));
    return tags;
  }
  TermId tag_term(const Tag& tag) { return a_.cat({a_.literal(tag.begin), tag.content, a_.literal(tag.end)}); }

  using Stops = std::vector<TextStop>;

  static Stops excluded(const Part& format) {
    Stops stops;
    for (std::string& text : format.strings("excludes")) stops.push_back({std::move(text), kNone});
    return stops;
  }
  // Behind those that are excluded, which thus must not come across its beginning either.
  static void add_stop(Stops& stops, const std::string& text, TermId after, const Part& format) {
    for (const std::string& excluded : format.strings("excludes")) {
      if (text.find(excluded) == std::string::npos) continue;
      format.fail(fmt::format("'excludes' has '{}', a part of '{}', which then could never come", excluded, text));
    }
    stops.push_back({text, after});
  }

  TermId triggered(const Part& format, const std::vector<Tag>& tags, bool at_least_one, bool stop) {
    // What comes after a trigger: the rest of a tag that begins with it, and then free text again.
    RuleId again = a_.new_rule("free text", false);
    Stops stops = excluded(format);
    format.list("triggers");  // there must be one
    const std::vector<std::string> triggers = format.strings("triggers");
    for (const Tag& tag : tags) {
      const bool starts = std::any_of(triggers.begin(), triggers.end(),
                                      [&](const std::string& trigger) { return tag.begin.starts_with(trigger); });
      if (!starts) format.fail(fmt::format("no trigger starts the tag '{}', which then could never come", tag.begin));
    }
    for (const std::string& trigger : triggers) {
      std::vector<TermId> options;
      for (const Tag& tag : tags) {
        if (!tag.begin.starts_with(trigger)) continue;
        Tag rest = tag;
        rest.begin.erase(0, trigger.size());
        options.push_back(a_.cat(tag_term(rest), stop ? kEpsilon : a_.call(again)));
      }
      if (options.empty()) format.fail(fmt::format("no tag begins with the trigger '{}'", trigger));
      add_stop(stops, trigger, a_.alt(options), format);
    }
    TermId free = free_text(a_, stops, true);
    a_.define(again, free);
    return at_least_one ? free_text(a_, stops, false) : free;
  }

  CharTerms& chars_;
  Automaton& a_;
  GrammarOptions options_;
};

}  // namespace

TermId compile_structural_tag(CharTerms& chars, std::string_view text, const GrammarOptions& options) {
  const JsonValue root = parse_json_text(text);
  return TagCompiler(chars, options).compile({root, "#"});
}

}  // namespace sgl::grammar
