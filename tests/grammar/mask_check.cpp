// Masks against brute force: every token of a vocabulary is tried byte by byte, in states along random walks through
// random grammars. usage: mask_check SEED GRAMMARS DIRECTORY…   (directories with a tokenizer.json)

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include <sgl/error.h>

#include "grammar/grammar.h"
#include "grammar/token_vocabulary.h"
#include "random_grammar.h"
#include "text/tokenizer_json.h"

namespace sgl {
namespace {

/// What the mask must be, by the automaton alone.
std::vector<uint32_t> brute_force(grammar::Automaton& a, grammar::StateId state,
                                  const grammar::TokenVocabulary& vocabulary) {
  std::vector<uint32_t> mask(vocabulary.mask_words(), 0);
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    bool allowed;
    if (vocabulary.is_eos(id)) {
      allowed = a.accepts(state);
    } else {
      grammar::StateId s = state;
      for (char c : vocabulary.bytes(id)) s = a.next(s, static_cast<uint8_t>(c));
      allowed = s != grammar::kDead && !vocabulary.bytes(id).empty();
    }
    if (allowed) mask[static_cast<size_t>(id) / 32] |= 1U << (id % 32);
  }
  return mask;
}

struct Totals {
  size_t grammars = 0, refused = 0, ambiguous = 0, masks = 0;  // ambiguous: texts that were given up
};

bool check(const GrammarSpec& spec, std::shared_ptr<const grammar::TokenVocabulary> vocabulary, std::mt19937_64& rng,
           Totals& totals) {
  std::shared_ptr<const Grammar> grammar;
  try {
    grammar = std::make_shared<const Grammar>(spec, vocabulary);
  } catch (const Error&) {
    ++totals.refused;
    return true;
  }
  ++totals.grammars;
  for (int walk = 0; walk < 3; ++walk) {
    GrammarMatcher matcher(grammar);
    grammar::Automaton a = grammar->automaton();
    grammar::StateId state = a.start();
    std::string text;
    std::vector<uint32_t> mask(vocabulary->mask_words() + 1, 0xFFFFFFFF);
    for (int step = 0; step < 14; ++step) {
      try {
        matcher.fill_mask(mask);
      } catch (const Error&) {
        ++totals.ambiguous;
        break;
      }
      std::vector<uint32_t> expected = brute_force(a, state, *vocabulary);
      expected.push_back(0);
      ++totals.masks;
      std::vector<int32_t> allowed;
      for (int32_t id = 0; id < vocabulary->size(); ++id) {
        bool want = (expected[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
        bool got = (mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
        if (want != got) {
          std::printf("WRONG: kind %d, compact %d, grammar:\n%s\nafter: %s\ntoken %d '%s': mask %d, brute force %d\n",
                      static_cast<int>(spec.kind), spec.options.compact, spec.text.c_str(), text.c_str(), id,
                      vocabulary->bytes(id).c_str(), got, want);
          return false;
        }
        if (want && !vocabulary->is_eos(id)) allowed.push_back(id);
      }
      if (mask != expected) {
        std::printf("WRONG: bits beyond the vocabulary\n");
        return false;
      }
      std::string jump = matcher.jump_forward();
      if (allowed.empty()) {
        if (a.accepts(state)) break;
        // No token fits though the text could go on: only where the vocabulary lacks single bytes.
        break;
      }
      int32_t id = allowed[std::uniform_int_distribution<size_t>(0, allowed.size() - 1)(rng)];
      const std::string& bytes = vocabulary->bytes(id);
      size_t common = std::min(jump.size(), bytes.size());
      if (jump.compare(0, common, bytes, 0, common) != 0) {
        std::printf("WRONG: forced '%s', but '%s' is allowed; grammar:\n%s\n", jump.c_str(), bytes.c_str(),
                    spec.text.c_str());
        return false;
      }
      if (!matcher.accept(id)) {
        std::printf("WRONG: accept refuses what the mask allows\n");
        return false;
      }
      text += bytes;
      for (char c : bytes) state = a.next(state, static_cast<uint8_t>(c));
    }
  }
  return true;
}

int run(int argc, char** argv) {
  uint64_t seed = std::strtoull(argv[1], nullptr, 10);
  int count = std::atoi(argv[2]);
  for (int i = 3; i < argc; ++i) {
    auto tokenizer = load_tokenizer_json(argv[i]);
    auto vocabulary = grammar::TokenVocabulary::of(*tokenizer);
    RandomGrammar random(seed);
    std::mt19937_64 rng(seed);
    Totals totals;
    auto end = std::chrono::steady_clock::now() + std::chrono::minutes(10);
    for (int g = 0; g < count && std::chrono::steady_clock::now() < end; ++g) {
      if (!check(random.next(), vocabulary, rng, totals)) {
        std::printf("seed %llu, grammar %d, tokenizer %s\n", static_cast<unsigned long long>(seed), g, argv[i]);
        return 1;
      }
    }
    std::printf(
        "%s: %zu masks of %zu grammars are as by brute force over %d tokens (%zu refused, %zu texts given up)\n",
        argv[i], totals.masks, totals.grammars, vocabulary->size(), totals.refused, totals.ambiguous);
    if (totals.masks == 0 || totals.ambiguous * 20 > totals.grammars * 3) return 1;
  }
  return 0;
}

}  // namespace
}  // namespace sgl

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: mask_check SEED GRAMMARS DIRECTORY...\n");
    return 2;
  }
  return sgl::run(argc, argv);
}
