#include "engine/runner.h"

#include <algorithm>
#include <utility>

#include "sgl/error.h"

namespace sgl {

Runner::Runner(Backend& backend, const Model& model, const KvPool& kv, std::vector<int32_t> eos_ids)
    : backend_(backend), model_(model), kv_(kv), eos_ids_(std::move(eos_ids)), arena_([&backend](size_t bytes) {
        return backend.allocate(bytes);
      }) {}

void Runner::build_batch(Step& step) {
  const Plan& plan = step.plan;
  batch_.seqs.clear();
  batch_.pages.clear();
  batch_.token_ids.clear();
  batch_.positions.clear();
  batch_.token_types.clear();
  wanted_rows_.clear();
  for (size_t r = 0; r < plan.rows.size(); ++r) {
    Sequence& seq = *plan.rows[r].seq;
    const int q_len = plan.rows[r].q_len, begin = plan.rows[r].begin, end = begin + q_len;
    const int size = static_cast<int>(seq.tokens.size());
    const auto q_begin = static_cast<int32_t>(batch_.token_ids.size());
    batch_.seqs.push_back({q_begin, q_len, end, static_cast<int32_t>(batch_.pages.size())});
    const int page_size = kv_.geometry().page_size;
    batch_.pages.insert(batch_.pages.end(), seq.pages.begin(), seq.pages.begin() + (end + page_size - 1) / page_size);
    for (int p = begin; p < end; ++p) {
      batch_.token_ids.push_back(p < size ? seq.tokens[static_cast<size_t>(p)] : -1 - seq.pick);
      batch_.positions.push_back(p);
      const bool last = p + 1 >= size;
      const bool scored = seq.logprob_start >= 0 && p >= first_scored_position(seq) && p + 1 < seq.prompt_len;
      const bool sampled = last && seq.max_new_tokens > 0;
      if (!(seq.pooled ? seq.pooled->wants(p, size) : scored || sampled)) continue;
      if (!scored) seq.pick = static_cast<int32_t>(wanted_rows_.size());
      wanted_rows_.push_back(q_begin + p - begin);
      step.picks.push_back({.row = r, .position = p, .scored = scored});
    }
    if (seq.second_text >= 0) {
      batch_.token_types.resize(batch_.token_ids.size());
      for (int p = std::max(begin, seq.second_text); p < end; ++p) {
        batch_.token_types[static_cast<size_t>(q_begin + p - begin)] = 1;
      }
    }
  }
  if (!batch_.token_types.empty()) batch_.token_types.resize(batch_.token_ids.size());
}

SampleRow Runner::sample_row(const Sequence& seq, int position) {
  SampleRow row;
  row.want_logprob = seq.return_logprob;
  row.top_logprobs = seq.return_logprob ? seq.top_logprobs : 0;
  if (seq.return_logprob) row.asked_ids = seq.asked_ids;
  if (position + 1 < static_cast<int>(seq.tokens.size())) {  // a prompt position: score the token that follows
    row.want_logprob = true;
    row.forced = seq.tokens[static_cast<size_t>(position) + 1];
    return row;
  }
  const SamplingParams& s = seq.sampling;
  row.temperature = seq.greedy ? 0.0F : s.temperature;
  row.top_k = s.top_k > 0 ? s.top_k : 0;
  row.top_p = s.top_p;
  row.min_p = s.min_p;
  row.frequency_penalty = s.frequency_penalty;
  row.presence_penalty = s.presence_penalty;
  row.repetition_penalty = s.repetition_penalty;
  row.counts = seq.output_counts;
  row.bias = seq.bias;
  row.seed = seq.seed;
  row.position = static_cast<uint64_t>(position);
  if (seq.output_len() < s.min_new_tokens) {
    std::vector<int32_t>& banned = banned_.emplace_back(eos_ids_);
    banned.insert(banned.end(), s.stop_token_ids.begin(), s.stop_token_ids.end());
    row.banned = banned;
  }
  return row;
}

// The ids that the sequence's grammar allows. Where these are all banned, because the text is complete before
// min_new_tokens, the grammar counts.
void Runner::constrain(SampleRow& row, const Sequence& seq, int64_t vocab, std::string& error) {
  if (masks_used_ == masks_.size()) masks_.emplace_back();
  std::vector<uint32_t>& mask = masks_[masks_used_];
  try {
    if (!seq.constraint->fill_mask(mask, vocab)) {
      error = "the grammar cannot go on: no token of the model's vocabulary fits";
      return;
    }
  } catch (const std::exception& e) {  // its limits, or memory: this request's trouble alone
    error = e.what();
    return;
  }
  ++masks_used_;
  row.allowed = mask.data();
  if (row.banned.empty()) return;
  std::vector<uint32_t> left = mask;
  for (int32_t id : row.banned) left[static_cast<size_t>(id) / 32] &= ~(1U << (static_cast<unsigned>(id) % 32));
  if (std::all_of(left.begin(), left.end(), [](uint32_t word) { return word == 0; })) row.banned = {};
}

void Runner::warm_up(int64_t most_picks, int64_t prompt) {
  const std::vector<int64_t> sizes = backend_.rows_to_try();
  if (sizes.empty()) return;
  const int64_t page_size = kv_.geometry().page_size, pool = kv_.num_pages() * page_size;
  auto run = [&](int64_t seqs, int64_t tokens_each, int64_t picks) {
    arena_.reset();
    batch_ = {};
    wanted_rows_.clear();
    const int64_t pages_each = (tokens_each + page_size - 1) / page_size;
    for (int64_t i = 0; i < seqs; ++i) {
      const auto tokens = static_cast<int32_t>(tokens_each);
      batch_.seqs.push_back({static_cast<int32_t>(i) * tokens, tokens, tokens, static_cast<int32_t>(i * pages_each)});
      for (int64_t p = 0; p < pages_each; ++p) {
        batch_.pages.push_back(static_cast<int32_t>((i * pages_each + p) % kv_.num_pages()));
      }
      for (int32_t t = 0; t < tokens; ++t) batch_.positions.push_back(t);
      if (i < picks) wanted_rows_.push_back(static_cast<int32_t>(i) * tokens + tokens - 1);
    }
    batch_.token_ids.assign(batch_.positions.size(), 0);
    model_.forward(backend_, arena_, kv_, batch_, wanted_rows_);
    backend_.wait();
  };
  run(1, std::min(prompt, pool), 1);
  for (const int64_t n : sizes) run(n, 1, std::min(n, most_picks));
}

Step Runner::launch(Plan plan) {
  arena_.reset();
  backend_.take_work();  // of a step that failed
  Step step;
  step.plan = std::move(plan);
  build_batch(step);
  step.result = model_.forward(backend_, arena_, kv_, batch_, wanted_rows_);
  step.work = backend_.take_work();
  return step;
}

void Runner::pool(const Step& step) {
  states_.resize(static_cast<size_t>(step.result.shape.elements()));
  backend_.download(states_.data(), step.result.data, states_.size() * sizeof(float));
  const auto width = static_cast<size_t>(step.result.cols());
  for (size_t i = 0; i < step.picks.size(); ++i) {
    step.plan.rows[step.picks[i].row].seq->pooled->add(std::span(states_).subspan(i * width, width));
  }
}

void Runner::sample(Step& step) {
  step.results.resize(step.plan.rows.size());
  if (step.picks.empty()) return;
  if (step.plan.rows[0].seq->pooled) return pool(step);
  sample_rows_.clear();
  banned_.clear();
  banned_.reserve(step.picks.size());  // rows point into it
  masks_used_ = 0;
  masks_.reserve(step.picks.size());  // likewise
  for (Step::Pick& pick : step.picks) {
    const Plan::Row& planned = step.plan.rows[pick.row];
    const Sequence& seq = *planned.seq;
    // A grammar may have put tokens behind the one that this step computed.
    pick.stale =
        planned.epoch != seq.epoch || (!pick.scored && pick.position + 1 != static_cast<int>(seq.tokens.size()));
    SampleRow& row = sample_rows_.emplace_back();
    row.temperature = 0;
    if (pick.stale) continue;
    row = sample_row(seq, pick.position);
    if (row.forced < 0 && seq.constraint) {
      constrain(row, seq, step.result.cols(), step.results[pick.row].error);
    }
  }
  step.pending = backend_.begin_sample(step.result, sample_rows_);
  if (step.pending) return;
  sample_results_.assign(step.picks.size(), SampleResult{});
  backend_.sample(sample_results_, step.result, sample_rows_);
  take_results(step);
}

void Runner::collect(Step& step) {
  if (!step.pending) return;
  sample_results_.assign(step.picks.size(), SampleResult{});
  backend_.end_sample(sample_results_);
  take_results(step);
}

void Runner::take_results(Step& step) {
  for (size_t i = 0; i < step.picks.size(); ++i) {
    if (step.picks[i].stale) continue;
    Step::RowResult& result = step.results[step.picks[i].row];
    if (step.picks[i].scored) {
      result.scored.push_back(std::move(sample_results_[i]));
    } else {
      result.sampled = true;
      result.next = std::move(sample_results_[i]);
    }
  }
}

}  // namespace sgl
