// Terms are built through the functions here only: each finds an equal term or adds one, in a simplified form. The
// simplifications keep the states of a running automaton few: alternatives with a common head or tail are merged, as
// are neighbouring counters (X{3}K | X{4}K = X{3,4}K), which turns the sets of counters of ambiguous repetitions into
// ranges.

#include <algorithm>
#include <tuple>

#include <fmt/format.h>

#include <sgl/error.h>

#include "grammar/automaton.h"

namespace sgl::grammar {
namespace {

uint64_t mix(uint64_t h, uint64_t x) {
  h = (h ^ x) * 0x9E3779B97F4A7C15;
  h ^= h >> 29;
  h *= 0xBF58476D1CE4E5B9;
  return h ^ h >> 32;
}

uint64_t add_bounds(uint64_t a, uint64_t b) { return a > kUnbounded - b ? kUnbounded : a + b; }
uint64_t times(uint64_t a, uint64_t b) { return a != 0 && b > kUnbounded / a ? kUnbounded : a * b; }

constexpr int kDeepestMerge = 48;
constexpr size_t kManyItems = 16;   // what became of so many alternatives is remembered
constexpr uint64_t kTermSteps = 4;  // what a new term costs: terms are memory as well as time

}  // namespace

Automaton::Automaton(StepBudget budget) : slots_(64, 0), budget_(budget) {
  terms_.push_back({Kind::None, false, 0, 0, 0x11});
  terms_.push_back({Kind::Epsilon, true, 0, 0, 0x22});
}

bool Automaton::compute_nullable(const Term& t) const {
  auto null = [&](TermId id) { return terms_[id].nullable; };
  std::span<const TermId> list;
  if (t.kind == Kind::Alt || t.kind == Kind::And) list = {lists_.data() + t.a, t.b};
  switch (t.kind) {
    case Kind::None:
    case Kind::Bytes:
    case Kind::Fresh:
      return false;
    case Kind::Epsilon:
      return true;
    case Kind::Cat:
    case Kind::Frame:
      return null(t.a) && null(t.b);
    case Kind::Alt:
      return std::any_of(list.begin(), list.end(), null);
    case Kind::And:
      return std::all_of(list.begin(), list.end(), null);
    case Kind::Repeat:
      return bounds_[t.b].first == 0 || null(t.a);
    case Kind::Ref:
      return rules_[t.a].nullable;
    case Kind::Not:
      return !null(t.a);
  }
  return false;
}

// A hash that depends on what the term means alone. Lists are sorted by id, which differs between automata, so theirs
// is a sum.
uint64_t Automaton::stable_hash(const Term& t) const {
  uint64_t h = mix(0x5D1, static_cast<uint64_t>(t.kind));
  auto sub = [&](TermId id) { return terms_[id].stable; };
  uint64_t result = 0;
  switch (t.kind) {
    case Kind::None:
    case Kind::Epsilon:
      return h;
    case Kind::Bytes: {
      const ByteSet& set = sets_[t.a];
      for (unsigned w = 0; w < 4; ++w) {
        uint64_t word = 0;
        for (unsigned i = 0; i < 64; ++i) word |= uint64_t{set[w * 64 + i]} << i;
        h = mix(h, word);
      }
      result = h;
      break;
    }
    case Kind::Cat:
    case Kind::Frame:
      if (sub(t.a) == 0 || sub(t.b) == 0) return 0;
      result = mix(mix(h, sub(t.a)), sub(t.b));
      break;
    case Kind::Alt:
    case Kind::And: {
      uint64_t sum = 0;
      for (TermId id : std::span<const TermId>{lists_.data() + t.a, t.b}) {
        if (sub(id) == 0) return 0;
        sum += mix(7, sub(id));
      }
      result = mix(h, sum);
      break;
    }
    case Kind::Repeat:
      if (sub(t.a) == 0) return 0;
      result = mix(mix(mix(h, sub(t.a)), bounds_[t.b].first), bounds_[t.b].second);
      break;
    case Kind::Not:
      if (sub(t.a) == 0) return 0;
      result = mix(h, sub(t.a));
      break;
    case Kind::Ref:
      if (rules_[t.a].stable == 0) return 0;
      result = mix(h, rules_[t.a].stable);
      break;
    case Kind::Fresh:
      return 0;
  }
  return result == 0 ? 1 : result;
}

TermId Automaton::find_or_add(Kind kind, uint32_t a, uint32_t b, std::span<const TermId> list) {
  uint64_t h = mix(static_cast<uint64_t>(kind), list.empty() ? a : 0);
  h = mix(h, b);
  for (TermId id : list) h = mix(h, id);
  auto same = [&](const Term& t) {
    if (t.kind != kind || t.b != b) return false;
    if (list.empty()) return t.a == a;
    return std::equal(list.begin(), list.end(), lists_.begin() + t.a);
  };
  size_t mask = slots_.size() - 1;
  size_t i = static_cast<size_t>(h) & mask;
  for (; slots_[i] != 0; i = (i + 1) & mask) {
    if (same(terms_[slots_[i]])) return slots_[i];
  }
  if (terms_.size() >= (1U << 24)) {
    throw Error(ErrorKind::Unsupported, "the grammar needs more than 16 million states; make it simpler");
  }
  budget_.spend(kTermSteps + list.size());
  Term t{kind, false, a, b, 0};
  if (!list.empty()) {
    t.a = static_cast<uint32_t>(lists_.size());
    lists_.insert(lists_.end(), list.begin(), list.end());
  }
  t.nullable = compute_nullable(t);
  t.stable = stable_hash(t);
  auto id = static_cast<TermId>(terms_.size());
  terms_.push_back(t);
  if (finished_) term_states_.push_back(kUnknown);
  slots_[i] = id;
  if (terms_.size() * 2 > slots_.size()) rehash(slots_.size() * 4);
  return id;
}

// The hashes are not stored: lists are short, and this is rare.
void Automaton::rehash(size_t slots) {
  std::vector<uint32_t> bigger(slots, 0);
  for (uint32_t old : slots_) {
    if (old == 0) continue;
    const Term& o = terms_[old];
    bool is_list = o.kind == Kind::Alt || o.kind == Kind::And;
    uint64_t oh = mix(mix(static_cast<uint64_t>(o.kind), is_list ? 0 : o.a), o.b);
    if (is_list) {
      for (TermId x : std::span<const TermId>{lists_.data() + o.a, o.b}) oh = mix(oh, x);
    }
    size_t j = static_cast<size_t>(oh) & (slots - 1);
    while (bigger[j] != 0) j = (j + 1) & (slots - 1);
    bigger[j] = old;
  }
  slots_.swap(bigger);
}

void Automaton::make_room() {
  constexpr size_t kMostRoom = size_t{1} << 24;  // entries of the table: 64 MiB of addresses
  terms_.reserve(2 * terms_.size());
  term_states_.reserve(2 * term_states_.size());
  lists_.reserve(2 * lists_.size());
  size_t states = std::max(terms_.size(), 4 * state_terms_.size());
  if (!unique_arrays_.empty()) states = std::max(states, kMostRoom / num_classes_);  // one for each text of an item
  state_terms_.reserve(states);
  forced_.reserve(states);
  if (states * num_classes_ <= kMostRoom) table_.reserve(states * num_classes_);
  if (terms_.size() * 4 > slots_.size()) rehash(slots_.size() * 4);
}

TermId Automaton::make(Kind kind, uint32_t a, uint32_t b) { return find_or_add(kind, a, b, {}); }

TermId Automaton::make_list(Kind kind, std::vector<TermId>& items) {
  return find_or_add(kind, 0, static_cast<uint32_t>(items.size()), items);
}

uint32_t Automaton::set_index(const ByteSet& set) {
  auto [at, added] = set_ids_.try_emplace(set, static_cast<uint32_t>(sets_.size()));
  if (added) {
    sets_.push_back(set);
    if (finished_) add_set_classes(set);  // only where every byte is a class of its own, see unique_items()
  }
  return at->second;
}

uint32_t Automaton::bounds_index(uint64_t min, uint64_t max) {
  std::vector<uint32_t>& bucket = bounds_ids_[mix(mix(1, min), max)];  // mix(n, n) is 0
  for (uint32_t i : bucket) {
    if (bounds_[i] == std::pair(min, max)) return i;
  }
  bounds_.emplace_back(min, max);
  bucket.push_back(static_cast<uint32_t>(bounds_.size() - 1));
  return bucket.back();
}

TermId Automaton::bytes(const ByteSet& set) { return set.none() ? kNone : make(Kind::Bytes, set_index(set), 0); }

TermId Automaton::byte_range(unsigned low, unsigned high) {
  ByteSet set;
  for (unsigned i = low; i <= high; ++i) set.set(i);
  return bytes(set);
}

TermId Automaton::literal(std::string_view text) {
  TermId t = kEpsilon;
  for (size_t i = text.size(); i-- > 0;) {
    unsigned byte = static_cast<unsigned char>(text[i]);
    t = cat(byte_range(byte, byte), t);
  }
  return t;
}

TermId Automaton::cat(TermId a, TermId b) {
  if (a == kNone || b == kNone) return kNone;
  if (a == kEpsilon) return b;
  if (b == kEpsilon) return a;
  // To the right: ((x y) z) = (x (y z)). The chain is walked, not recursed along.
  if (terms_[a].kind == Kind::Cat) {
    std::vector<TermId> heads;
    while (terms_[a].kind == Kind::Cat) {
      heads.push_back(terms_[a].a);
      a = terms_[a].b;
    }
    budget_.spend(heads.size());
    b = cat(a, b);
    for (size_t i = heads.size(); i-- > 0;) b = cat(heads[i], b);
    return b;
  }
  if (terms_[a].kind == Kind::Frame) return frame(terms_[a].a, cat(terms_[a].b, b));
  if (terms_[a].kind == Kind::Repeat) {
    TermId head = terms_[b].kind == Kind::Cat ? terms_[b].a : b;
    TermId tail = terms_[b].kind == Kind::Cat ? terms_[b].b : kEpsilon;
    if (terms_[head].kind == Kind::Repeat && terms_[head].a == terms_[a].a) {
      auto [min1, max1] = bounds(a);
      auto [min2, max2] = bounds(head);
      return cat(repeat(terms_[a].a, add_bounds(min1, min2), add_bounds(max1, max2)), tail);
    }
  }
  return make(Kind::Cat, a, b);
}

TermId Automaton::cat(std::initializer_list<TermId> list) {
  TermId t = kEpsilon;
  for (const TermId* i = list.end(); i-- != list.begin();) t = cat(*i, t);
  return t;
}

TermId Automaton::repeat(TermId a, uint64_t min, uint64_t max) {
  if (max == 0 || a == kEpsilon) return kEpsilon;
  if (a == kNone) return min == 0 ? kEpsilon : kNone;
  if (min == 1 && max == 1) return a;
  if (terms_[a].kind == Kind::Repeat) {
    // (x{p,q}){min,max} = x{p·min, q·max} where the ranges for neighbouring counts touch.
    auto [p, q] = bounds(a);
    bool touch = min == max || (q == kUnbounded && (min > 0 || p <= 1)) ||
                 (min > 0 ? add_bounds(times(q, min), 1) >= times(p, min + 1) : p <= 1);
    if (touch)
      return repeat(terms_[a].a, times(p, min), max == kUnbounded || q == kUnbounded ? kUnbounded : times(q, max));
  }
  if (terms_[a].nullable) min = 0;
  return make(Kind::Repeat, a, bounds_index(min, max));
}

TermId Automaton::any_bytes() { return star(bytes(ByteSet().set())); }

TermId Automaton::negate(TermId a) {
  if (terms_[a].kind == Kind::Not) return terms_[a].a;
  if (a == kNone) return any_bytes();
  if (a == any_bytes()) return kNone;
  return make(Kind::Not, a, 0);
}

TermId Automaton::both(const std::vector<TermId>& items) {
  std::vector<TermId> flat;
  TermId all = any_bytes();
  for (TermId id : items) {
    if (id == kNone) return kNone;
    if (id == all) continue;
    if (terms_[id].kind == Kind::And) {
      flat.insert(flat.end(), this->items(id).begin(), this->items(id).end());
    } else {
      flat.push_back(id);
    }
  }
  std::sort(flat.begin(), flat.end());
  flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
  if (flat.empty()) return all;
  if (flat.size() == 1) return flat[0];
  if (finished_ && std::find(flat.begin(), flat.end(), kEpsilon) != flat.end()) {
    bool null = std::all_of(flat.begin(), flat.end(), [&](TermId id) { return terms_[id].nullable; });
    return null ? kEpsilon : kNone;
  }
  return make_list(Kind::And, flat);
}

RuleId Automaton::new_rule(std::string name, bool framed, uint64_t stable) {
  Rule rule;
  rule.name = std::move(name);
  rule.framed = framed;
  rule.stable = stable;
  rules_.push_back(std::move(rule));
  return static_cast<RuleId>(rules_.size() - 1);
}

TermId Automaton::call(RuleId rule) { return make(Kind::Ref, rule, 0); }

TermId Automaton::frame(TermId a, TermId rest) {
  if (a == kNone || rest == kNone) return kNone;
  if (a == kEpsilon) return rest;
  if (rest == kEpsilon) return a;
  if (terms_[a].kind == Kind::Frame) return frame(terms_[a].a, join_frames(terms_[a].b, rest));
  return make(Kind::Frame, a, rest);
}

TermId Automaton::join_frames(TermId b, TermId rest) {
  std::vector<TermId> heads;
  while (terms_[b].kind == Kind::Frame) {
    heads.push_back(terms_[b].a);
    b = terms_[b].b;
  }
  rest = frame(b, rest);
  for (size_t i = heads.size(); i-- > 0;) rest = frame(heads[i], rest);
  return rest;
}

void Automaton::flatten(TermId id, std::vector<TermId>& out) const {
  if (id == kNone) return;
  if (terms_[id].kind == Kind::Alt) {
    out.insert(out.end(), items(id).begin(), items(id).end());
  } else {
    out.push_back(id);
  }
}

TermId Automaton::alt(const std::vector<TermId>& items) { return alt_at(items, 0); }

TermId Automaton::alt_at(const std::vector<TermId>& items, int depth) {
  std::vector<TermId> flat;
  for (TermId id : items) flatten(id, flat);
  budget_.spend(flat.size() + 1);
  std::sort(flat.begin(), flat.end());
  flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
  if (flat.size() > 1 && !finished_) merge_bytes(flat);
  // The stacks of an ambiguous recursion are nested alternatives, of which the next byte changes the top alone.
  const bool is_large = finished_ && flat.size() >= kManyItems && flat.size() <= kMostItems;
  const TermId unmerged = is_large ? make_list(Kind::Alt, flat) : kNone;
  if (auto known = merged_.find(unmerged); known != merged_.end()) return known->second;
  if (flat.size() > 1 && depth < kDeepestMerge) merge_items(flat, depth);
  const TermId result = alt_of(flat);
  if (is_large) merged_[unmerged] = result;
  return result;
}

// Of alternatives that are merged.
TermId Automaton::alt_of(std::vector<TermId>& flat) {
  if (flat.empty()) return kNone;
  if (flat.size() == 1) return flat[0];
  if (flat.size() > kMostItems && finished_) {
    throw Error(
        ErrorKind::Unsupported,
        fmt::format("the grammar is too ambiguous: more than {} readings of one text; make it simpler", kMostItems));
  }
  return make_list(Kind::Alt, flat);
}

// Single bytes among alternatives become one set. Only while building: a running automaton makes no new sets, but for
// unique items.
void Automaton::merge_bytes(std::vector<TermId>& items) {
  ByteSet all;
  size_t count = 0;
  for (TermId id : items) {
    if (terms_[id].kind != Kind::Bytes) continue;
    all |= sets_[terms_[id].a];
    ++count;
  }
  if (count < 2) return;
  std::erase_if(items, [&](TermId id) { return terms_[id].kind == Kind::Bytes; });
  items.push_back(bytes(all));
  std::sort(items.begin(), items.end());
  items.erase(std::unique(items.begin(), items.end()), items.end());
}

namespace {
struct Keyed {
  TermId key, other, whole;
};
}  // namespace

// Merges alternatives. `items` is sorted, without duplicates and nested Alts, and is so again in the end.
void Automaton::merge_items(std::vector<TermId>& items, int depth) {
  bool changed = false;
  // One pass: those of `kind` with equal `key` become one term.
  auto group = [&](Kind kind, auto key_of, auto other_of, auto combine) {
    std::vector<Keyed> keyed;
    for (TermId id : items) {
      if (terms_[id].kind == kind) keyed.push_back({key_of(id), other_of(id), id});
    }
    if (keyed.size() < 2) return;
    std::stable_sort(keyed.begin(), keyed.end(), [](const Keyed& x, const Keyed& y) { return x.key < y.key; });
    std::vector<TermId> gone, come;
    for (size_t i = 0; i < keyed.size();) {
      size_t j = i + 1;
      while (j < keyed.size() && keyed[j].key == keyed[i].key) ++j;
      if (j - i > 1) {
        std::vector<TermId> others;
        for (size_t k = i; k < j; ++k) {
          gone.push_back(keyed[k].whole);
          others.push_back(keyed[k].other);
        }
        come.push_back(combine(keyed[i].key, others));
      }
      i = j;
    }
    if (gone.empty()) return;
    changed = true;
    std::sort(gone.begin(), gone.end());
    std::erase_if(items, [&](TermId id) { return std::binary_search(gone.begin(), gone.end(), id); });
    for (TermId id : come) flatten(id, items);
  };
  auto a_of = [&](TermId id) { return terms_[id].a; };
  auto b_of = [&](TermId id) { return terms_[id].b; };
  group(Kind::Frame, b_of, a_of,
        [&](TermId rest, const std::vector<TermId>& heads) { return frame(alt_at(heads, depth + 1), rest); });
  group(Kind::Frame, a_of, b_of,
        [&](TermId head, const std::vector<TermId>& rests) { return frame(head, alt_at(rests, depth + 1)); });
  group(Kind::Cat, a_of, b_of,
        [&](TermId head, const std::vector<TermId>& rests) { return cat(head, alt_at(rests, depth + 1)); });
  if (changed) {
    std::sort(items.begin(), items.end());
    items.erase(std::unique(items.begin(), items.end()), items.end());
  }

  // Counters: x{a,b} K and x{c,d} K become one where the ranges touch; K itself is x{0,0} K.
  struct Range {
    TermId body, rest;
    uint64_t min, max;
    TermId whole;
  };
  std::vector<Range> counters;
  for (TermId id : items) {
    TermId head = terms_[id].kind == Kind::Cat ? terms_[id].a : id;
    if (terms_[head].kind != Kind::Repeat) continue;
    auto [min, max] = bounds(head);
    counters.push_back({terms_[head].a, head == id ? kEpsilon : terms_[id].b, min, max, id});
  }
  if (counters.empty()) return;
  std::sort(counters.begin(), counters.end(), [](const Range& x, const Range& y) {
    return std::tie(x.body, x.rest, x.min, x.max) < std::tie(y.body, y.rest, y.min, y.max);
  });
  std::vector<TermId> gone, come;
  for (size_t i = 0; i < counters.size();) {
    Range c = counters[i];
    size_t j = i + 1;
    while (j < counters.size() && counters[j].body == c.body && counters[j].rest == c.rest &&
           (c.max == kUnbounded || counters[j].min <= c.max + 1)) {
      c.max = std::max(c.max, counters[j].max);
      ++j;
    }
    bool skips = c.min == 1 && std::binary_search(items.begin(), items.end(), c.rest);
    bool drops = c.min == 0 && std::binary_search(items.begin(), items.end(), c.rest);
    if (skips) c.min = 0;
    if (skips || drops) gone.push_back(c.rest);
    if (j - i > 1 || skips) {
      for (size_t k = i; k < j; ++k) gone.push_back(counters[k].whole);
      come.push_back(cat(repeat(c.body, c.min, c.max), c.rest));
    }
    i = j;
  }
  if (gone.empty()) return;
  std::sort(gone.begin(), gone.end());
  std::erase_if(items, [&](TermId id) { return std::binary_search(gone.begin(), gone.end(), id); });
  for (TermId id : come) flatten(id, items);
  std::sort(items.begin(), items.end());
  items.erase(std::unique(items.begin(), items.end()), items.end());
}

// Within n bytes a counter above n cannot run out, so all such are one; inside of an And, where that could change what
// is dead, loosen() says when. Recursion is as deep as alternatives are nested, see rebuild().
TermId Automaton::clamp(TermId id, uint64_t n) {
  const Term t = terms_[id];
  if (t.kind == Kind::And) {
    const TermId loose = loosen(id, n);
    return loose == id ? id : clamp(loose, n);
  }
  if (t.kind != Kind::Cat && t.kind != Kind::Repeat && t.kind != Kind::Alt) return id;
  uint64_t key = uint64_t{id} << 8 | (n & 0xFF);
  if (auto known = clamped_.find(key); known != clamped_.end()) return known->second;
  TermId result = id;
  if (t.kind == Kind::Cat) {
    // The rest is clamped as well, iteratively: chains are long.
    std::vector<TermId> heads;
    TermId rest = id;
    for (size_t i = 0; i <= n && terms_[rest].kind == Kind::Cat; ++i) {
      heads.push_back(clamp(terms_[rest].a, n));
      rest = terms_[rest].b;
    }
    if (terms_[rest].kind != Kind::Cat) rest = clamp(rest, n);
    result = rest;
    for (size_t i = heads.size(); i-- > 0;) result = cat(heads[i], result);
  } else if (t.kind == Kind::Repeat) {
    auto [min, max] = bounds(id);
    if (!terms_[t.a].nullable) {
      if (max > n) max = kUnbounded;
      if (min > n) min = n + 1;
    }
    result = repeat(t.a, min, max);
  } else {
    std::vector<TermId> list(items(id).begin(), items(id).end());
    for (TermId& item : list) item = clamp(item, n);
    result = alt(list);
  }
  clamped_[key] = result;
  return result;
}

std::string Automaton::describe(TermId id, int depth) const {
  const Term& t = terms_[id];
  if (depth == 0) return "…";
  auto list = [&](const char* between) {
    std::string out;
    for (TermId i : items(id)) out += (out.empty() ? "" : between) + describe(i, depth - 1);
    return "(" + out + ")";
  };
  switch (t.kind) {
    case Kind::None:
      return "∅";
    case Kind::Epsilon:
      return "ε";
    case Kind::Bytes: {
      std::string out;
      const ByteSet& set = sets_[t.a];
      for (unsigned i = 0; i < 256; ++i) {
        if (!set[i]) continue;
        unsigned j = i;
        while (j < 255 && set[j + 1]) ++j;
        auto show = [](unsigned b) {
          return b > 32 && b < 127 ? std::string(1, static_cast<char>(b)) : fmt::format("\\x{:02x}", b);
        };
        out += i == j ? show(i) : show(i) + "-" + show(j);
        i = j;
      }
      return set.count() == 1 ? out : "[" + out + "]";
    }
    case Kind::Cat:
      return describe(t.a, depth - 1) + " " + describe(t.b, depth - 1);
    case Kind::Frame:
      return "<" + describe(t.a, depth - 1) + "> " + describe(t.b, depth - 1);
    case Kind::Alt:
      return list(" | ");
    case Kind::And:
      return list(" & ");
    case Kind::Not:
      return "!(" + describe(t.a, depth - 1) + ")";
    case Kind::Ref:
      return rules_[t.a].name;
    case Kind::Fresh:
      return fmt::format("unique({})", describe(t.a, depth - 1));
    case Kind::Repeat: {
      auto [min, max] = bounds(id);
      return fmt::format("({}){{{},{}}}", describe(t.a, depth - 1), min,
                         max == kUnbounded ? "" : fmt::format("{}", max));
    }
  }
  return {};
}

}  // namespace sgl::grammar
