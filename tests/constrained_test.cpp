// Constrained outputs of the real default model: they follow their grammars, whatever the grammar and the temperature,
// and do not depend on batch, cache, chunks, retraction or streaming. Bit for bit.

#include <algorithm>
#include <bit>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "grammar/grammar.h"
#include "grammar/random_grammar.h"
#include "sgl/engine.h"

namespace sgl {
namespace {

size_t num_cases() {
  const char* n = std::getenv("SGL_EQUALITY_CASES");
  return n != nullptr ? static_cast<size_t>(std::atoi(n)) : 100;
}

uint64_t test_seed() {
  static const uint64_t seed = [] {
    const char* fixed = std::getenv("SGL_TEST_SEED");
    return fixed != nullptr ? std::strtoull(fixed, nullptr, 10) : std::random_device{}();
  }();
  return seed;
}

constexpr const char* kWizard = R"({"type":"object","properties":{"name":{"type":"string","maxLength":24},
  "age":{"type":"integer","minimum":0,"maximum":200},"house":{"enum":["Gryffindor","Hufflepuff","Ravenclaw","Slytherin"]},
  "alive":{"type":"boolean"},"wand":{"type":"object","properties":{"wood":{"type":"string","maxLength":16},
  "length":{"type":"number","minimum":5,"maximum":20}},"required":["wood","length"],"additionalProperties":false}},
  "required":["name","age","house","alive","wand"],"additionalProperties":false})";

EngineOptions options() {
  EngineOptions o;
  o.threads = 1;
  o.max_total_tokens = 65536;
  o.decode_log_interval = 0;
  return o;
}

void set_grammar(SamplingParams& s, const GrammarSpec& g) {
  switch (g.kind) {
    case GrammarKind::Regex:
      s.regex = g.text;
      break;
    case GrammarKind::JsonSchema:
      s.json_schema = g.text;
      break;
    case GrammarKind::Ebnf:
      s.ebnf = g.text;
      break;
    case GrammarKind::StructuralTag:
      s.structural_tag = g.text;
      break;
  }
}

struct Case {
  Request request;
  GrammarSpec grammar;
  bool free = false;
};

// First wizards, whose text is at least 40 tokens; then random grammars, more wizards, and free requests among them.
constexpr size_t kWizards = 20;
const std::vector<Case>& cases() {
  static const std::vector<Case> all = [] {
    std::vector<Case> made;
    while (made.size() < kWizards) {
      Case& c = made.emplace_back();
      c.grammar = {GrammarKind::JsonSchema, kWizard, {}};
      set_grammar(c.request.sampling, c.grammar);
      c.request.prompt = std::to_string(made.size()) + ". A wizard as an object of JSON: ";
      c.request.sampling.temperature = 0.7F;
      c.request.sampling.max_new_tokens = 96;
      c.request.sampling.seed = static_cast<int64_t>(made.size());
      c.request.return_logprob = made.size() % 2 == 0;  // without them, tokens may be spelled anew
    }
    RandomGrammar grammars(test_seed());
    while (made.size() < kWizards + num_cases()) {
      Case c;
      c.free = grammars.pick(5) == 0;
      c.grammar = grammars.pick(6) == 0 ? GrammarSpec{GrammarKind::JsonSchema, kWizard, {}} : grammars.next();
      c.grammar.options = {};
      if (!c.free) {
        try {
          if (Grammar(c.grammar, nullptr).matches_nothing()) continue;
        } catch (const Error&) {
          continue;  // a random grammar beyond the limits
        }
        set_grammar(c.request.sampling, c.grammar);
      }
      c.request.prompt = "Case " + std::to_string(grammars.pick(4)) + " of a long list of things to write down: ";
      constexpr float kTemperatures[] = {0.0F, 0.7F, 1.5F};
      c.request.sampling.temperature = kTemperatures[grammars.pick(3)];
      c.request.sampling.max_new_tokens = 16 + static_cast<int>(grammars.pick(80));
      if (grammars.pick(4) == 0) c.request.sampling.stop = {"ab", "\","};
      if (grammars.pick(4) == 0) c.request.sampling.repetition_penalty = 1.1F;
      if (grammars.pick(5) == 0) c.request.sampling.min_new_tokens = 6;
      c.request.sampling.seed = static_cast<int64_t>(grammars.pick(1000));
      c.request.return_logprob = grammars.pick(2) == 0;
      c.request.top_logprobs_num = c.request.return_logprob ? static_cast<int>(grammars.pick(3)) : 0;
      made.push_back(std::move(c));
    }
    return made;
  }();
  return all;
}

std::vector<Request> requests() {
  std::vector<Request> all;
  for (const Case& c : cases()) all.push_back(c.request);
  return all;
}

std::string where(size_t i) {
  const Case& c = cases()[i];
  return "case " + std::to_string(i) + ", SGL_TEST_SEED=" + std::to_string(test_seed()) +
         (c.free ? ", free" : ", grammar " + c.grammar.text);
}

// A random grammar may be too ambiguous for its text (GrammarMatcher::kMostReadings); when that shows depends on what
// masks are there already. One in thousands is.
bool given_up(const Output& output) {
  return output.finish.type == FinishReason::Type::Abort && output.finish.message.starts_with("the grammar is too ");
}

void expect_valid(const std::vector<Output>& got) {
  size_t ended = 0;
  EXPECT_LE(std::count_if(got.begin(), got.end(), given_up), 2);
  for (size_t i = 0; i < got.size(); ++i) {
    if (cases()[i].free || given_up(got[i])) continue;
    SCOPED_TRACE(where(i) + "\ntext: " + got[i].text + "\nmessage: " + got[i].finish.message);
    ASSERT_NE(got[i].finish.type, FinishReason::Type::Abort);
    ASSERT_LE(got[i].forced_tokens, got[i].completion_tokens);
    ASSERT_EQ(got[i].token_ids.size(), static_cast<size_t>(got[i].completion_tokens));
    auto grammar = std::make_shared<const Grammar>(cases()[i].grammar, nullptr);
    const bool stopped_by_text = std::holds_alternative<std::string>(got[i].finish.matched);
    if (got[i].finish.type == FinishReason::Type::Stop && !stopped_by_text) {
      ++ended;
      ASSERT_TRUE(grammar->matches(got[i].text));
    } else {
      // Cut: what is there must go on to something. Half a character at the end shows as U+FFFD.
      std::string text = got[i].text;
      while (text.ends_with("\xEF\xBF\xBD")) text.resize(text.size() - 3);
      ASSERT_TRUE(GrammarMatcher(grammar).accept_text(text));
    }
  }
  EXPECT_GT(ended, 0U);
}

void expect_equal(const std::vector<Output>& got, const std::vector<Output>& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) {
    SCOPED_TRACE(where(i));
    if (given_up(got[i]) || given_up(wanted[i])) continue;
    ASSERT_EQ(got[i].text, wanted[i].text);
    ASSERT_EQ(got[i].token_ids, wanted[i].token_ids);
    ASSERT_EQ(got[i].finish.type, wanted[i].finish.type);
    ASSERT_EQ(got[i].finish.matched, wanted[i].finish.matched);
    ASSERT_EQ(got[i].forced_tokens, wanted[i].forced_tokens);
    ASSERT_EQ(got[i].logprobs.size(), wanted[i].logprobs.size());
    ASSERT_EQ(got[i].logprobs.size(), cases()[i].request.return_logprob ? got[i].token_ids.size() : 0U);
    for (size_t j = 0; j < got[i].logprobs.size(); ++j) {
      ASSERT_EQ(std::bit_cast<uint32_t>(*got[i].logprobs[j].token.logprob),
                std::bit_cast<uint32_t>(*wanted[i].logprobs[j].token.logprob))
          << "position " << j;
    }
  }
}

// The reference: one after the other, no cache, whole prompts.
std::vector<Output> computed_alone(EngineOptions o) {
  o.disable_radix_cache = true;
  o.chunked_prefill_size = -1;
  Engine engine(o);
  std::vector<Output> results;
  for (const Case& c : cases()) results.push_back(engine.generate({c.request})[0]);
  return results;
}

const std::vector<Output>& expected() {
  static const std::vector<Output> results = computed_alone(options());
  return results;
}

TEST(Constrained, EveryOutputFollowsItsGrammar) { expect_valid(expected()); }

TEST(Constrained, AloneIsAnyBatchAndCachedIsColdAndWholeIsChunked) {
  EngineOptions o = options();
  o.chunked_prefill_size = 32;
  o.max_running_requests = 16;
  Engine engine(o);
  expect_equal(engine.generate(requests()), expected());
  expect_equal(engine.generate(requests()), expected());
}

TEST(Constrained, RetractedIsNot) {
  EngineOptions o = options();
  o.schedule_policy = "fcfs";
  o.max_total_tokens = 512;  // 32 pages: 20 prompts fit together, but not the 4 pages that each wizard has in the end
  o.context_length = 512;
  o.schedule_conservativeness = 0.05;
  std::vector<Request> all = requests();
  Engine engine(o);
  std::vector<Output> got = engine.generate(all);
  EXPECT_GT(engine.stats().retracted, 0) << "the pool was meant to be too small";
  expect_equal(got, expected());
}

TEST(Constrained, StreamedIsWhole) {
  Engine engine(options());
  std::mutex mutex;
  std::condition_variable done;
  size_t ended = 0, replaced = 0;
  std::vector<Output> whole(cases().size());
  for (size_t i = 0; i < whole.size(); ++i) {
    engine.submit(cases()[i].request, [&, i](Output&& piece) {
      std::lock_guard lock(mutex);
      replaced += static_cast<size_t>(piece.replaces);
      merge(whole[i], std::move(piece));
      if (whole[i].finish.type != FinishReason::Type::Running && ++ended == whole.size()) done.notify_one();
    });
  }
  std::unique_lock lock(mutex);
  done.wait(lock, [&] { return ended == whole.size(); });
  expect_equal(whole, expected());
  EXPECT_GT(replaced, 0U) << "some of the cases were meant to spell tokens anew";
}

// Sampled token by token the same grammar gives the same text, until the two spell forced text differently: from there
// on the model sees other tokens.
TEST(Constrained, JumpForwardChangesTextOnlyBySpelling) {
  EngineOptions o = options();
  o.disable_jump_forward = true;
  std::vector<Output> sampled = computed_alone(o);
  expect_valid(sampled);
  int forced = 0, tokens = 0;
  for (size_t i = 0; i < sampled.size(); ++i) {
    SCOPED_TRACE(where(i));
    const Output& jumped = expected()[i];
    tokens += jumped.completion_tokens;
    forced += jumped.forced_tokens;
    ASSERT_LE(sampled[i].forced_tokens, 1) << "only the end is not sampled";
    if (cases()[i].request.sampling.temperature > 0) continue;  // the draw depends on the position
    const auto& a = jumped.token_ids;
    const auto& b = sampled[i].token_ids;
    const auto differ = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
    if (differ.first == a.end() || differ.second == b.end() || jumped.logprobs.empty()) continue;
    const auto at = static_cast<size_t>(differ.first - a.begin());
    ASSERT_EQ(*jumped.logprobs[at].token.logprob, 0.0F)
        << "token " << at << " was sampled and differs: " << jumped.text << " / " << sampled[i].text;
  }
  EXPECT_GT(forced, 0);
  RecordProperty("forced_tokens", forced);
  RecordProperty("tokens", tokens);
}

TEST(Constrained, WhatCannotBeHonouredIsRefusedByName) {
  Engine engine(options());
  const auto refusal = [&](auto set) -> std::string {
    Request r;
    r.prompt = "x";
    set(r.sampling);
    try {
      engine.generate({r});
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(refusal([](SamplingParams& s) { s.regex = "(a"; }),
            "Failed to compile regex: the regular expression is malformed at character 2: missing ')'");
  EXPECT_EQ(refusal([](SamplingParams& s) { s.regex = s.ebnf = "a"; }),
            "regex and ebnf are both given; the output can follow one grammar only");
  EXPECT_NE(
      refusal([](SamplingParams& s) { s.json_schema = R"({"type":"string","format":"idn-email"})"; }).find("format"),
      std::string::npos);
  EXPECT_NE(refusal([](SamplingParams& s) { s.json_schema = "false"; }).find("matches no text"), std::string::npos);
}

}  // namespace
}  // namespace sgl
