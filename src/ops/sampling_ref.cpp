// Choosing a token from a row of logits without sorting the vocabulary.
//
// A bound on p above which lie all tokens that the filters can keep, and few others, is found by bisection: a pass that
// counts and weighs what is above costs less than gathering candidates. Among these the lightest token that is kept is
// found by partitioning as quicksort does, but going on in one part only. The draw walks the kept ones in order of id.

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "ops/ref_backend.h"

namespace sgl {
namespace {

constexpr float kGreedyBelow = 1e-6F;

struct Candidate {
  double p;
  int32_t id;
};

bool heavier(const Candidate& a, const Candidate& b) { return a.p != b.p ? a.p > b.p : a.id < b.id; }

// What the model gave as infinite stays so, and is told.
void set_edited(float& logit, float x) {
  logit = std::isfinite(logit) ? std::clamp(x, -kLargestEditedLogit, kLargestEditedLogit) : x;
}

void adjust_logits(float* logits, int64_t vocab, const SampleRow& row, const SampleMath& math) {
  for (auto [id, count] : row.counts) {
    float x = logits[id];
    if (row.repetition_penalty != 1.0F) x = x > 0 ? x / row.repetition_penalty : x * row.repetition_penalty;
    set_edited(logits[id], x - (row.frequency_penalty * static_cast<float>(count) + row.presence_penalty));
  }
  for (auto [id, add] : row.bias) set_edited(logits[id], logits[id] + add);
  for (int32_t id : row.banned) logits[id] = -INFINITY;
  if (row.allowed != nullptr) math.forbid(logits, vocab, row.allowed);
}

void plain_forbid(float* logits, int64_t vocab, const uint32_t* allowed) {
  for (int64_t i = 0; i < vocab; ++i) {
    if ((allowed[i / 32] >> (i % 32) & 1U) == 0) logits[i] = -INFINITY;
  }
}

int32_t plain_argmax(const float* logits, int64_t vocab) {
  float best = -INFINITY;
  bool nan = false;
  for (int64_t i = 0; i < vocab; ++i) {
    nan |= logits[i] != logits[i];
    best = logits[i] > best ? logits[i] : best;
  }
  if (nan || best == -INFINITY) return -1;
  return static_cast<int32_t>(std::find(logits, logits + vocab, best) - logits);
}

double plain_exp_all(float* p, const float* logits, int64_t n, float largest) {
  double total = 0;
  for (int64_t i = 0; i < n; ++i) {
    p[i] = std::exp(logits[i] - largest);
    total += double{p[i]};
  }
  return total;
}

double draw_uniform(const SampleRow& row) { return counter_uniform(row.seed, row.position); }

// Walks a cumulative sum until it passes u · total. Rounding can leave a rest: then the last one.
int32_t draw_from(const std::vector<Candidate>& kept, double u) {
  double total = 0;
  for (const Candidate& c : kept) total += c.p;
  double target = u * total, sum = 0;
  for (const Candidate& c : kept) {
    sum += c.p;
    if (sum >= target) return c.id;
  }
  return kept.back().id;
}

// The lightest token that stays: the last one before which no more than `limit` stands. Reorders c, which is not empty.
Candidate last_within(std::vector<Candidate>& c, double limit) {
  auto begin = c.begin(), end = c.end();
  double before = 0;  // weight of what is heavier than [begin, end)
  while (end - begin > 32) {
    // Partitions around the middle of three: [begin, middle) is heavier than the rest.
    Candidate x = *begin, y = *(begin + (end - begin) / 2), z = *(end - 1);
    if (heavier(y, x)) std::swap(x, y);
    if (heavier(z, y)) y = heavier(z, x) ? x : z;
    auto middle = std::partition(begin, end, [&](const Candidate& a) { return heavier(a, y); });
    if (middle == begin) {  // y is the heaviest: put it first, so that both parts are shorter
      std::iter_swap(begin, std::find_if(begin, end, [&](const Candidate& a) { return a.id == y.id; }));
      middle = begin + 1;
    }
    double heavy = 0;
    for (auto i = begin; i != middle; ++i) heavy += i->p;
    if (before + heavy > limit) {
      end = middle;
    } else {
      before += heavy;
      begin = middle;
    }
  }
  std::sort(begin, end, heavier);
  auto last = begin;
  for (auto i = begin; i != end && before <= limit; ++i) {
    before += i->p;
    last = i;
  }
  return *last;
}

double plain_weigh(const float* p, int64_t n, float bound, int64_t* count) {
  double sum = 0;
  *count = 0;
  for (int64_t i = 0; i < n; ++i) {
    *count += p[i] > bound;
    sum += p[i] > bound ? double{p[i]} : 0.0;
  }
  return sum;
}

// The largest bound found in a dozen steps for which enough(count, sum of what is above) holds; at least `bound`, which
// need not. Non-negative floats order like their bits.
template <typename F>
float highest_bound(const std::vector<float>& p, float bound, const SampleMath& math, F enough) {
  auto low = std::bit_cast<uint32_t>(bound), high = std::bit_cast<uint32_t>(1.0F);
  for (int step = 0; step < 12 && low + 1 < high; ++step) {
    const uint32_t middle = low + (high - low) / 2;
    int64_t count = 0;
    const double sum = math.weigh(p.data(), static_cast<int64_t>(p.size()), std::bit_cast<float>(middle), &count);
    (enough(count, sum) ? low : high) = middle;
  }
  return std::bit_cast<float>(low);
}

// Walks the cumulative sum of all p until it passes u · total: by pieces, then within one.
int32_t draw_unfiltered(const std::vector<float>& p, double target, const SampleMath& math) {
  constexpr int64_t kPiece = 1024;
  const auto vocab = static_cast<int64_t>(p.size());
  double sum = 0;
  int32_t last = 0;
  for (int64_t begin = 0; begin < vocab; begin += kPiece) {
    const int64_t n = std::min(kPiece, vocab - begin);
    int64_t count = 0;
    const double piece = math.weigh(p.data() + begin, n, 0.0F, &count);
    if (sum + piece < target && begin + n < vocab) {
      sum += piece;
      continue;
    }
    for (int64_t i = begin; i < begin + n; ++i) {
      if (p[static_cast<size_t>(i)] == 0.0F) continue;
      sum += double{p[static_cast<size_t>(i)]};
      last = static_cast<int32_t>(i);
      if (sum >= target) return last;
    }
  }
  return last;
}

int32_t draw(const std::vector<float>& p, double total, const SampleRow& row, const SampleMath& math) {
  const auto vocab = static_cast<int64_t>(p.size());
  const bool by_k = row.top_k > 0 && row.top_k < vocab;
  const bool by_p = row.top_p < 1.0F;
  const bool by_min = row.min_p > 0.0F;
  const double u = draw_uniform(row);
  if (!by_k && !by_p && !by_min) return draw_unfiltered(p, u * total, math);

  // What is above the bound holds the k heaviest, or more than top_p of the mass: what either filter keeps. With min-p
  // the mass of the k heaviest is needed, so there must be k. The margin is for sums in another order.
  const double wanted = double{row.top_p} * total * (1.0 + 1e-5);
  float bound = by_min && !by_k ? std::nextafter(row.min_p, 0.0F) : 0.0F;
  if (by_k || by_p)
    bound = highest_bound(p, bound, math, [&](int64_t count, double sum) {
      return (by_k && count >= row.top_k) || (by_p && !(by_k && by_min) && sum > wanted);
    });
  std::vector<Candidate> kept;
  for (int64_t i = 0; i < vocab; ++i) {
    const float x = p[static_cast<size_t>(i)];
    if (x > bound) kept.push_back({double{x}, static_cast<int32_t>(i)});
  }
  std::vector<Candidate> ordered = kept;
  if (by_k && static_cast<size_t>(row.top_k) < ordered.size()) {
    std::nth_element(ordered.begin(), ordered.begin() + (row.top_k - 1), ordered.end(), heavier);
    ordered.resize(static_cast<size_t>(row.top_k));
  }
  Candidate last = *std::max_element(ordered.begin(), ordered.end(), heavier);  // the lightest
  if (by_p) {
    double mass = total;
    if (by_min && by_k) {  // with min-p each filter renormalises what the one before left
      mass = 0;
      for (const Candidate& c : ordered) mass += c.p;
    }
    last = last_within(ordered, double{row.top_p} * mass);
  }
  std::erase_if(kept, [&](const Candidate& c) { return heavier(last, c) || c.p < double{row.min_p}; });
  return draw_from(kept, u);
}

void best_logprobs(SampleResult& result, const float* x, int64_t vocab, double log_total, int n) {
  std::vector<int32_t> ids;
  ids.reserve(static_cast<size_t>(n) + 1);
  auto before = [x](int32_t a, int32_t b) { return x[a] != x[b] ? x[a] > x[b] : a < b; };
  for (int32_t i = 0; i < vocab; ++i) {  // an ordered list of the best n: n is small
    if (static_cast<int>(ids.size()) == n && !before(i, ids.back())) continue;
    ids.insert(std::upper_bound(ids.begin(), ids.end(), i, before), i);
    if (static_cast<int>(ids.size()) > n) ids.pop_back();
  }
  for (int32_t id : ids) result.top.emplace_back(id, static_cast<float>(double{x[id]} - log_total));
}

}  // namespace

double counter_uniform(uint64_t seed, uint64_t position) {
  uint64_t z = seed * 0x9e3779b97f4a7c15ULL + (position + 1) * 0xd1342543de82ef95ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  z ^= z >> 31;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  z ^= z >> 31;
  return (static_cast<double>(z >> 11) + 0.5) * 0x1p-53;
}

const SampleMath kPlainSampleMath = {plain_argmax, plain_exp_all, plain_weigh, plain_forbid};

void sample_row(SampleResult& result, float* logits, int64_t vocab, const SampleRow& row, const SampleMath& math) {
  result = SampleResult{};
  adjust_logits(logits, vocab, row, math);
  const int32_t best = math.argmax(logits, vocab);
  if (best < 0 || logits[best] == INFINITY) {
    result.bad = true;
    return;
  }
  const bool greedy = row.temperature < kGreedyBelow || row.top_k == 1;
  const bool report = row.want_logprob || row.top_logprobs > 0 || !row.asked_ids.empty();
  result.token = row.forced >= 0 ? row.forced : best;
  const bool choose = row.forced < 0 && !greedy;
  if (!choose && !report) return;

  if (row.temperature >= kGreedyBelow && row.temperature != 1.0F) {
    float inverse = 1.0F / row.temperature;
    for (int64_t i = 0; i < vocab; ++i) logits[i] *= inverse;
  }
  const float x_max = logits[best];
  static thread_local std::vector<float> p;
  p.resize(static_cast<size_t>(vocab));
  const double total = math.exp_all(p.data(), logits, vocab, x_max);
  if (choose) result.token = draw(p, total, row, math);
  if (!report) return;
  const double log_total = double{x_max} + std::log(total);
  result.logprob = static_cast<float>(double{logits[result.token]} - log_total);
  if (row.top_logprobs > 0) best_logprobs(result, logits, vocab, log_total, row.top_logprobs);
  for (int32_t id : row.asked_ids) {
    result.asked.emplace_back(id, static_cast<float>(double{logits[id]} - log_total));
  }
}

void RefBackend::sample(std::span<SampleResult> results, Tensor logits, std::span<const SampleRow> rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    sample_row(results[i], logits.f32(static_cast<int64_t>(i)), logits.cols(), rows[i]);
  }
}

}  // namespace sgl
