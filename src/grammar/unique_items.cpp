// Arrays whose items must differ. The term of such an array holds the text of the present item and the texts that items
// may not have any more; when an item is over, those of its value join them:
//
//   Fresh(rest of the item & !(seen), text)  → … →  Fresh(ε, text)
//   Fresh(ε, text)  =  "]" | "," Fresh(item & !(seen | equal(text)), "")
//
// So a state is all that the array's items were, and how much an item may still become is an intersection like others.
// It is soon none any more: when the item's text is no beginning of a seen one, !(seen) is everything, and masks are
// those of any such item.

#include <algorithm>

#include <fmt/format.h>

#include <sgl/error.h>

#include "grammar/automaton.h"

namespace sgl::grammar {
namespace {
constexpr size_t kMostSearched = 10000;  // states looked at to find a text
}

TermId Automaton::unique_items(UniqueItems array) {
  if (array.item == kNone) return kNone;
  for (unsigned byte = 0; byte < 256; ++byte) byte_range(byte, byte);  // whatever an item was, its bytes are told apart
  unique_arrays_.push_back(std::move(array));
  if (texts_.empty()) texts_.emplace_back(0, 0);
  return fresh(kNone, {static_cast<uint32_t>(unique_arrays_.size() - 1), kNone, 0, 0});
}

TermId Automaton::fresh(TermId rest_of_item, const Came& came) {
  return rest_of_item == kEpsilon ? after_items(came) : make(Kind::Fresh, rest_of_item, came_index(came));
}

uint32_t Automaton::came_index(const Came& came) {
  auto [at, added] = came_ids_.try_emplace(came, static_cast<uint32_t>(came_.size()));
  if (added) came_.push_back(came);
  return at->second;
}

// What the next item may be; `came` becomes what came before it.
TermId Automaton::next_item(Came& came) {
  const UniqueItems& array = unique_arrays_[came.array];
  if (came.text != 0) came.seen = alt({came.seen, array.equal(*this, text_of(came.text))});
  came.text = 0;
  return both({array.item, array.spelled, negate(came.seen)});
}

// What follows when an item is over, whose text `came` holds.
TermId Automaton::after_items(const Came& came) {
  const UniqueItems& array = unique_arrays_[came.array];
  const uint64_t count = came.count + 1;
  const TermId space = array.space;
  std::vector<TermId> options;
  if (count >= array.min) options.push_back(literal("]"));
  if (count < array.max) {
    Came next = came;
    // What is counted matters up to `max`, and without one up to `min`.
    next.count = array.max == kUnbounded ? std::min(count, array.min) : count;
    Came begun = next;
    if (array.endless || is_live(next_item(begun))) {
      options.push_back(cat({literal(","), space, fresh(kNone, next)}));
    }
  }
  return cat(space, alt(options));
}

std::pair<TermId, TermId> Automaton::behind_item(uint32_t came) {
  const UniqueItems& array = unique_arrays_[came_[came].array];
  const uint64_t count = came_[came].count + 1;
  const TermId close = count >= array.min ? cat(array.space, literal("]")) : kNone;
  const bool more = array.endless && count < array.max;
  return {close, more ? cat({array.space, literal(","), array.space}) : kNone};
}

TermId Automaton::any_item(uint32_t came) {
  const UniqueItems& array = unique_arrays_[came_[came].array];
  return both({array.item, array.spelled});
}

bool Automaton::is_endless(TermId term) const {
  std::vector<TermId> open = {term};
  while (!open.empty()) {
    const TermId id = open.back();
    const Term& t = terms_[id];
    open.pop_back();
    switch (t.kind) {
      case Kind::Repeat:
        if (bounds(id).second == kUnbounded) return true;
        open.push_back(t.a);
        break;
      case Kind::Cat:
      case Kind::Frame:
        open.push_back(t.a);
        open.push_back(t.b);
        break;
      case Kind::Alt:
        open.insert(open.end(), items(id).begin(), items(id).end());
        break;
      default:
        break;
    }
  }
  return false;
}

std::pair<TermId, uint32_t> Automaton::present_item(TermId id) {
  const Term t = terms_[id];
  if (t.a != kNone) return {t.a, t.b};
  Came came = came_[t.b];
  const TermId item = next_item(came);
  return {item, came_index(came)};
}

TermId Automaton::after_item(uint32_t came, std::string_view text, TermId rest) {
  Came longer = came_[came];
  longer.text = longer_text(longer.text, text);
  return fresh(rest, longer);
}

uint32_t Automaton::longer_text(uint32_t text, std::string_view more) {
  for (char c : more) {
    const auto byte = static_cast<uint8_t>(c);
    auto [at, added] = text_ids_.try_emplace(uint64_t{text} << 8 | byte, static_cast<uint32_t>(texts_.size()));
    if (added) texts_.emplace_back(text, byte);
    text = at->second;
  }
  return text;
}

std::string Automaton::text_of(uint32_t text) const {
  std::string out;
  for (; text != 0; text = texts_[text].first) out.push_back(static_cast<char>(texts_[text].second));
  std::reverse(out.begin(), out.end());
  return out;
}

// A text that a term accepts, empty if there is none; terms that are looked for here accept no empty one.
std::string Automaton::some_text(TermId id) {
  std::unordered_map<StateId, std::pair<StateId, uint8_t>> parent = {{state_of(id), {kDead, 0}}};
  std::vector<StateId> open = {state_of(id)};
  for (size_t next = 0; next < open.size() && parent.size() < kMostSearched; ++next) {
    const StateId at = open[next];
    if (accepts(at)) {
      std::string text;
      for (StateId s = at; parent[s].first != kDead; s = parent[s].first) {
        text.push_back(static_cast<char>(parent[s].second));
      }
      std::reverse(text.begin(), text.end());
      return text;
    }
    for (unsigned c = 0; c < num_classes_; ++c) {
      const StateId to = next_class(at, c);
      if (to != kDead && parent.try_emplace(to, at, byte_of_[c]).second) open.push_back(to);
    }
  }
  return {};
}

// Whichever values came, one is left as long as there are fewer than there are different ones: it suffices to find as
// many as must be.
void Automaton::check_unique_items() {
  for (size_t i = 0; i < unique_arrays_.size(); ++i) {
    const UniqueItems array = unique_arrays_[i];
    if (array.endless || array.min < 2 || array.item == kNone) continue;
    Came came{static_cast<uint32_t>(i), kNone, 0, 0};
    for (uint64_t n = 0; n < array.min; ++n) {
      const TermId item = next_item(came);
      const std::string text = is_live(item) ? some_text(item) : std::string();
      if (text.empty()) {
        throw Error(ErrorKind::Unsupported,
                    fmt::format("an array must have {} different items, and no more than {} were found; lower minItems",
                                array.min, n));
      }
      came.text = longer_text(came.text, text);
    }
  }
}

TermId Automaton::import_fresh(const Automaton& other, TermId id, std::unordered_map<TermId, TermId>& memo) {
  const Term& t = other.terms_[id];
  Came came = other.came_[t.b];
  came.seen = memo[came.seen];
  came.text = longer_text(0, other.text_of(came.text));
  return fresh(memo[t.a], came);
}

}  // namespace sgl::grammar
