// Options of gen(): how they merge, what types ask for, what is refused.

#include <limits>

#include "lang/test_programs.h"

namespace sgl {
namespace {

struct Pet {
  std::string kind;
  std::optional<int> legs;
};
SGL_JSON(Pet, kind, legs)
struct Person {
  std::string name;
  int age = 0;
  double height = 0;
  bool married = false;
  std::vector<Pet> pets;
};
SGL_JSON(Person, name, age, height, married, pets)
enum class Verdict { yes, no, maybe };
SGL_ENUM(Verdict, yes, no, maybe)

GenerateCall call_of(const Expr& expr, const GenOptions& defaults = {}) {
  auto backend = scripted({"1"});
  run_with({.backend = backend, .gen = defaults}, [&](State& s) { s += expr; });
  return backend->calls().at(0);
}

TEST(Gen, TheCallsOptionsBeatTheRunsAndThoseTheTables) {
  const GenOptions table = call_of(gen("x")).options;
  EXPECT_EQ(table.max_tokens, 128);
  EXPECT_EQ(table.temperature, 1.0);
  EXPECT_EQ(table.top_p, 1.0);
  EXPECT_EQ(table.top_k, -1);
  EXPECT_EQ(table.n, 1);
  EXPECT_EQ(table.ignore_eos, false);
  const GenOptions mixed =
      call_of(gen("x", {.max_tokens = 3, .top_k = 5}), {.max_tokens = 9, .temperature = 0}).options;
  EXPECT_EQ(mixed.max_tokens, 3);
  EXPECT_EQ(mixed.temperature, 0);
  EXPECT_EQ(mixed.top_k, 5);
}

TEST(Gen, StopStringsOfTheCallReplaceTheRunsAndTheFormatsAreAdded) {
  auto stops = [](const Expr& expr) {
    auto backend = scripted({"1"});
    backend->set_format(ChatFormat::named("chatml"));
    run_with({.backend = backend, .gen = {.stop = "run"}}, [&](State& s) { s += expr; });
    return backend->calls().at(0).options.stop.items();
  };
  using L = std::vector<std::string>;
  EXPECT_EQ(stops(gen("x")), (L{"run", "<|im_end|>"}));
  EXPECT_EQ(stops(gen("x", {.stop = "own"})), (L{"own", "<|im_end|>"}));
  EXPECT_EQ(stops(gen("x", {.stop = {"a", "b"}})), (L{"a", "b", "<|im_end|>"}));
  EXPECT_EQ(stops(gen("x", {.stop = Strings::none()})), (L{"<|im_end|>"}));
  EXPECT_EQ(stops(gen("x", {.stop = "<|im_end|>"})), (L{"<|im_end|>"}));
}

TEST(Gen, EveryTypeHasItsConstraint) {
  auto options = []<class T>(Key<T> key) { return call_of(gen(key)).options; };
  const GenOptions integer = options(Key<int>{"x"});
  EXPECT_EQ(integer.regex, "[-+]?[0-9]+");
  EXPECT_EQ(integer.stop.items(), (std::vector<std::string>{" ", "\n"}));
  const GenOptions number = options(Key<double>{"x"});
  EXPECT_EQ(number.regex, R"([-+]?[0-9]*\.?[0-9]+)");
  EXPECT_EQ(number.stop.items(), (std::vector<std::string>{" ", "\n"}));
  EXPECT_EQ(options(Key<bool>{"x"}).regex, "(True|False)");
  EXPECT_EQ(options(Key<Verdict>{"x"}).regex, "(yes|no|maybe)");
  EXPECT_EQ(options(Key<std::string>{"x"}).regex, "");
  EXPECT_EQ(call_of(gen(Key<int>{"x"}, {.stop = "."})).options.stop.items(),
            (std::vector<std::string>{".", " ", "\n"}));
  EXPECT_EQ(
      options(Key<Person>{"x"}).json_schema,
      R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"},"height":{"type":"number"},)"
      R"("married":{"type":"boolean"},"pets":{"type":"array","items":{"type":"object","properties":{"kind":)"
      R"({"type":"string"},"legs":{"anyOf":[{"type":"integer"},{"type":"null"}]}},"required":["kind","legs"],)"
      R"("additionalProperties":false}}},"required":["name","age","height","married","pets"],"additionalProperties":false})");
  EXPECT_EQ(json_schema_of<Verdict>(), R"({"enum":["yes","no","maybe"]})");
}

template <class T>
T read(const std::string& text, Key<T> key = {"x"}) {
  return run_with({.backend = scripted({text})}, [&](State& s) { s += gen(key); })[key];
}

TEST(Gen, TypedValuesAreParsed) {
  EXPECT_EQ(read<int>("42"), 42);
  EXPECT_EQ(read<int>("+7\n"), 7);
  EXPECT_EQ(read<int64_t>("-9000000000"), -9000000000);
  EXPECT_EQ(read<double>(".5"), 0.5);
  EXPECT_TRUE(read<bool>("True"));
  EXPECT_EQ(read<Verdict>("maybe"), Verdict::maybe);
  EXPECT_EQ(read<std::string>(" as it is "), " as it is ");
  const Person p = read<Person>(R"({"name":"Ada \"the first\"","age":36,"height":1.6,"married":true,
                                    "pets":[{"kind":"cat","legs":4},{"kind":"snake","legs":null}]})");
  EXPECT_EQ(p.name, "Ada \"the first\"");
  EXPECT_EQ(p.age, 36);
  EXPECT_TRUE(p.married);
  ASSERT_EQ(p.pets.size(), 2);
  EXPECT_EQ(p.pets[0].legs, 4);
  EXPECT_EQ(p.pets[1].legs, std::nullopt);
}

TEST(Gen, WhatIsNotOfTheTypeIsAnErrorWithTheText) {
  for (const auto& text : {"4.5", "", "x", "99999999999999999999", "12apples"}) {
    EXPECT_EQ(error_of([&] { read<int>(text); }).kind(), ErrorKind::WrongType) << text;
  }
  EXPECT_EQ(error_of([&] { read<uint8_t>("256"); }).kind(), ErrorKind::WrongType);
  EXPECT_EQ(error_of([&] { read<bool>("perhaps"); }).kind(), ErrorKind::WrongType);
  const Error cut = error_of([&] { read<Person>(R"({"name":"Ad)"); });
  EXPECT_TRUE(contains(cut.what(), R"({"name":"Ad)")) << cut.what();
  EXPECT_EQ(error_of([&] { read<Person>(R"({"name":"Ada"})"); }).kind(), ErrorKind::WrongType);
}

TEST(Gen, TryGetReturnsTheErrorInstead) {
  constexpr Key<int> age{"age"};
  auto r = run_with({.backend = scripted({"old"})}, [&](State& s) { s += gen(age); });
  const Maybe<int> value = r.try_get(age);
  EXPECT_FALSE(value);
  EXPECT_EQ(value.error().kind(), ErrorKind::WrongType);
  EXPECT_EQ(*r.try_get("age"), "old");
  EXPECT_EQ(r.try_get("nobody").error().kind(), ErrorKind::NotFound);
}

TEST(Gen, TypedLists) {
  constexpr Key<int> n{"n"};
  auto r = run_with({.backend = scripted({"1", "2", "3"})}, [&](State& s) {
    auto forks = s.fork(3);
    forks += gen(n);
    forks[0].sync(), forks[1].sync(), forks[2].sync();
    forks.join();
  });
  int sum = 0;
  for (int x : r.list(n)) sum += x;
  EXPECT_EQ(sum, 6);
}

TEST(Gen, ListsOfChoicesHaveTheirValuesAndABadElementIsShown) {
  constexpr Key<Verdict> verdict{"v"};
  constexpr Key<std::pair<int, int>> anything{"v"};
  auto r = run_with({.backend = scripted({"x"})}, [&](State& s) {
    auto forks = s.fork(2);
    forks += [&](int i) {
      return i == 0 ? select(verdict, {{"sure", Verdict::yes}}) : select(verdict, {{"never", Verdict::no}});
    };
    forks.join();
  });
  EXPECT_EQ(r.list(verdict), (std::vector<Verdict>{Verdict::yes, Verdict::no}));
  EXPECT_TRUE(contains(error_of([&] { r.list(anything); }).what(), "got \"sure\""));
  EXPECT_EQ(r.list("v"), (std::vector<std::string>{"sure", "never"}));

  auto one = run_with({.backend = scripted({"x"})}, [&](State& s) { s += select(verdict, {{"sure", Verdict::yes}}); });
  EXPECT_EQ(one.list(verdict), std::vector<Verdict>{Verdict::yes});
  auto samples = run_with({.backend = scripted({"1", "two"})}, [](State& s) { s += gen("n", {.n = 2}); });
  const Error error = error_of([&] { samples.list(Key<int>{"n"}); });
  EXPECT_EQ(error.kind(), ErrorKind::WrongType);
  EXPECT_TRUE(contains(error.what(), "expected integer, got \"two\"")) << error.what();
}

TEST(Gen, WrongOptionsAreRefusedWhenTheExpressionIsMade) {
  auto refused = [](const GenOptions& o) {
    return error_of([&] { gen("x", o); }).kind() == ErrorKind::InvalidArgument;
  };
  EXPECT_TRUE(refused({.max_tokens = -1}));
  EXPECT_TRUE(refused({.n = 0}));
  EXPECT_TRUE(refused({.temperature = -0.1}));
  EXPECT_TRUE(refused({.temperature = std::numeric_limits<double>::quiet_NaN()}));
  EXPECT_TRUE(refused({.top_p = 0}));
  EXPECT_TRUE(refused({.top_p = 1.1}));
  EXPECT_TRUE(refused({.top_k = 0}));
  EXPECT_TRUE(refused({.min_p = 2}));
  EXPECT_TRUE(refused({.frequency_penalty = 3}));
  EXPECT_TRUE(refused({.max_tokens = 3, .min_tokens = 4}));
  EXPECT_TRUE(refused({.stop = ""}));
  EXPECT_TRUE(refused({.regex = "a", .json_schema = "{}"}));
  EXPECT_TRUE(refused({.regex = "(a"}));
  EXPECT_TRUE(refused({.stop_regex = {"a", "[z-a]"}}));
  EXPECT_NO_THROW(gen("x", {.regex = "(?=a)a"}));  // not ours, but some servers'
  EXPECT_TRUE(refused({.json_schema = "{", .ebnf = {}}));
  EXPECT_EQ(error_of([] { gen(Key<int>{"x"}, {.regex = "a"}); }).kind(), ErrorKind::InvalidArgument);
  EXPECT_TRUE(
      contains(error_of([] { gen("city", {.top_p = 2}); }).what(), "gen(\"city\"): top_p must be in (0, 1], got 2"));
}

TEST(Gen, WhatTheBackendLacksIsRefusedWhenAppendedAndNamesBoth) {
  Capabilities none;
  none.multiple = false;
  auto backend = std::make_shared<ScriptedBackend>(std::vector<std::string>{"x"}, none);
  run_with({.backend = backend}, [](State& s) {
    auto refused = [&](const Expr& e) {
      const Error error = error_of([&] { s += e; });
      EXPECT_TRUE(contains(error.what(), "scripted")) << error.what();
      return error.kind() == ErrorKind::Unsupported;
    };
    EXPECT_TRUE(refused(gen("x", {.regex = "a"})));
    EXPECT_TRUE(refused(gen("x", {.n = 2})));
    EXPECT_TRUE(refused(gen("x", {.stop_regex = "a"})));
    EXPECT_TRUE(refused(gen("x", {.return_logprob = true})));
    EXPECT_TRUE(refused(select("x", {"a", "b"})));
    Capabilities echo = ScriptedBackend::all();
    echo.unconditional = false;
    run_with({.backend = std::make_shared<ScriptedBackend>(std::vector<std::string>{"x"}, echo)}, [&](State& t) {
      const auto& method = choice::unconditional_likelihood_normalized;
      EXPECT_EQ(error_of([&] { t += select("x", {"a"}, {.method = method}); }).kind(), ErrorKind::Unsupported);
    });
    s += gen("fine");
    EXPECT_EQ(s["fine"], "x");
    EXPECT_FALSE(s.contains("x"));
  });
}

TEST(Gen, ATypeIsConstrainedWhereTheBackendCanAndParsedAnyway) {
  auto ask = [](const Capabilities& can, const Expr& expr) {
    auto backend = std::make_shared<ScriptedBackend>(std::vector<std::string>{"7"}, can);
    auto r = run_with({.backend = backend}, [&](State& s) { s += user("How many?") + assistant(expr); });
    EXPECT_EQ(r[Key<int>{"x"}], 7);
    const GenOptions o = backend->calls().at(0).options;
    return o.regex + o.json_schema;
  };
  EXPECT_EQ(ask(ScriptedBackend::all(), gen(Key<int>{"x"})), "[-+]?[0-9]+");
  EXPECT_EQ(ask(ScriptedBackend::chat(), gen(Key<int>{"x"})), "");
  EXPECT_EQ(ask(ScriptedBackend::chat(), gen(Key<std::vector<int>>{"x"})),
            R"({"type":"array","items":{"type":"integer"}})");
  EXPECT_EQ(ask({}, gen(Key<std::vector<int>>{"x"})), "");
}

TEST(Gen, WhatIsWrongOnlyWithTheRunsOptionsIsRefusedWhenAppended) {
  run_with({.backend = scripted({"x"}), .gen = {.max_tokens = 3}}, [](State& s) {
    const Error error = error_of([&] { s += gen("x", {.min_tokens = 4}); });
    EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
    EXPECT_TRUE(contains(error.what(), "min_tokens 4 is more than max_tokens 3")) << error.what();
  });
}

TEST(Gen, CatJoinsTextsAndNumbers) {
  EXPECT_EQ(cat("a", 1, std::string("b"), 'c', true, std::string_view("d")), "a1bctrued");
}

}  // namespace
}  // namespace sgl
