// A state is an alternative of stacks, Frame(A, K): "A, then K". The mask of A is made once for A alone: tokens that A
// takes whole, and the exits, nodes of the trie at which A may be over while the token goes on. Below the exits K
// decides, and only these subtrees are walked again for another K.

#include "grammar/token_masks.h"

#include <algorithm>
#include <unordered_set>

namespace sgl::grammar {
namespace {

constexpr size_t kMostRests = 3000;      // tokens that a term can end in, to make a trie of
constexpr size_t kMostPrepared = 20000;  // states
constexpr size_t kMostBlocked = 10000;   // nodes of the tries that are looked at for tokens that are excluded
// What is asked of a state: tokens up to kShort characters or longer ones; with exits, and with exits as they are.
enum : unsigned { kMask = 0, kExits = 1, kOpenExits = 2, kLong = 4 };

bool follows_item(uint8_t byte) {
  return byte == ',' || byte == ']' || byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

}  // namespace

TokenMasks::TokenMasks(Automaton& automaton, const TokenVocabulary& vocabulary)
    : automaton_(automaton), vocabulary_(vocabulary), takes_(automaton) {
  size_t deepest = 0;
  for (uint32_t t = 0; t < TokenVocabulary::kNumTries; ++t) deepest = std::max(deepest, vocabulary.trie(t).deepest());
  path_.resize(deepest + 1);
}

void TokenMasks::walk(const TokenTrie& trie, uint32_t from, uint32_t to, StateId state, const Known& known,
                      std::vector<int32_t>& ids, std::vector<uint32_t>* exits) {
  constexpr uint32_t kNoLimit = 255;  // characters are counted up to 254, most_chars of 255 is any number
  if (from == to) return;
  const size_t start = trie.node(from).depth - 1U;
  auto enter = [&](size_t depth, StateId at, uint32_t node, uint32_t chars, bool is_known) {
    const Take take = takes_.of(at);
    const uint32_t limit = take.chars == Take::kAny ? kNoLimit : std::min(chars + take.chars, kNoLimit - 1);
    const bool no_more = take.no_more && !(take.may_end && exits != nullptr) && limit < kNoLimit - 1;
    path_[depth] = {at, node, take.kinds, chars, limit, no_more, is_known, false};
  };
  const CharKinds others = known.then & ~known.kinds;
  const size_t known_chars = known.chars < Take::kAny ? std::min<size_t>(known.chars, kNoLimit - 1) : known.chars;
  enter(start, state, 0, 0, known.kinds != 0);
  for (uint32_t i = from; i < to;) {
    const TokenTrie::Node& node = trie.node(i);
    const Step& before = path_[node.depth - 1U];
    if (before.is_known && (node.kinds & others) == 0 && (known.no_more || node.most_chars <= known_chars)) {
      i = node.end;
      continue;
    }
    if ((node.kinds & ~before.kinds) == 0) {
      std::span<const int32_t> all = trie.tokens_below(i);
      if (node.most_chars <= before.limit) {
        ids.insert(ids.end(), all.begin(), all.end());
        i = node.end;
        continue;
      }
      if (before.no_more) {
        std::span<const uint8_t> chars = trie.chars_below(i);
        for (size_t t = 0; t < all.size(); ++t) {
          if (chars[t] <= before.limit) ids.push_back(all[t]);
        }
        if (exits != nullptr) add_exits(i, node.depth, start, *exits);
        i = node.end;
        continue;
      }
    }
    const StateId next = automaton_.next(before.state, node.byte);
    if (next == kDead) {
      if (exits != nullptr) add_exits(i, node.depth, start, *exits);
      i = node.end;
      continue;
    }
    for (int32_t id : trie.tokens(i)) ids.push_back(id);
    if (node.end > i + 1) {
      const bool may_separate = node.byte == 0xA8 || node.byte == 0xA9;  // the last byte of a line separator
      const CharKinds kind = node.byte < 0x80 ? kByteKinds[node.byte] : may_separate ? kLineSeparators : kWideChars;
      enter(node.depth, next, i, before.chars + ((node.byte & 0xC0) != 0x80 ? 1 : 0),
            before.is_known && (kind & ~known.kinds) == 0);
    }
    ++i;
  }
}

// Wherever on the path to the node `dead` the text can be complete, the token may go on with what follows.
void TokenMasks::add_exits(uint32_t dead, size_t depth, size_t start, std::vector<uint32_t>& exits) {
  uint32_t child = dead;
  while (--depth > start) {
    Step& step = path_[depth];
    if (automaton_.accepts(step.state)) exits.push_back(child);
    if (step.has_exits) return;
    step.has_exits = true;
    child = step.node;
  }
}

void TokenMasks::walk_all(uint32_t which, StateId state, const Known& known, PartialMask& mask, bool with_exits) {
  const TokenTrie& trie = vocabulary_.trie(which);
  std::vector<uint32_t> exits;
  taken_.clear();
  walk(trie, 0, trie.size(), state, known, taken_, with_exits ? &exits : nullptr);
  mask.ids.insert(mask.ids.end(), taken_.begin(), taken_.end());
  for (uint32_t node : exits) mask.exits.push_back({node, static_cast<uint8_t>(which), trie.node(node).byte});
}

// The tokens below the exits, without the bytes before the exits: one small trie, which is walked in the place of all
// the subtrees, many of which are alike.
void TokenMasks::collect_rests(PartialMask& mask) const {
  std::vector<TokenTrie::Entry> rests;
  for (PartialMask::Exit exit : mask.exits) {
    const TokenTrie& trie = vocabulary_.trie(exit.trie);
    const TokenTrie::Node& node = trie.node(exit.node);
    for (int32_t id : trie.tokens_below(exit.node)) {
      rests.push_back({std::string_view(vocabulary_.bytes(id)).substr(node.depth - 1U), id});
    }
    if (rests.size() > kMostRests) return;
  }
  if (rests.empty()) return;
  std::sort(rests.begin(), rests.end(), [](const TokenTrie::Entry& a, const TokenTrie::Entry& b) {
    int c = a.bytes.compare(b.bytes);
    return c != 0 ? c < 0 : a.id < b.id;
  });
  mask.rests.emplace(rests);
  mask.exits = {};
}

// A long list becomes a bit mask, which is then the shorter one of the two.
void TokenMasks::compress(PartialMask& mask) const {
  if (mask.ids.size() <= vocabulary_.mask_words()) {
    mask.ids.shrink_to_fit();
    return;
  }
  if (mask.words.empty()) mask.words.assign(vocabulary_.mask_words(), 0);
  for (int32_t id : mask.ids) mask.words[static_cast<size_t>(id) / 32] |= 1U << (id % 32);
  mask.ids = {};
}

// The tokens that the mask has by their kinds.
void TokenMasks::add_kinds(const PartialMask& mask, std::span<uint32_t> to) const {
  const std::span<const uint32_t> up_to = vocabulary_.short_tokens_up_to(mask.chars);
  for (size_t w = 0; w < up_to.size(); ++w) to[w] |= (*mask.kinds)[w] & up_to[w];
}

void TokenMasks::write(const PartialMask& mask, std::span<uint32_t> to) const {
  auto rest = std::copy(mask.words.begin(), mask.words.end(), to.begin());
  std::fill(rest, to.end(), 0);
  if (mask.kinds != nullptr) add_kinds(mask, to);
  for (int32_t id : mask.ids) to[static_cast<size_t>(id) / 32] |= 1U << (id % 32);
}

template <typename Make>
TokenMasks::MaskPtr TokenMasks::cached(StateId state, unsigned what, Make make) {
  MaskPtr& known = partial_[uint64_t{state} << 3 | what];
  if (known != nullptr) return known;
  uint64_t stable = automaton_.term(automaton_.term_of(state)).stable;
  uint64_t key = stable * 0x9E3779B97F4A7C15 + what;
  if (stable != 0) known = vocabulary_.find_mask(key);
  if (known != nullptr) return known;
  auto made = std::make_shared<PartialMask>();
  make(*made);
  if ((what & kOpenExits) == 0) collect_rests(*made);
  compress(*made);
  if (stable != 0) {
    vocabulary_.keep_mask(key, made);
  } else {
    bytes_ += made->memory();
  }
  return partial_[uint64_t{state} << 3 | what] = std::move(made);
}

TokenMasks::Known TokenMasks::known_of(StateId state, bool with_exits) {
  const Take take = takes_.of(state);
  if ((kPlainKinds & ~take.kinds) != 0) {  // the term does not say it
    if (const size_t length = takes_.plain_length(state); length > 0) return {kPlainKinds, length};
  }
  return {take.kinds, take.chars, take.no_more && !(take.may_end && with_exits)};
}

TokenMasks::MaskPtr TokenMasks::short_mask(StateId state, unsigned exits) {
  return cached(state, exits, [&](PartialMask& mask) {
    Known known = known_of(state, exits != kMask);
    if (known.kinds != 0) mask.kinds = vocabulary_.short_tokens(known.kinds);
    if (mask.kinds == nullptr) known = {};
    mask.chars = std::min(known.chars, TokenVocabulary::kShort);
    const bool is_plain = (kPlainKinds & ~known.kinds) == 0;
    if (known.kinds != 0 && (!is_plain || known.chars == Take::kAny)) {  // else many states for few tokens
      const TextTakes::Ahead ahead = takes_.ahead(state, known.kinds, known.chars);
      if (exits == kMask || !ahead.may_end) known.then = ahead.kinds;
    }
    if (!is_plain || (known.chars < TokenVocabulary::kShort && !known.no_more)) {
      walk_all(TokenVocabulary::kPlain, state, known, mask, exits != kMask);
    }
    walk_all(TokenVocabulary::kOther, state, known, mask, exits != kMask);
  });
}

TokenMasks::MaskPtr TokenMasks::long_mask(StateId state, unsigned exits) {
  return cached(state, kLong | exits, [&](PartialMask& mask) {
    Known known = known_of(state, exits != kMask);
    if ((kPlainKinds & ~known.kinds) != 0) {
      known = {};
    } else {
      std::span<const int32_t> some = vocabulary_.long_plain(known.chars);
      mask.ids.assign(some.begin(), some.end());
      known.kinds = kPlainKinds;
    }
    if (mask.ids.size() < vocabulary_.long_plain(SIZE_MAX).size() && !known.no_more) {
      walk_all(TokenVocabulary::kLongPlain, state, known, mask, exits != kMask);
    }
    walk_all(TokenVocabulary::kLongOther, state, known, mask, exits != kMask);
  });
}

void TokenMasks::add(const PartialMask& part, PartialMask& whole) const {
  if (whole.kinds == nullptr) {
    whole.kinds = part.kinds;
    whole.chars = part.chars;
  } else if (whole.kinds == part.kinds) {
    whole.chars = std::max(whole.chars, part.chars);
  } else if (part.kinds != nullptr) {
    whole.words.resize(vocabulary_.mask_words(), 0);
    add_kinds(part, whole.words);
  }
  whole.ids.insert(whole.ids.end(), part.ids.begin(), part.ids.end());
  if (whole.words.empty()) {
    whole.words = part.words;
  } else {
    for (size_t w = 0; w < part.words.size(); ++w) whole.words[w] |= part.words[w];
  }
}

// The terms below are alternatives or stacks of their own.
bool TokenMasks::is_split(TermId id) const {
  const Automaton::Term& t = automaton_.term(id);
  if (t.kind != Automaton::Kind::Alt) return false;
  std::span<const TermId> items = automaton_.items(id);
  return std::any_of(items.begin(), items.end(), [&](TermId i) {
    return automaton_.term(i).kind == Automaton::Kind::Frame || automaton_.term(i).kind == Automaton::Kind::Fresh;
  });
}

// The tokens of an array whose items must differ, and then `rest`: those of any item, less those on the way to one that
// came. `open`: what else may come.
void TokenMasks::add_item(TermId fresh, TermId rest, PartialMask& whole, std::vector<TermId>& open) {
  auto [item, came] = automaton_.present_item(fresh);
  using Kind = Automaton::Kind;
  std::vector<TermId> others;
  TermId excluded = kNone;
  if (automaton_.term(item).kind == Kind::And) {
    for (TermId part : automaton_.items(item)) {
      const bool first = excluded == kNone && automaton_.term(part).kind == Kind::Not;
      if (first) excluded = automaton_.term(part).a;
      if (!first) others.push_back(part);
    }
  }
  std::vector<int32_t> blocked;
  if (excluded == kNone || !find_blocked(automaton_.state_of(item), automaton_.state_of(excluded), blocked)) {
    return add_rest_of_item(item, came, rest, whole, open);
  }
  PartialMask free;
  std::vector<TermId> behind;
  add_rest_of_item(automaton_.both(others), came, rest, free, behind);
  if (automaton_.term(item).nullable) open.insert(open.end(), behind.begin(), behind.end());
  compress(free);
  PartialMask part;
  part.words.assign(vocabulary_.mask_words(), 0);
  write(free, part.words);
  for (int32_t id : blocked) part.words[static_cast<size_t>(id) / 32] &= ~(1U << (id % 32));
  add(part, whole);
}

// The tokens that `item`, which excludes texts, does not take though it may take those that lead away from all these.
// Where an item ends shows in the byte behind it.
// False if they are too many to be looked at.
bool TokenMasks::find_blocked(StateId item, StateId excluded, std::vector<int32_t>& blocked) {
  size_t steps = 0;
  std::vector<std::pair<StateId, StateId>> path(path_.size());
  for (uint32_t which = 0; which < TokenVocabulary::kNumTries; ++which) {
    const TokenTrie& trie = vocabulary_.trie(which);
    path[0] = {item, excluded};
    for (uint32_t i = 0; i < trie.size();) {
      if (++steps > kMostBlocked) return false;
      const TokenTrie::Node& node = trie.node(i);
      const auto [at, out] = path[node.depth - 1U];
      const StateId still_out = automaton_.next(out, node.byte);
      const StateId next = still_out == kDead ? kDead : automaton_.next(at, node.byte);
      // The text is none of an item any more, or ends as one that came.
      if (still_out != kDead ? next == kDead : automaton_.accepts(out) && follows_item(node.byte)) {
        std::span<const int32_t> all = trie.tokens_below(i);
        blocked.insert(blocked.end(), all.begin(), all.end());
      }
      path[node.depth] = {next, still_out};
      i = next == kDead ? node.end : i + 1;
    }
  }
  return true;
}

// The tokens of the rest of an item, which differs from those that came, and behind it. What the item takes is made as
// for any; where a token goes on behind it, its text counts.
void TokenMasks::add_rest_of_item(TermId item, uint32_t came, TermId rest, PartialMask& whole,
                                  std::vector<TermId>& open) {
  std::vector<TermId> tops = {item};
  if (is_split(item)) tops.assign(automaton_.items(item).begin(), automaton_.items(item).end());
  for (TermId top : tops) {
    TermId below = kEpsilon;
    if (automaton_.term(top).kind == Automaton::Kind::Frame) {
      below = automaton_.term(top).b;
      top = automaton_.term(top).a;
    }
    if (automaton_.term(top).nullable) open.push_back(automaton_.frame(automaton_.after_item(came, {}, below), rest));
    const StateId near = automaton_.state_of(automaton_.clamp(top, TokenVocabulary::kShort));
    for (const MaskPtr& part : {short_mask(near, kOpenExits), long_mask(automaton_.state_of(top), kOpenExits)}) {
      add(*part, whole);
      for (PartialMask::Exit exit : part->exits) {
        const TokenTrie& trie = vocabulary_.trie(exit.trie);
        std::vector<uint32_t> ends;
        if (automaton_.term(below).nullable) ends.push_back(exit.node);
        if (below != kEpsilon && automaton_.next(automaton_.state_of(below), exit.byte) != kDead) {
          walk(trie, exit.node, trie.node(exit.node).end, automaton_.state_of(below), {}, whole.ids, &ends);
        }
        for (uint32_t end : ends) add_behind_item(trie, end, came, rest, whole);
      }
    }
  }
}

// The tokens below a node before which the item is over.
void TokenMasks::add_behind_item(const TokenTrie& trie, uint32_t from, uint32_t came, TermId rest, PartialMask& whole) {
  const TokenTrie::Node& node = trie.node(from);
  if (!follows_item(node.byte)) return;
  const size_t begin = node.depth - 1U;
  StateId exact = kDead;  // its item's text counts, and there are as many as tokens: made where it is needed
  auto exactly = [&](uint32_t at) {
    const std::string_view token = vocabulary_.bytes(trie.tokens_below(from).front());
    if (exact == kDead) {
      exact =
          automaton_.state_of(automaton_.frame(automaton_.after_item(came, token.substr(0, begin), kEpsilon), rest));
    }
    StateId state = exact;
    const std::string_view path = vocabulary_.bytes(trie.tokens_below(at).front());
    for (char c : path.substr(begin, trie.node(at).depth - 1U - begin)) {
      state = automaton_.next(state, static_cast<uint8_t>(c));
    }
    if (state != kDead) walk(trie, at, trie.node(at).end, state, {}, whole.ids, nullptr);
  };
  auto [close, separate] = automaton_.behind_item(came);
  if (separate == kNone) return exactly(from);
  std::vector<uint32_t> next_items;
  walk(trie, from, node.end, automaton_.state_of(automaton_.frame(close, rest)), {}, whole.ids, nullptr);
  walk(trie, from, node.end, automaton_.state_of(separate), {}, whole.ids, &next_items);
  const StateId any = automaton_.state_of(automaton_.any_item(came));
  for (uint32_t at : next_items) {
    // A string that has begun and can go on without end is none of those that came. Others are looked at.
    if (trie.node(at).byte != '"') {
      if (automaton_.next(any, trie.node(at).byte) != kDead) exactly(at);
      continue;
    }
    for (int32_t id : trie.tokens_below(at)) {
      const std::string_view text = std::string_view(vocabulary_.bytes(id)).substr(trie.node(at).depth - 1U);
      StateId state = any;
      bool is_over = false;  // inside of the token
      for (char c : text) {
        state = automaton_.next(state, static_cast<uint8_t>(c));
        is_over = is_over || automaton_.accepts(state);
      }
      if (state == kDead && !is_over) continue;
      if (is_over || !automaton_.is_endless(automaton_.term_of(state))) {
        exactly(at);
        break;
      }
      whole.ids.push_back(id);
    }
  }
}

TokenMasks::MaskPtr TokenMasks::compute(StateId state) {
  using Kind = Automaton::Kind;
  auto whole = std::make_shared<PartialMask>();
  // The stacks of the state; where the top of one may be over, what lies below it as well.
  std::vector<TermId> open = {automaton_.term_of(state)};
  std::unordered_set<TermId> seen;
  while (!open.empty()) {
    TermId id = open.back();
    open.pop_back();
    if (!seen.insert(id).second) continue;
    if (is_split(id)) {
      open.insert(open.end(), automaton_.items(id).begin(), automaton_.items(id).end());
      continue;
    }
    const Automaton::Term t = automaton_.term(id);
    TermId top = id, rest = kEpsilon;
    if (t.kind == Kind::Frame) {
      top = t.a;
      rest = t.b;
      if (automaton_.term(top).nullable) open.push_back(rest);
      if (is_split(top)) {
        const std::vector<TermId> tops(automaton_.items(top).begin(), automaton_.items(top).end());
        for (TermId each : tops) open.push_back(automaton_.frame(each, rest));
        continue;
      }
    }
    if (automaton_.term(top).kind == Kind::Fresh) {
      add_item(top, rest, *whole, open);
      continue;
    }
    bool exits = rest != kEpsilon;
    StateId near = automaton_.state_of(automaton_.clamp(top, TokenVocabulary::kShort));
    for (const MaskPtr& part :
         {short_mask(near, exits ? kExits : kMask), long_mask(automaton_.state_of(top), exits ? kExits : kMask)}) {
      add(*part, *whole);
      if (part->exits.empty() && !part->rests) continue;
      StateId below = automaton_.state_of(rest);
      if (part->rests) walk(*part->rests, 0, part->rests->size(), below, {}, whole->ids, nullptr);
      for (PartialMask::Exit exit : part->exits) {
        if (automaton_.next(below, exit.byte) == kDead) continue;
        const TokenTrie& trie = vocabulary_.trie(exit.trie);
        walk(trie, exit.node, trie.node(exit.node).end, below, {}, whole->ids, nullptr);
      }
    }
  }
  if (automaton_.accepts(state)) {
    whole->ids.insert(whole->ids.end(), vocabulary_.eos_ids().begin(), vocabulary_.eos_ids().end());
  }
  compress(*whole);
  return whole;
}

void TokenMasks::prepare(std::chrono::steady_clock::duration budget) {
  auto end = std::chrono::steady_clock::now() + budget;
  using Kind = Automaton::Kind;
  struct Open {
    TermId term;
    unsigned exits;
  };
  std::vector<Open> open;
  std::unordered_set<uint64_t> seen;
  auto add = [&](TermId id, unsigned exits) {
    if (id != kNone && id != kEpsilon && seen.insert(uint64_t{id} << 2 | exits).second) open.push_back({id, exits});
  };
  add(automaton_.term_of(automaton_.start()), kMask);
  for (RuleId rule = 0; rule < automaton_.num_rules(); ++rule) {
    if (automaton_.is_framed(rule)) add(automaton_.body(rule), kExits);
  }
  for (size_t at = 0; at < open.size() && at < kMostPrepared; ++at) {
    if (std::chrono::steady_clock::now() > end) return;
    auto [id, exits] = open[at];
    const Automaton::Term t = automaton_.term(id);
    if (t.kind == Kind::Frame) {  // its top belongs to a rule that is here as well; what follows it is this rule's
      add(t.b, exits);
      if (exits == kOpenExits) add(t.a, exits);
      continue;
    }
    if (is_split(id)) {
      const std::vector<TermId> items(automaton_.items(id).begin(), automaton_.items(id).end());
      for (TermId item : items) add(item, exits);
      continue;
    }
    if (t.kind == Kind::Fresh) {  // its own states are as many as texts
      add(automaton_.present_item(id).first, kOpenExits);
      continue;
    }
    StateId state = automaton_.state_of(id);
    short_mask(automaton_.state_of(automaton_.clamp(id, TokenVocabulary::kShort)), exits);
    long_mask(state, exits);
    for (unsigned c = 0; c < automaton_.num_classes(); ++c) {
      StateId next = automaton_.next_class(state, c);
      if (next != kDead) add(automaton_.term_of(next), exits);
    }
  }
}

void TokenMasks::fill(StateId state, std::span<uint32_t> mask) {
  if (auto at = kept_.find(state); at != kept_.end()) {
    recent_.splice(recent_.begin(), recent_, at->second);
    return write(*at->second->second, mask);
  }
  if (state == kDead) {
    std::fill(mask.begin(), mask.end(), 0);
    return;
  }
  MaskPtr made = compute(state);
  write(*made, mask);
  kept_bytes_ += made->memory() + 64;
  recent_.emplace_front(state, std::move(made));
  kept_[state] = recent_.begin();
  while (kept_bytes_ > kMostKept && recent_.size() > 1) {
    kept_bytes_ -= recent_.back().second->memory() + 64;
    kept_.erase(recent_.back().first);
    recent_.pop_back();
  }
}

}  // namespace sgl::grammar
