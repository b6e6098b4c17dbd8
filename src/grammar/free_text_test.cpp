// Free text between stops, against a search for each of them.

#include "grammar/free_text.h"

#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <sgl/error.h>

#include "text/unicode.h"

namespace sgl::grammar {
namespace {

bool accepts(Automaton& a, const std::string& text) {
  StateId state = a.start();
  for (char c : text) state = a.next(state, static_cast<uint8_t>(c));
  return a.accepts(state);
}

std::string random_text(std::mt19937_64& rng, size_t most) {
  // Characters that share their first bytes, and halves of them.
  static const std::vector<std::string> kPieces = {"a", "b", "é", "ê", "日", "旦", "本", "😀", "😁"};
  std::string text;
  for (size_t n = rng() % (most + 1); n > 0; --n) text += kPieces[rng() % kPieces.size()];
  return text;
}

TEST(FreeText, HoldsNoStopButAtItsEnd) {
  std::mt19937_64 rng(std::random_device{}());
  const uint64_t seed = rng();
  rng.seed(seed);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> words;
    for (size_t n = rng() % 6; n > 0; --n) words.push_back("b" + random_text(rng, 3));
    for (std::string& word : words) {
      if (rng() % 2) word = word.substr(1);
      if (word.empty()) word = "é";
    }
    const bool may_end = rng() % 2;
    Automaton a;
    std::vector<TextStop> stops;
    std::vector<std::string> after;
    for (const std::string& word : words) {
      after.push_back(rng() % 3 ? "!" + std::to_string(stops.size()) : "");
      stops.push_back({word, after.back().empty() ? kNone : a.literal(after.back())});
    }
    a.finish(free_text(a, stops, may_end));
    for (int i = 0; i < 100; ++i) {
      std::string text = random_text(rng, 8);
      // Where the first stop ends, and the first in the list of those that end there.
      size_t end = std::string::npos, which = 0;
      for (size_t w = 0; w < words.size(); ++w) {
        const size_t at = text.find(words[w]);
        if (at != std::string::npos && at + words[w].size() < end) {
          end = at + words[w].size();
          which = w;
        }
      }
      bool expected = may_end;
      if (end != std::string::npos) {
        text = text.substr(0, end) + after[which];
        expected = !after[which].empty();
      }
      ASSERT_EQ(accepts(a, text), expected) << "seed " << seed << ", round " << round << ", text " << text;
      if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0x80) {
        ASSERT_FALSE(accepts(a, text.substr(0, text.size() - 1))) << "half a character, seed " << seed;
      }
    }
  }
}

TEST(FreeText, StopsTakeLinearTimeUpToTheirLimit) {
  std::vector<TextStop> stops;
  for (char32_t c = 0; c < 6666; ++c) {
    stops.push_back({"", kNone});
    append_utf8(stops.back().text, 0x4E00 + c);
  }
  Automaton a;
  a.finish(free_text(a, stops, true));
  EXPECT_TRUE(accepts(a, "free text"));
  EXPECT_FALSE(accepts(a, "free 日 text"));
  Automaton one;
  one.finish(free_text(one, {{std::string(kMostStopBytes, 'a'), kNone}}, true));
  EXPECT_TRUE(accepts(one, std::string(kMostStopBytes - 1, 'a') + "b" + std::string(kMostStopBytes - 1, 'a')));
  EXPECT_FALSE(accepts(one, std::string(kMostStopBytes, 'a')));
  Automaton more;
  EXPECT_THROW(free_text(more, {{std::string(kMostStopBytes + 1, 'a'), kNone}}, true), Error);
}

}  // namespace
}  // namespace sgl::grammar
