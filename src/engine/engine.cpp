#include "sgl/engine.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <filesystem>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/embedding_config.h"
#include "checkpoint/hub.h"
#include "engine/admission.h"
#include "engine/constraint.h"
#include "engine/memory_plan.h"
#include "engine/runner.h"
#include "engine/scheduler.h"
#include "engine/text_setup.h"
#include "models/ranks.h"
#include "models/registry.h"
#include "ops/backend.h"

namespace sgl {
namespace {

constexpr int kDefaultRunningRequests = 64, kDefaultRunningRequestsCuda = 256;
constexpr int kDefaultChunk = 512, kDefaultChunkCuda = 8192;

int served_context(const EngineOptions& o, const ModelConfig& c, std::optional<int> max_text) {
  if (!o.context_length) return std::min(c.context_length, max_text.value_or(c.context_length));
  if (*o.context_length < 2 || *o.context_length > c.context_length) {
    throw Error(ErrorKind::InvalidArgument, fmt::format("--context-length must be in [2, {}] for this model, got {}",
                                                        c.context_length, *o.context_length));
  }
  return *o.context_length;
}

// What can be said before a model is looked for.
void check_options(const EngineOptions& o) {
  parse_policy(o.schedule_policy);
  if (o.page_size < 1 || (o.device == "cpu" && o.page_size % 16 != 0)) {
    throw Error(
        ErrorKind::InvalidArgument,
        fmt::format(
            "--page-size must be a multiple of 16 on the cpu device (its kernels read 16 keys at a time), got {}",
            o.page_size));
  }
  if (o.tp_size > 1 && o.device == "cpu") {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("--tp-size {} is for --device cuda, which shares a model out to GPUs; the cpu device uses "
                            "all cores by itself (--threads)",
                            o.tp_size));
  }
  if (o.max_ttft_s > 0 && o.enable_priority_scheduling) {
    throw Error(
        ErrorKind::InvalidArgument,
        "--max-ttft and --enable-priority-scheduling do not go together, since low priorities may wait for ever: "
        "take one of them, or --max-queued-requests");
  }
}

KvGeometry kv_geometry(const EngineOptions& o, const ModelConfig& c, DType automatic) {
  if (o.tp_size < 1 || c.num_heads % o.tp_size != 0 || c.num_kv_heads % o.tp_size != 0) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("--tp-size {}: it must divide this model's {} attention heads and {} KV heads", o.tp_size,
                            c.num_heads, c.num_kv_heads));
  }
  const DType dtype = parse_kv_dtype(o.kv_cache_dtype, automatic);
  if (dtype == DType::Q8_0 && o.device == "cuda") {
    throw Error(ErrorKind::InvalidArgument,
                "--kv-cache-dtype int8 is not there on --device cuda; take auto, float16, bfloat16 or fp8_e4m3");
  }
  if (dtype == DType::F8E4M3 && o.device == "cpu") {
    throw Error(ErrorKind::InvalidArgument,
                "--kv-cache-dtype fp8_e4m3 is for --device cuda; on cpu take int8, which needs about as much memory");
  }
  if (dtype == DType::Q8_0 && c.head_dim % 32 != 0) {
    throw Error(
        ErrorKind::InvalidArgument,
        fmt::format("--kv-cache-dtype int8 needs attention heads of a multiple of 32 elements, and this model's "
                    "have {}; take auto",
                    c.head_dim));
  }
  return {.num_layers = c.encoder ? 1 : c.num_layers,  // nn/encoder.h
          .num_kv_heads = c.num_kv_heads / o.tp_size,
          .head_dim = c.head_dim,
          .dtype = dtype,
          .page_size = o.page_size};
}

// What --dtype asks of the backend, and what the KV cache holds when nothing else is asked for.
BackendOptions backend_options(const EngineOptions& o, const ModelConfig& c) {
  BackendOptions b{.device = o.device, .threads = o.threads};
  const bool exact = o.dtype == "float32" || o.dtype == "float";
  b.quantize_activations = !exact;
  if (o.dtype == "auto") {
    b.activations = c.dtype == DType::F16 ? DType::F16 : DType::BF16;
  } else if (exact) {
    b.activations = DType::F32;
  } else if (o.device == "cuda" && o.dtype == "bfloat16") {
    b.activations = DType::BF16;
  } else if (o.device == "cuda" && (o.dtype == "float16" || o.dtype == "half")) {
    b.activations = DType::F16;
  } else {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("--dtype must be auto{} or float32 on the {} device, got \"{}\"",
                            o.device == "cuda" ? ", bfloat16, float16" : "", o.device, o.dtype));
  }
  b.quantization = parse_quantization(o.quantization, o.device);
  b.deterministic = o.deterministic;
  return b;
}

void place_memory(const std::string& numa) {
  if (numa != "auto" && numa != "interleave" && numa != "local") {
    throw Error(ErrorKind::InvalidArgument, fmt::format("--numa must be auto, interleave or local, got \"{}\"", numa));
  }
  set_numa(numa == "interleave" || (numa == "auto" && memory_nodes().size() > 1) ? Numa::Interleave : Numa::Local);
}

DType automatic_kv_dtype(const BackendOptions& b, const ModelConfig& c) {
  if (b.device == "cuda") return b.activations;
  return b.device == "ref" || !b.quantize_activations || c.encoder ? DType::F32 : DType::F16;
}

// An encoder computes a text in one step and leaves nothing for others: texts are not cut, no prefix is cached, and the
// pool holds what one step needs.
void resolve_for_encoder(EngineOptions& o, int context) {
  if (o.chunked_prefill_size > 0) o.max_prefill_tokens = std::min(o.max_prefill_tokens, o.chunked_prefill_size);
  o.chunked_prefill_size = -1;
  o.disable_radix_cache = true;
  if (!o.max_total_tokens) {
    const int64_t step = std::max(context, o.max_prefill_tokens);
    o.max_total_tokens = step + int64_t{o.max_running_requests} * o.page_size;  // last pages are partly empty
  }
}

std::string random_rid() {
  static std::atomic<uint64_t> counter{std::random_device{}()};
  uint64_t n = counter.fetch_add(1) * 0x9e3779b97f4a7c15ULL;
  return fmt::format("{:016x}{:016x}", n ^ (n >> 31), n * 0xd1342543de82ef95ULL);
}

}  // namespace

class Engine::Impl {
 public:
  explicit Impl(EngineOptions o) : options_(std::move(o)), started_(steady_seconds()) {
    load();
    SchedulerConfig c;
    c.policy = parse_policy(options_.schedule_policy);
    c.page_size = options_.page_size;
    c.num_pages = ranks_->kv().num_pages();
    c.max_running_requests = options_.max_running_requests;
    c.max_queued_requests = options_.max_queued_requests;
    c.max_ttft_s = options_.max_ttft_s;
    c.chunked_prefill_size = options_.chunked_prefill_size;
    c.max_prefill_tokens = options_.max_prefill_tokens;
    c.conservativeness = options_.schedule_conservativeness;
    c.priority_scheduling = options_.enable_priority_scheduling;
    c.preemption_threshold = options_.priority_scheduling_preemption_threshold;
    c.use_radix_cache = !options_.disable_radix_cache;
    c.disable_overlap = options_.disable_overlap_schedule;
    c.decode_log_interval = options_.decode_log_interval;
    c.eos_ids = eos_ids_;
    StepFunctions steps{.launch = [this](Plan plan) { return runner_->launch(std::move(plan)); },
                        .sample = [this](Step& step) { runner_->sample(step); },
                        .collect = [this](Step& step) { runner_->collect(step); }};
    scheduler_ = std::make_unique<Scheduler>(std::move(c), std::move(steps));
    scheduler_->start();
  }
  ~Impl() { scheduler_.reset(); }  // first: its thread uses all the others

  std::vector<std::unique_ptr<Sequence>> prepare(Request& request, const OutputCallback& on_output) {
    check_purpose(request);
    if (request.rid.empty()) request.rid = random_rid();
    if (request.embedding) {
      std::vector<int32_t> ids = tokenize(request);
      const int second_text = append_second_text(request, ids);
      std::vector<std::unique_ptr<Sequence>> one;
      one.push_back(make_embedding_sequence(request, std::move(ids), second_text, on_output, limits_));
      return one;
    }
    return make_sequences(request, tokenize(request), on_output, text_.tokenizer.get(), limits_, next_seed(),
                          constraints_->compile(request.sampling));
  }

  std::vector<int32_t> tokenize(const Request& request) const {
    if (const auto* ids = std::get_if<std::vector<int32_t>>(&request.prompt)) return *ids;
    if (text_.tokenizer == nullptr) {
      throw Error(ErrorKind::InvalidArgument,
                  "a text prompt needs a tokenizer; this engine runs with skip_tokenizer_init: send input_ids");
    }
    if (const auto* text = std::get_if<std::string>(&request.prompt)) {
      return text_.tokenizer->encode(request.embedding ? default_prompt_ + *text : *text, true);
    }
    return text_.tokenizer->encode(render_chat(std::get<ChatPrompt>(request.prompt)), false);
  }

  std::string render_chat(const ChatPrompt& chat) const { return text_.render(chat); }

  EngineOptions options_;
  ModelInfo info_;
  TextSetup text_;
  std::unique_ptr<ConstraintCompiler> constraints_;
  std::unique_ptr<Scheduler> scheduler_;

 private:
  uint64_t next_seed() {
    std::lock_guard lock(seed_mutex_);
    return seeds_();
  }

  void check_purpose(const Request& request) const;
  int append_second_text(const Request& request, std::vector<int32_t>& ids) const;
  void load();
  void fill_info(const ModelConfig& c);
  void resolve_options(const MemoryPlan& memory);

  double started_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Ranks> ranks_;
  std::unique_ptr<Runner> runner_;
  std::vector<int32_t> eos_ids_;
  AdmissionLimits limits_;
  std::string default_prompt_;  ///< before every text to embed
  std::mutex seed_mutex_;
  std::mt19937_64 seeds_;
};

void Engine::Impl::check_purpose(const Request& request) const {
  if (request.embedding.has_value() != info_.is_generation) return;
  const std::string model = fmt::format("{} ({})", info_.served_model_name, info_.architecture);
  throw Error(ErrorKind::InvalidArgument,
              info_.is_generation
                  ? fmt::format("This request asks for an embedding, but {} is served for generation; start it with "
                                "--is-embedding to have embeddings.",
                                model)
                  : fmt::format("This request asks for a generation, but {} is served for embeddings; ask "
                                "/v1/embeddings or /encode, or serve a model that generates.",
                                model));
}

// Of a pair, puts the second text behind the first: [CLS] a [SEP] b [SEP], or RoBERTa's <s> a </s></s> b </s>. Returns
// where tokens of the second kind begin, or −1.
int Engine::Impl::append_second_text(const Request& request, std::vector<int32_t>& ids) const {
  if (!request.embedding->second_text) return -1;
  if (!info_.is_cross_encoder) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("{} ({}) embeds single texts; pairs need a cross-encoder, such as a "
                            "BertForSequenceClassification",
                            info_.served_model_name, info_.architecture));
  }
  if (text_.tokenizer == nullptr || text_.tokenizer->encode("").size() != 2) {
    throw Error(ErrorKind::Unsupported,
                "pairs of texts need a tokenizer that puts one token before and one behind a text");
  }
  std::vector<int32_t> second = text_.tokenizer->encode(*request.embedding->second_text);
  const int begin = static_cast<int>(ids.size());
  const bool types = checkpoint_->config().type_vocab_size > 1;
  if (!types) ids.push_back(second.back());
  ids.insert(ids.end(), second.begin() + 1, second.end());
  return types ? begin : -1;
}

void Engine::Impl::load() {
  check_options(options_);
  place_memory(options_.numa);
  HubOptions hub = HubOptions::from_environment();
  hub.revision = options_.revision;
  const std::string path = resolve_model(options_.model_path, hub);
  if (!options_.tokenizer_path.empty() && !options_.skip_tokenizer_init) {
    options_.tokenizer_path = resolve_tokenizer(options_.tokenizer_path);
  }
  checkpoint_ = Checkpoint::open(path, options_.load_format, options_.json_model_override_args);
  const ModelConfig& c = checkpoint_->config();
  check_architecture(c.architecture);

  const bool cuda = options_.device == "cuda";
  if (options_.max_running_requests <= 0) {
    options_.max_running_requests = cuda ? kDefaultRunningRequestsCuda : kDefaultRunningRequests;
  }
  if (options_.chunked_prefill_size == 0) options_.chunked_prefill_size = cuda ? kDefaultChunkCuda : kDefaultChunk;
  const EmbeddingConfig embedding = read_embedding_config(checkpoint_->directory(), c);
  options_.is_embedding = options_.is_embedding || embedding.declared || !c.has_lm_head;
  const int context = served_context(options_, c, options_.is_embedding ? embedding.max_tokens : std::nullopt);
  if (c.encoder) resolve_for_encoder(options_, context);
  const BackendOptions how = backend_options(options_, c);
  const KvGeometry geometry = kv_geometry(options_, c, automatic_kv_dtype(how, c));
  ranks_ = std::make_unique<Ranks>(how, options_.tp_size);
  const MemoryPlan memory = plan_memory(options_, *checkpoint_, geometry, context, ranks_->available_memory(),
                                        cuda ? std::optional(how.activations) : std::nullopt, how.quantization);

  log::info("device: {}", ranks_->describe());
  log::info("model: {} ({}, {} layers, context {}) from {}", c.architecture, c.model_type, c.num_layers, context, path);

  // The tokenizer needs no weights: it loads beside them.
  std::exception_ptr text_error;
  std::thread text_thread([&] {
    try {
      text_ = load_text(options_, *checkpoint_);
    } catch (...) {
      text_error = std::current_exception();
    }
  });
  const double load_started = steady_seconds();
  try {
    ranks_->load(*checkpoint_, context, options_.is_embedding ? ModelResult::State : ModelResult::Logits, geometry,
                 memory.num_pages);
  } catch (...) {
    text_thread.join();
    throw;
  }
  const double load_time = steady_seconds() - load_started;
  text_thread.join();
  if (text_error) std::rethrow_exception(text_error);

  eos_ids_ = end_ids(c, text_.tokenizer.get());
  constraints_ = std::make_unique<ConstraintCompiler>(text_.tokenizer.get(), eos_ids_, options_);
  runner_ = std::make_unique<Runner>(ranks_->backend(), *ranks_, ranks_->kv(), eos_ids_);
  if (!options_.is_embedding) {
    const int chunk = options_.chunked_prefill_size > 0 ? options_.chunked_prefill_size : options_.max_prefill_tokens;
    runner_->warm_up(options_.max_running_requests, std::min(chunk, context));
  }

  options_.context_length = context;
  options_.max_total_tokens = memory.num_pages * geometry.page_size;
  if (options_.served_model_name.empty()) {
    options_.served_model_name =
        options_.model_path.empty() ? std::filesystem::path(path).stem().string() : options_.model_path;
  }
  options_.model_path = path;
  if (options_.random_seed == 0) options_.random_seed = static_cast<int64_t>(std::random_device{}());
  seeds_.seed(static_cast<uint64_t>(options_.random_seed));
  limits_ = {.vocab_size = c.vocab_size,
             .context_length = context,
             .pool_tokens = *options_.max_total_tokens,
             .allow_auto_truncate = options_.allow_auto_truncate};
  if (options_.is_embedding) {
    limits_.embeds =
        PoolingRule{.pooling = embedding.pooling, .normalize = embedding.normalize, .sigmoid = c.sigmoid_score};
    limits_.embedding_size = c.num_labels > 0 ? c.num_labels : c.hidden_size;
    default_prompt_ = embedding.default_prompt;
  }
  info_.model_path = path;
  fill_info(c);
  info_.weight_bytes = memory.weight_bytes;
  resolve_options(memory);
  log::info("memory: {}", memory.describe());
  log::info("KV pool: {} pages of {} tokens, {} in all, {}; at most {} requests run at once, {} wait", memory.num_pages,
            geometry.page_size, *options_.max_total_tokens, name(geometry.dtype), options_.max_running_requests,
            options_.max_queued_requests);
  log::info("loaded in {:.2f} s, of which weights {:.2f}; {:.0f} MiB resident", steady_seconds() - started_, load_time,
            static_cast<double>(resident_memory()) / (1024 * 1024));
}

void Engine::Impl::fill_info(const ModelConfig& c) {
  info_.served_model_name = options_.served_model_name;
  info_.tokenizer_path = options_.tokenizer_path.empty() ? info_.model_path : options_.tokenizer_path;
  info_.architecture = c.architecture;
  info_.model_type = c.model_type;
  info_.device = ranks_->describe();
  info_.dtype = options_.dtype == "auto" ? std::string(name(c.dtype)) : options_.dtype;
  info_.load_format = checkpoint_->format();
  const DType kv_dtype = ranks_->kv().geometry().dtype;
  info_.kv_cache_dtype = kv_dtype == DType::Q8_0 ? "int8" : name(kv_dtype);
  info_.context_length = *options_.context_length;
  info_.vocab_size = c.vocab_size;
  info_.is_generation = !options_.is_embedding;
  info_.is_cross_encoder = c.num_labels > 0;
  info_.embedding_size = limits_.embedding_size;
  for (std::string_view n : checkpoint_->names()) info_.num_parameters += checkpoint_->find(n)->shape.elements();
  info_.temperature = c.generation.temperature;
  info_.top_p = c.generation.top_p;
  info_.min_p = c.generation.min_p;
  info_.top_k = c.generation.top_k;
  info_.repetition_penalty = c.generation.repetition_penalty;
  info_.has_grammars = text_.tokenizer != nullptr && info_.is_generation;
  info_.has_chat_template = text_.chat_template != nullptr;
}

// What was left to the engine, as it turned out: options() tells it.
void Engine::Impl::resolve_options(const MemoryPlan& memory) {
  options_.tokenizer_path = info_.tokenizer_path;
  options_.dtype = info_.dtype;
  options_.kv_cache_dtype = info_.kv_cache_dtype;
  options_.load_format = info_.load_format;
  if (options_.threads == 0) options_.threads = default_compute_threads();
  if (options_.mem_fraction_static == 0 && memory.available > 0) {
    options_.mem_fraction_static =
        static_cast<double>(memory.weight_bytes + memory.pool_bytes) / static_cast<double>(memory.available);
  }
}

Engine::Engine(EngineOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Engine::~Engine() = default;

std::vector<Output> Engine::generate(std::vector<Request> requests) {
  // Pieces arrive on the scheduler's thread; this one waits for the last of each.
  std::mutex mutex;
  std::condition_variable done;
  std::vector<Output> results;
  size_t ended = 0;

  std::vector<std::unique_ptr<Sequence>> sequences;
  for (Request& request : requests) {
    const size_t base = results.size();
    results.resize(base + (request.embedding ? 1 : static_cast<size_t>(std::max(request.sampling.n, 1))));
    auto on_output = [&, base](Output&& piece) {
      std::lock_guard lock(mutex);
      Output& whole = results[base + static_cast<size_t>(piece.index)];
      merge(whole, std::move(piece));
      if (whole.finish.type != FinishReason::Type::Running) {
        ++ended;
        done.notify_one();
      }
    };
    for (auto& seq : impl_->prepare(request, on_output)) sequences.push_back(std::move(seq));
  }
  impl_->scheduler_->submit(std::move(sequences), /*unbounded=*/true);
  std::unique_lock lock(mutex);
  done.wait(lock, [&] { return ended == results.size(); });
  return results;
}

std::vector<Output> Engine::embed(std::vector<Request> requests) {
  for (Request& request : requests) {
    if (!request.embedding) request.embedding.emplace();
  }
  return generate(std::move(requests));
}

std::string Engine::submit(Request request, const OutputCallback& on_output) {
  auto sequences = impl_->prepare(request, on_output);
  impl_->scheduler_->submit(std::move(sequences));
  return request.rid;
}

void Engine::submit(std::vector<Request> requests, const std::function<void(size_t, Output&&)>& on_output) {
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto on_piece = [on_output, i](Output&& piece) { on_output(i, std::move(piece)); };
    try {
      for (auto& seq : impl_->prepare(requests[i], on_piece)) sequences.push_back(std::move(seq));
    } catch (const Error& e) {
      if (requests.size() == 1) throw;
      throw Error(e.kind(), fmt::format("input {} of {}: {}", i + 1, requests.size(), e.what()));
    }
  }
  impl_->scheduler_->submit(std::move(sequences));
}

bool Engine::must_compile(const SamplingParams& sampling) const { return impl_->constraints_->must_compile(sampling); }

void Engine::abort(const std::string& rid) { impl_->scheduler_->abort(rid); }
void Engine::abort_all(const std::string& why, int status) { impl_->scheduler_->abort_all(why, status); }
void Engine::pause(PauseMode mode) { impl_->scheduler_->pause(mode); }
void Engine::begin_pause(PauseMode mode) { impl_->scheduler_->pause(mode, /*wait=*/false); }
void Engine::resume() { impl_->scheduler_->resume(); }
bool Engine::flush_cache(double timeout_s) { return impl_->scheduler_->flush_cache(timeout_s); }
bool Engine::drain(double timeout_s) { return impl_->scheduler_->drain(timeout_s); }
const ModelInfo& Engine::info() const { return impl_->info_; }
const EngineOptions& Engine::options() const { return impl_->options_; }
EngineStats Engine::stats() const { return impl_->scheduler_->stats(); }
const Tokenizer* Engine::tokenizer() const { return impl_->text_.tokenizer.get(); }
std::string Engine::render_chat(const ChatPrompt& chat) const { return impl_->render_chat(chat); }
std::vector<int32_t> Engine::tokenize(const Request& request) const { return impl_->tokenize(request); }

}  // namespace sgl
