#include "grammar/grammar.h"

#include <array>
#include <atomic>
#include <fstream>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <sgl/error.h>

#include "grammar/explain.h"
#include "text/tokenizer_json.h"

namespace sgl {
namespace {

using grammar::TokenVocabulary;

bool matches(const GrammarSpec& spec, const std::string& text) { return Grammar(spec, nullptr).matches(text); }
bool regex(const std::string& pattern, const std::string& text) {
  return matches({GrammarKind::Regex, pattern, {}}, text);
}
bool ebnf(const std::string& source, const std::string& text) { return matches({GrammarKind::Ebnf, source, {}}, text); }
bool compact(const std::string& schema, const std::string& text) {
  return matches({GrammarKind::JsonSchema, schema, {}}, text);
}
bool spaced(const std::string& schema, const std::string& text) {
  GrammarSpec spec{GrammarKind::JsonSchema, schema, {}};
  spec.options.compact = false;
  return matches(spec, text);
}

std::string error_of(const GrammarSpec& spec) {
  try {
    Grammar g(spec, nullptr);
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

// A vocabulary of single bytes (256 ids), some longer tokens, an end and special tokens.
std::shared_ptr<const TokenVocabulary> test_vocabulary() {
  std::vector<std::string> bytes;
  for (int b = 0; b < 256; ++b) bytes.emplace_back(1, static_cast<char>(b));
  for (const char* token : {"{\"", "\":", "name", "\",\"", "true", "false", "ab", "abc", "\"}", "    ", "answer"})
    bytes.emplace_back(token);
  bytes.emplace_back("</s>");
  bytes.resize(bytes.size() + 4);
  return std::make_shared<const TokenVocabulary>(
      std::move(bytes), std::vector<int32_t>{267},
      std::vector<TokenVocabulary::Special>{
          {"<|x|>", 268}, {"<call>", 269}, {"</call>", 270}, {"<call>more", 271}, {"</s>", 267}});
}
constexpr int32_t kEos = 267, kSpecial = 268, kCall = 269, kCallEnd = 270, kCallMore = 271, kTrue = 260;

bool allowed(const GrammarMatcher& matcher, int32_t id) {
  std::vector<uint32_t> mask(9, 0);
  matcher.fill_mask(mask);
  return (mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
}

TEST(Grammar, CountersCostNothing) {
  EXPECT_TRUE(regex("[a-z]{3,1000000}", "abc"));
  EXPECT_FALSE(regex("[a-z]{3,1000000}", "ab"));
  EXPECT_TRUE(regex("((a{1000000000000}){1000000000000})*", ""));
  std::string many(5000, 'a');
  EXPECT_TRUE(regex("(a|aa){2500,5000}", many));
  EXPECT_FALSE(regex("(a|aa){2500,5000}", many.substr(0, 2499)));
}

TEST(Grammar, AnEndThatIsFarIsNoneBesideAPatternToo) {
  // How many different masks of short tokens the states of a string have, character by character.
  auto masks = [](const std::string& rest, const std::string& text) {
    grammar::Automaton a =
        Grammar({GrammarKind::JsonSchema, R"({"type":"string",)" + rest + "}", {}}, nullptr).automaton();
    std::set<grammar::TermId> seen;
    grammar::StateId state = a.start();
    for (char c : "\"" + text) {
      state = a.next(state, static_cast<uint8_t>(c));
      EXPECT_NE(state, grammar::kDead) << rest;
      seen.insert(a.clamp(a.term_of(state), 16));
    }
    return seen.size();
  };
  const std::string text(200, 'a');
  EXPECT_EQ(masks(R"("pattern":"^[a-z]+(-[a-z]+)*$","maxLength":250)", text), 2U);
  EXPECT_EQ(masks(R"("pattern":"^.*\\S.*$","maxLength":250)", text), 2U);
  EXPECT_EQ(masks(R"("pattern":"answer","maxLength":250)", text), 2U);
  EXPECT_EQ(masks(R"("pattern":"^[a-zA-Z_][a-zA-Z0-9_]*$","minLength":3,"maxLength":250)", text), 4U);
  EXPECT_EQ(masks(R"("not":{"pattern":"^b"},"maxLength":250)", text), 2U);
  EXPECT_LT(masks(R"("format":"email","maxLength":254)", "ann." + text.substr(0, 40) + "@a.a.a." + text.substr(0, 50)),
            130U);  // parts of an address have lengths of their own
  // Where the end is near, each character is a state.
  EXPECT_GT(masks(R"("pattern":"^[a-z]+(-[a-z]+)*$","maxLength":200)", text), 15U);
}

TEST(Grammar, AlternativesFarApartAreDeterminisedLazily) {
  std::string text(500, 'b');
  text[479] = 'a';
  EXPECT_TRUE(regex("[ab]*a[ab]{20}", text));
  text[479] = 'b';
  EXPECT_FALSE(regex("[ab]*a[ab]{20}", text));
}

TEST(Grammar, ADollarHoldsBeforeALastNewlineToo) {
  EXPECT_TRUE(regex("a$\\n", "a\n"));
  EXPECT_TRUE(regex("^abc$\\s*", "abc\n"));
  EXPECT_FALSE(regex("^abc$\\s*", "abc\n\n"));
  EXPECT_TRUE(regex("(a$|b)\\n", "a\n"));
  EXPECT_TRUE(regex("(a$|\\n){2}", "a\n"));
  EXPECT_TRUE(regex("$^\\n", "\n"));
  EXPECT_FALSE(regex("a$", "a\n"));
  EXPECT_FALSE(regex("a\\Z\\n", "a\n"));
  const GrammarSpec search{GrammarKind::Regex, "a$", {.search = true}};
  EXPECT_TRUE(matches(search, "ba\n"));
  EXPECT_FALSE(matches(search, "ba\n\n"));
  // JSON Schema's pattern is ECMAScript's: there it is the end alone.
  EXPECT_FALSE(compact(R"({"type":"string","pattern":"a$"})", R"("a\n")"));
}

TEST(Grammar, LettersFoldAsInPythonsRe) {
  const std::pair<const char*, const char*> same[] = {
      {"σ", "ς"},   {"β", "ϐ"},   {"µ", "μ"},      {"θ", "ϑ"}, {"Θ", "ϴ"}, {"ﬅ", "ﬆ"}, {"Ǆ", "ǅ"},
      {"в", "ᲀ"}, {"ꙋ", "ᲈ"}, {"k", "\u212a"}, {"S", "ſ"}, {"i", "İ"}, {"I", "ı"}, {"ß", "ẞ"}};
  for (const auto& [a, b] : same) {
    EXPECT_TRUE(regex(std::string("(?i)") + a, b)) << a;
    EXPECT_TRUE(regex(std::string("(?i)") + b, a)) << b;
    EXPECT_FALSE(regex(std::string("(?i)[^") + a + "]", b)) << a;
    EXPECT_FALSE(regex(std::string("(?ai)") + a, b)) << a;
  }
  EXPECT_TRUE(regex("(?ai)[^k]", "\u212a"));
  EXPECT_TRUE(regex("(?ai)k", "K"));
}

TEST(Grammar, QuantifiersStandBehindWhatPythonLetsThem) {
  EXPECT_TRUE(regex("a(?#c)*", "aaa"));
  EXPECT_TRUE(regex("(?x)a (?#c) {2} # two", "aa"));
  EXPECT_FALSE(regex("a(?#c)?b", "aab"));
  EXPECT_TRUE(regex("(?:$)*a", "a"));
  EXPECT_TRUE(regex("(?:^)+a(?:$)?", "a"));
  EXPECT_TRUE(regex("{}{a}{1,a{,", "{}{a}{1,a{,"));
  for (const char* bad : {"{1}", "a|{1}", "({,3})", "$*", "^{2}", "\\A?", "(?#c)*", "a*(?#c)*"}) {
    EXPECT_NE(error_of({GrammarKind::Regex, bad, {}}), "") << bad;
  }
}

TEST(Grammar, RegexErrorsArePythons) {
  for (const char* bad : {"a(?i)b", "a|(?i)b", "(?P<a>x)(?P<a>y)", "(?P<1>x)", "(?i-i:a)", "(?-i)a", "(?au)a", "(?)"}) {
    EXPECT_NE(error_of({GrammarKind::Regex, bad, {}}), "") << bad;
  }
  for (const char* good : {"(?i)(?s)a", "(?#note)(?i)a", "(?P<a>x)(?P<b>y)", "(?i-s:a)", "(?i:a)b"}) {
    EXPECT_EQ(error_of({GrammarKind::Regex, good, {}}), "") << good;
  }
}

TEST(Grammar, UnicodePropertiesAreCategories) {
  auto pattern = [](const std::string& p) { return R"({"type":"string","pattern":"^\\)" + p + R"($"})"; };
  EXPECT_TRUE(compact(pattern("p{Nl}"), "\"Ⅰ\""));
  EXPECT_FALSE(compact(pattern("P{N}"), "\"Ⅰ\""));
  EXPECT_TRUE(compact(pattern("p{Letter}"), "\"é\""));
  EXPECT_FALSE(compact(pattern("p{Lu}"), "\"é\""));
  EXPECT_NE(error_of({GrammarKind::JsonSchema, pattern("P{Alphabetic}"), {}}).find("'Alphabetic'"), std::string::npos);
}

TEST(Grammar, RecursionIsAStack) {
  const std::string balanced = "root ::= \"(\" root \")\" | \"[\" root \"]\" root | \"x\"\n";
  std::string deep = std::string(20000, '(') + "x" + std::string(20000, ')');
  EXPECT_TRUE(ebnf(balanced, deep));
  deep.back() = ']';
  EXPECT_FALSE(ebnf(balanced, deep));
  EXPECT_TRUE(ebnf(balanced, "[x][(x)]x"));
}

TEST(Grammar, AmbiguityIsASetOfStacks) {
  const std::string palindrome = "root ::= \"a\" root \"a\" | \"b\" root \"b\" | \"c\"? ";
  EXPECT_TRUE(ebnf(palindrome, "abbaabba"));
  EXPECT_TRUE(ebnf(palindrome, "abcba"));
  EXPECT_FALSE(ebnf(palindrome, "abab"));
}

TEST(Grammar, AmbiguousRecursionSharesTheTailsOfItsStacks) {
  const std::string text(120, 'a');
  for (const char* source : {"root ::= \"a\" root*", "root ::= \"a\" | \"a\" root | \"a\" root root",
                             "root ::= \"a\" (root \",\"?)* \"b\"?"}) {
    EXPECT_TRUE(ebnf(source, text)) << source;
    EXPECT_FALSE(ebnf(source, text + "c")) << source;
  }
}

TEST(Grammar, LeftRecursionIsRefusedByName) {
  EXPECT_TRUE(ebnf("root ::= \"a\"\nlist ::= list \",\" | \"x\"\nother ::= list other", "a")) << "it is not used";
  EXPECT_NE(error_of({GrammarKind::Ebnf, "root ::= list\nlist ::= list \",\" \"x\" | \"x\"\n", {}})
                .find("'list' is left-recursive"),
            std::string::npos);
  EXPECT_NE(error_of({GrammarKind::Ebnf, "root ::= a? b\nb ::= c \"x\"\nc ::= \"\" root\na ::= \"a\"\n", {}})
                .find("left-recursive"),
            std::string::npos);
}

TEST(Grammar, ThreeThousandRulesDeep) {
  std::string source = "root ::= r0\n";
  for (int i = 0; i < 3000; ++i)
    source += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + " \"" + (i % 2 ? "x" : "y") + "\"\n";
  source += "r3000 ::= \"z\"\n";
  std::string text = "z";
  for (int i = 3000; i-- > 0;) text += i % 2 ? "x" : "y";
  EXPECT_TRUE(ebnf(source, text));
  EXPECT_FALSE(ebnf(source, text + "x"));
}

TEST(Grammar, EbnfReadsWhatPeopleWrite) {
  const std::string arithmetic = R"~(# comment
root  ::= expr "\n"
expr  ::= term (("+" | "-") term)*   # to the right
term  ::= num | "(" expr ")"
num   ::= [0-9]+
        | [a-z_] [a-z0-9_-]{0,4}
)~";
  EXPECT_TRUE(ebnf(arithmetic, "1+(ab-22)\n"));
  EXPECT_FALSE(ebnf(arithmetic, "1+(ab-22\n"));
  EXPECT_TRUE(ebnf("root ::= [^\"\\n] \"\\x41\\u00e9\" .", "zA\u00e9\xF0\x9F\x98\x80"));
  EXPECT_FALSE(error_of({GrammarKind::Ebnf, "root ::= missing", {}}).empty());
  EXPECT_FALSE(error_of({GrammarKind::Ebnf, "start ::= \"a\"", {}}).empty());
  EXPECT_FALSE(error_of({GrammarKind::Ebnf, "root ::= (\"a\"", {}}).empty());
}

TEST(Grammar, StringsTakeAnySpellingUnlessCompact) {
  const std::string schema = R"({"enum":["a/é😀\n"]})";
  EXPECT_TRUE(spaced(schema, R"("a/é😀\n")"));
  EXPECT_TRUE(spaced(schema, R"("\u0061\/\u00E9\ud83D\uDE00\u000a")"));
  EXPECT_TRUE(compact(schema, R"("a/\u00e9\ud83d\ude00\n")"));
  EXPECT_FALSE(compact(schema, R"("\u0061/é😀\n")"));
  EXPECT_FALSE(spaced(schema, "\"a/é😀\n\""));
}

TEST(Grammar, LengthsCountCharacters) {
  const std::string schema = R"({"type":"string","minLength":2,"maxLength":3})";
  EXPECT_TRUE(compact(schema, R"("😀\ud83d\ude00é")"));
  EXPECT_FALSE(compact(schema, R"("😀")"));
  EXPECT_FALSE(compact(schema, R"("abcd")"));
}

TEST(Grammar, NumbersAreBoundedDigitByDigit) {
  const std::string schema = R"({"type":"number","exclusiveMinimum":-1.05,"maximum":120})";
  for (const char* good : {"-1.049", "-1", "-0.0", "0", "119.999", "120.000", "1.2e2", "1e-7", "-9.9E-1"})
    EXPECT_TRUE(compact(schema, good)) << good;
  for (const char* bad : {"-1.05", "-1.050", "-2", "120.001", "121", "1200", "1.21e2", "1e3", "01", ".5", "+1"})
    EXPECT_FALSE(compact(schema, bad)) << bad;
  const std::string integer = R"({"type":"integer","minimum":98,"maximum":1002})";
  for (int i = 0; i < 1200; ++i) EXPECT_EQ(compact(integer, std::to_string(i)), i >= 98 && i <= 1002) << i;
  EXPECT_TRUE(compact(integer, "1e2"));
  EXPECT_FALSE(compact(integer, "1.005e2"));
}

TEST(Grammar, MultiplesAreRemainders) {
  for (int i = 0; i < 500; ++i)
    EXPECT_EQ(compact(R"({"type":"integer","multipleOf":7})", std::to_string(i)), i % 7 == 0) << i;
  EXPECT_TRUE(compact(R"({"multipleOf":0.25})", "3.75"));
  EXPECT_FALSE(compact(R"({"multipleOf":0.25})", "3.7"));
  EXPECT_FALSE(compact(R"({"multipleOf":0.25,"maximum":3})", "3.75"));
}

TEST(Grammar, WhitespaceIsAnyOrBoundedOrNone) {
  GrammarSpec spec{GrammarKind::JsonSchema, R"({"type":"array","items":{"type":"null"}})", {}};
  EXPECT_FALSE(matches(spec, "[null, null]"));
  spec.options.compact = false;
  EXPECT_TRUE(matches(spec, " [ null ,\n\tnull ] "));
  spec.options.max_whitespace = 1;
  EXPECT_TRUE(matches(spec, "[null, null]"));
  EXPECT_FALSE(matches(spec, "[null,  null]"));
}

TEST(Grammar, OneOfIsExact) {
  const std::string overlapping = R"({"oneOf":[{"type":"integer","minimum":5},{"type":"integer","maximum":10}]})";
  for (int i = 0; i < 20; ++i) EXPECT_EQ(compact(overlapping, std::to_string(i)), i < 5 || i > 10) << i;
  const std::string tagged =
      R"({"oneOf":[{"type":"object","properties":{"k":{"const":"a"},"v":{"type":"integer"}},"required":["k"]},)"
      R"({"type":"object","properties":{"k":{"const":"b"}},"required":["k"]}]})";
  EXPECT_TRUE(compact(tagged, R"({"k":"a","v":1})"));
  EXPECT_FALSE(compact(tagged, R"({"k":"a","v":"x"})"));
  EXPECT_TRUE(compact(tagged, R"({"k":"b","v":"x"})"));
}

TEST(Grammar, MoreMembersThanThereAreNamesMatchNothing) {
  const auto grammar = [](int least) {
    return Grammar({GrammarKind::JsonSchema,
                    R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},)"
                    R"("additionalProperties":false,"minProperties":)" +
                        std::to_string(least) + "}",
                    {}},
                   nullptr);
  };
  EXPECT_TRUE(grammar(2).matches(R"({"a":0,"b":1})"));
  EXPECT_FALSE(grammar(2).matches(R"({"a":0})"));
  EXPECT_TRUE(grammar(3).matches_nothing());
}

TEST(Grammar, PatternsAndLengthsHoldTogether) {
  const std::string schema = R"({"type":"string","pattern":"foo|^ba+$","maxLength":5,"not":{"pattern":"x"}})";
  EXPECT_TRUE(compact(schema, "\"afoob\""));
  EXPECT_TRUE(compact(schema, "\"baaa\""));
  EXPECT_FALSE(compact(schema, "\"baaaaa\""));
  EXPECT_FALSE(compact(schema, "\"xfoo\""));
  EXPECT_TRUE(Grammar({GrammarKind::JsonSchema, R"({"type":"string","pattern":"^a{9}$","maxLength":5})", {}}, nullptr)
                  .matches_nothing());
}

TEST(Grammar, WhatCannotBeHonouredIsRefusedWithItsPlace) {
  auto error = [](const std::string& schema) { return error_of({GrammarKind::JsonSchema, schema, {}}); };
  EXPECT_NE(error(R"({"properties":{"a/b":{"type":"array","uniqueItems":true,"contains":{}}}})")
                .find("uniqueItems at #/properties/a~1b/uniqueItems"),
            std::string::npos);
  EXPECT_NE(error(R"~({"type":"string","pattern":"(a)\\1"})~").find("pattern at #/pattern"), std::string::npos);
  EXPECT_NE(error(R"({"$ref":"http://example.com/s.json"})").find("$ref at #/$ref"), std::string::npos);
  EXPECT_NE(error(R"({"type":"strin"})").find("type at #/type"), std::string::npos);
  EXPECT_NE(error(R"({"format":"idn-email"})").find("format at #/format"), std::string::npos);
  EXPECT_NE(error("{\"type\":").find("malformed at byte"), std::string::npos);
  EXPECT_FALSE(error(std::string(100000, '[')).empty());
}

TEST(Grammar, AnyJsonByItsName) {
  EXPECT_TRUE(compact("$$ANY$$", R"({"a":[1,2.5e3,{"b":null}],"c":"\ud800"})"));
  EXPECT_FALSE(compact("$$ANY$$", R"({"a":[1,]})"));
}

TEST(Grammar, MembersWithoutAnOrderComeInAny) {
  const std::string schema = R"({"required":["x","y","z"],"additionalProperties":{"type":"integer"}})";
  EXPECT_TRUE(compact(schema, R"({"z":1,"w":4,"x":2,"y":3})"));
  EXPECT_FALSE(compact(schema, R"({"z":1,"w":4,"x":2})"));
}

TEST(Grammar, StructuralTagsBindAfterTheTrigger) {
  const std::string tag = R"({"structures":[{"begin":"<f=a>","schema":{"type":"integer"},"end":"</f>"},)"
                          R"({"begin":"<f=b>","schema":{"type":"string"},"end":"</f>"}],"triggers":["<f="]})";
  auto takes = [&](const std::string& text) { return matches({GrammarKind::StructuralTag, tag, {}}, text); };
  EXPECT_TRUE(takes("no tag < here <f"));
  EXPECT_TRUE(takes("so <<f=a>12</f> and <f=b>\"é\"</f>."));
  EXPECT_FALSE(takes("so <f=a>\"x\"</f>"));
  EXPECT_FALSE(takes("so <f=c>1</f>"));
  EXPECT_FALSE(takes("so <f=a>12"));
  const std::string modern =
      R"({"type":"structural_tag","format":{"type":"sequence","elements":[)"
      R"({"type":"tag","begin":"<think>","content":{"type":"any_text"},"end":"</think>"},)"
      R"({"type":"or","elements":[{"type":"const_string","value":"no"},{"type":"regex","pattern":"\\d+"}]}]}})";
  auto takes_modern = [&](const std::string& text) { return matches({GrammarKind::StructuralTag, modern, {}}, text); };
  EXPECT_TRUE(takes_modern("<think>a < b</think>42"));
  EXPECT_FALSE(takes_modern("<think>a</think>b</think>42"));
}

// A whole structural tag of this format.
GrammarSpec tag_of(const std::string& format) {
  return {GrammarKind::StructuralTag, R"({"type":"structural_tag","format":)" + format + "}", {}};
}

TEST(Grammar, StructuralTagsKeepExcludedTextOut) {
  const GrammarSpec tag =
      tag_of(R"({"type":"triggered_tags","triggers":["<f"],"excludes":["BAD","AD<"],"tags":[)"
             R"({"type":"tag","begin":"<f>","content":{"type":"regex","pattern":"\\w*"},"end":"."}]})");
  EXPECT_TRUE(matches(tag, "BA <f>BAD. BAA"));
  EXPECT_FALSE(matches(tag, "BAD"));
  EXPECT_FALSE(matches(tag, "BA <f>x. BBAD"));
  EXPECT_FALSE(matches(tag, "AD<f>x."));
  const GrammarSpec inner =
      tag_of(R"({"type":"tag","begin":"<","content":{"type":"any_text","excludes":["no"]},"end":">"})");
  EXPECT_TRUE(matches(inner, "<n o>"));
  EXPECT_FALSE(matches(inner, "<no>"));
}

TEST(Grammar, StructuralTagsRepeatAndEndInSeveralWays) {
  const auto repeat = [](const std::string& members) {
    return tag_of(R"({"type":"repeat",)" + members + R"(,"content":{"type":"const_string","value":"ab"}})");
  };
  EXPECT_FALSE(matches(repeat(R"("min":2,"max":3)"), "ab"));
  EXPECT_TRUE(matches(repeat(R"("min":2,"max":3)"), "ababab"));
  EXPECT_FALSE(matches(repeat(R"("min":2,"max":3)"), "abababab"));
  EXPECT_TRUE(matches(repeat(R"("min":2,"max":-1)"), "ababababab"));
  EXPECT_TRUE(matches(repeat(R"("min":0,"max":0)"), ""));
  for (const char* bad : {R"("min":-1,"max":1)", R"("min":2,"max":1)", R"("min":"1","max":2)", R"("min":1)"}) {
    EXPECT_NE(error_of(repeat(bad)), "") << bad;
  }
  const char* texts[] = {"", "ab", "abab"};
  const std::pair<const char*, std::array<bool, 3>> formats[] = {
      {"optional", {true, true, false}}, {"plus", {false, true, true}}, {"star", {true, true, true}}};
  for (const auto& [type, takes] : formats) {
    const GrammarSpec tag =
        tag_of(R"({"type":")" + std::string(type) + R"(","content":{"type":"regex","pattern":"ab"}})");
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(matches(tag, texts[i]), takes[i]) << type << " " << texts[i];
  }
  const auto ends = [](const std::string& content) {
    return tag_of(R"({"type":"tag","begin":"<","content":)" + content + R"(,"end":["/>","\n\n"]})");
  };
  EXPECT_TRUE(matches(ends(R"({"type":"any_text"})"), "<a\n b/>"));
  EXPECT_TRUE(matches(ends(R"({"type":"any_text"})"), "<a\n\n"));
  EXPECT_FALSE(matches(ends(R"({"type":"any_text"})"), "<a/>\n\n"));
  EXPECT_TRUE(matches(ends(R"({"type":"regex","pattern":"a*"})"), "<aa/>"));
  EXPECT_TRUE(matches(ends(R"({"type":"regex","pattern":"a*"})"), "<\n\n"));
  EXPECT_FALSE(matches(ends(R"({"type":"regex","pattern":"a*"})"), "<aa"));
  for (const char* end : {"[]", R"(["</a>","</a>b"])", R"(["b</a>c","</a>"])"}) {
    EXPECT_NE(
        error_of(tag_of(R"({"type":"tag","begin":"<","content":{"type":"any_text"},"end":)" + std::string(end) + "}")),
        "");
  }
  EXPECT_NE(error_of(tag_of(R"({"type":"token","token":"<|x|>"})")).find("tokenizer"), std::string::npos);
}

TEST(Grammar, StructuralTagsRefuseWhatTheyDoNotKnowWithItsPlace) {
  auto error = [](const std::string& format) { return error_of(tag_of(format)); };
  EXPECT_NE(error(R"({"type":"sequence","elements":[{"type":"any_text","max":3}]})").find("#/format/elements/0/max"),
            std::string::npos);
  EXPECT_NE(
      error(R"({"type":"tag","begin":"<f>","content":{"type":"json_schema","json_schema":{"required":1}},"end":""})")
          .find("behind '<f>': "),
      std::string::npos);
  const std::string qwen = error(R"({"type":"json_schema","json_schema":true,"style":"qwen_xml"})");
  EXPECT_NE(qwen.find("'qwen_xml'"), std::string::npos) << qwen;
  EXPECT_NE(error(R"({"type":"json_schema","json_schema":true,"any_order":true})").find("any_order"),
            std::string::npos);
  EXPECT_EQ(error(R"({"type":"json_schema","json_schema":true,"any_order":false,"style":"json"})"), "");
  for (const char* bad :
       {R"({"type":"regex","pattern":"a","flags":"i"})", R"({"type":"any_text","excludes":"BAD"})",
        R"({"type":"tag","begin":"a","content":{"type":"any_text"},"end":"b","name":"c"})",
        R"({"type":"tags_with_separator","tags":[],"separator":",","at_least_one":"yes"})",
        R"({"type":"triggered_tags","triggers":["<a"],"excludes":["a"],"tags":[{"type":"tag","begin":"<a",
            "content":{"type":"any_text"},"end":""}]})"}) {
    EXPECT_NE(error(bad), "") << bad;
  }
  EXPECT_NE(error_of({GrammarKind::StructuralTag, R"({"structures":[],"triggers":[],"at_least_one":true})", {}})
                .find("#/at_least_one"),
            std::string::npos);
  const std::string never = error(
      R"({"type":"triggered_tags","triggers":["<f"],"tags":[{"begin":"<f>","content":{"type":"any_text"},"end":"."},)"
      R"({"begin":"<g>","content":{"type":"any_text"},"end":"."}]})");
  EXPECT_NE(never.find("'<g>'"), std::string::npos) << never;
}

TEST(GrammarMatcher, ForcedTextIsWholeCharacters) {
  auto vocabulary = test_vocabulary();
  GrammarSpec spec{
      GrammarKind::JsonSchema,
      R"({"type":"object","properties":{"name":{"enum":["é","è"]}},"required":["name"],"additionalProperties":false})",
      {}};
  GrammarMatcher m(std::make_shared<const Grammar>(spec, vocabulary));
  EXPECT_EQ(m.jump_forward(), "{\"name\":\"");
  EXPECT_TRUE(m.accept_text(m.jump_forward()));
  EXPECT_EQ(m.jump_forward(), "");  // é or è: the first byte is forced, half a character is not text
  EXPECT_TRUE(m.accept_text("é"));
  EXPECT_EQ(m.jump_forward(), "\"}");
  EXPECT_TRUE(m.accept_text("\"}"));
  EXPECT_EQ(m.jump_forward(), "");
  EXPECT_TRUE(m.complete());
}

std::vector<int32_t> all_allowed(const GrammarMatcher& m) {
  std::vector<int32_t> ids;
  for (int32_t id = 0; id <= kCallMore; ++id) {
    if (allowed(m, id)) ids.push_back(id);
  }
  return ids;
}

TEST(GrammarMatcher, ASpecialTokenComesWhereATagHasItsNameAndOnlyThere) {
  const GrammarSpec spec = tag_of(R"({"type":"triggered_tags","triggers":["<call>"],"tags":[)"
                                  R"({"begin":"<call>f","content":{"type":"json_schema","json_schema":)"
                                  R"({"enum":["<call>"]}},"end":"!</call>"}]})");
  GrammarMatcher m(std::make_shared<const Grammar>(spec, test_vocabulary()));
  EXPECT_TRUE(allowed(m, kCall));
  EXPECT_TRUE(allowed(m, '<'));
  for (const int32_t id : {kSpecial, kCallEnd, kCallMore, 0xF8, 0xFF}) EXPECT_FALSE(allowed(m, id)) << id;
  EXPECT_TRUE(m.accept_text("<call"));
  EXPECT_FALSE(allowed(m, '>')) << "nor is its name spelled by other tokens";
  EXPECT_TRUE(m.accept_text(" and "));
  EXPECT_FALSE(m.accept(kCallEnd));
  EXPECT_TRUE(m.accept(kCall));
  EXPECT_EQ(m.jump_forward(), "f\"<call>\"!")
      << "inside of the content it is words; a special token is not forced text";
  EXPECT_TRUE(m.accept_text(m.jump_forward()));
  EXPECT_EQ(all_allowed(m), std::vector<int32_t>{kCallEnd});
  EXPECT_FALSE(m.complete());
  EXPECT_TRUE(m.accept(kCallEnd));
  EXPECT_TRUE(m.complete());
  EXPECT_TRUE(allowed(m, kCall));
  EXPECT_TRUE(allowed(m, kEos));
  const Grammar grammar(spec, test_vocabulary());
  EXPECT_TRUE(grammar.matches(R"(a <call>f"<call>"!</call>)"));
  EXPECT_FALSE(grammar.matches(R"(a <call>g"<call>"!</call>)"));
}

TEST(TokenVocabulary, ATextIsSplitAtTheLongestNameEverywhere) {
  std::mt19937 random(3);
  const auto word = [&](size_t most) {
    std::string text;
    for (size_t n = random() % (most + 1); n > 0; --n) text.push_back(static_cast<char>('a' + random() % 2));
    return text;
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<TokenVocabulary::Special> specials;
    for (int32_t id = 0; id < 6; ++id) specials.push_back({word(5), id});
    const TokenVocabulary vocabulary(std::vector<std::string>(6), {}, specials);
    const std::string text = word(30);
    std::string expected, got;
    for (size_t at = 0; at < text.size();) {
      size_t longest = 0;
      for (const auto& special : specials) {
        if (text.compare(at, special.name.size(), special.name) == 0) longest = std::max(longest, special.name.size());
      }
      expected += longest > 0 ? "[" + text.substr(at, longest) + "]" : text.substr(at, 1);
      at += std::max<size_t>(longest, 1);
    }
    for (const auto& piece : vocabulary.split_at_specials(text)) {
      got += piece.text == piece.bytes ? std::string(piece.text) : "[" + std::string(piece.text) + "]";
    }
    EXPECT_EQ(got, expected);
  }
}

TEST(GrammarMatcher, TheLongestNameIsTheSpecialTokenAndATriggerMayEndInside) {
  const auto matcher = [](const std::string& format) {
    return GrammarMatcher(std::make_shared<const Grammar>(tag_of(format), test_vocabulary()));
  };
  GrammarMatcher m = matcher(R"({"type":"triggered_tags","triggers":["<ca"],"at_least_one":true,"tags":[)"
                             R"({"begin":"<call>more","content":{"type":"const_string","value":"1"},"end":"</call>"},)"
                             R"({"begin":"<call>name","content":{"type":"const_string","value":"2"},"end":"</s>"},)"
                             R"({"begin":"<cat","content":{"type":"const_string","value":"3"},"end":""}]})");
  GrammarMatcher name = m.clone(), words = m.clone();
  EXPECT_TRUE(m.accept(kCallMore));
  EXPECT_EQ(m.jump_forward(), "1");
  EXPECT_TRUE(name.accept(kCall));
  EXPECT_EQ(name.jump_forward(), "name2</s>") << "the text's end is not a special token of a tag";
  EXPECT_TRUE(words.accept_text("<ca"));
  EXPECT_EQ(words.jump_forward(), "t3");

  GrammarMatcher until = matcher(R"({"type":"tag","begin":{"type":"token","token":268},"content":{"type":"any_text"},)"
                                 R"("end":{"type":"token","token":"</call>"}})");
  EXPECT_EQ(all_allowed(until), std::vector<int32_t>{kSpecial});
  EXPECT_TRUE(until.accept(kSpecial));
  EXPECT_TRUE(until.accept_text("free </cal"));
  EXPECT_FALSE(until.accept_text("l>"));
  EXPECT_FALSE(until.accept(kSpecial));
  EXPECT_TRUE(until.accept(kCallEnd));
  EXPECT_EQ(all_allowed(until), std::vector<int32_t>{kEos});
  for (const char* unknown : {"\"<unknown>\"", "\"</s>\"", "267", "12", "true"}) {
    EXPECT_THROW(matcher(R"({"type":"token","token":)" + std::string(unknown) + "}"), Error) << unknown;
  }
}

TEST(GrammarMatcher, EndIsAllowedWhereTheTextIsComplete) {
  auto grammar = std::make_shared<const Grammar>(GrammarSpec{GrammarKind::Regex, "ab?", {}}, test_vocabulary());
  GrammarMatcher m(grammar, GrammarMatcher::Rollback::On);
  EXPECT_FALSE(allowed(m, kEos));
  EXPECT_FALSE(m.accept(kEos));
  EXPECT_TRUE(m.accept('a'));
  EXPECT_TRUE(allowed(m, kEos));
  EXPECT_TRUE(allowed(m, 'b'));
  EXPECT_FALSE(allowed(m, kSpecial));
  EXPECT_FALSE(m.accept(kSpecial));
  EXPECT_TRUE(m.accept(kEos));
  EXPECT_TRUE(m.ended());
  EXPECT_FALSE(m.accept('b'));
  EXPECT_FALSE(allowed(m, 'b'));
  m.rollback(1);
  EXPECT_TRUE(m.accept('b'));
  EXPECT_FALSE(allowed(m, 'b'));
}

TEST(GrammarMatcher, RollbackAndCopiesAreExact) {
  auto grammar =
      std::make_shared<const Grammar>(GrammarSpec{GrammarKind::JsonSchema, "$$ANY$$", {}}, test_vocabulary());
  GrammarMatcher m(grammar, GrammarMatcher::Rollback::On);
  std::vector<std::vector<uint32_t>> masks;
  const std::string text = R"({"name":[true,{"a":-12.5}],"b":"x"})";
  for (char c : text) {
    masks.emplace_back(9, 0);
    m.fill_mask(masks.back());
    ASSERT_TRUE(m.accept(static_cast<unsigned char>(c)));
  }
  GrammarMatcher copy = m.clone();
  EXPECT_TRUE(copy.complete());
  for (size_t i = text.size(); i-- > 0;) {
    m.rollback(1);
    std::vector<uint32_t> mask(9, 0);
    m.fill_mask(mask);
    EXPECT_EQ(mask, masks[i]) << i;
  }
  EXPECT_EQ(copy.steps(), text.size());
  GrammarMatcher plain(grammar);
  EXPECT_TRUE(plain.accept_text(text));
  EXPECT_EQ(plain.steps(), 0U);
  EXPECT_FALSE(m.accept(kTrue + 7));  // "abc"
}

TEST(GrammarMatcher, GoesOnWhenStatesAreForgotten) {
  auto vocabulary = test_vocabulary();
  // Each text makes new states: nested arrays of different shapes, until the memory limit has begun a new automaton.
  auto grammar =
      std::make_shared<const Grammar>(GrammarSpec{GrammarKind::Regex, "([ab]*a[ab]{200})|x*", {}}, vocabulary);
  GrammarMatcher old(grammar, GrammarMatcher::Rollback::On);
  ASSERT_TRUE(old.accept_text("abba"));
  uint64_t state = 1;
  size_t largest = 0;
  for (int i = 0; i < 400; ++i) {
    std::string text;
    for (int k = 0; k < 600; ++k) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      text.push_back(state >> 63 ? 'a' : 'b');
    }
    grammar->matches(text);
    largest = std::max(largest, grammar->memory());
  }
  EXPECT_LT(largest, 3 * Grammar::kMostMemory);
  EXPECT_TRUE(old.accept_text(std::string(200, 'b')));
  EXPECT_TRUE(old.complete());
  old.rollback(2);
  EXPECT_TRUE(old.accept_text("x"));
  EXPECT_FALSE(old.accept_text("a"));
}

TEST(GrammarCompiler, KeepsGrammarsByTextInBoundedMemory) {
  GrammarCompiler compiler(test_vocabulary(), size_t{64} << 10);
  auto first = compiler.compile({GrammarKind::Regex, "[a-z]+", {}});
  EXPECT_EQ(first, compiler.compile({GrammarKind::Regex, "[a-z]+", {}}));
  EXPECT_NE(first, compiler.compile({GrammarKind::Ebnf, "root ::= [a-z]+", {}}));
  for (int i = 0; i < 200; ++i) compiler.compile({GrammarKind::Regex, "[a-z]{" + std::to_string(i) + "}", {}});
  EXPECT_LT(compiler.size(), 200U);
  EXPECT_THROW(compiler.compile({GrammarKind::JsonSchema, "false", {}}), Error);
  EXPECT_THROW(compiler.compile({GrammarKind::Regex, std::string(Grammar::kLongestText + 1, 'a'), {}}), Error);
}

TEST(GrammarCompiler, KeepsRefusalsInTheSameBounds) {
  GrammarCompiler compiler(test_vocabulary(), size_t{64} << 10);
  auto refusal = [&](const GrammarSpec& spec) {
    try {
      compiler.compile(spec);
    } catch (const Error& e) {
      return std::pair(e.kind(), std::string(e.what()));
    }
    return std::pair(ErrorKind::Internal, std::string("no error"));
  };
  const GrammarSpec malformed{GrammarKind::Regex, "(a", {}}, reference{GrammarKind::Regex, "(a)\\1", {}},
      nothing{GrammarKind::JsonSchema, "false", {}};
  for (const auto& [spec, kind] : {std::pair(malformed, ErrorKind::InvalidArgument),
                                   {reference, ErrorKind::Unsupported},
                                   {nothing, ErrorKind::InvalidArgument}}) {
    EXPECT_FALSE(compiler.knows(spec)) << spec.text;
    const auto first = refusal(spec);
    EXPECT_EQ(first.first, kind) << spec.text;
    EXPECT_TRUE(compiler.knows(spec)) << spec.text;
    EXPECT_EQ(refusal(spec), first) << spec.text;
  }
  for (int i = 0; i < 1000; ++i) refusal({GrammarKind::Regex, "(a" + std::string(100, 'b') + std::to_string(i), {}});
  EXPECT_LT(compiler.size(), 700U);
  EXPECT_FALSE(compiler.knows(malformed));
}

TEST(GrammarCompiler, ManyThreadsShareAGrammar) {
  GrammarCompiler compiler(test_vocabulary());
  std::atomic<int> right = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        auto grammar = compiler.compile({GrammarKind::JsonSchema,
                                         R"({"type":"object","properties":{"name":{"type":"string","maxLength":)" +
                                             std::to_string(i % 5 + 3) + "}}}",
                                         {}});
        GrammarMatcher m(grammar);
        std::vector<uint32_t> mask(9, 0);
        bool ok = true;
        for (char c : std::string(R"({"name":"ab","x":)") + std::to_string(t) + "}") {
          m.fill_mask(mask);
          ok &= (mask[static_cast<unsigned char>(c) / 32] >> (c % 32) & 1) != 0 &&
                m.accept(static_cast<unsigned char>(c));
        }
        right += ok && m.complete() ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 80);
}

TEST(Explain, ChainsAreOneEdgeAndForcedTextIsMarked) {
  Grammar g(
      {GrammarKind::JsonSchema,
       R"({"type":"object","properties":{"alive":{"type":"boolean"}},"required":["alive"],"additionalProperties":false})",
       {}},
      nullptr);
  std::string text = grammar::explain(g, grammar::ExplainForm::Text, R"({"alive":true})");
  EXPECT_NE(text.find("{\"alive\":"), std::string::npos) << text;
  EXPECT_NE(text.find("⟦{\"alive\":⟧t⟦rue}⟧"), std::string::npos) << text;
  EXPECT_NE(grammar::explain(g, grammar::ExplainForm::Dot, "").find("digraph"), std::string::npos);
  EXPECT_NE(grammar::explain(g, grammar::ExplainForm::Svg, "").find("</svg>"), std::string::npos);
}

}  // namespace
}  // namespace sgl
