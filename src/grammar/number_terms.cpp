// A bound is followed digit by digit: while all digits equal the bound's, it is "tight" and the next digit decides; as
// soon as one differs, all later ones are free.

#include "grammar/number_terms.h"

#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <sgl/error.h>

namespace sgl::grammar {
namespace {

constexpr size_t kMostFractionDigits = 20;  // of an integer written with an exponent: 1.25e2
constexpr int kMostResidues = 4096;
constexpr int kMostScientificResidues = 128;  // of a multiple that may be written with a fraction and an exponent

// Magnitudes between two bounds, both optional.
struct Magnitudes {
  std::optional<Bound> low, high;
};

class Builder {
 public:
  explicit Builder(Automaton& a) : a_(a), any_digits_(a.star(digits('0', '9'))) {}

  // int(.frac)? in the range; of an integer, frac is zeros, and not there at all if `bare`.
  TermId plain(const Magnitudes& m, bool integer, bool bare) {
    integer_ = integer;
    bare_ = bare;
    low_ = m.low;
    high_ = m.high;
    Decimal zero;
    if (!low_) low_ = Bound{zero, false};
    size_t first = low_->value.whole.size();
    std::vector<TermId> options;
    if (!high_) {
      options.push_back(whole(0, first, true, false, false));
      options.push_back(
          a_.cat({digits('1', '9'), a_.repeat(digits('0', '9'), first, kUnbounded), fraction(false, false)}));
      return a_.alt(options);
    }
    size_t last = high_->value.whole.size();
    for (size_t length = first; length <= last; ++length) {
      bool low = length == first, high = length == last;
      if (!low && !high) {  // all lengths in between at once
        options.push_back(
            a_.cat({digits('1', '9'), a_.repeat(digits('0', '9'), length - 1, last - 2), fraction(false, false)}));
        length = last - 1;
        continue;
      }
      options.push_back(whole(0, length, low, high, !low));
    }
    return a_.alt(options);
  }

  // d(.ddd)?e±ddd in the range.
  TermId scientific(const Magnitudes& m) {
    integer_ = bare_ = false;
    std::vector<TermId> options;
    bool from_zero = !m.low || m.low->value.is_zero();
    if (!m.low || (m.low->value.is_zero() && !m.low->exclusive)) {
      options.push_back(scientific_zero());
    }
    if (m.high && m.high->value.is_zero()) return a_.alt(options);
    TermId mantissa =
        a_.cat(digits('1', '9'), a_.optional(a_.cat(a_.literal("."), a_.repeat(digits('0', '9'), 1, kUnbounded))));
    std::optional<long> low, high;
    if (!from_zero) low = scale(m.low->value);
    if (m.high) high = scale(m.high->value);
    auto add = [&](long e, const std::optional<Bound>& from, const std::optional<Bound>& to) {
      low_ = from ? from : Bound{one(), false};
      high_ = to;
      TermId term = high_ ? whole(0, 1, from.has_value(), true, true) : whole(0, 1, true, false, true);
      options.push_back(a_.cat(term, exponent(e, e)));
    };
    auto shifted = [](const Bound& b) { return Bound{mantissa_of(b.value), b.exclusive}; };
    if (low && high && *low == *high) {
      add(*low, shifted(*m.low), shifted(*m.high));
    } else {
      if (low) add(*low, shifted(*m.low), std::nullopt);
      if (high) add(*high, std::nullopt, shifted(*m.high));
      std::optional<long> after = low ? std::optional(*low + 1) : std::nullopt;
      std::optional<long> before = high ? std::optional(*high - 1) : std::nullopt;
      if (!after || !before || *after <= *before) options.push_back(a_.cat(mantissa, exponent(after, before)));
    }
    return a_.alt(options);
  }

  // 0(.0)?e±ddd
  TermId scientific_zero() {
    return a_.cat({a_.literal("0"), a_.optional(a_.cat(a_.literal("."), a_.repeat(a_.literal("0"), 1, kUnbounded))),
                   exponent(std::nullopt, std::nullopt)});
  }

  // Any spelling with an exponent that is an integer for sure: the exponent makes up for the fraction.
  TermId scientific_integer() {
    TermId whole_part = a_.alt({a_.literal("0"), a_.cat(digits('1', '9'), any_digits_)});
    TermId zeros = a_.star(a_.literal("0"));
    std::vector<TermId> options = {
        scientific_zero(),
        a_.cat({whole_part, a_.optional(a_.cat(a_.literal("."), a_.repeat(a_.literal("0"), 1, kUnbounded))),
                exponent(0, std::nullopt)})};
    for (size_t n = 1; n <= kMostFractionDigits; ++n) {
      options.push_back(a_.cat({whole_part, a_.literal("."), a_.repeat(digits('0', '9'), n, n), zeros,
                                exponent(static_cast<long>(n), std::nullopt)}));
    }
    return a_.alt(options);
  }

  // d·10^e between whole numbers; the upper one is given.
  TermId round_numbers(const Magnitudes& m) {
    std::vector<TermId> options;
    if (!m.low || m.low->value.is_zero()) options.push_back(scientific_zero());
    for (char d = '1'; d <= '9'; ++d) {
      std::optional<long> first, last;
      for (size_t e = 0; e < m.high->value.whole.size(); ++e) {
        Decimal value{false, d + std::string(e, '0'), ""};
        if (compare(value, m.high->value) > 0 || (m.low && compare(value, m.low->value) < 0)) continue;
        if (!first) first = static_cast<long>(e);
        last = static_cast<long>(e);
      }
      if (first) options.push_back(a_.cat(digits(d, d), exponent(first, last)));
    }
    return a_.alt(options);
  }

  TermId exponent(std::optional<long> low, std::optional<long> high) {
    ByteSet e;
    e.set('e').set('E');
    TermId zeros = a_.star(a_.literal("0"));
    auto magnitude = [&](long from, std::optional<long> to) {
      Builder inner(a_);
      return a_.cat(zeros, inner.plain({Bound{decimal(from), false},
                                        to ? std::optional(Bound{decimal(*to), false}) : std::nullopt},
                                       true, true));
    };
    std::vector<TermId> options;
    long first = std::max(low.value_or(0), 0L);
    if (!high || *high >= first) options.push_back(a_.cat(a_.optional(a_.literal("+")), magnitude(first, high)));
    long second = high ? std::max(-*high, 0L) : 0;
    if (!low || -*low >= second) {
      options.push_back(a_.cat(a_.literal("-"), magnitude(second, low ? std::optional(-*low) : std::nullopt)));
    }
    return a_.cat(a_.bytes(e), a_.alt(options));
  }

 private:
  TermId digits(char low, char high) {
    if (low > high) return kNone;
    return a_.byte_range(static_cast<unsigned char>(low), static_cast<unsigned char>(high));
  }
  static Decimal decimal(long n) { return {false, std::to_string(n), ""}; }
  static Decimal one() { return decimal(1); }
  // 123.4 = 1.234 · 10^2
  static long scale(const Decimal& d) {
    if (d.whole != "0") return static_cast<long>(d.whole.size()) - 1;
    return -static_cast<long>(d.fraction.find_first_not_of('0')) - 1;
  }
  static Decimal mantissa_of(const Decimal& d) {
    std::string all = d.whole + d.fraction;
    all.erase(0, all.find_first_not_of('0'));
    Decimal m;
    m.whole = all.substr(0, 1);
    m.fraction = all.substr(1);
    m.fraction.erase(m.fraction.find_last_not_of('0') + 1);
    return m;
  }

  // The digits before the point from place i of `length`.
  TermId whole(size_t i, size_t length, bool low, bool high, bool no_zero) {
    if (i == length) return fraction(low, high);
    char from = low ? low_->value.whole[i] : '0', to = high ? high_->value.whole[i] : '9';
    if (no_zero && i == 0) from = std::max(from, '1');
    if (!low && !high) {
      TermId rest = a_.repeat(digits('0', '9'), length - i - 1, length - i - 1);
      return a_.cat({digits(from, to), rest, fraction(false, false)});
    }
    return split(from, to, low, high, [&](bool l, bool h) { return whole(i + 1, length, l, h, false); });
  }

  // One digit from…to, and what follows it: tight where it equals a bound.
  template <typename Rest>
  TermId split(char from, char to, bool low, bool high, Rest rest) {
    if (from > to) return kNone;
    std::vector<TermId> options;
    char free_from = from, free_to = to;
    if (low && high && from == to) return a_.cat(digits(from, from), rest(true, true));
    if (low) {
      options.push_back(a_.cat(digits(from, from), rest(true, false)));
      ++free_from;
    }
    if (high) {
      options.push_back(a_.cat(digits(to, to), rest(false, true)));
      --free_to;
    }
    if (free_from <= free_to) options.push_back(a_.cat(digits(free_from, free_to), rest(false, false)));
    return a_.alt(options);
  }

  // The point and what follows it, or nothing.
  TermId fraction(bool low, bool high) {
    if (integer_) {
      // The bounds are whole numbers and inclusive here.
      TermId zeros = a_.cat(a_.literal("."), a_.repeat(a_.literal("0"), 1, kUnbounded));
      return bare_ ? kEpsilon : a_.optional(zeros);
    }
    return a_.alt({may_end(0, low, high) ? kEpsilon : kNone, a_.cat(a_.literal("."), fraction_digit(0, low, high))});
  }

  bool may_end(size_t i, bool low, bool high) const {
    if (low && (i < low_->value.fraction.size() || low_->exclusive)) return false;
    return !high || i < high_->value.fraction.size() || !high_->exclusive;
  }

  // At least one digit from place i on.
  TermId fraction_digit(size_t i, bool low, bool high) {
    if (!low && !high) return a_.cat(digits('0', '9'), any_digits_);
    bool low_left = low && i < low_->value.fraction.size(), high_left = high && i < high_->value.fraction.size();
    if ((low && !low_left) || (high && !high_left)) {
      // One bound's digits are used up: the rest is zeros, or is not.
      TermId zero = a_.literal("0");
      if (high && !high_left) {  // equal so far, so zeros only, if equality is allowed
        if (high_->exclusive) return kNone;
        if (low_left) return kNone;  // low has digits left and is the larger one
        if (low && low_->exclusive) return kNone;
        return a_.repeat(zero, 1, kUnbounded);
      }
      if (!high) {
        if (!low_->exclusive) return a_.cat(digits('0', '9'), any_digits_);
        return a_.cat({a_.star(zero), digits('1', '9'), any_digits_});
      }
      // low is used up, high is not: low's next digits are zeros.
    }
    char from = low_left ? low_->value.fraction[i] : '0', to = high_left ? high_->value.fraction[i] : '9';
    return split(from, to, low, high, [&](bool l, bool h) {
      TermId more = fraction_digit(i + 1, l, h);
      return may_end(i + 1, l, h) ? a_.alt({kEpsilon, more}) : more;
    });
  }

  Automaton& a_;
  TermId any_digits_;
  std::optional<Bound> low_, high_;
  bool integer_ = false, bare_ = false;
};

Decimal add_one(Decimal d) {  // a non-negative whole number
  size_t i = d.whole.size();
  while (i > 0 && d.whole[i - 1] == '9') d.whole[--i] = '0';
  if (i == 0) {
    d.whole.insert(d.whole.begin(), '1');
  } else {
    ++d.whole[i - 1];
  }
  return d;
}

Decimal subtract_one(Decimal d) {  // a positive whole number
  size_t i = d.whole.size();
  while (d.whole[i - 1] == '0') d.whole[--i] = '9';
  --d.whole[i - 1];
  if (d.whole.size() > 1 && d.whole[0] == '0') d.whole.erase(0, 1);
  return d;
}

// The smallest whole number that is at least (or, exclusive, more than) a non-negative bound, and the largest below;
// the latter may not exist.
Bound round_up(const Bound& b) {
  Decimal d{false, b.value.whole, ""};
  return {!b.value.fraction.empty() || b.exclusive ? add_one(d) : d, false};
}
std::optional<Bound> round_down(const Bound& b) {
  Decimal d{false, b.value.whole, ""};
  if (!b.value.fraction.empty() || !b.exclusive) return Bound{d, false};
  if (d.is_zero()) return std::nullopt;
  return Bound{subtract_one(d), false};
}

Bound magnitude(const Bound& b) { return {Decimal{false, b.value.whole, b.value.fraction}, b.exclusive}; }

}  // namespace

void NumberRange::at_least(const Bound& bound) {
  int c = low ? compare(bound.value, low->value) : 1;
  if (c > 0 || (c == 0 && bound.exclusive)) low = bound;
}

void NumberRange::at_most(const Bound& bound) {
  int c = high ? compare(bound.value, high->value) : -1;
  if (c < 0 || (c == 0 && bound.exclusive)) high = bound;
}

TermId number_term(Automaton& a, const NumberRange& range) {
  if (range.low && range.high) {
    int c = compare(range.low->value, range.high->value);
    if (c > 0 || (c == 0 && (range.low->exclusive || range.high->exclusive))) return kNone;
  }
  std::vector<TermId> options;
  Builder builder(a);
  bool bounded = range.low || range.high;
  auto add = [&](Magnitudes m, TermId sign) {
    if (m.low && m.high && compare(m.low->value, m.high->value) > 0) return;
    if (m.low && m.high && m.low->value == m.high->value && (m.low->exclusive || m.high->exclusive)) return;
    Magnitudes rounded = m;
    if (range.integer) {
      if (m.low) rounded.low = round_up(*m.low);
      if (m.high) {
        rounded.high = round_down(*m.high);
        if (!rounded.high) return;
      }
      if (rounded.low && rounded.high && compare(rounded.low->value, rounded.high->value) > 0) return;
    }
    options.push_back(a.cat(sign, builder.plain(rounded, range.integer, range.digits_only)));
    if (range.integer && range.digits_only) return;
    if (!bounded) {
      TermId fraction = a.optional(a.cat(a.literal("."), a.repeat(a.byte_range('0', '9'), 1, kUnbounded)));
      TermId whole = a.alt({a.literal("0"), a.cat(a.byte_range('1', '9'), a.star(a.byte_range('0', '9')))});
      TermId any = a.cat({whole, fraction, builder.exponent(std::nullopt, std::nullopt)});
      options.push_back(a.cat(sign, range.integer ? builder.scientific_integer() : any));
    } else {
      // Programs write whole numbers of less than 16 digits without an exponent; there 5e3 will do, and 5.25e3 need
      // not.
      bool small = range.integer && range.low && range.high && range.low->value.whole.size() < 16 &&
                   range.high->value.whole.size() < 16;
      TermId term = small ? builder.round_numbers(rounded) : builder.scientific(m);
      if (range.integer && !small) term = a.both({term, builder.scientific_integer()});
      options.push_back(a.cat(sign, term));
    }
  };
  // Positive numbers and zero, then negative ones (and -0) by their magnitude.
  Magnitudes up;
  if (range.low && !range.low->value.negative) up.low = range.low;
  if (range.high) up.high = range.high;
  if (!(range.high && range.high->value.negative)) add(up, kEpsilon);
  Magnitudes down;
  bool any_negative = !range.low || range.low->value.negative || (range.low->value.is_zero() && !range.low->exclusive);
  if (range.low) down.high = magnitude(*range.low);
  if (range.high && (range.high->value.negative || range.high->value.is_zero())) down.low = magnitude(*range.high);
  if (range.low && range.low->value.is_zero()) down.high = Bound{};
  if (any_negative) add(down, a.literal("-"));
  return a.alt(options);
}

namespace {

TermId digit_term(Automaton& a, int d) {
  return a.byte_range('0' + static_cast<unsigned>(d), '0' + static_cast<unsigned>(d));
}

// The least e ≥ 0 for which p divides r · 10^e; none if it divides no such number. From there on it divides all.
std::optional<long> first_multiple(int r, int p) {
  constexpr long kEnough = 12;  // 10^12 holds all factors 2 and 5 of p ≤ kMostResidues
  int64_t value = r % p;
  for (long e = 0; e <= kEnough; ++e) {
    if (value == 0) return e;
    value = value * 10 % p;
  }
  return std::nullopt;
}

// Multiples of p / 10^q with an exponent e. After digits that make the number N of remainder r, f of them behind the
// point, the value is N · 10^(e−f): p must divide N · 10^(e−f+q), which r tells where that power is not negative. It
// cannot be negative if N's last digit is not 0, so zeros at the fraction's end are not counted.
TermId scientific_multiple(Automaton& a, int p, size_t q) {
  std::vector<std::vector<RuleId>> rules(kMostFractionDigits + 1);
  for (size_t f = 0; f <= kMostFractionDigits; ++f) {
    for (int r = 0; r < p; ++r) rules[f].push_back(a.new_rule("multiple", false));
  }
  Builder builder(a);
  TermId point = a.literal("."), zero = a.literal("0");
  for (size_t f = 0; f <= kMostFractionDigits; ++f) {
    for (int r = 0; r < p; ++r) {
      std::vector<TermId> options, digits;
      for (int d = 0; d < 10; ++d) {
        auto next = static_cast<size_t>((r * 10 + d) % p);
        if (f == 0) options.push_back(a.cat(digit_term(a, d), a.call(rules[0][next])));
        if (f < kMostFractionDigits) digits.push_back(a.cat(digit_term(a, d), a.call(rules[f + 1][next])));
      }
      TermId more = a.alt(digits);
      options.push_back(f == 0 ? a.cat(point, more) : more);
      if (std::optional<long> e = first_multiple(r, p)) {
        TermId exponent = builder.exponent(static_cast<long>(f) - static_cast<long>(q) + *e, std::nullopt);
        TermId zeros = f > 0 ? a.star(zero) : a.optional(a.cat(point, a.repeat(zero, 1, kUnbounded)));
        options.push_back(a.cat(zeros, exponent));
      }
      a.define(rules[f][static_cast<size_t>(r)], a.alt(options));
    }
  }
  std::vector<TermId> starts = {builder.scientific_zero()};
  for (int d = 0; d < 10; ++d) {
    starts.push_back(a.cat(digit_term(a, d), a.call(rules[0][static_cast<size_t>(d % p)])));
  }
  return a.alt(starts);
}

// The same with one digit and no fraction.
TermId round_multiple(Automaton& a, int p, size_t q) {
  Builder builder(a);
  std::vector<TermId> starts = {builder.scientific_zero()};
  for (int d = 1; d < 10; ++d) {
    if (std::optional<long> e = first_multiple(d, p)) {
      starts.push_back(a.cat(digit_term(a, d), builder.exponent(*e - static_cast<long>(q), std::nullopt)));
    }
  }
  return a.alt(starts);
}

// divisor = p / 10^q. More than kMostResidues if p is very large.
int numerator(const Decimal& divisor) {
  std::string digits = divisor.whole + divisor.fraction;
  digits.erase(0, digits.find_first_not_of('0'));
  return digits.size() > 9 ? kMostResidues + 1 : std::stoi(digits);
}

}  // namespace

bool multiples_have_exponents(const Decimal& divisor) { return numerator(divisor) <= kMostScientificResidues; }

TermId complete_spellings(Automaton& a, bool exponents) {
  TermId digit = a.byte_range('0', '9'), zero = a.literal("0"), first = a.byte_range('1', '9');
  auto fraction = [&](TermId digits) { return a.optional(a.cat(a.literal("."), digits)); };
  TermId whole = a.alt({zero, a.cat(first, a.star(digit))});
  TermId number = a.cat(whole, fraction(a.repeat(digit, 1, kUnbounded)));
  if (exponents) {
    Builder builder(a);
    TermId digits = a.cat(a.repeat(digit, 1, kMostFractionDigits), a.star(zero));
    number = a.alt({number, builder.scientific_zero(),
                    a.cat({first, fraction(digits), builder.exponent(std::nullopt, std::nullopt)})});
  }
  return a.cat(a.optional(a.literal("-")), number);
}

TermId multiple_term(Automaton& a, const Decimal& divisor) {
  // value = n · divisor  ⇔  value · 10^q is a whole number and a multiple of p, where divisor = p / 10^q.
  size_t q = divisor.fraction.size();
  int p = numerator(divisor);
  if (p > kMostResidues || static_cast<size_t>(p) * (q + 1) > kMostResidues) {
    throw Error(ErrorKind::Unsupported, fmt::format("a multiple of {}{}{} needs too many states, at most {} are made",
                                                    divisor.whole, q > 0 ? "." : "", divisor.fraction, kMostResidues));
  }
  // rule (place, r): `place` digits after the point were read, all digits so far make a number of remainder r.
  std::vector<std::vector<RuleId>> rules(q + 1);
  for (size_t place = 0; place <= q; ++place) {
    for (int r = 0; r < p; ++r) {
      uint64_t name = 0x6D756C0000000000ULL + static_cast<uint64_t>(r);
      for (char c : std::to_string(p) + "/" + std::to_string(q) + "/" + std::to_string(place)) {
        name = (name ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
      }
      rules[place].push_back(a.new_rule("multiple", false, name | 1));
    }
  }
  auto digit = [&](int d) { return digit_term(a, d); };
  TermId zeros = a.star(a.literal("0"));
  // Whether what was read is a multiple if no more digits come: the missing places are zeros.
  auto ends = [&](size_t place, int r) {
    int64_t value = r;
    for (size_t i = place; i < q; ++i) value = value * 10 % p;
    return value % p == 0;
  };
  for (size_t place = 0; place <= q; ++place) {
    for (int r = 0; r < p; ++r) {
      std::vector<TermId> options;
      if (place == 0) {
        for (int d = 0; d < 10; ++d) {
          options.push_back(a.cat(digit(d), a.call(rules[0][static_cast<size_t>((r * 10 + d) % p)])));
        }
        std::vector<TermId> after_point;
        for (int d = 0; d < 10 && q > 0; ++d) {
          after_point.push_back(a.cat(digit(d), a.call(rules[1][static_cast<size_t>((r * 10 + d) % p)])));
        }
        if (q == 0 && r == 0) after_point.push_back(a.repeat(a.literal("0"), 1, kUnbounded));
        options.push_back(a.cat(a.literal("."), a.alt(after_point)));
      } else if (place < q) {
        for (int d = 0; d < 10; ++d) {
          options.push_back(a.cat(digit(d), a.call(rules[place + 1][static_cast<size_t>((r * 10 + d) % p)])));
        }
      } else if (r == 0) {
        options.push_back(zeros);
      }
      if (ends(place, r)) options.push_back(kEpsilon);
      a.define(rules[place][static_cast<size_t>(r)], a.alt(options));
    }
  }
  // A number: an optional sign, then a digit at least.
  std::vector<TermId> starts;
  for (int d = 0; d < 10; ++d) starts.push_back(a.cat(digit(d), a.call(rules[0][static_cast<size_t>(d % p)])));
  starts.push_back(p <= kMostScientificResidues ? scientific_multiple(a, p, q) : round_multiple(a, p, q));
  return a.cat(a.optional(a.literal("-")), a.alt(starts));
}

}  // namespace sgl::grammar
