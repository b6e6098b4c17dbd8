// Structural tags: free text in which some strings, the triggers, begin a part that must follow a schema.
//   {"structures": [{"begin": "<f>", "schema": {…}, "end": "</f>"}], "triggers": ["<f"]}         SGLang's old form
//   {"type": "structural_tag", "format": {"type": "triggered_tags", …}}                          the new one

#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>

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
constexpr size_t kStepsPerByte = 8;  // to look for names of special tokens

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
  TagCompiler(CharTerms& chars, const GrammarOptions& options, const TokenVocabulary* vocabulary)
      : chars_(chars), a_(chars.automaton()), options_(options), vocabulary_(vocabulary) {}

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
      tags.push_back({mark(s, "begin"), schema_term(s.member("schema")), {mark(s, "end")}});
    }
    return triggered(root, tags, false, false);
  }

 private:
  struct Tag {
    std::string begin;
    TermId content;
    std::vector<std::string> ends;  // alternatives
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
    if (type == "token") return a_.literal(spell(special_token(format)).bytes);
    if (type == "optional" || type == "plus" || type == "star") {
      format.only({"type", "content"});
      return a_.repeat(format_term(format.member("content"), depth + 1), type == "plus" ? 1 : 0,
                       type == "optional" ? 1 : kUnbounded);
    }
    if (type == "repeat") {
      format.only({"type", "min", "max", "content"});
      const JsonValue &least = format.member("min").json, &most = format.member("max").json;
      uint64_t min = 0, max = kUnbounded;
      const bool is_bounded = !most.is(Type::Number) || most.text != "-1";
      if (!to_count(least, min) || (is_bounded && !to_count(most, max)) || min > max) {
        format.fail("expected 0 ≤ min ≤ max, or a max of -1 for no bound");
      }
      return a_.repeat(format_term(format.member("content"), depth + 1), min, max);
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
                       : a_.cat(one, a_.star(a_.cat(a_.literal(spell(format.string("separator")).bytes), one)));
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
    Tag tag{mark(format, "begin"), kNone, end_marks(format)};
    const Part content = format.member("content");
    const JsonValue* type = content.json.find("type");
    const bool is_text = type != nullptr && type->is(Type::String) && type->text == "any_text";
    if (is_text && tag.ends != std::vector<std::string>{""}) {
      // Up to the first end tag, which the text does not hold.
      content.only({"type", "excludes"});
      Stops stops = excluded(content);
      for (const std::string& end : tag.ends) {
        for (const std::string& other : tag.ends) {
          a_.budget().spend(end.size());
          const size_t at = end.find(other);
          if (at == std::string::npos || at + other.size() == end.size()) continue;
          format.fail(fmt::format("the end '{}' could never come: text ends at '{}' in it", end, other));
        }
        add_stop(stops, spell(end), kEpsilon, content);
      }
      tag.content = free_text(a_, stops, false);
      tag.ends = {""};
    } else {
      tag.content = content_term(content, tag.begin, depth + 1);
    }
    return tag;
  }
  // Of a tag: an error says in which, since there may be one for each of many tools.
  TermId content_term(const Part& content, const std::string& begin, int depth) {
    try {
      return format_term(content, depth);
    } catch (const Error& e) {
      throw Error(e.kind(), fmt::format("behind '{}': {}", begin, e.what()));
    }
  }
  std::vector<Tag> read_tags(const Part& format, int depth) {
    std::vector<Tag> tags;
    for (const Part& tag : format.list("tags")) tags.push_back(read_tag(tag, depth));
    return tags;
  }
  TermId tag_term(const Tag& tag) { return tag_term(spell(tag.begin).bytes, tag); }
  TermId tag_term(std::string_view begin, const Tag& tag) {
    std::vector<TermId> ends;
    for (const std::string& end : tag.ends) ends.push_back(a_.literal(spell(end).bytes));
    return a_.cat({a_.literal(begin), tag.content, a_.alt(ends)});
  }

  // A tag's begin or end: a text, or {"type": "token", "token": …}.
  std::string mark(const Part& tag, std::string_view name) const {
    const JsonValue* value = tag.json.find(name);
    return value != nullptr && value->is(Type::Object) ? special_token(tag.member(name)) : tag.string(name);
  }
  // Or a list of texts.
  std::vector<std::string> end_marks(const Part& tag) const {
    const JsonValue* value = tag.json.find("end");
    if (value == nullptr || !value->is(Type::Array)) return {mark(tag, "end")};
    std::vector<std::string> ends = tag.strings("end");
    if (ends.empty()) tag.fail("'end' must be a text or a list of texts, at least one");
    return ends;
  }
  // The name of a special token that is given by its name or id.
  std::string special_token(const Part& format) const {
    format.only({"type", "token"});
    if (format.string("type") != "token") format.fail("expected a token");
    const JsonValue& given = format.member("token").json;
    if (vocabulary_ == nullptr)
      format.fail("a token can be given only where there is a tokenizer", ErrorKind::Unsupported);
    for (const auto& [name, id] : vocabulary_->specials()) {
      if (given.is(Type::String) ? given.text == name : given.is(Type::Number) && given.text == std::to_string(id)) {
        return name;
      }
    }
    format.fail(fmt::format("'{}' is not the name or id of one of the tokenizer's special tokens, those that end the "
                            "text left out; what is not special is written as text",
                            given.text),
                ErrorKind::Unsupported);
  }

  struct Spelled {
    std::string text;
    std::string bytes;  // as the vocabulary's tokens have it
  };
  // The beginning of a text, of `most` bytes, or more where that is inside of a special token's name.
  Spelled spell(std::string_view text, size_t most = std::string_view::npos) const {
    if (vocabulary_ == nullptr) return {std::string(text.substr(0, most)), std::string(text.substr(0, most))};
    Spelled out;
    for (const TokenVocabulary::Piece& piece : vocabulary_->split_at_specials(text)) {
      if (out.text.size() >= most) break;
      const bool is_words = piece.text == piece.bytes;
      const size_t n = is_words ? most - out.text.size() : std::string_view::npos;
      out.text += piece.text.substr(0, n);
      out.bytes += piece.bytes.substr(0, n);
    }
    return out;
  }

  using Stops = std::vector<TextStop>;

  static Stops excluded(const Part& format) {
    Stops stops;
    for (std::string& text : format.strings("excludes")) stops.push_back({std::move(text), kNone});
    return stops;
  }
  // Behind those that are excluded, which thus must not come across its beginning either. Where special tokens stand in
  // it, their names must not come as words: who reads the text could not tell.
  static void add_stop(Stops& stops, const Spelled& stop, TermId after, const Part& format) {
    for (const std::string& excluded : format.strings("excludes")) {
      if (stop.text.find(excluded) == std::string::npos) continue;
      format.fail(fmt::format("'excludes' has '{}', a part of '{}', which then could never come", excluded, stop.text));
    }
    stops.push_back({stop.bytes, after});
    if (stop.bytes != stop.text) stops.push_back({stop.text, kNone});
  }

  TermId triggered(const Part& format, const std::vector<Tag>& tags, bool at_least_one, bool stop) {
    // What comes after a trigger: the rest of a tag that begins with it, and then free text again.
    RuleId again = a_.new_rule("free text", false);
    Stops stops = excluded(format);
    format.list("triggers");  // there must be one
    std::vector<std::string> triggers;
    for (std::string& trigger : format.strings("triggers")) {
      if (std::find(triggers.begin(), triggers.end(), trigger) == triggers.end())
        triggers.push_back(std::move(trigger));
      a_.budget().spend(triggers.size());
    }
    for (const Tag& tag : tags) {
      const bool starts = std::any_of(triggers.begin(), triggers.end(),
                                      [&](const std::string& trigger) { return tag.begin.starts_with(trigger); });
      if (!starts) format.fail(fmt::format("no trigger starts the tag '{}', which then could never come", tag.begin));
    }
    for (const std::string& trigger : triggers) {
      // One, unless it ends inside of the names of several special tokens.
      std::vector<std::pair<Spelled, std::vector<TermId>>> starts;
      for (const Tag& tag : tags) {
        if (!tag.begin.starts_with(trigger)) continue;
        a_.budget().spend(kStepsPerByte * tag.begin.size());
        Spelled start = spell(tag.begin, trigger.size());
        const std::string rest = spell(tag.begin).bytes.substr(start.bytes.size());
        auto known =
            std::find_if(starts.begin(), starts.end(), [&](const auto& s) { return s.first.bytes == start.bytes; });
        if (known == starts.end()) known = starts.emplace(known, std::move(start), std::vector<TermId>{});
        known->second.push_back(a_.cat(tag_term(rest, tag), stop ? kEpsilon : a_.call(again)));
      }
      if (starts.empty()) format.fail(fmt::format("no tag begins with the trigger '{}'", trigger));
      for (const auto& [start, options] : starts) add_stop(stops, start, a_.alt(options), format);
    }
    TermId free = free_text(a_, stops, true);
    a_.define(again, free);
    return at_least_one ? free_text(a_, stops, false) : free;
  }

  CharTerms& chars_;
  Automaton& a_;
  GrammarOptions options_;
  const TokenVocabulary* vocabulary_;
};

}  // namespace

TermId compile_structural_tag(CharTerms& chars, std::string_view text, const GrammarOptions& options,
                              const TokenVocabulary* vocabulary) {
  const JsonValue root = parse_json_text(text);
  return TagCompiler(chars, options, vocabulary).compile({root, "#"});
}

}  // namespace sgl::grammar
