#include "bench/random_text.h"

#include <cmath>
#include <string_view>

namespace sgl::bench {
namespace {

constexpr std::string_view kWords[256] = {
    "about",   "after",  "against", "agree",   "all",    "also",     "angry",   "answer",   "apple",  "are",
    "army",    "as",     "at",      "baby",    "bag",    "bank",     "because", "been",     "before", "between",
    "black",   "blue",   "book",    "box",     "bread",  "bridge",   "bring",   "brother",  "build",  "buy",
    "call",    "can",    "carry",   "chain",   "change", "choose",   "city",    "clean",    "close",  "coat",
    "come",    "cook",   "cost",    "could",   "cry",    "cup",      "dance",   "daughter", "decide", "did",
    "do",      "door",   "draw",    "dress",   "drive",  "duty",     "early",   "east",     "effect", "even",
    "face",    "fall",   "family",  "fast",    "fear",   "field",    "find",    "first",    "floor",  "follow",
    "foot",    "for",    "form",    "from",    "future", "garden",   "girl",    "glass",    "gold",   "great",
    "green",   "grow",   "had",     "hand",    "hard",   "hat",      "have",    "hear",     "heavy",  "help",
    "here",    "him",    "history", "home",    "horse",  "hour",     "how",     "idea",     "if",     "into",
    "is",      "it",     "job",     "joy",     "just",   "key",      "kill",    "king",     "know",   "language",
    "late",    "law",    "lead",    "leave",   "leg",    "letter",   "lie",     "light",    "line",   "little",
    "lock",    "look",   "loud",    "machine", "made",   "man",      "market",  "me",       "meet",   "men",
    "method",  "milk",   "minute",  "model",   "money",  "moon",     "morning", "mother",   "move",   "music",
    "my",      "near",   "need",    "new",     "no",     "not",      "number",  "off",      "old",    "one",
    "open",    "order",  "our",     "over",    "pain",   "part",     "pay",     "people",   "place",  "plan",
    "plate",   "player", "power",   "project", "push",   "question", "rain",    "read",     "reason", "red",
    "result",  "ride",   "ring",    "river",   "roof",   "rope",     "run",     "sad",      "same",   "school",
    "sea",     "see",    "send",    "set",     "she",    "shoe",     "short",   "show",     "since",  "sister",
    "skin",    "sleep",  "small",   "snow",    "soft",   "some",     "south",   "spend",    "stand",  "start",
    "stay",    "stone",  "story",   "student", "study",  "summer",   "swim",    "table",    "tall",   "tax",
    "teacher", "tell",   "test",    "that",    "their",  "then",     "these",   "thick",    "think",  "those",
    "through", "time",   "too",     "town",    "train",  "tree",     "turn",    "under",    "us",     "value",
    "very",    "visit",  "wait",    "walk",    "war",    "was",      "watch",   "way",      "week",   "well",
    "west",    "what",   "when",    "which",   "white",  "wide",     "will",    "wind",     "window", "with",
    "wood",    "work",   "would",   "year",    "yellow", "young",
};

}  // namespace

uint64_t Random::next() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31U);
}

double Random::uniform() { return static_cast<double>((next() >> 11U) + 1) * 0x1p-53; }

double Random::exponential(double rate) { return -std::log(uniform()) / rate; }

// Box & Muller 1958.
double Random::normal() {
  const double radius = std::sqrt(-2 * std::log(uniform()));
  return radius * std::cos(6.283185307179586 * uniform());
}

double Random::log_normal(double mean, double sigma) { return mean * std::exp(sigma * normal() - sigma * sigma / 2); }

std::string random_words(Random& random, int n) {
  std::string text;
  for (int i = 0; i < n; ++i) {
    if (i > 0) text += ' ';
    text += kWords[random.below(std::size(kWords))];
  }
  return text;
}

}  // namespace sgl::bench
