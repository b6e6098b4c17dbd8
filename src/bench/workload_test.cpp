#include "bench/workload.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bench/dialogue.h"
#include "bench/random_text.h"
#include "sgl/error.h"

namespace sgl::bench {
namespace {

int words(const std::string& text) {
  return text.empty() ? 0 : static_cast<int>(1 + std::count(text.begin(), text.end(), ' '));
}

std::string first_prompt(const Session& s) {
  Dialogue d(/*chat=*/false, s.prefix);
  d.user(s.turns[0].text);
  return d.text();
}

size_t common_prefix(const std::string& a, const std::string& b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

TEST(RandomText, IsTheSameOnEveryMachine) {
  // The first numbers of SplitMix64 for seed 1234567, as its authors' code gives them.
  Random random(1234567);
  EXPECT_EQ(random.next(), 6457827717110365317U);
  EXPECT_EQ(random.next(), 3203168211198807973U);
  EXPECT_EQ(random.next(), 9817491932198370423U);
}

TEST(RandomText, HasAsManyWordsAsAskedFor) {
  Random random(1);
  for (int n : {0, 1, 2, 17, 1000}) EXPECT_EQ(words(random_words(random, n)), n);
}

TEST(RandomText, DistributionsHaveTheirMeans) {
  Random random(2);
  const int n = 200000;
  double waits = 0, lengths = 0, normals = 0, squares = 0;
  for (int i = 0; i < n; ++i) {
    waits += random.exponential(4);
    lengths += random.log_normal(100, 1);
    const double x = random.normal();
    normals += x;
    squares += x * x;
  }
  EXPECT_NEAR(waits / n, 0.25, 0.005);
  EXPECT_NEAR(lengths / n, 100, 2);
  EXPECT_NEAR(normals / n, 0, 0.01);
  EXPECT_NEAR(squares / n, 1, 0.02);
}

TEST(Workload, TheSameSeedGivesTheSameTexts) {
  for (const WorkloadShape& shape : workload_shapes()) {
    const Workload a = make_workload(shape, 5, 2.0), b = make_workload(shape, 5, 2.0), c = make_workload(shape, 6, 2.0);
    ASSERT_EQ(a.sessions.size(), static_cast<size_t>(shape.sessions)) << shape.name;
    EXPECT_EQ(a.arrivals, b.arrivals);
    for (size_t i = 0; i < a.sessions.size(); ++i) {
      EXPECT_EQ(first_prompt(a.sessions[i]), first_prompt(b.sessions[i])) << shape.name;
      EXPECT_EQ(a.sessions[i].turns[0].output_tokens, b.sessions[i].turns[0].output_tokens);
      EXPECT_NE(first_prompt(a.sessions[i]), first_prompt(c.sessions[i])) << shape.name;
    }
  }
}

TEST(Workload, TwoSeedsShareNoPrefixThatACacheCouldKeep) {
  for (const WorkloadShape& shape : workload_shapes()) {
    const Workload a = make_workload(shape, 1), b = make_workload(shape, 2);
    for (const Session& x : a.sessions) {
      for (const Session& y : b.sessions) {
        const std::string p = first_prompt(x), q = first_prompt(y);
        EXPECT_LT(words(p.substr(0, common_prefix(p, q))), 16) << shape.name;
      }
    }
  }
}

TEST(Workload, LengthsAreThoseOfTheShape) {
  WorkloadShape shape = workload_shape("random");
  shape.prefix = 30;
  shape.turns = 3;
  const Workload w = make_workload(shape, 1);
  for (const Session& s : w.sessions) {
    EXPECT_EQ(words(s.prefix), 30);
    ASSERT_EQ(s.turns.size(), 3U);
    for (const Turn& t : s.turns) {
      EXPECT_EQ(words(t.text), 140);
      EXPECT_EQ(t.output_tokens, 96);
    }
  }
}

//  500 words ──┬── 400 words ── 16 leaves
//              ├── 400 words ── 16 leaves
//              ├── …
TEST(Workload, APrefixTreeHasOneRootFourBranchesAndSixteenLeavesOnEach) {
  const Workload w = make_workload(workload_shape("prefix-tree"), 1);
  std::map<std::string, int> branches;
  std::set<std::string> leaves;
  const std::string root = w.sessions[0].prefix.substr(0, 1000);
  for (const Session& s : w.sessions) {
    EXPECT_EQ(words(s.prefix), 900);
    EXPECT_TRUE(s.prefix.starts_with(root));
    ++branches[s.prefix];
    leaves.insert(first_prompt(s));
  }
  ASSERT_EQ(branches.size(), 4U);
  for (const auto& [text, count] : branches) EXPECT_EQ(count, 16);
  EXPECT_EQ(leaves.size(), 64U);
  const auto& [first, n] = *branches.begin();
  const auto& [last, m] = *branches.rbegin();
  EXPECT_EQ(words(first.substr(0, common_prefix(first, last))), 500 + 1);  // and the beginning of a word
}

TEST(Workload, SpreadLengthsKeepTheirBoundsAndAreNearTheirMean) {
  WorkloadShape shape = workload_shape("sharegpt");
  shape.sessions = 4000;
  const Workload w = make_workload(shape, 1);
  double in = 0, out = 0;
  std::set<int> different;
  for (const Session& s : w.sessions) {
    const int n = words(s.turns[0].text), m = s.turns[0].output_tokens;
    EXPECT_GE(n, shape.input.min);
    EXPECT_LE(n, shape.input.max);
    EXPECT_GE(m, shape.output.min);
    EXPECT_LE(m, shape.output.max);
    in += n;
    out += m;
    different.insert(n);
  }
  // Cutting the longest takes a few per cent.
  EXPECT_NEAR(in / shape.sessions, shape.input.mean, 0.1 * shape.input.mean);
  EXPECT_NEAR(out / shape.sessions, shape.output.mean, 0.15 * shape.output.mean);
  EXPECT_GT(different.size(), 300U);
}

TEST(Workload, ArrivalsAreAPoissonProcess) {
  WorkloadShape shape = workload_shape("random");
  shape.sessions = 5000;
  shape.input.mean = 1;
  const Workload w = make_workload(shape, 9, 8.0);
  ASSERT_EQ(w.arrivals.size(), 5000U);
  EXPECT_TRUE(std::is_sorted(w.arrivals.begin(), w.arrivals.end()));
  EXPECT_NEAR(5000 / w.arrivals.back(), 8.0, 0.4);
  // The gaps' deviation is their mean.
  double squares = 0;
  for (size_t i = 1; i < w.arrivals.size(); ++i) squares += std::pow(w.arrivals[i] - w.arrivals[i - 1] - 0.125, 2);
  EXPECT_NEAR(std::sqrt(squares / 4999), 0.125, 0.01);
  EXPECT_TRUE(make_workload(shape, 9).arrivals.empty());
}

TEST(Workload, AnUnknownNameIsAnsweredWithTheKnownOnes) {
  try {
    workload_shape("rnadom");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("shared-prefix"), std::string::npos) << e.what();
  }
}

TEST(Dialogue, ATextGoesOnAndAChatHasMessages) {
  Dialogue text(false, "root");
  text.user("a \"b\"");
  EXPECT_EQ(text.text(), "root a \"b\"");
  text.assistant(" answer");
  text.user("c");
  EXPECT_EQ(text.field(), R"("prompt":"root a \"b\" answer c")");

  Dialogue chat(true, "root");
  chat.user("a");
  chat.assistant("x");
  chat.user("b");
  EXPECT_EQ(chat.field(), R"("messages":[{"role":"user","content":"root a"},{"role":"assistant","content":"x"},)"
                          R"({"role":"user","content":"b"}])");
}

}  // namespace
}  // namespace sgl::bench
