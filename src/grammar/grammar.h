#pragma once
// Grammars for constrained decoding: compile once, match token by token.
//
//   auto vocabulary = grammar::TokenVocabulary::of(tokenizer, eos_ids);
//   GrammarCompiler compiler(vocabulary);
//   auto grammar = compiler.compile({GrammarKind::JsonSchema, schema_text});    // on a worker; cached
//   GrammarMatcher matcher(grammar);                                            // one for each sequence
//   loop: matcher.fill_mask(row); sample; matcher.accept(token);
//
// Everything is lazy: compiling builds terms only, states and masks come to be when a text first reaches them, and are
// shared by all matchers of the grammar.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <sgl/error.h>

#include "grammar/automaton.h"
#include "grammar/token_masks.h"
#include "grammar/token_vocabulary.h"

namespace sgl {

enum class GrammarKind : uint8_t {
  Regex,          ///< Python's re, matched against the whole text
  JsonSchema,     ///< a schema's JSON text (draft 2020-12), or $$ANY$$: any JSON
  Ebnf,           ///< GBNF; the text is what the rule `root` derives
  StructuralTag,  ///< free text with parts that follow schemas; SGLang's old and new form
};

struct GrammarOptions {
  /// JSON without white space between tokens: {"a":1}, and printable ASCII in names, constants and patterns stands as
  /// it is. False: white space as JSON allows it, and any spelling.
  bool compact = true;
  /// Not compact: at most so many characters of white space in a row; unlimited if not set.
  std::optional<uint32_t> max_whitespace = {};
  /// Regex: the text holds a match, as Python's re.search finds it, instead of being one.
  bool search = false;
  /// Objects whose schema has `properties` and does not speak of additional ones have no others.
  bool closed_objects = false;
  /// Integers are written as digits alone; false: any spelling that JSON has, 12.0 and 1.2e1, too. For generation: a
  /// model that may write zeros without end sometimes does.
  bool plain_integers = false;

  bool operator==(const GrammarOptions&) const = default;
};

struct GrammarSpec {
  GrammarKind kind = GrammarKind::Regex;
  std::string text;
  GrammarOptions options = {};
};

/// A compiled grammar. Immutable to its users and shared by requests and threads; inside it remembers states and masks,
/// in bounded memory, under its own lock.
class Grammar {
 public:
  /// Throws InvalidArgument where the text is malformed, Unsupported for what cannot be honoured (the message names the
  /// keyword and its place) and for grammars beyond the limits. `vocabulary` may be null: then there are no masks.
  Grammar(const GrammarSpec& spec, std::shared_ptr<const grammar::TokenVocabulary> vocabulary,
          std::chrono::milliseconds prepare_time = kPrepareTime);
  ~Grammar();

  const std::shared_ptr<const grammar::TokenVocabulary>& vocabulary() const { return vocabulary_; }
  /// Whether the whole text matches, in which special tokens of the vocabulary stand by their names. Throws Unsupported
  /// where the text drives the grammar beyond its limits.
  bool matches(std::string_view text) const;
  /// Whether no text matches, as with the schema `false`.
  bool matches_nothing() const { return base_->start() == grammar::kDead; }
  /// Bytes held, about.
  size_t memory() const;

  /// An automaton of its own, for tools and tests.
  grammar::Automaton automaton() const { return *base_; }

  static constexpr size_t kLongestText = size_t{4} << 20;  ///< of a spec, in bytes
  static constexpr std::chrono::milliseconds kPrepareTime{
      4};                                                  ///< for masks made ahead; the others are made when needed
  static constexpr size_t kMostMemory = size_t{64} << 20;  ///< then states are forgotten and begun anew

 private:
  friend class GrammarMatcher;
  struct Core;  // the running automaton and its masks
  std::shared_ptr<Core> core() const;

  std::shared_ptr<const grammar::TokenVocabulary> vocabulary_;
  std::shared_ptr<const grammar::Automaton> base_;  // as compiled, without states
  mutable std::mutex mutex_;
  mutable std::shared_ptr<Core> core_;
};

/// Where one text stands in a grammar. Copies are independent and cheap. Thread: one at a time; matchers of one grammar
/// may run at the same time. Any call may throw Unsupported when the text drives an ambiguous grammar beyond its
/// limits.
class GrammarMatcher {
 public:
  /// Whether the matcher remembers its steps. Without them it holds one state, however long the text is.
  enum class Rollback : uint8_t { Off, On };
  explicit GrammarMatcher(std::shared_ptr<const Grammar> grammar, Rollback rollback = Rollback::Off);

  /// Takes a token. False, and nothing changed, where the grammar does not allow it. An EOS token is taken where the
  /// text is complete; after it nothing is.
  bool accept(int32_t token);
  /// The same for text, as one step of rollback().
  bool accept_text(std::string_view text);
  /// Bit i of mask[i / 32] = whether token i may come next; EOS where the text may end. At least mask_words() words;
  /// those beyond are cleared. After an EOS all are 0.
  void fill_mask(std::span<uint32_t> mask) const;
  /// The text that must come next, whatever is sampled, up to a special token: whole characters, at most kLongestJump
  /// bytes, may be empty. It is not taken; give it to accept_text().
  std::string jump_forward() const;
  /// Whether the text may end here, or has.
  bool complete() const;
  bool ended() const { return ended_; }
  /// Whether nothing but the end may come.
  bool must_end() const;
  /// Undoes the last `steps` accepted tokens or texts. Requires: as many were accepted, Rollback::On.
  void rollback(size_t steps);
  /// How many can be undone.
  size_t steps() const { return history_.size(); }
  GrammarMatcher clone() const { return *this; }

  static constexpr size_t kLongestJump = 1024;

 private:
  // Readings (grammar::Automaton::limit_readings) that a text may make, some 170 ns each: at first, and what each mask,
  // each byte that is taken and each question adds, so that a text costs others that run beside it 40 ms once and then
  // 0.3 ms a step. JSON schemas and common patterns make up to some hundreds a mask, 1,500 at a place with as many
  // names, 8,000 where several multipleOf are alternatives of a oneOf; only the first mask in a state makes them.
  static constexpr uint64_t kMostReadings = 250000;
  static constexpr uint64_t kReadingsPerStep = 2000;
  static uint64_t more_readings(uint64_t left) { return std::min(left + kReadingsPerStep, kMostReadings); }

  void refresh() const;
  void remember() {
    if (rollback_ == Rollback::On) history_.push_back(state_);
  }
  bool accept_bytes(std::string_view bytes);

  std::shared_ptr<const Grammar> grammar_;
  mutable std::shared_ptr<Grammar::Core> core_;
  mutable grammar::StateId state_;
  mutable std::vector<grammar::StateId> history_;  // the state before each step, where they are remembered
  mutable uint64_t readings_ = kMostReadings;
  Rollback rollback_;
  bool ended_ = false;
};

/// Compiles grammars for one vocabulary and keeps them by text. Thread: any; compiling runs in the caller.
class GrammarCompiler {
 public:
  /// Makes masks of what most grammars have in common, any JSON: takes up to 0.1 s.
  explicit GrammarCompiler(std::shared_ptr<const grammar::TokenVocabulary> vocabulary,
                           size_t cache_bytes = size_t{512} << 20);

  /// The grammar of this spec, from the cache if it is there. Errors: see Grammar, and InvalidArgument for a grammar
  /// that matches nothing. Both come from the cache as well.
  std::shared_ptr<const Grammar> compile(const GrammarSpec& spec);
  /// Whether compile() would find it in the cache, or that it is refused.
  bool knows(const GrammarSpec& spec) const;
  size_t size() const;
  void clear();

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const Grammar> grammar;
    std::optional<Error> refusal;  // set where there is no grammar
    size_t memory() const;
  };
  std::shared_ptr<const grammar::TokenVocabulary> vocabulary_;
  size_t cache_bytes_;
  mutable std::mutex mutex_;
  std::list<Entry> recent_;  // most recently used first
  std::unordered_map<std::string, std::list<Entry>::iterator> known_;
};

}  // namespace sgl
