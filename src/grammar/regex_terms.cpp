// Syntax trees of regular expressions → terms. Anchors are the one thing that is not local: ^ holds only where nothing
// was matched and nothing precedes, $ looks at what follows. So each part gives six languages, by whether it needs the
// text's start and what it needs behind itself:
//   (^a|b)   without start: b     with start: a          and search() lets any text precede only the first.
//
// Lookaround is an intersection with what is there: a lookahead's with all that may follow up to the text's end. That
// is known of the outermost sequence, its groups and alternatives, from their ends to the front; inside of a repetition
// only where the lookahead sees no further than what must follow it there.

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include <sgl/error.h>

#include "grammar/regex_syntax.h"

namespace sgl::grammar {
namespace {

using Kind = RegexNode::Kind;

// What must follow a match: anything, nothing, or one newline and then nothing (where Python's $ holds, too).
enum Behind : unsigned { kAnything, kNothing, kNewline };
constexpr Behind kBehind[] = {kAnything, kNothing, kNewline};

// A term, and whether it matches the text "\n": then it may stand behind a part that needs just that.
struct Language {
  TermId term = kNone;
  bool newline = false;
};

// [needs the start of the text][what must follow]
struct Parts {
  Language of[2][3];
  bool plain() const {
    return of[1][0].term == kNone && of[0][1].term == kNone && of[1][1].term == kNone && of[0][2].term == kNone &&
           of[1][2].term == kNone;
  }
};

// What a text may go on with up to its end, by whether something came before.
struct Rest {
  TermId later, at_start;
};

bool has_look(const RegexNode& node) {
  return node.kind == Kind::Look || std::any_of(node.children.begin(), node.children.end(), has_look);
}

// X? around a lookahead is no repetition: it is X or nothing.
RegexNode with_choices(RegexNode node) {
  for (RegexNode& child : node.children) child = with_choices(std::move(child));
  if (node.kind == Kind::Repeat && node.min == 0 && node.max == 1 && has_look(node)) {
    node.kind = Kind::Alt;
    node.children.emplace_back();
  }
  return node;
}

// Each is an intersection with all that follows; where alternatives have such, their combinations multiply.
constexpr size_t kMostLooks = 16, kMostLooksOfAlternatives = 12;

// below: only those in alternatives.
size_t count_looks(const RegexNode& node, bool below) {
  size_t count = node.kind == Kind::Look && !below ? 1 : 0;
  for (const RegexNode& child : node.children) count += count_looks(child, below && node.kind != Kind::Alt);
  return count;
}

void check_looks(const RegexNode& regex) {
  for (const auto& [below, most] : {std::pair(false, kMostLooks), std::pair(true, kMostLooksOfAlternatives)}) {
    const size_t count = count_looks(regex, below);
    if (count <= most) continue;
    throw Error(ErrorKind::Unsupported,
                fmt::format("the regular expression uses {} lookaheads{}, and at most {} are supported", count,
                            below ? " in alternatives" : "", most));
  }
}

class Builder {
 public:
  Builder(CharTerms& chars, Spelling spelling, bool without_looks = false)
      : chars_(chars), a_(chars.automaton()), spelling_(spelling), without_looks_(without_looks) {}

  /// Whole texts that match, or hold a match.
  TermId texts(const RegexNode& regex, bool search) {
    const TermId any = search ? any_text() : kEpsilon;
    if (regex.kind == Kind::Alt) {
      std::vector<TermId> options;
      for (const RegexNode& child : regex.children) options.push_back(texts(child, search));
      return a_.alt(options);
    }
    auto is_behind = [](const RegexNode& node) { return node.kind == Kind::Look && node.behind; };
    const auto look = std::find_if(regex.children.begin(), regex.children.end(), is_behind);
    if (regex.kind == Kind::Cat && look != regex.children.end()) {
      // Lookaheads at the text's start see all of it.
      const auto first = std::find_if(regex.children.begin(), look, [](const RegexNode& node) {
        return node.kind != Kind::Look && node.kind != Kind::Start;
      });
      const bool starts = !search || std::any_of(regex.children.begin(), first,
                                                 [](const RegexNode& node) { return node.kind == Kind::Start; });
      if (starts && std::any_of(regex.children.begin(), first, has_look)) {
        RegexNode rest;
        std::vector<TermId> all;
        for (auto node = regex.children.begin(); node != regex.children.end(); ++node) {
          if (node < first && node->kind == Kind::Look) {
            all.push_back(rest_of(*node, {any_text(), any_text()}).at_start);
          } else {
            rest.children.push_back(*node);
          }
        }
        all.push_back(texts(rest, search));
        return a_.both(all);
      }
      RegexNode before, after;
      before.children.assign(regex.children.begin(), look);
      after.children.assign(look + 1, regex.children.end());
      const Parts p = build(before), seen = build(look->children[0]);
      for (Behind e : {kNothing, kNewline}) {
        if (p.of[0][e].term != kNone || p.of[1][e].term != kNone) refuse_behind();
      }
      if (!seen.plain()) refuse_behind();
      const TermId text = a_.alt({a_.cat(any, p.of[0][kAnything].term), p.of[1][kAnything].term});
      const TermId with = condition(*look, a_.cat(any_text(), seen.of[0][kAnything].term));
      return followed(a_.both({text, with}), rest_of(after, {any, any}));
    }
    const Rest rest = rest_of(regex, {any, any});
    return search ? followed(any, rest) : rest.at_start;
  }

  Parts build(const RegexNode& node) {
    Parts p;
    switch (node.kind) {
      case Kind::Set:
        p.of[0][kAnything] = {chars_.of(node.set, spelling_), node.set.contains('\n')};
        break;
      case Kind::Start:
        p.of[1][kAnything] = {kEpsilon};
        break;
      case Kind::End:
        p.of[0][kNothing] = {kEpsilon};
        if (node.or_newline) p.of[0][kNewline] = {kEpsilon};
        break;
      case Kind::Alt: {
        Options options[2][3];
        for (const RegexNode& child : node.children) {
          Parts q = build(child);
          for (int s : {0, 1}) {
            for (Behind e : kBehind) options[s][e].push_back(q.of[s][e]);
          }
        }
        p = either(options);
        break;
      }
      case Kind::Cat: {
        p.of[0][kAnything] = {kEpsilon};
        uint64_t least = 0;  // characters that p takes
        for (size_t i = node.children.size(); i-- > 0;) {
          const RegexNode& child = node.children[i];
          p = child.kind == Kind::Look && !without_looks_ ? seen_before(child, p, least) : before(build(child), p);
          least = std::min(kUnbounded - 1, least + lengths_of(child).first);
        }
        break;
      }
      case Kind::Look:
        if (!without_looks_) return seen_before(node, plain(kEpsilon), 0);
        p.of[0][kAnything] = {kEpsilon};
        break;
      case Kind::Repeat:
        p = repeated(build(node.children[0]), node.min, node.max);
        break;
    }
    return p;
  }

  TermId any_text() { return a_.star(chars_.of(CharSet::all(), spelling_)); }

 private:
  using Options = std::vector<Language>;

  [[noreturn]] static void refuse_behind() {
    throw Error(
        ErrorKind::Unsupported,
        "the regular expression uses a lookbehind that does not stand, with what is before it, in its outermost "
        "sequence, which is not supported");
  }
  static Parts plain(TermId term) {
    Parts p;
    p.of[0][kAnything] = {term};
    return p;
  }
  TermId condition(const RegexNode& look, TermId seen) { return look.negative ? a_.negate(seen) : seen; }

  // The sequence p, which takes `least` characters at least, behind a lookahead that sees no more.
  Parts seen_before(const RegexNode& look, const Parts& p, uint64_t least) {
    if (look.behind) refuse_behind();
    const Parts seen = build(look.children[0]);
    const Language& l = p.of[0][kAnything];
    if (!p.plain() || !seen.plain() || l.newline || lengths_of(look.children[0]).second > least) {
      throw Error(
          ErrorKind::Unsupported,
          "the regular expression uses a lookahead inside of a repetition, or before a lookbehind, that may see "
          "beyond what must follow it there, which is not supported");
    }
    return plain(a_.both({l.term, condition(look, a_.cat(seen.of[0][kAnything].term, any_text()))}));
  }

  // A text and what follows it.
  TermId followed(TermId text, const Rest& rest) {
    if (rest.later == rest.at_start || !a_.term(text).nullable) return a_.cat(text, rest.later);
    const TermId some = a_.cat(chars_.of(CharSet::all(), spelling_), any_text());
    return a_.alt({a_.cat(a_.both({text, some}), rest.later), rest.at_start});
  }
  TermId at_end(TermId term) const { return a_.term(term).nullable ? kEpsilon : kNone; }
  TermId at_newline(TermId term) { return a_.both({term, a_.byte_range('\n', '\n')}); }

  // The node and what follows it.
  Rest rest_of(const RegexNode& node, Rest after) {
    if (node.kind == Kind::Cat && has_look(node)) {
      for (size_t i = node.children.size(); i-- > 0;) after = rest_of(node.children[i], after);
      return after;
    }
    if (node.kind == Kind::Alt && has_look(node)) {
      std::vector<TermId> later, at_start;
      for (const RegexNode& child : node.children) {
        const Rest rest = rest_of(child, after);
        later.push_back(rest.later);
        at_start.push_back(rest.at_start);
      }
      return {a_.alt(later), a_.alt(at_start)};
    }
    if (node.kind == Kind::Look) {
      if (node.behind) refuse_behind();
      const Rest seen = rest_of(node.children[0], {any_text(), any_text()});
      return {a_.both({after.later, condition(node, seen.later)}),
              a_.both({after.at_start, condition(node, seen.at_start)})};
    }
    const Parts p = build(node);
    const Rest end{at_end(after.later), at_end(after.at_start)};
    auto joined = [&](bool starts, auto join) {  // the parts that need the text's start, or the others
      const Language* part = p.of[starts ? 1 : 0];
      std::vector<TermId> options = {join(part[kAnything].term, after), join(part[kNothing].term, end)};
      if (const TermId line = part[kNewline].term; line != kNone) {
        options.push_back(join(line, Rest{at_newline(after.later), at_newline(after.at_start)}));
      }
      return a_.alt(options);
    };
    auto behind_text = [&](TermId text, const Rest& rest) { return a_.cat(text, rest.later); };
    auto from_start = [&](TermId text, const Rest& rest) { return followed(text, rest); };
    return {joined(false, behind_text), a_.alt({joined(false, from_start), joined(true, from_start)})};
  }

  bool nullable(const Language& l) const { return a_.term(l.term).nullable; }
  Language only_empty(const Language& l) const { return {nullable(l) ? kEpsilon : kNone}; }
  // Behind a part that needs a newline: that newline, which fulfils the need.
  Language only_newline(const Language& l) const {
    return l.newline ? Language{a_.byte_range('\n', '\n'), true} : Language{};
  }

  Language cat(const Language& x, const Language& y) {
    return {a_.cat(x.term, y.term), (x.newline && nullable(y)) || (nullable(x) && y.newline)};
  }
  Language alt(const Options& options) {
    Language out;
    std::vector<TermId> terms;
    for (const Language& l : options) {
      terms.push_back(l.term);
      out.newline |= l.newline;
    }
    out.term = a_.alt(terms);
    return out;
  }
  Parts either(const Options (&options)[2][3]) {
    Parts p;
    for (int s : {0, 1}) {
      for (Behind e : kBehind) p.of[s][e] = alt(options[s][e]);
    }
    return p;
  }

  Parts before(const Parts& x, const Parts& y) {
    if (x.plain() && y.plain()) {
      Parts p;
      p.of[0][kAnything] = cat(x.of[0][kAnything], y.of[0][kAnything]);
      return p;
    }
    Options options[2][3];
    for (int xs : {0, 1}) {
      for (int ys : {0, 1}) {
        for (Behind ye : kBehind) {
          const Language& right = y.of[ys][ye];
          auto left = [&](Behind xe) {  // before a part that needs the start nothing may come
            return ys ? only_empty(x.of[xs][xe]) : x.of[xs][xe];
          };
          options[xs | ys][ye].push_back(cat(left(kAnything), right));
          if (ye != kNewline) options[xs | ys][kNothing].push_back(cat(left(kNothing), only_empty(right)));
          const Language line = left(kNewline);
          if (line.term == kNone) continue;
          if (ye != kNothing) options[xs | ys][kNewline].push_back(cat(line, only_empty(right)));
          if (ye != kNewline) options[xs | ys][kNothing].push_back(cat(line, only_newline(right)));
        }
      }
    }
    return either(options);
  }

  // Of several repetitions only the first can need the start, unless all before it are empty, which is the same. Behind
  // one that needs something, all are empty but one that is the newline.
  Parts repeated(const Parts& x, uint64_t min, uint64_t max) {
    Parts p;
    const Language body = x.of[0][kAnything];
    auto times = [&](uint64_t low, uint64_t high) {
      bool one = high > 0 && (low <= 1 || nullable(body));
      return Language{a_.repeat(body.term, low, high), one && body.newline};
    };
    p.of[0][kAnything] = times(min, max);
    if (x.plain() || max == 0) return p;
    // The body as often as may be beside `fewer` others. `padded`: one of those can be empty again and again.
    auto rest = [&](uint64_t fewer, bool padded) {
      uint64_t low = padded || min <= fewer ? 0 : min - fewer;
      if (max != kUnbounded && max < fewer) return Language{};
      return times(low, max == kUnbounded ? max : max - fewer);
    };
    const Language start = x.of[1][kAnything];
    p.of[1][kAnything] = cat(start, rest(1, nullable(start)));
    for (Behind e : {kNothing, kNewline}) {
      const Language end = x.of[0][e], both = x.of[1][e];
      p.of[0][e] = cat(rest(1, nullable(end)), end);
      p.of[1][e] = alt({min <= 1 || nullable(both) ? both : Language{},
                        cat(start, cat(rest(2, nullable(start) || nullable(end)), end))});
    }
    if (x.of[0][kNewline].term == kNone && x.of[1][kNewline].term == kNone) return p;
    const Language newline = only_newline({kNone, body.newline || x.of[0][kNothing].newline});
    const Language end = x.of[0][kNewline], both = x.of[1][kNewline];
    const bool at_end = nullable(x.of[0][kNothing]);  // behind the newline, again and again
    p.of[0][kNothing] = alt({p.of[0][kNothing], cat(rest(2, nullable(end) || at_end), cat(end, newline))});
    const bool two = max >= 2 && (min <= 2 || nullable(both) || at_end);
    p.of[1][kNothing] = alt({p.of[1][kNothing], two ? cat(both, newline) : Language{},
                             cat(start, cat(rest(3, nullable(start) || nullable(end) || at_end), cat(end, newline)))});
    return p;
  }

  CharTerms& chars_;
  Automaton& a_;
  Spelling spelling_;
  bool without_looks_;
};

TermId looking_term(CharTerms& chars, const RegexNode& given, Spelling spelling, bool search) {
  const RegexNode regex = with_choices(given);
  check_looks(regex);
  return Builder(chars, spelling).texts(regex, search);
}

}  // namespace

TermId full_match_term(CharTerms& chars, const RegexNode& regex, Spelling spelling) {
  if (has_look(regex)) return looking_term(chars, regex, spelling, false);
  Parts p = Builder(chars, spelling).build(regex);
  return chars.automaton().alt(
      {p.of[0][kAnything].term, p.of[0][kNothing].term, p.of[1][kAnything].term, p.of[1][kNothing].term});
}

TermId search_term(CharTerms& chars, const RegexNode& regex, Spelling spelling) {
  if (has_look(regex)) return looking_term(chars, regex, spelling, true);
  Builder builder(chars, spelling);
  Parts p = builder.build(regex);
  Automaton& a = chars.automaton();
  TermId any = builder.any_text();
  std::vector<TermId> found;
  for (int s : {0, 1}) {
    TermId first = s ? kEpsilon : any;
    found.push_back(a.cat({first, p.of[s][kAnything].term, any}));
    found.push_back(a.cat(first, p.of[s][kNothing].term));
    if (TermId line = p.of[s][kNewline].term; line != kNone) {
      found.push_back(a.cat({first, line, a.byte_range('\n', '\n')}));
    }
  }
  return a.alt(found);
}

bool is_anchored(const RegexNode& regex) {
  Automaton a;
  CharTerms chars(a);
  Parts p = Builder(chars, Spelling::Plain, true).build(regex);
  return p.of[0][kAnything].term == kNone && p.of[0][kNothing].term == kNone && p.of[1][kAnything].term == kNone &&
         p.of[0][kNewline].term == kNone && p.of[1][kNewline].term == kNone;
}

std::pair<uint64_t, uint64_t> lengths_of(const RegexNode& node) {
  auto add = [](uint64_t a, uint64_t b) { return a > kUnbounded - b ? kUnbounded : a + b; };
  auto times = [](uint64_t a, uint64_t n) { return a != 0 && n > kUnbounded / a ? kUnbounded : a * n; };
  std::pair<uint64_t, uint64_t> out{0, 0};
  switch (node.kind) {
    case Kind::Set:
      return {1, 1};
    case Kind::Start:
    case Kind::End:
    case Kind::Look:
      return out;
    case Kind::Cat:
      for (const RegexNode& child : node.children) {
        auto [min, max] = lengths_of(child);
        out = {add(out.first, min), add(out.second, max)};
      }
      return out;
    case Kind::Alt:
      out = {kUnbounded, 0};
      for (const RegexNode& child : node.children) {
        auto [min, max] = lengths_of(child);
        out = {std::min(out.first, min), std::max(out.second, max)};
      }
      return out;
    case Kind::Repeat: {
      auto [min, max] = lengths_of(node.children[0]);
      return {times(min, node.min), max == 0 ? 0 : node.max == kUnbounded ? kUnbounded : times(max, node.max)};
    }
  }
  return out;
}

}  // namespace sgl::grammar
