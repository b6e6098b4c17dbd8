// Choosing a token from a row of logits without sorting the vocabulary.
//
// Only tokens that the filters can keep are gathered: for top-p, those with p < (1 − top_p) / vocab together weigh less
// than 1 − top_p, so they all lie behind the cut. What is left is sorted; it is short unless the distribution is flat.

#include <algorithm>
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

void adjust_logits(float* logits, int64_t vocab, const SampleRow& row) {
  for (auto [id, count] : row.counts) {
    float& x = logits[id];
    if (row.repetition_penalty != 1.0F) x = x > 0 ? x / row.repetition_penalty : x * row.repetition_penalty;
    x -= row.frequency_penalty * static_cast<float>(count) + row.presence_penalty;
  }
  for (auto [id, add] : row.bias) logits[id] += add;
  for (int32_t id : row.banned) logits[id] = -INFINITY;
  if (row.allowed != nullptr) {
    for (int64_t i = 0; i < vocab; ++i) {
      if ((row.allowed[i / 32] >> (i % 32) & 1U) == 0) logits[i] = -INFINITY;
    }
  }
}

// The largest logit's id, the lowest on a tie; −1 if there is a NaN or nothing is above −∞.
int32_t argmax(const float* logits, int64_t vocab) {
  float best = -INFINITY;
  bool nan = false;
  for (int64_t i = 0; i < vocab; ++i) {
    nan |= logits[i] != logits[i];
    best = logits[i] > best ? logits[i] : best;
  }
  if (nan || best == -INFINITY) return -1;
  return static_cast<int32_t>(std::find(logits, logits + vocab, best) - logits);
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

// Cuts after the last token before which no more than top_p of `total` stands. kept is sorted.
void cut_top_p(std::vector<Candidate>& kept, double top_p, double total) {
  double before = 0;
  size_t n = 0;
  while (n < kept.size() && before <= top_p * total) before += kept[n++].p;
  kept.resize(std::max<size_t>(n, 1));
}

int32_t draw(const std::vector<float>& p, double total, float p_max, const SampleRow& row) {
  const auto vocab = static_cast<int64_t>(p.size());
  const bool by_k = row.top_k > 0 && row.top_k < vocab;
  const bool by_p = row.top_p < 1.0F;
  const bool by_min = row.min_p > 0.0F;
  double u = draw_uniform(row);

  if (!by_k && !by_p && !by_min) {
    double target = u * total, sum = 0;
    int32_t last = 0;
    for (int64_t i = 0; i < vocab; ++i) {
      if (p[static_cast<size_t>(i)] == 0.0F) continue;
      sum += double{p[static_cast<size_t>(i)]};
      last = static_cast<int32_t>(i);
      if (sum >= target) break;
    }
    return last;
  }

  // What certainly falls away: for min-p alone by its own bound; for top-p by the argument above, with a margin of 2.
  double floor = 0;
  if (by_p && !by_k) floor = 0.5 * (1.0 - double{row.top_p}) * total / static_cast<double>(vocab);
  if (by_min && !by_p && !by_k) floor = double{row.min_p} * double{p_max};
  std::vector<Candidate> kept;
  for (int64_t i = 0; i < vocab; ++i) {
    double x = p[static_cast<size_t>(i)];
    if (x > 0 && x >= floor) kept.push_back({x, static_cast<int32_t>(i)});
  }
  if (by_k && static_cast<size_t>(row.top_k) < kept.size()) {
    std::nth_element(kept.begin(), kept.begin() + row.top_k, kept.end(), heavier);
    kept.resize(static_cast<size_t>(row.top_k));
  }
  std::sort(kept.begin(), kept.end(), heavier);
  if (by_p) {
    double mass = total;
    if (by_min) {  // with min-p each filter renormalises what the one before left
      mass = 0;
      for (const Candidate& c : kept) mass += c.p;
      if (!by_k) mass = total;
    }
    cut_top_p(kept, double{row.top_p}, mass);
  }
  if (by_min) {
    double bound = double{row.min_p} * kept[0].p;
    while (kept.size() > 1 && kept.back().p < bound) kept.pop_back();
  }
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

void sample_row(SampleResult& result, float* logits, int64_t vocab, const SampleRow& row) {
  result = SampleResult{};
  adjust_logits(logits, vocab, row);
  const int32_t best = argmax(logits, vocab);
  if (best < 0) {
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
  double total = 0;
  for (int64_t i = 0; i < vocab; ++i) {
    p[static_cast<size_t>(i)] = std::exp(logits[i] - x_max);
    total += double{p[static_cast<size_t>(i)]};
  }
  if (choose) result.token = draw(p, total, 1.0F, row);
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
