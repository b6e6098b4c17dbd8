#include "grammar/grammar.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <utility>

#include <fmt/format.h>

#include <sgl/error.h>

#include "base/assert.h"
#include "grammar/compile.h"
#include "grammar/regex_syntax.h"
#include "text/unicode.h"

namespace sgl {

using grammar::Automaton;
using grammar::StateId;

struct Grammar::Core {
  Core(const Automaton& base, const grammar::TokenVocabulary* vocabulary) : automaton(base) {
    if (vocabulary == nullptr) return;
    automaton.make_room();
    masks = std::make_unique<grammar::TokenMasks>(automaton, *vocabulary);
  }

  std::mutex mutex;
  std::atomic<size_t> held = 0;  // bytes; read without the lock
  Automaton automaton;
  std::unique_ptr<grammar::TokenMasks> masks;
};

namespace {

/// The core, locked; on the way out it says how much it has grown to.
template <typename Core>
class Use {
 public:
  explicit Use(Core& core) : core_(core), lock_(core.mutex) {}
  ~Use() { core_.held = core_.automaton.memory() + (core_.masks != nullptr ? core_.masks->memory() : 0); }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  Core& core_;
  std::lock_guard<std::mutex> lock_;
};

}  // namespace

namespace {
constexpr std::chrono::milliseconds kCommonTime{30};

/// Limits an automaton's readings as long as it lives to those that are left of `readings`.
class WithinReadings {
 public:
  WithinReadings(Automaton& automaton, uint64_t& readings) : automaton_(automaton), readings_(readings) {
    automaton_.limit_readings(readings_);
  }
  ~WithinReadings() {
    readings_ = automaton_.readings_left();
    automaton_.limit_readings(grammar::kUnbounded);
  }
  WithinReadings(const WithinReadings&) = delete;
  WithinReadings& operator=(const WithinReadings&) = delete;

 private:
  Automaton& automaton_;
  uint64_t& readings_;
};

}  // namespace

grammar::TermId grammar::compile_regex(CharTerms& chars, std::string_view pattern, bool search) {
  const RegexNode regex = parse_regex(pattern, RegexDialect::Python);
  return search ? search_term(chars, regex, Spelling::Plain) : full_match_term(chars, regex, Spelling::Plain);
}

Grammar::Grammar(const GrammarSpec& spec, std::shared_ptr<const grammar::TokenVocabulary> vocabulary,
                 std::chrono::milliseconds prepare_time)
    : vocabulary_(std::move(vocabulary)) {
  if (spec.text.size() > kLongestText) {
    throw Error(ErrorKind::Unsupported,
                fmt::format("the grammar has {} bytes, at most {} are taken", spec.text.size(), kLongestText));
  }
  auto automaton = std::make_shared<Automaton>(grammar::StepBudget(spec.text.size()));
  grammar::CharTerms chars(*automaton);
  grammar::TermId root = grammar::kNone;
  switch (spec.kind) {
    case GrammarKind::Regex:
      root = grammar::compile_regex(chars, spec.text, spec.options.search);
      break;
    case GrammarKind::JsonSchema:
      root = grammar::compile_json_schema(chars, spec.text, spec.options);
      break;
    case GrammarKind::Ebnf:
      root = grammar::compile_ebnf(chars, spec.text);
      break;
    case GrammarKind::StructuralTag:
      root = grammar::compile_structural_tag(chars, spec.text, spec.options, vocabulary_.get());
      break;
  }
  automaton->finish(root);
  base_ = std::move(automaton);
  if (vocabulary_ != nullptr && !matches_nothing()) {
    std::shared_ptr<Core> running = core();
    Use use(*running);
    running->masks->prepare(prepare_time);
  }
}

Grammar::~Grammar() = default;

std::shared_ptr<Grammar::Core> Grammar::core() const {
  std::lock_guard lock(mutex_);
  if (core_ == nullptr || core_->held > kMostMemory) core_ = std::make_shared<Core>(*base_, vocabulary_.get());
  return core_;
}

size_t Grammar::memory() const {
  std::lock_guard lock(mutex_);
  return base_->memory() + (core_ != nullptr ? core_->held.load() : 0);
}

// The name of a special token can be meant as words, too: both are tried wherever one stands.
bool Grammar::matches(std::string_view text) const {
  std::vector<grammar::TokenVocabulary::Piece> pieces{{text, text}};
  if (vocabulary_ != nullptr) pieces = vocabulary_->split_at_specials(text);
  std::shared_ptr<Core> running = core();
  Use use(*running);
  const auto after = [&](StateId state, std::string_view bytes) {
    for (char c : bytes) {
      if (state == grammar::kDead) break;
      state = running->automaton.next(state, static_cast<uint8_t>(c));
    }
    return state;
  };
  std::set<StateId> states{running->automaton.start()};
  for (const auto& piece : pieces) {
    std::set<StateId> next;
    for (StateId state : states) next.insert({after(state, piece.text), after(state, piece.bytes)});
    next.erase(grammar::kDead);
    states = std::move(next);
  }
  return std::any_of(states.begin(), states.end(), [&](StateId s) { return running->automaton.accepts(s); });
}

GrammarMatcher::GrammarMatcher(std::shared_ptr<const Grammar> grammar, Rollback rollback)
    : grammar_(std::move(grammar)), core_(grammar_->core()), state_(core_->automaton.start()), rollback_(rollback) {}

// Moves to the grammar's present automaton, where it has begun a new one.
void GrammarMatcher::refresh() const {
  std::shared_ptr<Grammar::Core> now = grammar_->core();
  if (now == core_) return;
  const std::shared_ptr<Grammar::Core> old = core_;  // nobody else may hold it, and its mutex must outlive the lock
  std::scoped_lock lock(now->mutex, old->mutex);
  std::unordered_map<StateId, StateId> known;
  auto move = [&](StateId state) {
    auto [at, added] = known.try_emplace(state, grammar::kDead);
    if (added) at->second = now->automaton.import(old->automaton, state);
    return at->second;
  };
  state_ = move(state_);
  for (StateId& state : history_) state = move(state);
  core_ = std::move(now);
}

bool GrammarMatcher::accept_bytes(std::string_view bytes) {
  Use use(*core_);
  WithinReadings limit(core_->automaton, readings_);
  StateId state = state_;
  for (char c : bytes) {
    core_->automaton.limit_readings(more_readings(core_->automaton.readings_left()));
    state = core_->automaton.next(state, static_cast<uint8_t>(c));
    if (state == grammar::kDead) return false;
  }
  remember();
  state_ = state;
  return true;
}

bool GrammarMatcher::accept_text(std::string_view text) {
  if (ended_) return false;
  refresh();
  return accept_bytes(text);
}

bool GrammarMatcher::accept(int32_t token) {
  const grammar::TokenVocabulary* vocabulary = grammar_->vocabulary().get();
  SGL_ASSERT(vocabulary != nullptr, "the grammar was compiled without a vocabulary");
  if (ended_ || token < 0 || token >= vocabulary->size()) return false;
  if (vocabulary->is_eos(token)) {
    if (!complete()) return false;
    remember();
    ended_ = true;
    return true;
  }
  refresh();
  const std::string& bytes = vocabulary->bytes(token);
  return !bytes.empty() && accept_bytes(bytes);
}

void GrammarMatcher::fill_mask(std::span<uint32_t> mask) const {
  SGL_ASSERT(grammar_->vocabulary() != nullptr && mask.size() >= grammar_->vocabulary()->mask_words(),
             "a mask needs a bit for each token");
  if (ended_) {
    std::fill(mask.begin(), mask.end(), 0);
    return;
  }
  refresh();
  Use use(*core_);
  readings_ = more_readings(readings_);
  WithinReadings limit(core_->automaton, readings_);
  core_->masks->fill(state_, mask);
}

std::string GrammarMatcher::jump_forward() const {
  std::string text;
  if (ended_) return text;
  refresh();
  Use use(*core_);
  readings_ = more_readings(readings_);
  WithinReadings limit(core_->automaton, readings_);
  StateId state = state_;
  while (text.size() < kLongestJump) {
    int byte = core_->automaton.forced_byte(state);
    if (byte < 0 || grammar::TokenVocabulary::is_special_byte(static_cast<char>(byte))) break;
    text.push_back(static_cast<char>(byte));
    state = core_->automaton.next(state, static_cast<uint8_t>(byte));
  }
  text.resize(text.size() - incomplete_utf8_tail(text));
  return text;
}

bool GrammarMatcher::complete() const {
  Use use(*core_);
  return ended_ || core_->automaton.accepts(state_);
}

bool GrammarMatcher::must_end() const {
  if (ended_) return true;
  refresh();
  Use use(*core_);
  readings_ = more_readings(readings_);
  WithinReadings limit(core_->automaton, readings_);
  return core_->automaton.must_end(state_);
}

void GrammarMatcher::rollback(size_t steps) {
  SGL_ASSERT(steps <= history_.size(), "cannot roll back more steps than were accepted");
  if (steps == 0) return;
  state_ = history_[history_.size() - steps];
  history_.resize(history_.size() - steps);
  ended_ = false;
}

static std::string cache_key(const GrammarSpec& spec) {
  return fmt::format("{}{}{}{}{}{}:", static_cast<int>(spec.kind), spec.options.compact ? 'c' : 'w',
                     spec.options.max_whitespace ? std::to_string(*spec.options.max_whitespace) : "",
                     spec.options.closed_objects ? 'x' : 'o', spec.options.search ? 's' : 'm',
                     spec.options.plain_integers ? 'p' : 'a') +
         spec.text;
}

GrammarCompiler::GrammarCompiler(std::shared_ptr<const grammar::TokenVocabulary> vocabulary, size_t cache_bytes)
    : vocabulary_(std::move(vocabulary)), cache_bytes_(cache_bytes) {
  if (vocabulary_ == nullptr) return;
  for (std::string_view schema : {R"({"type":["string","integer"]})", "true"}) {
    for (auto [compact, plain] : {std::pair(true, true), {true, false}, {false, false}}) {
      GrammarSpec spec{GrammarKind::JsonSchema, std::string(schema), {}};
      spec.options.compact = compact;
      spec.options.plain_integers = plain;
      Grammar common(spec, vocabulary_, kCommonTime);  // the masks stay with the vocabulary
    }
  }
}

bool GrammarCompiler::knows(const GrammarSpec& spec) const {
  std::lock_guard lock(mutex_);
  return known_.contains(cache_key(spec));
}

size_t GrammarCompiler::Entry::memory() const {
  return key.size() +
         (grammar != nullptr ? grammar->memory() : sizeof(Error) + std::string_view(refusal->what()).size());
}

std::shared_ptr<const Grammar> GrammarCompiler::compile(const GrammarSpec& spec) {
  const auto result_of = [](const Entry& entry) {
    if (entry.refusal) throw Error(*entry.refusal);
    return entry.grammar;
  };
  Entry made{cache_key(spec), nullptr, std::nullopt};
  {
    std::lock_guard lock(mutex_);
    if (auto at = known_.find(made.key); at != known_.end()) {
      recent_.splice(recent_.begin(), recent_, at->second);
      return result_of(*at->second);
    }
  }
  try {
    made.grammar = std::make_shared<const Grammar>(spec, vocabulary_);  // outside of the lock: others go on
    if (made.grammar->matches_nothing()) {
      made.grammar = nullptr;
      made.refusal.emplace(ErrorKind::InvalidArgument,
                           "the grammar matches no text at all: its parts contradict each other");
    }
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::InvalidArgument && e.kind() != ErrorKind::Unsupported) throw;
    made.refusal.emplace(e);  // the same spec is refused again, and finding out can take a second
  }
  std::lock_guard lock(mutex_);
  if (auto at = known_.find(made.key); at != known_.end()) return result_of(*at->second);
  recent_.push_front(made);
  known_[made.key] = recent_.begin();
  size_t held = 0;
  for (auto at = recent_.begin(); at != recent_.end();) {
    held += at->memory();
    if (held > cache_bytes_ && at != recent_.begin()) {
      known_.erase(at->key);
      at = recent_.erase(at);
    } else {
      ++at;
    }
  }
  return result_of(made);
}

size_t GrammarCompiler::size() const {
  std::lock_guard lock(mutex_);
  return recent_.size();
}

void GrammarCompiler::clear() {
  std::lock_guard lock(mutex_);
  recent_.clear();
  known_.clear();
}

}  // namespace sgl
