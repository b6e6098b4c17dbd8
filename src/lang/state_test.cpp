// Text, variables, and the order of things in one state.

#include "lang/test_programs.h"

namespace sgl {
namespace {

TEST(State, AppendDoesNotWaitAndReadingDoes) {
  within_patience([] {
    auto door = std::make_shared<Door>();
    auto r = run_with({.backend = behind(door, "Paris")}, [&](State& s) {
      s += "Capital of France? ";
      s += gen("city", {.max_tokens = 8, .stop = {"\n", "."}});
      s += "!";
      EXPECT_TRUE(s.contains("city"));
      EXPECT_FALSE(s["city"].ready());
      EXPECT_EQ(s.partial_text(), "Capital of France? ");
      door->open();
      EXPECT_EQ(s["city"], "Paris");
    });
    EXPECT_EQ(r.text(), "Capital of France? Paris!");
  });
}

TEST(State, NothingIsSentBeforeTheFirstGeneration) {
  auto backend = scripted({"x"});
  auto r = run_with({.backend = backend}, [](State& s) {
    s += "a";
    s += std::string("b");
    s += std::string_view("c");
  });
  EXPECT_EQ(r.text(), "abc");
  EXPECT_TRUE(backend->calls().empty());
}

TEST(State, TwoGenerationsOfOneNameAreTwoDefinitions) {
  auto r = run_with({.backend = scripted({"one", "two"})}, [](State& s) {
    s += gen("x");
    const Var first = s["x"];
    s += gen("x");
    EXPECT_EQ(first, "one");
    EXPECT_EQ(s["x"], "two");
  });
  EXPECT_EQ(r.text(), "onetwo");
}

TEST(State, AVariableOutlivesItsState) {
  std::optional<Var> kept;
  {
    kept = run_with({.backend = scripted({"late"})}, [](State& s) { s += gen("x"); })["x"];
  }
  EXPECT_EQ(*kept, "late");
}

TEST(State, AnUnknownNameIsAnErrorAtOnce) {
  auto r = run_with({.backend = scripted({"x"})}, [](State& s) { s += "text"; });
  const Error error = error_of([&] { r["nobody"]; });
  EXPECT_EQ(error.kind(), ErrorKind::NotFound);
  EXPECT_TRUE(contains(error.what(), "nobody"));
  EXPECT_FALSE(r.contains("nobody"));
}

TEST(State, SetDefinesAVariableAndLeavesTheText) {
  auto r = run_with({.backend = scripted({"x"})}, [](State& s) {
    s += "text";
    s.set("v", "value");
  });
  EXPECT_EQ(r["v"], "value");
  EXPECT_EQ(r.text(), "text");
}

TEST(State, AVariableInAnExpressionMakesTheStateWaitAndNotTheBody) {
  within_patience([] {
    auto door = std::make_shared<Door>();
    auto slow = run_with({.backend = behind(door, "late")}, [](State& s) { s += gen("x"); });
    auto r = run_with({.backend = scripted({"B"})}, [&](State& s) {
      s += "before " + slow["x"] + " after " + gen("y");
      EXPECT_FALSE(s["y"].ready());
      door->open();
    });
    EXPECT_EQ(r["y"], "B");
    EXPECT_EQ(r.text(), "before late after B");
  });
}

TEST(State, ALongChainOfWaitingStatesDoesNotNest) {
  within_patience([] {
    auto door = std::make_shared<Door>();
    auto first = run_with({.backend = behind(door, "x")}, [](State& s) { s += gen("v"); });
    auto r = run_with({.backend = scripted({"y"})}, [&](State& root) {
      Var last = first["v"];
      std::vector<Forks> all;
      for (int i = 0; i < 20'000; ++i) {
        all.push_back(root.fork(1));
        all.back()[0] += Expr(last) + gen("v");
        last = all.back()[0]["v"];
      }
      door->open();
      EXPECT_EQ(last, "y");
    });
  });
}

TEST(State, CaptureIsAllTextAddedInTheScope) {
  auto r = run_with({.backend = scripted({"1", "2"})}, [](State& s) {
    s += "x = ";
    auto scope = s.capture("both");
    s += gen("x") + "," + gen("y");
  });
  EXPECT_EQ(r["both"], "1,2");
  EXPECT_EQ(r.text(), "x = 1,2");
}

// A capture that were defined at its beginning would wait for itself here.
TEST(State, InsideOfACaptureItsNameMeansWhatItMeantBefore) {
  within_patience([] {
    auto backend = scripted({"old", "new"});
    backend->set_latency(1ms);
    auto r = run_with({.backend = backend}, [](State& s) {
      s += gen("x");
      {
        auto scope = s.capture("x");
        s += " again " + s["x"] + gen("y");
        auto forks = s.fork(2);
        forks += " and " + s["x"];
        EXPECT_EQ(forks[1].text(), "old again oldnew and old");
      }
      EXPECT_EQ(s["x"], " again oldnew");
      auto scope = s.capture("fresh");
      EXPECT_EQ(error_of([&] { s["fresh"]; }).kind(), ErrorKind::NotFound);
    });
    EXPECT_EQ(r["fresh"], "");
  });
}

TEST(State, ManySamplesAreAListAndTheTextTakesTheFirst) {
  auto r = run_with({.backend = scripted({"a", "b", "c"})}, [](State& s) { s += "say " + gen("x", {.n = 3}); });
  EXPECT_EQ(r["x"].list(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(r["x"][2], "c");
  EXPECT_EQ(r.text(), "say a");
  EXPECT_EQ(error_of([&] { r["x"].str(); }).kind(), ErrorKind::WrongType);
}

TEST(State, MetaTellsHowAGenerationEnded) {
  auto r = run_with({.backend = scripted({"Paris. It is"})}, [](State& s) { s += gen("x", {.stop = "."}); });
  EXPECT_EQ(r["x"], "Paris");
  EXPECT_EQ(r["x"].meta().finish_reason, "stop");
  EXPECT_EQ(r["x"].meta().matched, ".");
}

TEST(State, WaitForGivesUpAfterItsTime) {
  within_patience([] {
    auto door = std::make_shared<Door>();
    auto r = run_with({.backend = behind(door, "x")}, [](State& s) { s += gen("x"); });
    EXPECT_FALSE(r["x"].wait_for(5ms));
    door->open();
    EXPECT_TRUE(r["x"].wait_for(kPatience));
  });
}

TEST(State, RunKeepsWhatTheBodyReturns) {
  auto r = run_with({.backend = scripted({"42"})}, [](State& s) {
    s += gen("x");
    return s["x"].str() + "!";
  });
  EXPECT_EQ(r.value(), "42!");
}

TEST(State, ANullPointerIsRefused) {
  const char* none = nullptr;
  EXPECT_EQ(error_of([&] { Expr{none}; }).kind(), ErrorKind::InvalidArgument);
}

TEST(State, WithoutABackendARunSaysWhatToDo) {
  set_default_backend(nullptr);
  const Error error = error_of([] { run([](State&) {}); });
  EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
  EXPECT_TRUE(contains(error.what(), "set_default_backend"));
}

TEST(State, TheDefaultBackendAndProgramsWithOptions) {
  set_default_backend(scripted({"from default"}));
  EXPECT_EQ(run([](State& s) { s += gen("x"); })["x"], "from default");
  auto p = program([](State& s, const std::string& q) { s += q + gen("x"); }, {.backend = scripted({"own"})});
  EXPECT_EQ(p("Q: ").text(), "Q: own");
  EXPECT_EQ(run(p, "P: ").text(), "P: own");
  set_default_backend(nullptr);
}

}  // namespace
}  // namespace sgl
