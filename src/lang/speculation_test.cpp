// API speculative execution: fewer calls, the same variables, and never a silent guess.

#include "lang/speculation.h"

#include "lang/test_programs.h"

namespace sgl {
namespace {

std::shared_ptr<ScriptedBackend> chat_api(std::vector<std::string> answers) {
  auto backend = std::make_shared<ScriptedBackend>(std::move(answers), ScriptedBackend::chat());
  backend->set_format(ChatFormat::named("chatml"));  // with a stop string, which must not disturb
  return backend;
}

void novel(State& s) {
  s += user("Recommend a novel.");
  s += assistant("Title: " + gen("title", {.stop = "\n"}) + "\nAuthor: " + gen("author", {.stop = "\n"}) +
                 "\nYear: " + gen("year", {.stop = {"\n", "."}}));
}

TEST(ChatSpeculation, OneCallBringsAllFields) {
  auto backend = chat_api({"Title: Dune\nAuthor: Frank Herbert\nYear: 1965."});
  auto r = run_with({.backend = backend, .api_spec_tokens = 64}, novel);
  EXPECT_EQ(r["title"], "Dune");
  EXPECT_EQ(r["author"], "Frank Herbert");
  EXPECT_EQ(r["year"], "1965");
  ASSERT_EQ(backend->calls().size(), 1);
  const GenerateCall call = backend->calls()[0];
  EXPECT_EQ(call.options.max_tokens, 64);
  EXPECT_TRUE(call.options.stop.items().empty());
  EXPECT_EQ(call.prompt.messages, (std::vector<Message>{{"user", "Recommend a novel."}}));
  EXPECT_EQ(r.messages()[1].content, "Title: Dune\nAuthor: Frank Herbert\nYear: 1965");
  EXPECT_TRUE(contains(r.text(), "Author: Frank Herbert\nYear: 1965<|im_end|>\n"));
}

TEST(ChatSpeculation, AReplyThatDoesNotMatchIsAskedForAgain) {
  auto backend =
      chat_api({"Sure! Title: Dune", "Title: Dune\nBy: nobody", "Title: Emma\nAuthor: Jane Austen\nYear: 1815"});
  auto r = run_with({.backend = backend, .api_spec_tokens = 64}, novel);
  EXPECT_EQ(r["title"], "Emma");  // nothing of the failed tries is left
  EXPECT_EQ(r["year"], "1815");
  EXPECT_EQ(backend->calls().size(), 3);
}

TEST(ChatSpeculation, AfterThreeTriesItIsAnErrorAndNothingHangs) {
  within_patience([] {
    auto backend = chat_api({"no"});
    backend->set_latency(1ms);
    auto r = run_with({.backend = backend, .api_spec_tokens = 64}, novel);
    const Error error = error_of([&] { r["title"].str(); });
    EXPECT_EQ(error.kind(), ErrorKind::Aborted);
    EXPECT_EQ(error_of([&] { r.sync(); }).kind(), ErrorKind::Aborted);
    EXPECT_EQ(backend->calls().size(), 3);
  });
}

TEST(ChatSpeculation, CancellingWhileTheFieldsAreGivenOutEndsAllOfThem) {
  within_patience([] {
    auto door = std::make_shared<Door>();
    auto backend = std::make_shared<ScriptedBackend>(
        [door](const GenerateCall&) {
          door->wait();
          return "Title: Dune\nAuthor: Frank Herbert\nYear: 1965.";
        },
        ScriptedBackend::chat());
    backend->set_latency(1us);
    auto r = run_with({.backend = backend, .api_spec_tokens = 64}, novel);
    // Another program goes on as soon as the first field is there, and cancels this one.
    auto canceller = std::make_shared<ScriptedBackend>([&](const GenerateCall&) {
      r.cancel();
      return std::string("done");
    });
    auto other = run_with({.backend = canceller}, [&](State& s) { s += r["title"] + gen("x"); });
    door->open();
    EXPECT_EQ(other["x"], "done");
    EXPECT_EQ(r["title"], "Dune");
    EXPECT_EQ(error_of([&] { r["author"].str(); }).kind(), ErrorKind::Cancelled);
    EXPECT_EQ(error_of([&] { r["year"].str(); }).kind(), ErrorKind::Cancelled);
  });
}

TEST(ChatSpeculation, InsideOfTheTurnItsVariablesAreNotThereYet) {
  within_patience([] {
    auto backend = chat_api({"Title: Dune\n."});
    backend->set_latency(1ms);
    run_with({.backend = backend, .api_spec_tokens = 64}, [](State& s) {
      s += user("Recommend a novel.");
      {
        auto turn = s.assistant();
        s += "Title: " + gen("title", {.stop = "\n"});
        const Error error = error_of([&] { s["title"]; });
        EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
        EXPECT_TRUE(contains(error.what(), "api_spec_tokens")) << error.what();
        EXPECT_EQ(error_of([&] { s.fork(2); }).kind(), ErrorKind::InvalidArgument);
        auto scope = s.capture("all");
        s += "\n.";
      }
      EXPECT_EQ(s["title"], "Dune");
      EXPECT_EQ(s["all"], "\n.");
    });
  });
}

TEST(ChatSpeculation, AReplyThatWasCutOffIsNoMatch) {
  within_patience([] {
    struct Cut : ScriptedBackend {
      Cut() : ScriptedBackend(std::vector<std::string>{"unused"}, ScriptedBackend::chat()) {}
      void generate(GenerateCall call, GenerateSink sink) override {
        ++calls_made;
        EXPECT_EQ(call.options.max_tokens, 8);
        sink.on_done({{.texts = {"Title: Dune\nReview: It is a"}, .meta = {.finish_reason = "length"}}, {}});
      }
      int calls_made = 0;
    };
    auto backend = std::make_shared<Cut>();
    auto r = run_with({.backend = backend, .api_spec_tokens = 8}, [](State& s) {
      s += user("A novel?") + assistant("Title: " + gen("title", {.stop = "\n"}) + "\nReview: " + gen("review"));
    });
    const Error error = error_of([&] { r["review"].str(); });
    EXPECT_EQ(error.kind(), ErrorKind::Aborted);
    EXPECT_TRUE(contains(error.what(), "cut off")) << error.what();
    EXPECT_EQ(backend->calls_made, 3);
  });
}

TEST(ChatSpeculation, ATurnOfOneGenIsAskedForAsItIs) {
  within_patience([] {
    auto backend = chat_api({"{}"});
    auto r = run_with({.backend = backend, .api_spec_tokens = 8}, [](State& s) {
      for (const char* name : {"a", "b"}) {
        s += user("JSON?");
        auto turn = s.assistant();
        auto scope = s.capture("all");
        s += gen(name, {.max_tokens = 99, .stop = "\n", .json_schema = "{}"}) + "!";
      }
    });
    EXPECT_EQ(r["b"], "{}");
    EXPECT_EQ(r["all"], "{}!");
    EXPECT_EQ(r.messages().at(3).content, "{}!");
    ASSERT_EQ(backend->calls().size(), 2);
    EXPECT_EQ(backend->calls()[1].options.max_tokens, 99);
    EXPECT_EQ(backend->calls()[1].options.json_schema, "{}");
  });
}

TEST(ChatSpeculation, ATurnWithoutAGenMakesNoCall) {
  auto backend = chat_api({"never"});
  auto r = run_with({.backend = backend, .api_spec_tokens = 64},
                    [](State& s) { s += user("Hi") + assistant("I say " + Expr("hello.")); });
  EXPECT_EQ(r.messages()[1].content, "I say hello.");
  EXPECT_TRUE(backend->calls().empty());
}

TEST(ChatSpeculation, GensThatDifferInMoreThanStopAndLengthAreRefused) {
  within_patience([] {
    auto backend = chat_api({"a b"});
    auto r = run_with({.backend = backend, .api_spec_tokens = 64}, [](State& s) {
      s += user("Hi") + assistant(gen("x", {.temperature = 0}) + " " + gen("y", {.temperature = 1}));
    });
    EXPECT_EQ(error_of([&] { r["y"].str(); }).kind(), ErrorKind::InvalidArgument);
    auto constrained = run_with({.backend = backend, .api_spec_tokens = 64},
                                [](State& s) { s += user("Hi") + assistant("A: " + gen("x", {.json_schema = "{}"})); });
    EXPECT_EQ(error_of([&] { constrained.sync(); }).kind(), ErrorKind::InvalidArgument);
    EXPECT_TRUE(backend->calls().empty());
  });
}

TEST(ChatSpeculation, ProgramsOfABatchDoNotMix) {
  auto backend = std::make_shared<ScriptedBackend>(
      [](const GenerateCall& call) { return "Word: " + call.prompt.messages.at(0).content + "!\nEnd: yes"; },
      ScriptedBackend::chat());
  backend->set_latency(1ms);
  std::vector<std::string> rows;
  for (int i = 0; i < 50; ++i) rows.push_back(cat("w", i));
  auto runs = run_batch(
      [](State& s, const std::string& word) {
        s += user(word) + assistant("Word: " + gen("w", {.stop = "!"}) + "!\nEnd: " + gen("e"));
      },
      rows, {.num_threads = 8, .run = {.backend = backend, .api_spec_tokens = 32}});
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(runs[i]["w"], rows[i]);
  EXPECT_EQ(backend->calls().size(), rows.size());
}

TEST(ChatSpeculation, StreamsAndForksDoWithout) {
  auto backend = chat_api({"plain"});
  auto live =
      stream_with({.backend = backend, .api_spec_tokens = 64}, [](State& s) { s += user("Hi") + assistant(gen("x")); });
  EXPECT_EQ(live["x"].str(), "plain");
  EXPECT_EQ(backend->calls().at(0).options.max_tokens, 128);
}

// ── Completion ───────────────────────────────────────────────────────────────────────────────────────────────────────

void fields(State& s) {
  s += "Name: " + gen("name", {.stop = "\n"}) + "\nAge: " + gen("age", {.stop = "\n"}) +
       "\nHome: " + gen("home", {.stop = "\n"});
}

TEST(CompletionSpeculation, TheSurplusServesTheNextGens) {
  auto backend = scripted({"Ada\nAge: 36\nHome: London\nJob: none"});
  auto r = run_with({.backend = backend, .api_spec_tokens = 64}, fields);
  EXPECT_EQ(r["name"], "Ada");
  EXPECT_EQ(r["age"], "36");
  EXPECT_EQ(r["home"], "London");
  EXPECT_EQ(r.text(), "Name: Ada\nAge: 36\nHome: London");
  ASSERT_EQ(backend->calls().size(), 1);
  EXPECT_EQ(backend->calls()[0].options.max_tokens, 128);  // the larger of the gen's own and 64
  EXPECT_TRUE(backend->calls()[0].options.stop.items().empty());
}

TEST(CompletionSpeculation, WhatIsMatchedStaysAndTheNextCallGoesOnFromThere) {
  auto backend = scripted({"Ada\nAge: 36\nTown: London", "Rome\nmore"});
  auto r = run_with({.backend = backend, .api_spec_tokens = 64}, fields);
  EXPECT_EQ(r["age"], "36");
  EXPECT_EQ(r["home"], "Rome");
  ASSERT_EQ(backend->calls().size(), 2);
  EXPECT_EQ(backend->calls()[1].prompt.text, "Name: Ada\nAge: 36\nHome: ");
}

TEST(CompletionSpeculation, AStopStringThatIsNowhereAsksForTheGenAlone) {
  // The text is longer than what the gen may have at most, and tokens cannot be counted in it.
  auto backend = scripted({"a text that goes on without end", "a te"});
  auto r = run_with({.backend = backend, .api_spec_tokens = 64},
                    [](State& s) { s += gen("x", {.max_tokens = 4, .stop = "\n"}); });
  EXPECT_EQ(r["x"], "a te");
  ASSERT_EQ(backend->calls().size(), 2);
  EXPECT_EQ(backend->calls()[1].options.max_tokens, 4);
}

TEST(CompletionSpeculation, TheSurplusServesOnlyWhatWouldHaveBeenAskedForLikeThat) {
  auto calls_of = [](const GenOptions& second, const GenOptions& run = {}) {
    auto backend = scripted({"one, two, three", "own"});
    auto r = run_with({.backend = backend, .gen = run, .api_spec_tokens = 64},
                      [&](State& s) { s += gen("a", {.stop = ","}) + ", " + gen("b", second); });
    r.sync();
    return backend->calls().size();
  };
  EXPECT_EQ(calls_of({.stop = ","}), 1);
  EXPECT_EQ(calls_of({.max_tokens = 20, .stop = ","}), 1);
  EXPECT_EQ(calls_of({.temperature = 0, .stop = ","}), 2);
  EXPECT_EQ(calls_of({.stop = ",", .seed = 1}), 2);
  EXPECT_EQ(calls_of({.stop = ",", .regex = "[0-9]"}), 2);
  EXPECT_EQ(calls_of({.stop = ",", .json_schema = "{}"}), 2);
  EXPECT_EQ(calls_of({.n = 2, .stop = ","}), 2);
  EXPECT_EQ(calls_of({.stop = ","}, {.n = 2}), 2);

  // What is behind several samples is not what is behind the text.
  auto backend = scripted({"x; y", "1", "2", "fresh"});
  auto r = run_with({.backend = backend, .api_spec_tokens = 64},
                    [](State& s) { s += gen("a", {.stop = ";"}) + gen("b", {.n = 2}) + gen("c", {.stop = ";"}); });
  EXPECT_EQ(r["c"], "fresh");
  EXPECT_EQ(r.text(), "x1fresh");
}

TEST(Surplus, CountsTokensWhereTheirEndsAreKnown) {
  lang::Surplus surplus;
  surplus.set({.texts = {"one two three"}, .token_ends = {3, 7, 13}, .meta = {.finish_reason = "length"}}, 3);
  EXPECT_EQ(surplus.take({"\n"}, 2), "one two");
  EXPECT_EQ(surplus.take({"\n"}, 5), std::nullopt);  // how the text goes on is not known
  EXPECT_EQ(surplus.take({"ee"}, 5), " thr");
}

TEST(Surplus, ATextWithFewerBytesThanTokensAllowedIsShortEnough) {
  lang::Surplus surplus;
  surplus.set({.texts = {"abc"}, .meta = {.finish_reason = "stop"}}, 64);
  EXPECT_EQ(surplus.take({}, 3), "abc");
  EXPECT_TRUE(surplus.empty());
}

using Parts = std::vector<lang::PatternPart>;
const lang::PatternPart kGen{.is_gen = true, .stop = {"\n"}};

TEST(MatchPattern, Cases) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(lang::match_pattern(Parts{kGen}, "a\nb", false), Texts{"a"});
  EXPECT_EQ(lang::match_pattern(Parts{kGen}, "a", false), Texts{"a"});  // the last may run to the end
  EXPECT_EQ(lang::match_pattern(Parts{{.text = "A: "}, kGen, {.text = "\nB: "}, kGen}, "A: x\nB: y", false),
            (Texts{"x", "y"}));
  EXPECT_EQ(lang::match_pattern(Parts{{.text = "A: "}, kGen}, " A: x", false), std::nullopt);
  EXPECT_EQ(lang::match_pattern(Parts{kGen, {.text = "\nB: "}, kGen}, "x y z", false), std::nullopt);
  // Without a stop string the constant behind it ends a gen.
  EXPECT_EQ(lang::match_pattern(Parts{{.is_gen = true}, {.text = ", "}, {.is_gen = true}}, "x, y", false),
            (Texts{"x", "y"}));
  EXPECT_EQ(lang::match_pattern(Parts{{.is_gen = true}, {.text = "."}}, "x", false), std::nullopt);
  // Of a reply that was cut off nobody knows how the last gen goes on.
  EXPECT_EQ(lang::match_pattern(Parts{{.text = "A: "}, kGen}, "A: x", true), std::nullopt);
  EXPECT_EQ(lang::match_pattern(Parts{{.text = "A: "}, kGen}, "A: x\nB", true), Texts{"x"});
  EXPECT_EQ(lang::match_pattern(Parts{kGen, {.text = "\nB"}}, "x\nB and", true), Texts{"x"});
}

}  // namespace
}  // namespace sgl
