// Syntax trees of regular expressions → terms. Anchors are the one thing that is not local: ^ holds only where nothing
// was matched and nothing precedes. So each part gives four languages, by whether it needs the text's start and its
// end:
//   (^a|b)   without start: b     with start: a          and search() lets any text precede only the first.

#include "grammar/regex_syntax.h"

namespace sgl::grammar {
namespace {

using Kind = RegexNode::Kind;

// [needs the start of the text][needs its end]
struct Parts {
  TermId of[2][2] = {{kNone, kNone}, {kNone, kNone}};
  bool plain() const { return of[0][1] == kNone && of[1][0] == kNone && of[1][1] == kNone; }
};

class Builder {
 public:
  Builder(CharTerms& chars, Spelling spelling) : chars_(chars), a_(chars.automaton()), spelling_(spelling) {}

  Parts build(const RegexNode& node) {
    Parts p;
    switch (node.kind) {
      case Kind::Set:
        p.of[0][0] = chars_.of(node.set, spelling_);
        break;
      case Kind::Start:
        p.of[1][0] = kEpsilon;
        break;
      case Kind::End:
        p.of[0][1] = kEpsilon;
        break;
      case Kind::Alt: {
        std::vector<TermId> options[2][2];
        for (const RegexNode& child : node.children) {
          Parts q = build(child);
          for (int s : {0, 1}) {
            for (int e : {0, 1}) options[s][e].push_back(q.of[s][e]);
          }
        }
        for (int s : {0, 1}) {
          for (int e : {0, 1}) p.of[s][e] = a_.alt(options[s][e]);
        }
        break;
      }
      case Kind::Cat: {
        p.of[0][0] = kEpsilon;
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
  bool nullable(TermId t) const { return a_.term(t).nullable; }
  TermId only_empty(TermId t) const { return nullable(t) ? kEpsilon : kNone; }

  Parts before(const Parts& x, const Parts& y) {
    if (x.plain() && y.plain()) {
      Parts p;
      p.of[0][0] = a_.cat(x.of[0][0], y.of[0][0]);
      return p;
    }
    std::vector<TermId> options[2][2];
    for (int xs : {0, 1}) {
      for (int xe : {0, 1}) {
        for (int ys : {0, 1}) {
          for (int ye : {0, 1}) {
            // After a part that needs the end only nothing may come, before one that needs the start as well.
            TermId left = ys ? only_empty(x.of[xs][xe]) : x.of[xs][xe];
            TermId right = xe ? only_empty(y.of[ys][ye]) : y.of[ys][ye];
            options[xs | ys][xe | ye].push_back(a_.cat(left, right));
          }
        }
      }
    }
    Parts p;
    for (int s : {0, 1}) {
      for (int e : {0, 1}) p.of[s][e] = a_.alt(options[s][e]);
    }
    return p;
  }

  // Of several repetitions only the first can need the start, unless all before it are empty, which is the same.
  Parts repeated(const Parts& x, uint64_t min, uint64_t max) {
    Parts p;
    TermId body = x.of[0][0];
    p.of[0][0] = a_.repeat(body, min, max);
    if (x.plain() || max == 0) return p;
    auto rest = [&](uint64_t fewer, bool padded) {
      uint64_t low = padded || min <= fewer ? 0 : min - fewer;
      if (max != kUnbounded && max < fewer) return kNone;
      return a_.repeat(body, low, max == kUnbounded ? max : max - fewer);
    };
    TermId s = x.of[1][0], e = x.of[0][1];
    p.of[1][0] = a_.cat(s, rest(1, nullable(s)));
    p.of[0][1] = a_.cat(rest(1, nullable(e)), e);
    p.of[1][1] = a_.alt(
        {min <= 1 || nullable(x.of[1][1]) ? x.of[1][1] : kNone, a_.cat({s, rest(2, nullable(s) || nullable(e)), e})});
    return p;
  }

  CharTerms& chars_;
  Automaton& a_;
  Spelling spelling_;
};

}  // namespace

TermId full_match_term(CharTerms& chars, const RegexNode& regex, Spelling spelling) {
  Parts p = Builder(chars, spelling).build(regex);
  return chars.automaton().alt({p.of[0][0], p.of[0][1], p.of[1][0], p.of[1][1]});
}

TermId search_term(CharTerms& chars, const RegexNode& regex, Spelling spelling) {
  Builder builder(chars, spelling);
  Parts p = builder.build(regex);
  Automaton& a = chars.automaton();
  TermId any = builder.any_text();
  return a.alt({p.of[1][1], a.cat(p.of[1][0], any), a.cat(any, p.of[0][1]), a.cat({any, p.of[0][0], any})});
}

bool is_anchored(const RegexNode& regex) {
  Automaton a;
  CharTerms chars(a);
  Parts p = Builder(chars, Spelling::Plain).build(regex);
  return p.of[0][0] == kNone && p.of[0][1] == kNone && p.of[1][0] == kNone;
}

}  // namespace sgl::grammar
