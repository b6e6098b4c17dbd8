#pragma once
// The offline engine: a model, its cache and its scheduler in this process, without HTTP.
//
//   sgl::Engine engine({.model_path = "SmolLM2-135M-Instruct.Q4_1.gguf"});
//   sgl::Request request{.prompt = "The capital of France is"};
//   std::cout << engine.generate({request})[0].text;

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sgl/error.h"
#include "sgl/request.h"
#include "sgl/tokenizer.h"
#include "sgl/work.h"

namespace sgl {

/// How to load and run a model. Names and meanings are those of the `sgl serve` flags.
struct EngineOptions {
  std::string model_path{};          ///< directory, .gguf file or hub id; empty: the default model
  std::string tokenizer_path{};      ///< empty: the model's
  bool skip_tokenizer_init = false;  ///< ids in, ids out
  /// Embed instead of generating. Encoders, models without a head and those whose files say so do it unasked.
  bool is_embedding = false;
  std::string load_format = "auto";  ///< auto, safetensors, gguf, dummy
  std::string revision{};            ///< of a hub model; empty: main
  std::string served_model_name{};   ///< empty: model_path
  std::string chat_template{};       ///< a file, or the name of a built-in one; empty: the model's own

  std::string device = "cpu";  ///< cpu, cuda, ref
  std::string dtype = "auto";  ///< auto, float32 (exact: activations are never quantized); on cuda bfloat16, float16
  std::string kv_cache_dtype = "auto";
  std::string quantization{};  ///< weights become int4, int8 or, on cuda, fp8 when loaded; empty: they do not
  int tp_size = 1;             ///< tensor parallelism: GPUs that share a model; 1 but on cuda
  bool deterministic = false;  ///< cuda: answers do not depend, to the bit, on what runs beside them; cpu: always so
  std::optional<int> context_length{};
  bool allow_auto_truncate = false;
  std::string json_model_override_args{};
  int threads = 0;            ///< compute threads; 0: chosen for the machine
  std::string numa = "auto";  ///< large memory: interleave or local; auto: interleave over the nodes if several

  std::optional<int64_t> max_total_tokens{};  ///< KV pool size in tokens
  double mem_fraction_static = 0.0;           ///< share of memory for weights and KV pool; 0: chosen
  int page_size = 16;                         ///< tokens a KV page
  int max_running_requests = 0;               ///< 0: chosen
  int max_queued_requests = 4096;             ///< beyond: ResourceExhausted
  /// Seconds to the first token: a request that must expect more is refused in the same way; for one that was taken a
  /// running answer pauses, before it is late. 0: no limit.
  double max_ttft_s = 0;
  int chunked_prefill_size = 0;         ///< tokens a step may compute; −1: prompts are not cut; 0: chosen
  int max_prefill_tokens = 16384;       ///< tokens of prompts that one step computes together
  std::string schedule_policy = "lpm";  ///< lpm, fcfs, dfs-weight, lof, random
  double schedule_conservativeness = 1.0;
  bool enable_priority_scheduling = false;            ///< waiting requests of a larger Request::priority come first
  int priority_scheduling_preemption_threshold = 10;  ///< and take the place of running ones that are so much lower
  bool disable_radix_cache = false;
  bool disable_overlap_schedule = false;  ///< cuda: the host waits for a step's tokens before it plans the next step
  bool disable_jump_forward = false;      ///< text that a grammar forces is sampled token by token
  bool constrained_json_any_whitespace = false;  ///< JSON of grammars may have white space; false: compact
  int constrained_json_max_whitespace = 64;      ///< of it, characters in a row
  int64_t random_seed = 0;
  int decode_log_interval = 40;  ///< steps between two log lines; 0: none
};

/// Facts about the loaded model that a server or a user wants to show.
struct ModelInfo {
  std::string model_path{}, served_model_name{}, tokenizer_path{}, architecture{}, model_type{}, device{}, dtype{},
      load_format{};
  std::string kv_cache_dtype{};
  int context_length = 0;
  int vocab_size = 0;
  bool is_generation = true;      ///< false: it embeds
  bool is_cross_encoder = false;  ///< its vectors are scores, of pairs of texts
  int embedding_size = 0;         ///< numbers of a vector; 0: it generates
  int64_t num_parameters = 0;
  int64_t weight_bytes = 0;
  /// Sampling defaults of the model's generation config; unset: the table's.
  std::optional<float> temperature{}, top_p{}, min_p{}, repetition_penalty{};
  std::optional<int> top_k{};
  bool has_chat_template = false;
  bool has_grammars = false;  ///< generations can be constrained by regex, json_schema, ebnf and structural_tag
};

/// A snapshot of the engine's state.
struct EngineStats {
  int running = 0, waiting = 0;
  int64_t waiting_uncached_tokens = 0;  ///< of waiting requests; what a look found cached, when they had one, is not in
  int64_t total_pages = 0, free_pages = 0, cached_pages = 0;  ///< cached: owned by the radix tree
  int64_t cached_pages_locked = 0;                            ///< of them, in use by a running request
  int page_size = 0;
  int max_running_requests = 0;
  double expected_ttft_s = 0;  ///< the longest to expect of a request that comes now; 0: it need not wait, or not known
  std::string refusal{};       ///< why a request that comes now is refused; empty: it is not
  int64_t prompt_tokens = 0, cached_tokens = 0, generation_tokens = 0, requests = 0, aborted = 0, retracted = 0;
  int64_t evicted_tokens = 0;  ///< that the prefix cache has given up for others
  int64_t steps = 0;
  Work work{};                    ///< of all steps
  double scheduling_seconds = 0;  ///< processor time of the scheduler's thread besides computing steps
  double gen_throughput = 0;      ///< output tokens/s over the last log interval, the time without work left out
  double new_token_ratio = 0;     ///< share of their longest output that admission holds back for running requests
  bool pausing = false;           ///< asked to pause; the last step has not ended
  bool paused = false;
  std::string failure{};  ///< why the engine computes nothing any more; empty: it does
};

/// What pause() does with the requests that run.
enum class PauseMode {
  Abort,    ///< ends them, and those that wait
  Retract,  ///< they give up their pages and wait again, with their output kept
  InPlace,  ///< they keep their pages and stand still
};

/// Thread: every function may be called from any thread.
class Engine {
 public:
  /// Loads the model and starts the scheduler's thread. Throws Error.
  explicit Engine(EngineOptions options);
  /// Aborts what runs and joins.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Runs the requests together and returns their whole outputs: request-major, `n` for each (one for an embedding).
  /// Throws the first request's Error if one is invalid; nothing is started then. An abort is in `finish`.
  std::vector<Output> generate(std::vector<Request> requests);

  /// Embeds the prompts (texts or ids) together and returns them in order: Output::embedding, prompt_tokens and
  /// cached_tokens; an abort is in `finish`. Throws InvalidArgument, before anything is started, if one is invalid, or
  /// if the engine generates.
  std::vector<Output> embed(std::vector<Request> requests);

  /// Starts a request and returns its rid; `on_output` gets its pieces. Tokenizes and checks on the calling thread.
  /// Throws InvalidArgument (nothing is started then), ResourceExhausted when the queue is full, Unavailable after
  /// drain().
  std::string submit(Request request, const OutputCallback& on_output);
  /// The same for the requests of one call, of which all are taken or none; `on_output` is told which one a piece is
  /// of.
  void submit(std::vector<Request> requests, const std::function<void(size_t request, Output&& piece)>& on_output);
  /// Whether submit() would have to compile a grammar first, which may take up to some seconds. Throws InvalidArgument
  /// for more than one grammar.
  bool must_compile(const SamplingParams& sampling) const;

  /// Ends the request called `rid`, or the batch of "rid_0", "rid_1", …, and with it all whose rid begins so; each gets
  /// a last piece with FinishReason::Abort. A rid that none of them has, or an empty one, is ignored. Their pages are
  /// free within one step.
  void abort(const std::string& rid);
  /// Ends every request; `why` and the HTTP status `status` are told in their finish reasons.
  void abort_all(const std::string& why = "the request was aborted", int status = 499);

  /// Makes no more steps until resume(); requests that come meanwhile wait. Returns when the last step has ended.
  /// Throws Unavailable after drain().
  void pause(PauseMode mode);
  /// The same, but returns at once: the last step may take until EngineStats::pausing is false.
  void begin_pause(PauseMode mode);
  void resume();

  /// Empties the prefix cache if nothing runs or waits; waits up to `timeout_s` for that. Returns whether it did.
  bool flush_cache(double timeout_s = 0);

  /// Takes no more requests, resumes if it is paused, and returns when the accepted ones have ended, or after
  /// `timeout_s` (negative: no limit). Returns whether all ended.
  bool drain(double timeout_s = -1);

  const ModelInfo& info() const;
  const EngineOptions& options() const;  ///< with all defaults resolved
  EngineStats stats() const;
  /// Null with skip_tokenizer_init.
  const Tokenizer* tokenizer() const;
  /// The conversation as the model's chat template renders it. Throws InvalidArgument when the template refuses it.
  std::string render_chat(const ChatPrompt& chat) const;
  /// Token ids of a prompt exactly as submit() would compute them.
  std::vector<int32_t> tokenize(const Request& request) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sgl
