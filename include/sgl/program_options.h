#pragma once
// What a generation and a choice in a program may ask for, and what is known of a result besides its text.

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sgl {

/// A list of texts that may be written as one text: `.stop = "\n"` or `.stop = {"\n", "."}`. Default-constructed it is
/// "not given"; Strings::none() is a given empty list, which overrides a default.
class Strings {
 public:
  Strings() = default;
  // NOLINTBEGIN(google-explicit-constructor)
  Strings(const char* text) : items_{text}, given_(true) {}
  Strings(std::string text) : items_{std::move(text)}, given_(true) {}
  Strings(std::vector<std::string> texts) : items_(std::move(texts)), given_(true) {}
  Strings(std::initializer_list<std::string_view> texts) : items_(texts.begin(), texts.end()), given_(true) {}
  // NOLINTEND(google-explicit-constructor)
  static Strings none() { return {std::vector<std::string>{}}; }

  bool given() const { return given_; }
  const std::vector<std::string>& items() const { return items_; }

 private:
  std::vector<std::string> items_;
  bool given_ = false;
};

/// Options of gen(). What is not given comes from the run's GenOptions, then from the table below. The members never
/// change their order: designated initialisers depend on it.
struct GenOptions {
  std::optional<int> max_tokens = {};      ///< ≥ 0; default 128
  std::optional<int> min_tokens = {};      ///< default 0
  std::optional<int> n = {};               ///< samples; the variable is a list, the text takes the first; default 1
  std::optional<double> temperature = {};  ///< ≥ 0; default 1
  std::optional<double> top_p = {};        ///< (0, 1]; default 1
  std::optional<int> top_k = {};           ///< −1 (all) or ≥ 1; default −1
  std::optional<double> min_p = {};        ///< [0, 1]; default 0
  std::optional<double> frequency_penalty = {};   ///< [−2, 2]; default 0
  std::optional<double> presence_penalty = {};    ///< [−2, 2]; default 0
  std::optional<double> repetition_penalty = {};  ///< (0, 2]; default 1
  Strings stop = {};                              ///< the text ends before it; the chat format's own are added
  std::vector<int32_t> stop_token_ids = {};
  Strings stop_regex = {};       ///< the text ends behind a match
  std::string regex = {};        ///< the whole text matches; at most one of regex, json_schema, ebnf
  std::string json_schema = {};  ///< the text is JSON of this JSON Schema
  std::string ebnf = {};         ///< the text is in the language of this grammar's `root`
  std::optional<bool> ignore_eos = {};
  std::optional<bool> return_logprob = {};    ///< fills the lists of Meta
  std::optional<int> logprob_start_len = {};  ///< first prompt position to report; −1: none
  std::optional<int> top_logprobs_num = {};
  std::optional<int64_t> seed = {};
};

/// One position of a text as the model sees it.
struct TokenScore {
  std::optional<double> logprob = {};  ///< natural; nullopt where nothing stands before the token
  int32_t id = 0;
};

/// How likely the model finds each choice after the prompt.
struct ChoiceScores {
  std::vector<std::string> choices = {};
  /// For each choice the log-probabilities of its tokens after the prompt, never empty. Where a choice's first
  /// characters merge with the prompt's last token, the scores of all choices begin at that token.
  std::vector<std::vector<double>> tokens = {};
  std::vector<std::vector<int32_t>> ids = {};  ///< of the same positions; may be empty: the backend does not tell
  /// The same tokens without the prompt; the first, which has no context, is 0. Empty unless the method asked for it.
  std::vector<std::vector<double>> unconditional = {};
};

/// Which choice it is, and what a method wants to show of its reasons. Keys of the methods here:
/// normalized_prompt_logprobs, greedy_logprob_matrix, normalized_unconditional_prompt_logprobs.
struct Decision {
  size_t index = 0;
  std::map<std::string, std::vector<std::vector<double>>> meta = {};
};

/// How select() decides. Your own is any function of the scores; it runs on a backend's thread and must not block.
struct ChoiceMethod {
  std::string name = {};
  bool needs_unconditional = false;
  std::function<Decision(const ChoiceScores&)> decide = {};
};

namespace choice {
/// Highest mean log-probability. The default.
extern const ChoiceMethod token_length_normalized;
/// Token by token, only the likeliest stay; a shorter choice is continued by its own mean.
extern const ChoiceMethod greedy_token_selection;
/// Highest mean gain in log-probability over the same tokens without the prompt (acknowledges that some are rare).
extern const ChoiceMethod unconditional_likelihood_normalized;
}  // namespace choice

struct SelectOptions {
  ChoiceMethod method = choice::token_length_normalized;
};

/// What a backend tells of one result. Fields that it does not tell are empty or 0.
struct Meta {
  std::string rid = {};            ///< the request's name at the server
  std::string finish_reason = {};  ///< "stop", "length", "abort"
  std::string matched = {};        ///< the stop string or token id that ended the text
  int prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
  std::vector<TokenScore> input_token_logprobs = {}, output_token_logprobs = {};
  std::vector<std::vector<TokenScore>> output_top_logprobs = {};
  std::optional<ChoiceScores> scores = {};  ///< of a select
  std::optional<Decision> decision = {};    ///< of a select
};

}  // namespace sgl
