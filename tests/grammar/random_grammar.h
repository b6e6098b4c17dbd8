#pragma once
// Random grammars of all kinds, and random walks through them.

#include <random>
#include <string>
#include <vector>

#include "grammar/grammar.h"

namespace sgl {

/// Grammars that compile, mostly; nested at most `depth` levels.
class RandomGrammar {
 public:
  explicit RandomGrammar(uint64_t seed) : rng_(seed) {}

  GrammarSpec next() {
    switch (pick(4)) {
      case 0:
        return {GrammarKind::Regex, regex(3), {}};
      case 1:
        return {GrammarKind::Ebnf, ebnf(), {}};
      default:
        return {GrammarKind::JsonSchema, schema(3), {.compact = pick(2) == 0, .closed_objects = pick(2) == 0}};
    }
  }

  size_t pick(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(rng_); }

 private:
  template <typename... T>
  std::string one_of(T... options) {
    std::vector<std::string> all = {options...};
    return all[pick(all.size())];
  }

  std::string regex(int depth) {
    if (depth == 0) {
      return one_of("a", "b", " ", "the", "ing", "[a-z]", "[^\"\\n]", ".", "\\d", "\\w", "é", "[α-ω]", "\\s", "日",
                    "[^a]", "\\{", "\"");
    }
    switch (pick(6)) {
      case 0:
        return regex(depth - 1) + regex(depth - 1) + regex(depth - 1);
      case 1:
        return "(" + regex(depth - 1) + "|" + regex(depth - 1) + ")";
      case 2:
        return "(" + regex(depth - 1) + ")" + one_of("*", "+", "?", "{2,5}", "{3}", "{0,30}", "{10,}", "{100,1000000}");
      case 3:
        return "(" + regex(depth - 1) + "|" + regex(depth - 1) + "){1,4}" + regex(depth - 1);
      default:
        return regex(depth - 1) + regex(depth - 1);
    }
  }

  std::string ebnf_body(int depth) {
    if (depth == 0) {
      return one_of("\"a\"", "\"(\" root \")\"", "[a-z]+", "\" \"", "word", "\"the \"", "\"\\n\"", "[0-9]", "tail",
                    "\"é\"", "list");
    }
    switch (pick(4)) {
      case 0:
        return ebnf_body(depth - 1) + " " + ebnf_body(depth - 1);
      case 1:
        return "(" + ebnf_body(depth - 1) + " | " + ebnf_body(depth - 1) + ")";
      case 2:
        return "(\"x\" " + ebnf_body(depth - 1) + ")" + one_of("*", "+", "?", "{2,3}");
      default:
        return "\"" + one_of("if ", "x", "{", "=", ",") + "\" " + ebnf_body(depth - 1);
    }
  }
  std::string ebnf() {
    return "root ::= \"<\" " + ebnf_body(2) +
           " \">\" | word\nword ::= [a-zA-Z]{1,8}\nlist ::= \"[\" (tail (\",\" tail)*)? \"]\"\n"
           "tail ::= \"t\" " +
           ebnf_body(1) + " | \"end\"\n";
  }

  std::string name() { return one_of("name", "id", "a", "ab", "the key", "é\\n", "value"); }
  std::string schema(int depth) {
    size_t kind = pick(depth > 0 ? 14 : 9);
    switch (kind) {
      case 0:
        return R"({"type":"string"})";
      case 1:
        return R"({"type":"integer"})";
      case 2:
        return R"({"type":"number","minimum":-12.5,"exclusiveMaximum":1000})";
      case 3:
        return one_of(R"({"enum":["red","green","blue",1,null,[1,"a"]]})", R"({"const":{"a":[1.5,"x"]}})");
      case 4:
        return R"({"type":"string","maxLength":)" + std::to_string(pick(40)) + "}";
      case 5:
        return R"({"type":"string","pattern":")" + one_of("^[a-z]{2,9}$", "foo|ba+r", "^\\\\d{3}-\\\\d{4}$", "[^x]y") +
               "\"}";
      case 6:
        return R"({"type":"string","format":")" + one_of("date", "uuid", "email", "ipv4") + "\"}";
      case 7:
        return one_of(R"({"type":["null","boolean"]})", "true", R"({"type":"boolean"})");
      case 8:
        return R"({"type":"string","minLength":2,"maxLength":9,"pattern":"[aeiou]"})";
      case 9:
      case 10: {
        std::string properties, required;
        std::vector<std::string> names = {"name", "id", "ab", "the key", "é", "value"};
        size_t n = 1 + pick(names.size());
        for (size_t i = 0; i < n; ++i) {
          properties += (i > 0 ? ",\"" : "\"") + names[i] + "\":" + schema(depth - 1);
          if (pick(2) == 0) required += (required.empty() ? "\"" : ",\"") + names[i] + "\"";
        }
        return R"({"type":"object","properties":{)" + properties + R"(},"required":[)" + required + "]" +
               one_of("", R"(,"additionalProperties":false)", R"(,"additionalProperties":{"type":"integer"})") + "}";
      }
      case 11:
        return R"({"type":"array","items":)" + schema(depth - 1) + R"(,"minItems":)" + std::to_string(pick(3)) +
               R"(,"maxItems":)" + std::to_string(3 + pick(4)) + "}";
      case 12:
        return R"({"anyOf":[)" + schema(depth - 1) + "," + schema(depth - 1) + "]}";
      default:
        return R"({"type":"object","properties":{"v":)" + schema(depth - 1) +
               R"(,"next":{"$ref":"#"}},"required":["v"],"additionalProperties":false})";
    }
  }

  std::mt19937_64 rng_;
};

}  // namespace sgl
