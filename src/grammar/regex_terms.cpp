// Syntax trees of regular expressions → terms. Anchors are the one thing that is not local: ^ holds only where nothing
// was matched and nothing precedes, $ looks at what follows. So each part gives six languages, by whether it needs the
// text's start and what it needs behind itself:
//   (^a|b)   without start: b     with start: a          and search() lets any text precede only the first.

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

class Builder {
 public:
  Builder(CharTerms& chars, Spelling spelling) : chars_(chars), a_(chars.automaton()), spelling_(spelling) {}

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
        for (size_t i = node.children.size(); i-- > 0;) p = before(build(node.children[i]), p);
        break;
      }
      case Kind::Repeat:
        p = repeated(build(node.children[0]), node.min, node.max);
        break;
    }
    return p;
  }

  TermId any_text() { return a_.star(chars_.of(CharSet::all(), spelling_)); }

 private:
  using Options = std::vector<Language>;

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
};

}  // namespace

TermId full_match_term(CharTerms& chars, const RegexNode& regex, Spelling spelling) {
  Parts p = Builder(chars, spelling).build(regex);
  return chars.automaton().alt(
      {p.of[0][kAnything].term, p.of[0][kNothing].term, p.of[1][kAnything].term, p.of[1][kNothing].term});
}

TermId search_term(CharTerms& chars, const RegexNode& regex, Spelling spelling) {
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
  Parts p = Builder(chars, Spelling::Plain).build(regex);
  return p.of[0][kAnything].term == kNone && p.of[0][kNothing].term == kNone && p.of[1][kAnything].term == kNone &&
         p.of[0][kNewline].term == kNone && p.of[1][kNewline].term == kNone;
}

}  // namespace sgl::grammar
