// select(): the three rules on fixed numbers, ties, own methods, and where scores begin.

#include "lang/score_border.h"
#include "lang/test_programs.h"

namespace sgl {
namespace {

using Lists = std::vector<std::vector<double>>;

size_t decide(const ChoiceMethod& method, Lists tokens, Lists unconditional = {}) {
  ChoiceScores scores;
  scores.choices.resize(tokens.size());
  scores.tokens = std::move(tokens);
  scores.unconditional = std::move(unconditional);
  return method.decide(scores).index;
}

TEST(Choices, TokenLengthNormalizedTakesTheHighestMean) {
  const auto& m = choice::token_length_normalized;
  EXPECT_EQ(decide(m, {{-3}, {-1, -2, -0.5}}), 1);          // −3 against −3.5 / 3
  EXPECT_EQ(decide(m, {{-1, -3}, {-2.5}}), 0);              // −2 against −2.5
  EXPECT_EQ(decide(m, {{-2, -2}, {-2}, {-2, -2, -2}}), 0);  // a tie: the first
}

TEST(Choices, GreedyGoesTokenByTokenAndContinuesShortOnesByTheirMean) {
  const auto& m = choice::greedy_token_selection;
  EXPECT_EQ(decide(m, {{-1, -9}, {-2, -0.1}}), 0);  // the first token decides, whatever follows
  EXPECT_EQ(decide(m, {{-1, -5}, {-1, -2}}), 1);
  // {-1} goes on with its mean −1, {-1, -0.5} with −0.5.
  EXPECT_EQ(decide(m, {{-1}, {-1, -0.5}}), 1);
  EXPECT_EQ(decide(m, {{-1}, {-1, -1.5}}), 0);
  EXPECT_EQ(decide(m, {{-1, -2}, {-1, -2}}), 0);
  ChoiceScores scores;
  scores.tokens = {{-1, -3}, {-4}};
  const Decision d = m.decide(scores);
  EXPECT_EQ(d.meta.at("greedy_logprob_matrix"), (Lists{{-1, -3}, {-4, -4}}));
}

TEST(Choices, UnconditionalTakesTheHighestGainOverTheBareChoice) {
  const auto& m = choice::unconditional_likelihood_normalized;
  EXPECT_TRUE(m.needs_unconditional);
  // Means: −2 and −3; gains: (−2 + 0) / 1 and ((−1 − 0) + (−5 + 9)) / 2 = 1.5
  EXPECT_EQ(decide(m, {{-2}, {-1, -5}}, {{0}, {0, -9}}), 1);
  EXPECT_EQ(decide(m, {{-2}, {-2}}, {{0}, {0}}), 0);
}

TEST(Choices, TheChosenTextIsAppendedAndStored) {
  auto backend = scripted({"x"});
  backend->set_score([](const ScoreCall& call) {
    ChoiceScores s;
    s.choices = call.choices;
    s.tokens = {{-2.0}, {-1.0}, {-3.0}};
    return s;
  });
  auto r = run_with({.backend = backend}, [](State& s) {
    s += "Is the sky blue? " + select("ans", {"no", "yes", "perhaps"}) + ".";
  });
  EXPECT_EQ(r["ans"], "yes");
  EXPECT_EQ(r.text(), "Is the sky blue? yes.");
  EXPECT_EQ(r["ans"].meta().decision->index, 1);
  EXPECT_EQ(r["ans"].meta().decision->meta.at("normalized_prompt_logprobs"), (Lists{{-2, -1, -3}}));
  EXPECT_EQ(backend->score_calls().at(0).prompt.text, "Is the sky blue? ");
  EXPECT_FALSE(backend->score_calls().at(0).unconditional);
}

enum class Sky { blue, grey };

TEST(Choices, ATypedChoiceIsAValue) {
  constexpr Key<Sky> sky{"sky"};
  auto r = run_with({.backend = scripted({"x"})}, [&](State& s) {
    s += "The sky is " + select(sky, {{"quite blue", Sky::blue}, {"grey", Sky::grey}});
  });
  EXPECT_EQ(r[sky], Sky::blue);
  EXPECT_EQ(r["sky"], "quite blue");
}

TEST(Choices, AnOwnMethodDecidesAndItsFailureIsTheVariables) {
  within_patience([] {
    const ChoiceMethod last{"last", true, [](const ChoiceScores& s) { return Decision{s.tokens.size() - 1, {}}; }};
    const ChoiceMethod broken{"broken", false,
                              [](const ChoiceScores&) -> Decision { throw std::runtime_error("no idea"); }};
    const ChoiceMethod wild{"wild", false, [](const ChoiceScores&) { return Decision{99, {}}; }};
    auto backend = scripted({"x"});
    auto run_select = [&](const ChoiceMethod& m) {
      return run_with({.backend = backend}, [&](State& s) { s += select("c", {"a", "b"}, {.method = m}); });
    };
    EXPECT_EQ(run_select(last)["c"], "b");
    EXPECT_TRUE(backend->score_calls().at(0).unconditional);
    auto failed = run_select(broken);
    EXPECT_TRUE(contains(error_of([&] { failed["c"].str(); }).what(), "no idea"));
    auto outside = run_select(wild);
    EXPECT_EQ(error_of([&] { outside["c"].str(); }).kind(), ErrorKind::InvalidArgument);
  });
}

TEST(Choices, EmptyListsEmptyChoicesAndDoublesAreRefused) {
  EXPECT_EQ(error_of([] { select("x", Strings::none()); }).kind(), ErrorKind::InvalidArgument);
  EXPECT_EQ(error_of([] { select("x", {"a", ""}); }).kind(), ErrorKind::InvalidArgument);
  EXPECT_EQ(error_of([] { select("x", {"a", "b", "a"}); }).kind(), ErrorKind::InvalidArgument);
}

TEST(ScoreBorder, IsThePromptsEndWhenNothingMerges) {
  EXPECT_EQ(lang::score_border({1, 2, 3}, {{1, 2, 3, 7}, {1, 2, 3, 8, 9}}, {"a", "b"}), 3);
}

TEST(ScoreBorder, IsBeforeAMergedTokenForAllChoices) {
  // "is" + "land" became one token: the other choice is scored from "is" on, too.
  EXPECT_EQ(lang::score_border({1, 2, 3}, {{1, 2, 33}, {1, 2, 3, 8}}, {"land", " blue"}), 2);
}

TEST(ScoreBorder, AChoiceThatAddsNoTokenIsRefused) {
  EXPECT_EQ(error_of([] {
              lang::score_border({1, 2}, {{1, 2}, {1, 2, 3}}, {"\xCD", "b"});
            }).kind(),
            ErrorKind::InvalidArgument);
}

}  // namespace
}  // namespace sgl
