#pragma once
// What a caller asks of the engine, and what comes back. Plain data.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace sgl {

/// How tokens are chosen and when to stop. Ranges are checked by Engine::submit; a breach is an InvalidArgument error.
/// Order of work on the logits: penalties and bias → ÷ temperature → softmax → filter → sample.
struct SamplingParams {
  std::optional<int> max_new_tokens = 128;  ///< ≥ 0; nullopt: up to the context's end; 0: prefill only
  int min_new_tokens = 0;                   ///< until then EOS and stop_token_ids cannot be sampled; ≤ max_new_tokens
  std::vector<std::string> stop{};          ///< ≤ 32; searched in the decoded output; trimmed from the text
  std::vector<std::string> stop_regex{};    ///< ≤ 32 patterns of ≤ 256 bytes; the text ends behind the first match
  std::vector<int32_t> stop_token_ids{};
  bool no_stop_trim = false;              ///< keep the stop string or stop token in the text
  bool ignore_eos = false;                ///< EOS ids and stop_token_ids do not end the text
  float temperature = 1.0F;               ///< ≥ 0; below 1e-6 greedy
  float top_p = 1.0F;                     ///< (0, 1]
  int top_k = -1;                         ///< −1 (all) or ≥ 1
  float min_p = 0.0F;                     ///< [0, 1]: drop tokens with p < min_p · p_max
  float frequency_penalty = 0.0F;         ///< [−2, 2]: logit −= f · count in the output
  float presence_penalty = 0.0F;          ///< [−2, 2]: logit −= f if seen in the output
  float repetition_penalty = 1.0F;        ///< (0, 2]: seen in the output: logit > 0 ? ÷ f : × f
  std::map<int32_t, float> logit_bias{};  ///< added to the logit of each id
  // A grammar that the output must follow: at most one of the four. Needs ModelInfo::has_grammars.
  std::string regex{};            ///< Python's re, matched against the whole output
  std::string json_schema{};      ///< the output is JSON of this JSON Schema; "$$ANY$$": any JSON
  std::string ebnf{};             ///< GBNF; the output is what the rule `root` derives
  std::string structural_tag{};   ///< free text with parts that follow schemas: SGLang's JSON, old or new form
  std::optional<int64_t> seed{};  ///< fixes the result wherever the request runs in a batch
  int n = 1;                      ///< ≥ 1: number of samples of the same prompt
  bool skip_special_tokens = true;
  bool spaces_between_special_tokens = true;  ///< taken, and of no effect: tokenizers here put none between them
};

struct ToolCall {
  std::string id{};
  std::string name{};
  std::string arguments_json{};
};

/// One part of a message's content. Only text exists so far.
struct ContentPart {
  enum class Type { Text, Image } type = Type::Text;
  std::string text{};  ///< the text, or the image's URL
};

/// One message of a conversation, as the chat template sees it.
struct ChatMessage {
  std::string role{};                ///< "system", "user", "assistant", "tool", …
  std::vector<ContentPart> parts{};  ///< the content; empty: null
  std::string name{};
  std::string reasoning_content{};
  std::vector<ToolCall> tool_calls{};
  std::string tool_call_id{};
};

/// A conversation, rendered by the model's own chat template.
struct ChatPrompt {
  std::vector<ChatMessage> messages{};
  std::string tools_json{};            ///< JSON array of OpenAI tool objects; empty: none
  std::string template_kwargs_json{};  ///< JSON object of extra template variables; empty: none
  bool add_generation_prompt = true;
  bool continue_final_message = false;  ///< the last message is left open for the model to go on
};

/// What makes a request one for a vector instead of a text.
struct EmbeddingParams {
  std::optional<int> dimensions{};           ///< in [1, ModelInfo::embedding_size]: the first so many; nullopt: all
  std::optional<std::string> second_text{};  ///< cross-encoders: the vector is the score of the pair (prompt, this)
};

/// One request: for a generation, or, with `embedding`, for the vector of its prompt.
struct Request {
  std::string rid{};  ///< the request's name, for abort and logs; empty: the engine makes one
  /// A text (the tokenizer adds its special tokens), token ids (used as they are), or a conversation.
  std::variant<std::string, std::vector<int32_t>, ChatPrompt> prompt{};
  SamplingParams sampling;
  /// Set: an embedding is asked for; of the other fields rid, prompt, priority and cache_namespace count.
  std::optional<EmbeddingParams> embedding{};

  bool return_logprob = false;
  int logprob_start_len = -1;  ///< first prompt position to report; −1: none (all, if max_new_tokens is 0)
  int top_logprobs_num = 0;    ///< best tokens to report at each reported position
  std::vector<int32_t> token_ids_logprob{};  ///< these ids are reported at each reported position
  std::string cache_namespace{};             ///< requests of different namespaces never share cached prefixes
  int priority = 0;                          ///< larger ones first, with EngineOptions::enable_priority_scheduling
};

struct TokenLogprob {
  std::optional<float> logprob{};  ///< nullopt for the first token of a prompt: nothing stands before it
  int32_t id = 0;
};

/// Log-probabilities of one position: the token that is there, the best ones, and the ones asked for.
struct PositionLogprobs {
  TokenLogprob token{};
  std::vector<TokenLogprob> top{};  ///< by falling log-probability
  std::vector<TokenLogprob> asked{};
};

/// Why a request ended.
struct FinishReason {
  enum class Type { Running, Stop, Length, Abort } type = Type::Running;
  std::variant<std::monostate, int32_t, std::string> matched{};  ///< Stop: the token id or the stop string
  std::string message{};                                         ///< Abort: why
  int status = 0;                                                ///< Abort: HTTP status that fits (499, 500, 503)
};

/// A piece of a request's result. Pieces of one (request, index) come in order; `finish.type != Running` marks the
/// last.
struct Output {
  std::string rid{};
  int index = 0;                     ///< which of the `n` samples
  std::string text{};                ///< new text; whole UTF-8 characters
  std::vector<int32_t> token_ids{};  ///< new tokens, the stop token included
  /// So many tokens at the end of the earlier pieces are replaced by token_ids: text that a grammar forced is appended
  /// as the tokenizer spells it, which may merge it with what stood before. The text only ever grows. 0 where
  /// log-probabilities were asked for: then tokens stay as they were sampled.
  int replaces = 0;
  int forced_tokens = 0;                            ///< of all output tokens so far, those that hold only forced text
  std::vector<PositionLogprobs> logprobs{};         ///< for each of token_ids, if asked for
  std::vector<PositionLogprobs> prompt_logprobs{};  ///< with the first piece, if asked for
  std::vector<float> embedding{};                   ///< with the last piece, if asked for
  FinishReason finish{};
  int prompt_tokens = 0;
  int completion_tokens = 0;  ///< so far, this piece included
  int cached_tokens = 0;      ///< prompt tokens taken from the prefix cache at first admission
  int num_retractions = 0;
  double queue_time_s = 0;   ///< from submit to the first admission
  double first_token_s = 0;  ///< from submit to the first output token; 0: there was none yet
};

/// Makes `into` and the piece that follows it one piece.
void merge(Output& into, Output&& next);

/// Receives a request's pieces. Called on the scheduler's thread: must not block or throw.
using OutputCallback = std::function<void(Output&&)>;

}  // namespace sgl
