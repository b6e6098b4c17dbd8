#pragma once
// What the OpenAI routes share: fields that stand beside the prompt, usage, finish reasons, and the state of a choice.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/json_reader.h"
#include "server/json_writer.h"
#include "server/sampling_fields.h"
#include "server/server.h"
#include "sgl/engine.h"
#include "sgl/request.h"

namespace sgl {

/// How an answer is to look, as the request says.
struct OpenAiForm {
  std::string id;     ///< "chatcmpl-…", "cmpl-…", or the request's own rid
  std::string model;  ///< the name the client used
  int64_t created = 0;
  int n = 1;
  bool stream = false;
  bool include_usage = false;     ///< stream: a last chunk with the usage
  bool continuous_usage = false;  ///< stream: the usage so far in every chunk
  bool logprobs = false;
};

/// Reads model, stream and stream_options; makes the id from `id_prefix` unless the request has a rid.
OpenAiForm read_form(const Fields& fields, const ModelInfo& info, std::string_view id_prefix);

/// Refuses fields that would change the answer and are not served; what does no harm (user, metadata, store,
/// service_tier, prediction, …) and what nobody knows is ignored, as SGLang does: OpenAI's own server refuses unknown
/// fields, but clients of such servers send each other's extensions.
void refuse_unsupported_openai(const Fields& fields);

/// The grammar that response_format asks for. Throws ValidationError or InvalidArgument naming the field.
void read_response_format(const Fields& fields, SamplingParams& sampling);

/// Where sampling fields that a request does not give come from, as --sampling-defaults says; null: the table.
const ModelInfo* sampling_defaults(const EngineApi& engine, const ServerOptions& options);

/// Token counts of a call. Prompts count once however many samples they have.
struct Usage {
  int64_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
  int64_t reasoning_tokens = 0;  ///< of the completion tokens
};
/// Writes the value of "usage". The number of cached tokens is always there, as with OpenAI, and that of the
/// reasoning's where anything was generated.
void write_usage(JsonWriter& w, const Usage& usage);

/// "stop", "length", "abort"; null while running.
void write_finish_reason(JsonWriter& w, const FinishReason& finish);
/// The stop string or id that ended the text, or null: an addition of SGLang's.
void write_matched_stop(JsonWriter& w, const FinishReason& finish);

/// Token counts of one sample, kept up to date by its pieces.
struct SampleCounts {
  int prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
  int reasoning_tokens = 0;  ///< set by who looks for it
  void update(const Output& piece) {
    prompt_tokens = piece.prompt_tokens;
    completion_tokens = piece.completion_tokens;
    cached_tokens = piece.cached_tokens;
  }
};
/// False for a token that a grammar forbids: its log-probability is −∞, which OpenAI's types have no number for.
bool has_probability(const TokenLogprob& token);
/// Adds the log-probabilities of a piece to those of the choice that are not sent yet.
void append_logprobs(std::vector<PositionLogprobs>& to, Output& piece);
/// Sums samples that are prompt-major, `n` for each prompt.
Usage total_usage(const std::vector<SampleCounts>& samples, int n);

}  // namespace sgl
