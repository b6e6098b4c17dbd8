// Structural tags: free text in which some strings, the triggers, begin a part that must follow a schema.
//   {"structures": [{"begin": "<f>", "schema": {…}, "end": "</f>"}], "triggers": ["<f"]}         SGLang's old form
//   {"type": "structural_tag", "format": {"type": "triggered_tags", …}}                          the new one
//
// Free text is an automaton that knows the longest beginning of a trigger that the text ends with (Aho, Corasick 1975):
// a trigger cannot pass by unnoticed.

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include <fmt/format.h>

#include <sgl/error.h>

#include "grammar/compile.h"
#include "grammar/json_schema.h"
#include "grammar/regex_syntax.h"
#include "text/unicode.h"

namespace sgl::grammar {
namespace {

using Type = JsonValue::Type;
constexpr int kDeepestFormat = 100;
constexpr size_t kMostTriggerChars = 20000;

class TagCompiler {
 public:
  TagCompiler(CharTerms& chars, const GrammarOptions& options)
      : chars_(chars), a_(chars.automaton()), options_(options) {}

  TermId compile(const JsonValue& root) {
    if (const JsonValue* format = root.find("format")) return format_term(*format, 0);
    const JsonValue* structures = member_if(root, "structures", Type::Array);
    const JsonValue* triggers = member_if(root, "triggers", Type::Array);
    if (structures == nullptr || triggers == nullptr) {
      fail("expected {\"structures\": […], \"triggers\": […]} or {\"type\": \"structural_tag\", \"format\": {…}}");
    }
    std::vector<Tag> tags;
    for (const JsonValue& s : structures->items) {
      const JsonValue* schema = s.find("schema");
      if (schema == nullptr) fail("a structure lacks its 'schema'");
      tags.push_back({string(s, "begin"), schema_term(*schema), string(s, "end")});
    }
    return triggered(strings(*triggers, "triggers"), tags, false, false);
  }

 private:
  struct Tag {
    std::string begin;
    TermId content;
    std::string end;
  };

  [[noreturn]] static void fail(const std::string& what) {
    throw Error(ErrorKind::InvalidArgument, "structural tag: " + what);
  }
  static std::string string(const JsonValue& object, std::string_view name) {
    const JsonValue* value = member_if(object, name, Type::String);
    if (value == nullptr) fail(fmt::format("'{}' must be a string", name));
    return value->text;
  }
  static bool flag(const JsonValue& object, std::string_view name) {
    const JsonValue* value = member_if(object, name, Type::Boolean);
    return value != nullptr && value->boolean;
  }
  static const JsonValue& list(const JsonValue& object, std::string_view name) {
    const JsonValue* value = member_if(object, name, Type::Array);
    if (value == nullptr) fail(fmt::format("'{}' must be an array", name));
    return *value;
  }
  static std::vector<std::string> strings(const JsonValue& array, std::string_view name) {
    std::vector<std::string> out;
    for (const JsonValue& item : array.items) {
      if (!item.is(Type::String) || item.text.empty())
        fail(fmt::format("'{}' must be a list of strings that are not empty", name));
      out.push_back(item.text);
    }
    return out;
  }

  TermId schema_term(const JsonValue& schema) { return SchemaCompiler(chars_, schema, options_).compile(); }

  TermId format_term(const JsonValue& format, int depth) {
    if (depth > kDeepestFormat) {
      throw Error(ErrorKind::Unsupported,
                  fmt::format("structural tag: formats nested more than {} deep", kDeepestFormat));
    }
    std::string type = string(format, "type");
    if (type == "const_string") return a_.literal(string(format, "value"));
    if (type == "json_schema") {
      const JsonValue* schema = format.find("json_schema");
      if (schema == nullptr) fail("the format json_schema lacks 'json_schema'");
      return schema_term(*schema);
    }
    if (type == "regex") return compile_regex(chars_, string(format, "pattern"));
    if (type == "grammar") return compile_ebnf(chars_, string(format, "grammar"));
    if (type == "any_text") {
      const JsonValue* excludes = member_if(format, "excludes", Type::Array);
      return text_until(excludes == nullptr ? std::vector<std::string>{} : strings(*excludes, "excludes"), {}, true);
    }
    if (type == "sequence" || type == "or") {
      std::vector<TermId> parts;
      for (const JsonValue& element : list(format, "elements").items) parts.push_back(format_term(element, depth + 1));
      if (type == "or") return a_.alt(parts);
      TermId t = kEpsilon;
      for (size_t i = parts.size(); i-- > 0;) t = a_.cat(parts[i], t);
      return t;
    }
    if (type == "tag") return tag_term(read_tag(format, depth));
    if (type == "triggered_tags") {
      return triggered(strings(list(format, "triggers"), "triggers"), read_tags(format, depth),
                       flag(format, "at_least_one"), flag(format, "stop_after_first"));
    }
    if (type == "tags_with_separator") {
      std::vector<TermId> options;
      for (const Tag& tag : read_tags(format, depth)) options.push_back(tag_term(tag));
      TermId one = a_.alt(options);
      TermId all = flag(format, "stop_after_first")
                       ? one
                       : a_.cat(one, a_.star(a_.cat(a_.literal(string(format, "separator")), one)));
      return flag(format, "at_least_one") ? all : a_.optional(all);
    }
    throw Error(ErrorKind::Unsupported, fmt::format("structural tag: the format type '{}' is not supported", type));
  }

  Tag read_tag(const JsonValue& format, int depth) {
    Tag tag{string(format, "begin"), kNone, string(format, "end")};
    const JsonValue* content = format.find("content");
    if (content == nullptr) fail("a tag lacks its 'content'");
    const JsonValue* type = member_if(*content, "type", Type::String);
    if (type != nullptr && type->text == "any_text" && !tag.end.empty()) {
      // Up to the end tag, which the text does not hold.
      tag.content = text_until({tag.end}, {kEpsilon}, false);
      tag.end.clear();
    } else {
      tag.content = format_term(*content, depth + 1);
    }
    return tag;
  }
  std::vector<Tag> read_tags(const JsonValue& format, int depth) {
    std::vector<Tag> tags;
    for (const JsonValue& tag : list(format, "tags").items) tags.push_back(read_tag(tag, depth));
    return tags;
  }
  TermId tag_term(const Tag& tag) { return a_.cat({a_.literal(tag.begin), tag.content, a_.literal(tag.end)}); }

  TermId triggered(const std::vector<std::string>& triggers, const std::vector<Tag>& tags, bool at_least_one,
                   bool stop) {
    // What comes after a trigger: the rest of a tag that begins with it, and then free text again.
    RuleId again = a_.new_rule("free text", false);
    std::vector<TermId> after;
    for (const std::string& trigger : triggers) {
      std::vector<TermId> options;
      for (const Tag& tag : tags) {
        if (!tag.begin.starts_with(trigger)) continue;
        Tag rest = tag;
        rest.begin.erase(0, trigger.size());
        options.push_back(a_.cat(tag_term(rest), stop ? kEpsilon : a_.call(again)));
      }
      if (options.empty()) fail(fmt::format("no tag begins with the trigger '{}'", trigger));
      after.push_back(a_.alt(options));
    }
    TermId free = text_until(triggers, after, true);
    a_.define(again, free);
    return at_least_one ? text_until(triggers, after, false) : free;
  }

  // Text without the stops; at a stop it goes on as `after` says (nothing: it must not come).
  TermId text_until(const std::vector<std::string>& stops, const std::vector<TermId>& after, bool may_end) {
    std::vector<std::u32string> words;
    std::set<char32_t> alphabet;
    size_t total = 0;
    for (const std::string& stop : stops) {
      words.emplace_back();
      for_each_char(stop, [&](char32_t c, uint32_t) { words.back().push_back(c); });
      alphabet.insert(words.back().begin(), words.back().end());
      total += words.back().size();
    }
    if (total > kMostTriggerChars) fail(fmt::format("the triggers have more than {} characters", kMostTriggerChars));
    // Prefixes of the stops, each a state; the next one is the longest suffix that is a prefix again.
    std::map<std::u32string, RuleId> states;
    auto add = [&](const std::u32string& prefix) {
      if (!states.contains(prefix)) states[prefix] = a_.new_rule("free text", false);
    };
    add(U"");
    for (const std::u32string& word : words) {
      for (size_t n = 1; n < word.size(); ++n) add(word.substr(0, n));
    }
    CharSet others = CharSet::all();
    for (char32_t c : alphabet) others = others - CharSet::of(c);
    for (const auto& [prefix, rule] : states) {
      std::vector<TermId> options = {a_.cat(chars_.of(others, Spelling::Plain), a_.call(states[U""]))};
      for (char32_t c : alphabet) {
        std::u32string text = prefix + c;
        TermId next = kNone;
        bool stopped = false;
        for (size_t i = 0; i < words.size() && !stopped; ++i) {
          if (!text.ends_with(words[i])) continue;
          stopped = true;
          if (i < after.size()) next = after[i];
        }
        while (!stopped && !states.contains(text)) text.erase(0, 1);
        if (!stopped) next = a_.call(states[text]);
        options.push_back(a_.cat(chars_.of(CharSet::of(c), Spelling::Plain), next));
      }
      if (may_end) options.push_back(kEpsilon);
      a_.define(rule, a_.alt(options));
    }
    return a_.call(states[U""]);
  }

  CharTerms& chars_;
  Automaton& a_;
  GrammarOptions options_;
};

}  // namespace

TermId compile_structural_tag(CharTerms& chars, std::string_view text, const GrammarOptions& options) {
  return TagCompiler(chars, options).compile(parse_json_text(text));
}

}  // namespace sgl::grammar
