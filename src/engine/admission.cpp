#include "engine/admission.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl {
namespace {

constexpr float kGreedyBelow = 1e-6F;
constexpr size_t kMostStops = 32;
constexpr size_t kLongestStopRegex = 256;
constexpr int kMostSamples = 1024;
constexpr int64_t kMostLogprobs = int64_t{1} << 25;  // of other tokens than the text's, in an answer: 400 MB
constexpr int kAllTokens = 1 << 30;                  // top_k: another way to say "all"

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::InvalidArgument, message); }

void check_range(const char* field, float x, float low, float high, bool low_open = false) {
  if (!(low_open ? x > low : x >= low) || !(x <= high)) {
    refuse(fmt::format("{} must be in {}{:g}, {:g}], got {:g}", field, low_open ? "(" : "[", low, high, x));
  }
}

void check_ids(const char* field, const std::vector<int32_t>& ids, int vocab_size) {
  for (int32_t id : ids) {
    if (id < 0 || id >= vocab_size) {
      refuse(fmt::format("{} holds the token id {}; ids are in [0, {})", field, id, vocab_size));
    }
  }
}

StopPattern make_stop_pattern(const std::string& pattern) {
  try {
    return StopPattern(pattern);
  } catch (const Error& e) {
    throw Error(e.kind(), fmt::format("stop_regex: {}", e.what()));
  }
}

// The room that is left for output, after the prompt has been checked or cut.
int room_for_output(const Request& request, std::vector<int32_t>& tokens, const AdmissionLimits& limits) {
  const int context = limits.context_length, longest = limits.max_request_len();
  const std::optional<int>& wanted = request.sampling.max_new_tokens;
  const int size = static_cast<int>(std::min<size_t>(tokens.size(), 1 << 30));
  if (limits.allow_auto_truncate) {
    if (size >= longest) tokens.resize(static_cast<size_t>(std::max(longest - 1, 1)));
  } else {
    if (size >= context) {
      refuse(
          fmt::format("The input ({} tokens) is longer than the model's context length ({} tokens).", size, context));
    }
    if (wanted && int64_t{size} + *wanted > context) {
      refuse(fmt::format(
          "Requested token count exceeds the model's maximum context length of {} tokens. You requested a total of "
          "{} tokens: {} tokens from the input and {} tokens for the completion.",
          context, int64_t{size} + *wanted, size, *wanted));
    }
    if (size >= longest && limits.pool_tokens < context) {
      refuse(fmt::format("The input ({} tokens) does not fit the KV cache ({} tokens); raise --max-total-tokens.", size,
                         limits.pool_tokens));
    }
    if (size >= longest) {
      refuse(fmt::format("The input ({} tokens) leaves no room for output in the model's context length ({} tokens).",
                         size, context));
    }
  }
  const int room = std::max(longest - static_cast<int>(tokens.size()), 0);
  return wanted ? std::min(*wanted, room) : room;
}

// What an answer holds is kept in memory until it ends.
void check_logprobs(const Request& request, int max_new, int of_prompt) {
  if (!request.return_logprob) return;
  const int64_t each = request.top_logprobs_num + static_cast<int64_t>(request.token_ids_logprob.size());
  const int64_t positions = (int64_t{max_new} + of_prompt) * request.sampling.n;
  if (each * positions > kMostLogprobs) {
    refuse(
        fmt::format("the answer would hold {} log-probabilities at each of up to {} positions, and it may hold {} "
                    "together: ask for fewer (top_logprobs), or for fewer tokens (max_tokens)",
                    each, positions, kMostLogprobs));
  }
}

// Text that the grammar forces before anything is sampled is computed together with the prompt. Not where the output
// might end in it: what ends an output is decided when it is sampled.
void begin_with_forced(Sequence& seq) {
  if (!seq.constraint) return;
  OutputConstraint ahead = *seq.constraint;
  std::optional<OutputConstraint::Jump> jump = ahead.jump({});
  if (!jump || static_cast<int>(jump->ids.size()) >= seq.max_new_tokens || !seq.sampling.stop.empty() ||
      !seq.sampling.stop_regex.empty()) {
    return;
  }
  const auto& stops = seq.sampling.stop_token_ids;
  if (std::find_first_of(jump->ids.begin(), jump->ids.end(), stops.begin(), stops.end()) != jump->ids.end()) return;
  seq.constraint = std::move(ahead);
  for (int32_t id : jump->ids) seq.append_forced(id, seq.early);
  seq.text.append_text(jump->text, seq.early.text);
  seq.text.resume(jump->ids);
}

// Checks the length of a text to embed, or cuts it: the tokens that close it stay, as in publishers' own truncation.
void fit_to_context(std::vector<int32_t>& tokens, const AdmissionLimits& limits) {
  const auto size = static_cast<int64_t>(tokens.size()), context = int64_t{limits.context_length};
  const int64_t longest = std::min(context, limits.pool_tokens);
  if (size <= longest) return;
  if (limits.allow_auto_truncate) {
    tokens.erase(tokens.begin() + longest - 1, tokens.end() - 1);
  } else if (size > context) {
    refuse(fmt::format("The input ({} tokens) is longer than the model's context length ({} tokens).", size, context));
  } else {
    refuse(fmt::format("The input ({} tokens) does not fit the KV cache ({} tokens); raise --max-total-tokens.", size,
                       limits.pool_tokens));
  }
}

}  // namespace

int AdmissionLimits::max_request_len() const {
  return static_cast<int>(std::min<int64_t>(context_length, pool_tokens)) - 1;
}

void check_sampling(const SamplingParams& s, int vocab_size, bool has_tokenizer) {
  if (s.max_new_tokens && *s.max_new_tokens < 0)
    refuse(fmt::format("max_new_tokens must be ≥ 0, got {}", *s.max_new_tokens));
  if (s.min_new_tokens < 0) refuse(fmt::format("min_new_tokens must be ≥ 0, got {}", s.min_new_tokens));
  if (s.max_new_tokens && s.min_new_tokens > *s.max_new_tokens) {
    refuse(fmt::format("min_new_tokens must be ≤ max_new_tokens, got {} and {}", s.min_new_tokens, *s.max_new_tokens));
  }
  if (!(s.temperature >= 0) || std::isinf(s.temperature)) {
    refuse(fmt::format("temperature must be a number ≥ 0, got {:g}", s.temperature));
  }
  check_range("top_p", s.top_p, 0, 1, true);
  if (s.top_k != -1 && s.top_k < 1) refuse(fmt::format("top_k must be -1 (all) or at least 1, got {}", s.top_k));
  check_range("min_p", s.min_p, 0, 1);
  check_range("frequency_penalty", s.frequency_penalty, -2, 2);
  check_range("presence_penalty", s.presence_penalty, -2, 2);
  check_range("repetition_penalty", s.repetition_penalty, 0, 2, true);
  if (s.n < 1 || s.n > kMostSamples) refuse(fmt::format("n must be in [1, {}], got {}", kMostSamples, s.n));
  if (s.stop.size() > kMostStops)
    refuse(fmt::format("at most {} stop strings are allowed, got {}", kMostStops, s.stop.size()));
  for (const std::string& stop : s.stop) {
    if (stop.empty()) refuse("a stop string must not be empty");
  }
  if (s.stop_regex.size() > kMostStops)
    refuse(fmt::format("at most {} stop_regex are allowed, got {}", kMostStops, s.stop_regex.size()));
  for (const std::string& pattern : s.stop_regex) {
    if (pattern.empty() || pattern.size() > kLongestStopRegex) {
      refuse(fmt::format("a stop_regex must have 1 to {} bytes, got {}", kLongestStopRegex, pattern.size()));
    }
  }
  if ((!s.stop.empty() || !s.stop_regex.empty()) && !has_tokenizer)
    refuse("stop strings need a tokenizer; the server runs with --skip-tokenizer-init");
  check_ids("stop_token_ids", s.stop_token_ids, vocab_size);
  for (auto [id, bias] : s.logit_bias) {
    if (id < 0 || id >= vocab_size)
      refuse(fmt::format("logit_bias names the token id {}; ids are in [0, {})", id, vocab_size));
    if (!std::isfinite(bias)) refuse(fmt::format("logit_bias of token {} must be a finite number", id));
  }
}

std::vector<std::unique_ptr<Sequence>> make_sequences(const Request& request, std::vector<int32_t> tokens,
                                                      const OutputCallback& on_output, const Tokenizer* tokenizer,
                                                      const AdmissionLimits& limits, uint64_t fallback_seed,
                                                      const std::optional<OutputConstraint>& constraint) {
  const SamplingParams& s = request.sampling;
  check_sampling(s, limits.vocab_size, tokenizer != nullptr);
  if (tokens.empty()) refuse("the prompt is empty; it must hold at least one token");
  check_ids("the prompt", tokens, limits.vocab_size);
  check_ids("token_ids_logprob", request.token_ids_logprob, limits.vocab_size);
  if (request.top_logprobs_num < 0 || request.top_logprobs_num > limits.vocab_size) {
    refuse(fmt::format("top_logprobs_num must be in [0, {}], got {}", limits.vocab_size, request.top_logprobs_num));
  }
  const int max_new = room_for_output(request, tokens, limits);
  const int prompt_len = static_cast<int>(tokens.size());
  if (request.logprob_start_len < -1 || request.logprob_start_len > prompt_len) {
    refuse(fmt::format("logprob_start_len must be in [-1, {}] (the prompt's length), got {}", prompt_len,
                       request.logprob_start_len));
  }

  // From prompt_len on there is nothing of the prompt to report; a request for log-probabilities that generates nothing
  // can only mean the prompt's.
  int logprob_start = request.logprob_start_len < prompt_len ? request.logprob_start_len : -1;
  if (request.logprob_start_len == -1 && max_new == 0) logprob_start = 0;
  if (!request.return_logprob) logprob_start = -1;
  check_logprobs(request, max_new, logprob_start < 0 ? 0 : prompt_len - logprob_start);

  std::vector<StopPattern> patterns;
  for (const std::string& pattern : s.stop_regex) patterns.push_back(make_stop_pattern(pattern));

  std::vector<std::unique_ptr<Sequence>> sequences;
  for (int i = 0; i < s.n; ++i) {
    auto seq = std::make_unique<Sequence>();
    seq->rid = request.rid;
    seq->index = i;
    seq->cache_namespace = request.cache_namespace;
    seq->priority = request.priority;
    seq->sampling = s;
    seq->max_new_tokens = max_new;
    seq->seed =
        (s.seed ? static_cast<uint64_t>(*s.seed) : fallback_seed) + 0x9e3779b97f4a7c15ULL * static_cast<uint64_t>(i);
    seq->greedy = s.temperature < kGreedyBelow || s.top_k == 1;
    if (s.top_k >= kAllTokens) seq->sampling.top_k = -1;
    seq->return_logprob = request.return_logprob;
    seq->logprob_start = logprob_start;
    seq->top_logprobs = request.top_logprobs_num;
    seq->asked_ids = request.token_ids_logprob;
    seq->bias.assign(s.logit_bias.begin(), s.logit_bias.end());
    seq->on_output = on_output;
    seq->tokens = tokens;
    seq->tokens.reserve(tokens.size() + static_cast<size_t>(std::min(max_new, 4096)));
    seq->prompt_len = prompt_len;
    if (tokenizer != nullptr) {
      seq->text = TextStream(*tokenizer, s.stop, s.skip_special_tokens, s.no_stop_trim, patterns);
      // A grammar knows tokens by their bytes: the space that SentencePiece's decoders drop at the beginning of a text
      // is one of them. Structural tags begin with free text, where dropping it is right.
      if (constraint && s.structural_tag.empty()) seq->text.resume(tokens);
    }
    seq->constraint = constraint;
    begin_with_forced(*seq);
    sequences.push_back(std::move(seq));
  }
  return sequences;
}

std::unique_ptr<Sequence> make_embedding_sequence(const Request& request, std::vector<int32_t> tokens, int second_text,
                                                  const OutputCallback& on_output, const AdmissionLimits& limits) {
  const std::optional<int>& dimensions = request.embedding->dimensions;
  if (dimensions && (*dimensions < 1 || *dimensions > limits.embedding_size)) {
    refuse(fmt::format("dimensions must be in [1, {}] (the size of the model's vectors), got {}", limits.embedding_size,
                       *dimensions));
  }
  if (tokens.empty()) refuse("the input is empty; it must hold at least one token");
  check_ids("the input", tokens, limits.vocab_size);
  fit_to_context(tokens, limits);
  auto seq = std::make_unique<Sequence>();
  seq->rid = request.rid;
  seq->cache_namespace = request.cache_namespace;
  seq->priority = request.priority;
  seq->on_output = on_output;
  seq->prompt_len = static_cast<int>(tokens.size());
  seq->tokens = std::move(tokens);
  seq->pooled.emplace(*limits.embeds, dimensions);
  seq->second_text = second_text;
  return seq;
}

}  // namespace sgl
