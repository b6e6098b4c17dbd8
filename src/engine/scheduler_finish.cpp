// What a step that is finished means: tokens are taken, text goes out, sequences end, pages go to the tree.

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/assert.h"
#include "base/clock.h"
#include "engine/scheduler.h"

namespace sgl {

void Scheduler::finish(Step& step) {
  ++totals_.steps;
  totals_.work += step.work;
  ++window_steps_;
  for (size_t i = 0; i < step.plan.rows.size(); ++i) {
    const Plan::Row& row = step.plan.rows[i];
    --row.seq->launched;
    if (row.epoch == row.seq->epoch) finish_row(*row.seq, row.q_len, step.results[i]);
  }
  lower_ratio();
}

void Scheduler::finish_row(Sequence& seq, int q_len, Step::RowResult& result) {
  const bool was_prefill = seq.computed < seq.prompt_len;
  if (was_prefill || q_len > 1) window_prefill_ += q_len;
  for (SampleResult& scored : result.scored) {
    if (seq.prompt_logprobs.empty() && seq.logprob_start == 0) {  // nothing stands before the first token
      seq.prompt_logprobs.push_back({{std::nullopt, seq.tokens[0]}, {}, {}});
    }
    PositionLogprobs& p = seq.prompt_logprobs.emplace_back();
    p.token = {scored.logprob, scored.token};
    for (auto [id, logprob] : scored.top) p.top.push_back({logprob, id});
    for (auto [id, logprob] : scored.asked) p.asked.push_back({logprob, id});
  }
  seq.computed += q_len;
  seq.in_flight -= q_len;
  if (was_prefill) cache_computed(seq);
  if (seq.computed < static_cast<int>(seq.tokens.size())) return;  // more of the prompt to come

  if (seq.pooled) return finish_embedding(seq);

  Output out = std::exchange(seq.early, {});
  if (seq.logprob_start >= 0) {
    if (seq.prompt_logprobs.empty() && seq.logprob_start == 0) {  // a prompt of one token
      seq.prompt_logprobs.push_back({{std::nullopt, seq.tokens[0]}, {}, {}});
    }
    out.prompt_logprobs = std::move(seq.prompt_logprobs);
    seq.logprob_start = -1;
  }
  // What has been generated so far goes out with the error.
  const auto abort = [&](std::string message, int status) {
    end_with(seq, {.type = FinishReason::Type::Abort, .message = std::move(message), .status = status}, std::move(out));
  };
  if (!result.sampled) {
    out.finish = {.type = FinishReason::Type::Length};
  } else if (!result.error.empty()) {
    return abort(std::move(result.error), 400);
  } else if (result.next.bad) {
    return abort("the model's logits are not numbers; the checkpoint may be damaged", 500);
  } else {
    try {
      accept_token(seq, result.next, out);
    } catch (const Error& e) {  // the text drove its grammar beyond the limits
      return abort(e.what(), 400);
    }
  }
  deliver(seq, std::move(out));
}

void Scheduler::finish_embedding(Sequence& seq) {
  Output out;
  out.embedding = seq.pooled->result();
  out.finish.type = FinishReason::Type::Length;
  if (std::any_of(out.embedding.begin(), out.embedding.end(), [](float x) { return !std::isfinite(x); })) {
    end_with(seq, {.type = FinishReason::Type::Abort,
                   .message = "the embedding holds what is no number; the checkpoint may be damaged",
                   .status = 500});
    return;
  }
  deliver(seq, std::move(out));
}

// Appends the sampled token, and what a grammar forces behind it, and decides whether the text ends there.
void Scheduler::accept_token(Sequence& seq, SampleResult& next, Output& out) {
  const int before = seq.output_len();
  const int32_t id = next.token;
  PositionLogprobs logprobs;
  if (seq.return_logprob) {
    logprobs.token = {next.logprob, id};
    for (auto [top_id, logprob] : next.top) logprobs.top.push_back({logprob, top_id});
    for (auto [asked_id, logprob] : next.asked) logprobs.asked.push_back({logprob, asked_id});
  }
  seq.append_output(id, std::move(logprobs), out);
  if (seq.constraint) {
    const bool taken = seq.constraint->accept(id);
    SGL_ASSERT(taken, "a token was sampled that its mask did not allow");
  }
  std::optional<std::string> stop;
  if (!is_stop_id(seq, id) || seq.sampling.no_stop_trim) stop = seq.text.append(id, out.text);
  if (!ends_at(seq, id, std::move(stop), out) && seq.constraint) extend_by_forced(seq, out);
  if (out.finish.type != FinishReason::Type::Running) seq.text.finish(out.text);
  count_output(seq.output_len() - before);
}

// What the grammar forces needs no sampling: it is appended here, and the next step computes it like a piece of a
// prompt.
void Scheduler::extend_by_forced(Sequence& seq, Output& out) {
  while (std::optional<OutputConstraint::Jump> jump = seq.constraint->jump(seq.output(), seq.return_logprob)) {
    forget_computed(seq, seq.prompt_len + static_cast<int>(jump->keep));
    seq.drop_output(jump->keep, out);
    size_t shown = 0;
    for (size_t i = 0; i < jump->ids.size(); ++i) {
      const int32_t id = jump->ids[i];
      if (i < jump->respelled) {
        seq.append_output(id, {}, out);
      } else {
        seq.append_forced(id, out);
      }
      std::optional<std::string> stop;
      if (!is_stop_id(seq, id) || seq.sampling.no_stop_trim) {
        stop = seq.text.append_text(std::string_view(jump->text).substr(shown, jump->ends[i] - shown), out.text);
      }
      shown = jump->ends[i];
      if (ends_at(seq, id, std::move(stop), out)) return;
    }
    seq.text.resume(seq.output());
  }
  if (!seq.constraint->must_end()) return;
  out.finish.type = FinishReason::Type::Stop;
  if (!config_.eos_ids.empty()) seq.append_forced(config_.eos_ids.front(), out);
  out.finish.matched = seq.tokens.back();
}

bool Scheduler::is_stop_id(const Sequence& seq, int32_t id) const {
  auto contains = [&](const std::vector<int32_t>& ids) { return std::find(ids.begin(), ids.end(), id) != ids.end(); };
  if (seq.constraint && seq.constraint->ended()) return true;
  return !seq.sampling.ignore_eos && (contains(config_.eos_ids) || contains(seq.sampling.stop_token_ids));
}

// Whether the output ends with its last token `id`: by a stop string, then a stop id, then the length.
bool Scheduler::ends_at(const Sequence& seq, int32_t id, std::optional<std::string> stop, Output& out) const {
  if (stop) {
    out.finish.type = FinishReason::Type::Stop;
    out.finish.matched = std::move(*stop);
  } else if (is_stop_id(seq, id)) {
    out.finish.type = FinishReason::Type::Stop;
    out.finish.matched = id;
  } else if (seq.output_len() >= seq.max_new_tokens) {
    out.finish.type = FinishReason::Type::Length;
  }
  return out.finish.type != FinishReason::Type::Running;
}

void Scheduler::count_output(int tokens) {
  totals_.generation_tokens += tokens;
  window_tokens_ += tokens;
}

void Scheduler::deliver(Sequence& seq, Output&& out) {
  out.rid = seq.rid;
  out.index = seq.index;
  out.prompt_tokens = seq.prompt_len;
  out.completion_tokens = seq.output_len();
  out.cached_tokens = seq.cached_tokens;
  out.num_retractions = seq.num_retractions;
  out.queue_time_s = seq.queue_time_s;
  const bool is_first = seq.first_token_s == 0;
  if (is_first && seq.output_len() > 0) seq.first_token_s = steady_seconds() - seq.submitted_at;
  out.first_token_s = seq.first_token_s;
  out.forced_tokens = seq.forced_tokens;
  const bool ended = out.finish.type != FinishReason::Type::Running;
  if (ended) {
    cache_computed(seq);
    release(seq);
    std::lock_guard lock(mutex_);
    --unanswered_;
  }
  if (is_first && seq.is_timed && seq.admitted_before && out.finish.type != FinishReason::Type::Abort) {
    const double now = steady_seconds(), took = now - seq.submitted_at;
    ttft_.first_token(took - seq.queue_time_s);
    if (seq.expected_ttft_s) ttft_.error(now, took - *seq.expected_ttft_s);
  }
  seq.expected_ttft_s.reset();
  if (!ended) return seq.on_output(std::move(out));
  const OutputCallback callback = std::exchange(seq.on_output, nullptr);  // marks it for remove_finished()
  ++(seq.runs ? finished_running_ : finished_waiting_);
  callback(std::move(out));
}

// Gives the tree the whole pages of what is computed, and takes its pages for those it had already.
void Scheduler::cache_computed(Sequence& seq) {
  if (!config_.use_radix_cache) return;
  const int whole = seq.computed / config_.page_size;
  if (whole <= seq.tree_pages) return;
  RadixTree::Inserted inserted =
      tree_.insert(seq.key(whole * config_.page_size), std::span(seq.pages).first(static_cast<size_t>(whole)));
  std::copy(inserted.pages.begin(), inserted.pages.end(), seq.pages.begin());
  free_.free(inserted.duplicates);
  seq.lock = std::move(inserted.lock);
  seq.tree_pages = whole;
}

// Frees the pages that are the sequence's own and lets go of the tree's.
void Scheduler::release(Sequence& seq) {
  free_.free(std::span(seq.pages).subspan(static_cast<size_t>(seq.tree_pages)));
  seq.pages.clear();
  seq.tree_pages = 0;
  seq.lock.release();
  seq.computed = 0;
  seq.forget_launched();
}

// Keeps what is computed of the first `tokens` tokens only: the others will be different.
void Scheduler::forget_computed(Sequence& seq, int tokens) {
  if (seq.launched_to() <= tokens) return;
  if (tokens >= seq.tree_pages * config_.page_size) {
    seq.computed = std::min(seq.computed, tokens);
    seq.forget_launched();
    return;
  }
  // Pages that the tree owns, after a retraction, must not be written to.
  release(seq);
  adopt(seq, tree_.match(seq.key(tokens)));
}

// Begins with what the tree has of the sequence.
void Scheduler::adopt(Sequence& seq, RadixTree::Match match) {
  seq.pages = std::move(match.pages);
  seq.lock = std::move(match.lock);
  seq.tree_pages = static_cast<int>(seq.pages.size());
  seq.computed = seq.tree_pages * config_.page_size;
}

}  // namespace sgl
