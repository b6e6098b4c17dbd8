// What the recorded corpus cannot show: limits against hostile templates, errors' lines and kinds, threads.

#include "text/jinja.h"

#include <random>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "sgl/error.h"
#include "text/jinja_library.h"
#include "text/jinja_unicode.h"
#include "text/unicode.h"

namespace sgl::jinja {
namespace {

constexpr size_t kHeap = size_t{64} << 20;

std::string render(std::string_view source, const std::string& variables = "{}", const RenderOptions& options = {},
                   size_t heap_bytes = kHeap) {
  Template parsed(source);
  Heap heap(heap_bytes);
  Value object = parse_json(heap, variables);
  std::vector<std::pair<std::string_view, Value>> given;
  for (const auto& [name, value] : object.dict().entries) given.emplace_back(name.as_string(), value);
  return parsed.render(heap, given, options);
}

// The error that rendering ends with; its kind is checked.
std::string error_of(std::string_view source, ErrorKind kind = ErrorKind::InvalidArgument,
                     const RenderOptions& options = {}, size_t heap_bytes = kHeap) {
  try {
    std::string text = render(source, "{}", options, heap_bytes);
    ADD_FAILURE() << source.substr(0, 200) << " rendered " << text.size() << " bytes";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    return e.what();
  }
  return "";
}

std::string repeat(std::string_view s, size_t n) {
  std::string out;
  for (size_t i = 0; i < n; ++i) out += s;
  return out;
}

void expect_has(const std::string& text, std::string_view part) {
  EXPECT_NE(text.find(part), std::string::npos) << text.substr(0, 400) << "\nlacks " << part;
}

TEST(Jinja, ErrorsNameTheLine) {
  expect_has(error_of("a\nb\n{{ missing.x }}"), "chat template, line 3: 'missing' is undefined");
  expect_has(error_of("{% for i in [1] %}\n{{ raise_exception('no: ' ~ i) }}\n{% endfor %}"),
             "chat template, line 2: no: 1");
  expect_has(error_of("\n\n{% if %}{% endif %}", ErrorKind::CorruptFile), "chat template, line 3: ");
  expect_has(error_of("{% macro m() %}\n{{ 1 / 0 }}{% endmacro %}\n\n{{ m() }}"), "line 2: division by zero");
}

TEST(Jinja, WhatStandsOutsideOfOneTemplateIsUnsupported) {
  for (const char* source :
       {"{% include 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% extends 'x' %}",
        "{% block b %}{% endblock %}", "{% autoescape true %}{% endautoescape %}"}) {
    expect_has(error_of(source, ErrorKind::Unsupported), "is not supported");
  }
}

TEST(Jinja, InvalidUtf8AndHugeSourcesAreRefused) {
  EXPECT_THROW(Template("\xff"), Error);
  EXPECT_THROW(Template(std::string(Template::kMaxSourceBytes + 1, 'x')), Error);
}

TEST(Jinja, EndlessWorkIsStopped) {
  RenderOptions options{.max_steps = 1'000'000};
  std::string nested =
      "{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}"
      "{% endfor %}{% endfor %}{% endfor %}";
  expect_has(error_of(nested, ErrorKind::InvalidArgument, options), "more than 1000000 steps");
  // Work inside of one filter or operator counts as well.
  expect_has(error_of("{% set s = 'x' * 1000000 %}{% for i in range(100000) %}{{ s is upper }}{% endfor %}",
                      ErrorKind::InvalidArgument, options),
             "steps");
  expect_has(
      error_of("{% set l = range(100000) | list %}{% for i in range(100000) %}{% if -1 in l %}{% endif %}{% endfor %}",
               ErrorKind::InvalidArgument, options),
      "steps");
  expect_has(error_of("{% set l = range(100000) | list %}{% for i in range(1000) %}{% set x = l | sort %}{% endfor %}",
                      ErrorKind::InvalidArgument, options),
             "steps");
}

TEST(Jinja, HugeTextsAndListsAreStopped) {
  error_of("{{ 'x' * 100000000000 }}");
  error_of("{{ [1] * 100000000000 }}");
  EXPECT_EQ(render("{{ '' * 100000000000000 }}{{ [] * 100000000000000 }}"), "[]");
  error_of("{{ 'abc' | center(100000000000) }}");
  error_of("{{ 'abc'.zfill(9223372036854775807) }}");
  error_of("{{ '%1000000000d' % 1 }}");
  error_of("{{ '{:>1000000000}'.format(1) }}");
  error_of("{{ '%.1000000000f' % 1.5 }}");
  error_of("{{ 'a\tb'.expandtabs(100000000000) }}");
  error_of("{{ 'a' | indent(100000000000) }}");
  error_of("{{ [[1]] | tojson(indent=100000000000) }}");
  error_of("{{ [1] | batch(100000000000, 0) | list }}");
  error_of("{% for x in range(9223372036854775807) %}{% endfor %}");
  RenderOptions small{.max_output_bytes = 1000};
  expect_has(error_of("{% for i in range(100) %}{{ 'x' * 100 }}{% endfor %}", ErrorKind::InvalidArgument, small),
             "larger");
  expect_has(
      error_of("{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = ns.l + [i] %}{% endfor %}",
               ErrorKind::InvalidArgument, {}, size_t{1} << 20),
      "more than 1 MiB of memory");
}

TEST(Jinja, StructuresThatDoubleAreStopped) {
  // 60 doublings: 2^60 values when written out or compared, though few are stored.
  const std::string grow =
      "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
      "{% set ns.y = [ns.y, ns.y] %}{% endfor %}";
  for (const char* use : {"{{ ns.x }}", "{{ ns.x | tojson }}", "{{ ns.x == ns.y }}", "{{ ns.x < ns.y }}",
                          "{{ ns.x in [ns.y] }}", "{{ '%s' % (ns.x,) }}", "{{ ns.x | join }}"}) {
    error_of(grow + use, ErrorKind::InvalidArgument, {.max_steps = 1'000'000, .max_output_bytes = 1 << 20});
  }
  const std::string tuples =
      "{% set ns = namespace(x=(1,)) %}{% for i in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}";
  for (const char* use :
       {"{{ {ns.x: 1} }}", "{{ ns.x in {'a': 1} }}", "{{ [ns.x] | unique | list }}", "{{ {'a': 1}.get(ns.x) }}"}) {
    expect_has(error_of(tuples + use), "too large to be a key");
  }
}

TEST(Jinja, DeepStructuresAreStopped) {
  const std::string deep = "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = ";
  for (const char* around : {"[ns.x]", "(ns.x,)", "{'a': ns.x}", "{'a': ns.x}.items()", "dict(a=ns.x)"}) {
    error_of(deep + around + " %}{% endfor %}{{ ns.x }}");
  }
  // Iterators over iterators, namespaces in namespaces: lazy or by reference, so only their use is deep.
  error_of(deep + "ns.x | map('string') %}{% endfor %}{{ ns.x | list }}");
  error_of(
      "{% set ns = namespace(x=none) %}{% for i in range(10000) %}{% set o = namespace(x=ns.x) %}{% set ns.x = o %}"
      "{% endfor %}{{ ns.x }}");
}

TEST(Jinja, DeepRecursionIsStopped) {
  expect_has(error_of("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), "recursion");
  expect_has(error_of("{% macro a() %}{{ b() }}{{ caller }}{% endmacro %}{% macro b() %}{% call a() %}{% endcall %}{% "
                      "endmacro %}{{ a() }}"),
             "recursion");
  expect_has(error_of("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}"), "recursion");
  EXPECT_EQ(render("{% macro m(n) %}{% if n %}{{ m(n - 1) }}{% else %}end{% endif %}{% endmacro %}{{ m(90) }}"), "end");
}

TEST(Jinja, DeepNestingInTheSourceIsRefused) {
  size_t n = 100'000;
  for (const std::string& source :
       {"{{ " + repeat("(", n) + "1" + repeat(")", n) + " }}", "{{ " + repeat("[", n) + " }}",
        "{{ " + repeat("-", n) + "1 }}", "{{ " + repeat("not ", n) + "1 }}", "{{ 1" + repeat(" + 1", n) + " }}",
        "{{ x" + repeat(".x", n) + " }}", "{{ x" + repeat("[0]", n) + " }}", "{{ x" + repeat("|list", n) + " }}",
        "{{ x" + repeat("()", n) + " }}", repeat("{% if x %}", n), "{{ " + repeat("1 if x else ", n) + "1 }}",
        "{{ 1" + repeat(" and 1", n) + " }}", "{{ 1" + repeat(" if 1", n) + " }}", "{% for " + repeat("(", n) + "x }}",
        "{{ x" + repeat(" is defined", n) + " }}"}) {
    error_of(source, ErrorKind::CorruptFile);
  }
  // Wide is not deep.
  EXPECT_EQ(render("{{ [" + repeat("1, ", n) + "] | length }}"), std::to_string(n));
  EXPECT_EQ(render("{{ ''" + repeat(" ~ 'x'", 1000) + " }}"), repeat("x", 1000));
  EXPECT_EQ(render("{% if x %}" + repeat("{% elif x %}", 10'000) + "{% else %}e{% endif %}"), "e");
}

TEST(Jinja, QuadraticScopesAreRefused) {
  std::string source;
  for (int i = 0; i < 20'000; ++i) source += fmt::format("{{% if a %}}{{% set v{} = 1 %}}{{% endif %}}", i);
  expect_has(error_of(source, ErrorKind::CorruptFile), "too many variables");
}

TEST(Jinja, TextIsBuiltPieceByPieceInLinearMemory) {
  // 20000 appended pieces of 100 bytes are 2 MB; as copies they would be 20 GB.
  std::string text = render(
      "{% set ns = namespace(t='') %}{% for i in range(20000) %}{% set ns.t = ns.t + ('<' ~ 'x' * 98 ~ '>') %}{% "
      "endfor %}"
      "{{ ns.t | length }}",
      "{}", {}, size_t{32} << 20);
  EXPECT_EQ(text, "2000000");
}

TEST(Jinja, IntegersBeyond64BitsFail) {
  EXPECT_EQ(render("{{ 9223372036854775807 }} {{ x }} {{ -12345678901234567890 }}", R"({"x": 18446744073709551615})"),
            "9223372036854775807 18446744073709551615 -12345678901234567890");
  for (const char* e :
       {"9223372036854775807 + 1", "-9223372036854775807 - 2", "9223372036854775807 * 2", "2 ** 63",
        "(-9223372036854775807 - 1) // -1", "(-9223372036854775807 - 1) | abs", "12345678901234567890 + 1"}) {
    expect_has(error_of(fmt::format("{{{{ {} }}}}", e)), "too large");
  }
  EXPECT_EQ(
      render(
          "{{ (-9223372036854775807 - 1) % -1 }} {{ 3 % (-9223372036854775807 - 1) }} {{ [1, 2][9223372036854775807] }}"
          "{{ 'abc'[-9223372036854775807:9223372036854775807:9223372036854775807] }}"
          "{{ 'abc'[::-9223372036854775807] }}"),
      "0 -9223372036854775805 ac");
}

TEST(Jinja, JsonIsReadAsPythonReadsIt) {
  EXPECT_EQ(
      render("{{ x }} {{ x | tojson }}", R"({"x": {"b": 1, "a": [1.0, -0, 1E5, true, null, "\u00e9\ud83d\ude00"]}})"),
      "{'b': 1, 'a': [1.0, 0, 100000.0, True, None, 'é😀']} {\"b\": 1, \"a\": [1.0, 0, 100000.0, true, null, \"é😀\"]}");
}

TEST(Jinja, BadJsonIsRefused) {
  Heap heap(kHeap);
  EXPECT_THROW(parse_json(heap, "{\"a\": }"), Error);
  EXPECT_THROW(parse_json(heap, "\"\xff\""), Error);
  EXPECT_THROW(parse_json(heap, R"("\ud800")"), Error);
  EXPECT_THROW(parse_json(heap, repeat("[", 100'000)), Error);
  EXPECT_THROW(parse_json(heap, "1 2"), Error);
  Value v = parse_json(heap, R"({"b": 1, "a": 2, "b": [3, 123456789012345678901]})");
  std::string text;
  EXPECT_EQ(v.dict().entries.size(), 2U);
  EXPECT_EQ(v.dict().entries[0].first.as_string(), "b");  // where the key came first, with the value that came last
  EXPECT_EQ(v.dict().find("b")->list().items[1].as_string(), "123456789012345678901");
}

TEST(Jinja, LargeDictsFindTheirKeys) {
  std::mt19937 random(7);
  Heap heap(kHeap);
  Dict& dict = heap.dict();
  std::map<std::string, int64_t> expected;
  for (int64_t i = 0; i < 5000; ++i) {
    std::string key = std::to_string(random() % 3000);
    dict.set(heap.string(key), Value::integer(i));
    expected[key] = i;
  }
  EXPECT_EQ(dict.entries.size(), expected.size());
  for (const auto& [key, value] : expected) EXPECT_EQ(dict.find(key)->as_int(), value);
  EXPECT_EQ(dict.find("none"), nullptr);
}

TEST(Jinja, OneTemplateRendersInManyThreads) {
  const Template parsed(
      "{% macro m(x) %}<{{ x }}>{% endmacro %}{% for x in xs %}{{ m(x) }}{{ loop.index }}{% endfor %}");
  std::vector<std::string> results(8);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < results.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        Heap heap(kHeap);
        std::pmr::vector<Value> xs = heap.values();
        for (size_t k = 0; k <= t; ++k) xs.push_back(Value::integer(static_cast<int64_t>(k)));
        std::pair<std::string_view, Value> variables[] = {{"xs", heap.list(std::move(xs))}};
        results[t] = parsed.render(heap, variables);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(results[1], "<0>1<1>2");
  EXPECT_EQ(results[7], "<0>1<1>2<2>3<3>4<4>5<5>6<6>7<7>8");
}

TEST(Jinja, MutatedTemplatesNeverCrash) {
  uint32_t seed = 20260203;
  fmt::print("seed {}\n", seed);
  std::mt19937 random(seed);
  const std::string base =
      "{%- macro m(a, b=1) -%}{{ a ~ b }}{{ caller() if caller }}{%- endmacro -%}{% set ns = namespace(x=[1, 'a', "
      "{'k': 2.5}]) %}"
      "{% for k, v in {'a': 1}.items() if v recursive %}{{ loop.index }}{{ v | tojson(indent=2) }}{% else %}{% endfor "
      "%}"
      "{% call m(ns.x[::-1]) %}{{ '%5.2f' % 1.5 }}{% endcall %}{{ ns.x | map('string') | join(',') | upper }}"
      "{% set t %}{% filter trim %} {{ s[1:-1] }}{% endfilter %}{% endset %}{# c #}{% raw %}{{ }}{% endraw %}";
  const std::string pieces[] = {"{%",    "%}",   "{{",        "}}",       "-",      "|",      "(",         ")",
                                "[",     "]",    "'",         "\"",       "\\",     ".",      "~",         " if ",
                                " for ", " in ", " is ",      "not ",     "endfor", "1e9",    "999999999", "%",
                                "*",     "**",   ":",         ",",        "=",      "{#",     "#}",        "\n",
                                "loop",  "ns.x", "recursive", "\xC3\xA9", "set ",   "macro ", "{",         "}"};
  RenderOptions options{.max_steps = 20'000, .max_output_bytes = 1 << 16};
  int rendered = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string source = base;
    for (size_t n = 1 + random() % 4; n > 0; --n) {
      size_t at = random() % source.size();
      if (random() % 2 == 0) source.erase(at, random() % 8);
      source.insert(std::min(at, source.size()), pieces[random() % std::size(pieces)]);
    }
    if (!is_valid_utf8(source)) continue;
    try {
      render(source, R"({"s": "héllo", "l": [1, 2]})", options, size_t{4} << 20);
      ++rendered;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(rendered, 50);
}

TEST(JinjaUnicode, CaseMappingIsFull) {
  EXPECT_EQ(to_upper("straße ŉ ﬃ ΐ"), "STRASSE ʼN FFI \u0399\u0308\u0301");
  EXPECT_EQ(to_lower("ΟΔΟΣ. Σ ΣΑ"), "οδος. σ σα");
  EXPECT_EQ(to_title("ßa ǆ they're"), "Ssa ǅ They'Re");
  EXPECT_EQ(capitalize("éÀ"), "Éà");
  EXPECT_EQ(strip("\u3000 x\u00a0\x1c"), "x");
}

}  // namespace
}  // namespace sgl::jinja
