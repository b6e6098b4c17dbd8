#pragma once
// The one representation of every grammar: rules over bytes, run by lazily computed derivatives.
//
// A grammar is a set of hash-consed terms, regular expressions with calls of rules. What may still follow after some
// bytes is again a term, the derivative (Brzozowski 1964; in the set form of Antimirov 1996), so a state of the
// automaton *is* a term. Four things come for free that automata built ahead pay for:
//   - counted repetition is a counter in the term: X{0,500} becomes X{0,499}, never 500 copies;
//   - determinisation is lazy: only states that some text reaches exist;
//   - recursion is a stack in the term: Frame(A, K) is "the rest of this rule, then K", and tails are shared, so that
//   an
//     alternative of stacks is a graph-structured stack (Tomita 1985);
//   - intersection and complement of regular parts: And, Not.
// What A does is remembered for A alone, whatever K is: all calls of a rule share their transitions and token masks.
//
// No term but kNone is dead: rules that derive nothing are pruned in finish(), and And and Not are searched for a text
// they accept. So a state other than kDead can always be completed, and a mask never leads into a dead end.

#include <array>
#include <bitset>
#include <compare>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "grammar/step_budget.h"

namespace sgl::grammar {

using TermId = uint32_t;
using RuleId = uint32_t;
using StateId = uint32_t;
using ByteSet = std::bitset<256>;

constexpr TermId kNone = 0;     ///< matches nothing
constexpr TermId kEpsilon = 1;  ///< matches the empty text
constexpr StateId kDead = 0;
constexpr uint64_t kUnbounded = std::numeric_limits<uint64_t>::max();

class Automaton;

/// The rest of an array, from its first item to the bracket that closes it, whose items must have different values.
struct UniqueItems {
  TermId item;        ///< what an item may be; not nullable
  TermId spelled;     ///< and must be, too: regular
  TermId space;       ///< between tokens
  uint64_t min, max;  ///< items; at least 1
  bool endless;       ///< there are values without end: another one is always left
  /// All texts that have the value of `item`, a whole item. Called while an automaton runs, a copy of this one or not.
  std::function<TermId(Automaton&, std::string_view item)> equal;
};

/// Terms, rules and the states made of them. First rules are built, then finish() is called, then it runs.
/// Thread: one at a time (running adds terms and transitions); copies are independent.
class Automaton {
 public:
  enum class Kind : uint8_t {
    None,
    Epsilon,
    Bytes,   ///< a: index of a byte set
    Cat,     ///< a then b; a is no Cat
    Alt,     ///< any of items(): sorted, at least two
    Repeat,  ///< a, min to max times; b: index of the bounds
    Ref,     ///< a: a rule
    And,     ///< all of items(); no rule inside calls itself
    Not,     ///< what a does not match
    Frame,   ///< a, then b: as Cat, but what a does is remembered for a alone
    Fresh,   ///< the rest of a UniqueItems. a: the rest of the present item, kNone before it; b: index of what came
  };
  struct Term {
    Kind kind;
    bool nullable;  ///< matches the empty text
    uint32_t a, b;
    uint64_t stable;  ///< the same for equal terms of any automaton; 0: the term calls a rule without a stable name
  };

  /// `budget`: what building may take, finish() included.
  explicit Automaton(StepBudget budget = StepBudget());

  // ---- Building. Equal terms get equal ids; all are simplified on the way. ----

  TermId bytes(const ByteSet& set);
  TermId byte_range(unsigned low, unsigned high);
  TermId literal(std::string_view text);
  TermId cat(TermId a, TermId b);
  TermId cat(std::initializer_list<TermId> terms);
  TermId alt(const std::vector<TermId>& items);
  TermId repeat(TermId a, uint64_t min, uint64_t max);
  TermId star(TermId a) { return repeat(a, 0, kUnbounded); }
  TermId optional(TermId a) { return alt({kEpsilon, a}); }
  /// Requires: every rule called inside is regular (its calls are not nested) and without And and Not.
  TermId both(const std::vector<TermId>& items);
  TermId negate(TermId a);
  TermId any_bytes();
  TermId unique_items(UniqueItems array);

  /// A rule to be defined later. `framed`: its states and masks are shared by all its calls; else a call is as its
  /// body. `stable`: a name that means the same rule in any automaton, 0 if there is none.
  RuleId new_rule(std::string name, bool framed, uint64_t stable = 0);
  void define(RuleId rule, TermId body) { rules_[rule].body = body; }
  /// Gives a rule a stable name after all, for calls that are made from now on.
  void set_stable(RuleId rule, uint64_t stable) { rules_[rule].stable = stable; }
  TermId call(RuleId rule);
  TermId body(RuleId rule) const { return rules_[rule].body; }
  bool is_framed(RuleId rule) const { return rules_[rule].framed; }
  /// What is left for building; those who build spend their own work from it as well.
  StepBudget& budget() { return budget_; }
  size_t num_rules() const { return rules_.size(); }
  size_t num_terms() const { return terms_.size(); }

  /// Ends building: finds what is nullable, refuses left recursion, prunes what derives nothing.
  /// Throws Unsupported for left recursion, calls nested too deep, an And too large to be decided, a used up budget,
  /// and unique items of which fewer are found than must be.
  void finish(TermId root);

  // ---- Running ----

  /// From now on so many readings may be made, then computing a derivative throws Unsupported. A reading is a way to
  /// understand the text so far: an alternative of a derivative that has several. It is what ambiguous grammars cost,
  /// while large ones make few. What was computed is remembered. kUnbounded: no limit, as in the beginning.
  void limit_readings(uint64_t readings) { readings_left_ = readings; }
  uint64_t readings_left() const { return readings_left_; }

  StateId start() const { return start_; }
  /// kDead if no text goes on with `byte`.
  StateId next(StateId state, uint8_t byte) { return next_class(state, class_of_[byte]); }
  StateId next_class(StateId state, unsigned byte_class) {
    StateId known = table_[size_t{state} * num_classes_ + byte_class];
    return known != kUnknown ? known : compute_next(state, byte_class);
  }
  bool accepts(StateId state) const { return state != kDead && terms_[state_terms_[state]].nullable; }
  TermId term_of(StateId state) const { return state_terms_[state]; }
  StateId state_of(TermId term);
  unsigned num_classes() const { return num_classes_; }
  unsigned class_of(uint8_t byte) const { return class_of_[byte]; }
  /// The only byte that can follow, or −1 if there are several, none, or the text may end here.
  int forced_byte(StateId state);
  /// Whether the text is complete and nothing can follow.
  bool must_end(StateId state);

  const Term& term(TermId id) const { return terms_[id]; }
  std::span<const TermId> items(TermId id) const { return {lists_.data() + terms_[id].a, terms_[id].b}; }
  const ByteSet& byte_set(TermId id) const { return sets_[terms_[id].a]; }
  std::pair<uint64_t, uint64_t> bounds(TermId id) const { return bounds_[terms_[id].b]; }
  TermId frame(TermId a, TermId rest);
  /// What a Fresh still needs for its present item, and what came before: an index for after_item().
  std::pair<TermId, uint32_t> present_item(TermId fresh);
  /// What may stand behind its present item, whatever that was: the end of the array, and what comes before another
  /// item; kNone if that depends on the item.
  std::pair<TermId, TermId> behind_item(uint32_t came);
  /// An item, whatever came.
  TermId any_item(uint32_t came);
  /// Whether a term certainly has texts without end.
  bool is_endless(TermId id) const;
  /// The Fresh whose present item goes on with `text`, and then `rest`; kEpsilon: the item is over.
  TermId after_item(uint32_t came, std::string_view text, TermId rest);
  /// A term that allows the same next `n` bytes, with counters cut down so that many states share it.
  TermId clamp(TermId id, uint64_t n);
  /// The same for an And: its counters have no end. The term itself where there is no such one, where an end is near,
  /// and where finding out takes too long. `n` is less than 256.
  TermId loosen(TermId id, uint64_t n);
  /// A term and the same without the end of its counter: X{0,9}, alone or behind the rest of a character, and X{0,∞}.
  struct Counter {
    TermId whole, endless;  ///< one term, if there is no counter with an end
    TermId counted;         ///< X, not nullable
    uint64_t max;           ///< kUnbounded without one
  };
  Counter without_end(TermId id);
  /// The bytes of a short text, kUnbounded where finding one takes too long.
  uint64_t completion(TermId id);
  /// The state of this automaton that `state` of `other`, a copy from before, stands for.
  StateId import(const Automaton& other, StateId state);
  /// Takes memory for as many terms again and for a state of each term, so that while a text is matched no table is
  /// copied to a larger one, which takes as long as many masks. What is not used of it costs addresses only, but for
  /// the hash table of terms.
  void make_room();
  /// Bytes of memory held, about.
  size_t memory() const;
  size_t num_states() const { return state_terms_.size(); }
  std::string describe(TermId id, int depth = 6) const;

  /// More alternatives at once than this end the match with an error.
  static constexpr size_t kMostItems = 20000;
  /// Calls nested to the left deeper than this are refused.
  static constexpr int kDeepest = 4000;

 private:
  struct Rule {
    TermId body = kNone;
    bool framed = false, nullable = false;
    std::string name;
    uint64_t stable = 0;
  };
  struct Pair {
    TermId term, rest;
  };
  static constexpr uint32_t kUnknown = UINT32_MAX;

  TermId make(Kind kind, uint32_t a, uint32_t b);
  void rehash(size_t slots);  ///< a power of two
  TermId make_list(Kind kind, std::vector<TermId>& items);
  TermId find_or_add(Kind kind, uint32_t a, uint32_t b, std::span<const TermId> list);
  bool compute_nullable(const Term& t) const;
  uint64_t stable_hash(const Term& t) const;
  uint32_t set_index(const ByteSet& set);
  void add_set_classes(const ByteSet& set);
  uint32_t bounds_index(uint64_t min, uint64_t max);
  void merge_bytes(std::vector<TermId>& items);
  void merge_items(std::vector<TermId>& items, int depth);
  TermId alt_at(const std::vector<TermId>& items, int depth);
  TermId alt_of(std::vector<TermId>& flat);
  TermId join_frames(TermId b, TermId rest);
  void flatten(TermId id, std::vector<TermId>& out) const;

  /// The least fixed point of `holds` over terms and rules: it is asked again for a term when an operand came to hold.
  template <typename Visit>
  void each_operand(TermId id, Visit visit) const;
  template <typename Holds>
  std::vector<char> least_fixed_point(Holds holds) const;
  void find_nullable();
  void make_classes();
  std::vector<bool> reached_rules(TermId root);
  void check_left_recursion(TermId root);
  void left_calls(TermId body, std::vector<RuleId>& out);
  void prune(TermId& root);
  TermId rebuild(TermId id, const std::vector<char>& alive, std::unordered_map<TermId, TermId>& memo);

  // unique_items.cpp
  struct Came {
    uint32_t array;  // of unique_arrays_
    TermId seen;     // the texts that no further item may have
    uint64_t count;  // items that are over; above what matters, no more are counted
    uint32_t text;   // of the present item so far, or of the last one while the next has not begun; of texts_
    auto operator<=>(const Came&) const = default;
  };
  TermId fresh(TermId rest_of_item, const Came& came);
  TermId next_item(Came& came);
  TermId after_items(const Came& came);
  uint32_t came_index(const Came& came);
  uint32_t longer_text(uint32_t text, std::string_view more);
  std::string text_of(uint32_t text) const;
  std::string some_text(TermId id);
  void check_unique_items();
  TermId import_fresh(const Automaton& other, TermId id, std::unordered_map<TermId, TermId>& memo);

  // automaton_loosen.cpp
  template <typename Search>
  bool within_search_limits(Search search);
  TermId both_without(const std::vector<Counter>& counters);
  bool is_part_of(TermId a, TermId b);
  uint64_t longest_completion(TermId id);

  StateId compute_next(StateId state, unsigned byte_class);
  void count_readings(size_t made);
  void find_missing(TermId id, unsigned c, std::vector<StateId>& missing);
  TermId derive(TermId id, unsigned c);
  TermId derive_bool(TermId id, unsigned c);
  void push_frames(TermId derived, TermId rest, std::vector<TermId>& out);
  bool has_byte(uint32_t set, unsigned c) const { return set_classes_[set][c]; }
  bool is_live(TermId id);
  struct Lengths {
    uint32_t least, most;
  };
  Lengths lengths(TermId id);

  std::vector<Term> terms_;
  std::vector<TermId> lists_;
  std::vector<uint32_t> slots_;  // hash table of term ids; 0 is free
  std::vector<ByteSet> sets_;
  std::vector<ByteSet> set_classes_;  // for each set: the byte classes in it
  std::unordered_map<ByteSet, uint32_t> set_ids_;
  std::vector<std::pair<uint64_t, uint64_t>> bounds_;
  std::unordered_map<uint64_t, std::vector<uint32_t>> bounds_ids_;
  std::vector<Rule> rules_;
  std::vector<UniqueItems> unique_arrays_;
  std::vector<Came> came_;
  std::map<Came, uint32_t> came_ids_;
  std::vector<std::pair<uint32_t, uint8_t>> texts_;  // (one byte shorter, the last byte); 0 is empty
  std::unordered_map<uint64_t, uint32_t> text_ids_;
  StepBudget budget_;

  bool finished_ = false;
  uint64_t readings_left_ = kUnbounded;
  StateId start_ = kDead;
  unsigned num_classes_ = 1;
  std::array<uint8_t, 256> class_of_{};
  std::array<uint8_t, 256> byte_of_{};  // class → one of its bytes
  std::vector<uint32_t> table_;         // state · num_classes + class → state, or kUnknown
  std::vector<TermId> state_terms_;     // state → term
  std::vector<StateId> term_states_;    // term → state, kUnknown if none
  std::vector<int16_t> forced_;         // state → forced byte; −2: not asked yet
  std::unordered_map<TermId, bool> live_;
  std::vector<Lengths> lengths_;               // of terms, as far as they were asked for
  std::unordered_map<TermId, TermId> merged_;  // large lists of alternatives → the merged ones
  std::unordered_map<uint64_t, TermId> clamped_;
  std::unordered_map<uint64_t, TermId> loosened_;
  std::unordered_map<uint64_t, bool> part_of_;
  std::unordered_map<TermId, unsigned> not_parts_;    // how often something was no part of a term
  std::unordered_map<TermId, uint64_t> completions_;  // the longest of those of all that a term leads to
  std::unordered_map<TermId, uint64_t> shortest_;
  uint64_t searches_left_ = 40000;  // derivatives that loosen() may look at, some 10 ms in all
};

}  // namespace sgl::grammar
