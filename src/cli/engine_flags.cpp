// The flags that commands share, by heading of --help, and the flags of SGLang's that are not here yet.

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "cli/flags.h"

namespace sgl::cli {
namespace {

constexpr int kMaxInt = std::numeric_limits<int>::max();
constexpr int64_t kMaxInt64 = std::numeric_limits<int64_t>::max();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

void add_model_flags(Flags& f, EngineOptions& o) {
  f.group("Model");
  f.text(
      "--model-path,--model", o.model_path, "MODEL",
      "a directory, a .gguf file, or a hub id: org/name[@revision][:FILE-OR-QUANT]; without it SmolLM2-135M-Instruct, "
      "downloaded once");
  f.text("--tokenizer-path", o.tokenizer_path, "PATH",
         "where the tokenizer is, if not with the model: a directory, a .gguf file, or a hub id");
  f.toggle("--skip-tokenizer-init", o.skip_tokenizer_init, "no tokenizer: token ids in, token ids out");
  f.toggle("--is-embedding", o.is_embedding,
           "embed texts instead of generating; encoders, and models whose files say that they embed, do so unasked");
  f.choice("--load-format", o.load_format, {"auto", "safetensors", "gguf", "dummy"},
           "form of the weights; dummy: random ones, from a config alone (default: auto)");
  f.text("--revision", o.revision, "NAME", "branch, tag or commit of a hub model (default: main)");
  f.text(
      "--chat-template", o.chat_template, "FILE-OR-NAME",
      "a Jinja chat template instead of the model's own, or the name of a built-in one (chatml, llama-3, gemma, …; a "
      "wrong name lists them)");
  f.integer("--context-length", o.context_length, 1, kMaxInt, "tokens a request may have (default: the model's)");
  f.toggle("--allow-auto-truncate", o.allow_auto_truncate, "cut prompts that are too long instead of refusing them");
  f.text("--json-model-override-args", o.json_model_override_args, "JSON", "object merged over the model's config");
}

void add_compute_flags(Flags& f, EngineOptions& o) {
  f.group("Computing");
  f.text_to(
      "--device",
      [&o](const std::string& s) {
        if (s != "auto" && s != "cpu" && s != "cuda" && s != "ref") {
          throw UsageError("--device: expected one of auto, cpu, cuda, ref, got '" + s + "'");
        }
        o.device = s == "auto" ? "cpu" : s;
      },
      "auto|cpu|cuda|ref",
      "cuda: an NVIDIA GPU, in builds with CUDA; ref: plain loops, slow, to compare with (default: auto, that is cpu)");
  f.text("--dtype", o.dtype, "TYPE",
         "auto, or float32: exact, activations are never quantized; on cuda also bfloat16 and float16, and auto is the "
         "model's of these two, else bfloat16 (default: auto)");
  f.text(
      "--kv-cache-dtype", o.kv_cache_dtype, "TYPE",
      "numbers in the KV cache: auto, float32, float16, bfloat16 or, half of 16 bits, int8 in blocks of 32 (on cpu) or "
      "fp8_e4m3 (on cuda) (default: auto, that is float16, and float32 with --dtype float32; on cuda the type that it "
      "computes in)");
  f.choice(
      "--quantization", o.quantization, {"fp8", "int8", "int4"},
      "quantize the layers' matrices when they are loaded: int4 to 4 bits in groups of 128 (on cpu of 32 where rows "
      "need it), int8 to 8 (on cpu in blocks of 32, on cuda by rows, and activations of many rows with them), fp8 (on "
      "cuda) to 8-bit floating point numbers; on cpu those of float types alone, and the head to 8 bits (default: "
      "leave them)");
  f.integer("--tp-size,--tensor-parallel-size", o.tp_size, 1, kMaxInt,
            "on cuda: share the model out to so many GPUs, which must reach each other's memory (default: 1)");
  f.toggle(
      "--deterministic,--enable-deterministic-inference", o.deterministic,
      "on cuda: an answer's bits do not depend on what runs beside it, or on how its prompt is cut; slower (on cpu "
      "it is always so)");
  f.integer("--threads", o.threads, 0, 4096, "compute threads; 0: as the machine suggests (default: 0)");
  f.choice(
      "--numa", o.numa, {"auto", "interleave", "local"},
      "weights and KV cache on a machine with several memory nodes: in turns on all of them, or where they are first "
      "touched (default: auto, that is interleave where there are several)");
  f.integer("--random-seed", o.random_seed, 0, kMaxInt64,
            "of requests without a seed of their own; 0: random (default: 0)");
}

void add_scheduler_flags(Flags& f, EngineOptions& o) {
  f.group("Memory and scheduling");
  f.integer("--max-total-tokens", o.max_total_tokens, 1, kMaxInt64,
            "size of the KV pool in tokens (default: by memory)");
  f.number("--mem-fraction-static", o.mem_fraction_static, 0, 1,
           "share of the memory for weights and KV pool; 0: chosen (default: 0)");
  f.integer("--page-size", o.page_size, 1, 65536, "tokens a KV page; on cpu a multiple of 16 (default: 16)");
  f.integer("--max-running-requests", o.max_running_requests, 0, kMaxInt,
            "requests that run at once; 0: chosen (default: 0)");
  f.integer("--max-queued-requests", o.max_queued_requests, 1, kMaxInt,
            "requests that wait; more are refused with 503 (default: 4096)");
  f.number(
      "--max-ttft", o.max_ttft_s, 0, 1e6,
      "seconds to the first token: a request that must expect more, as fast as the queue has moved lately, is refused "
      "with 503, and one that was taken has the place of a running answer, which pauses, before it is late; not with "
      "--enable-priority-scheduling; 0: no limit (default: 0)");
  f.integer("--chunked-prefill-size", o.chunked_prefill_size, -1, kMaxInt,
            "tokens that one step computes; -1: prompts are never cut; 0: 512, on cuda 8192 (default: 0)");
  f.integer("--max-prefill-tokens", o.max_prefill_tokens, 1, kMaxInt,
            "tokens of prompts that one step computes together (default: 16384)");
  f.choice(
      "--schedule-policy", o.schedule_policy, {"lpm", "fcfs", "dfs-weight", "lof", "random"},
      "which waiting request runs next: longest cached prefix, first come, shared prefixes together, longest output "
      "first, by chance (default: lpm)");
  f.number("--schedule-conservativeness", o.schedule_conservativeness, 0, kInfinity,
           "more: fewer requests are sent back to the queue for want of memory, fewer run at once (default: 1)");
  f.toggle("--enable-priority-scheduling", o.enable_priority_scheduling,
           "requests with a larger `priority` come first (default: priorities are ignored)");
  f.integer("--priority-scheduling-preemption-threshold", o.priority_scheduling_preemption_threshold, 1, kMaxInt,
            "a request takes the place of running ones whose priority is so much lower (default: 10)");
  f.toggle("--disable-radix-cache", o.disable_radix_cache, "do not share computed prefixes between requests");
  f.toggle("--disable-overlap-schedule", o.disable_overlap_schedule,
           "on a GPU, wait for a step's tokens before the next one is planned");
  f.group("Constrained output");
  f.toggle("--disable-jump-forward", o.disable_jump_forward, "sample text that a grammar forces token by token, too");
  f.toggle("--constrained-json-any-whitespace", o.constrained_json_any_whitespace,
           "let JSON that follows a grammar have white space between its tokens (default: compact)");
  f.integer("--constrained-json-max-whitespace-cnt", o.constrained_json_max_whitespace, 0, 65536,
            "of it, characters in a row at most (default: 64)");
}

void add_sampling_flags(Flags& f, nlohmann::ordered_json& params) {
  f.group("Sampling");
  auto integer = [&](const char* flag, const char* key, int64_t min, int64_t max, const char* help) {
    f.integer_to(
        flag, [&params, key](int64_t n) { params[key] = n; }, min, max, help);
  };
  auto number = [&](const char* flag, const char* key, double min, double max, const char* help) {
    f.number_to(
        flag, [&params, key](double x) { params[key] = x; }, min, max, help);
  };
  integer("--max-new-tokens,--max-tokens", "max_new_tokens", 0, kMaxInt, "tokens of an answer at most");
  integer("--min-new-tokens", "min_new_tokens", 0, kMaxInt, "tokens before which an answer does not end");
  number("--temperature", "temperature", 0, kInfinity, "0: always the likeliest token");
  number("--top-p", "top_p", std::numeric_limits<double>::min(), 1,
         "likeliest tokens that together have this probability");
  f.integer_to(
      "--top-k",
      [&params](int64_t n) {
        if (n == 0) throw UsageError("--top-k: expected -1 (all) or at least 1, got '0'");
        params["top_k"] = n;
      },
      -1, kMaxInt, "this many likeliest tokens; -1: all");
  number("--min-p", "min_p", 0, 1, "tokens with at least this share of the likeliest one's probability");
  number("--frequency-penalty", "frequency_penalty", -2, 2, "per occurrence in the answer");
  number("--presence-penalty", "presence_penalty", -2, 2, "once a token is in the answer");
  number("--repetition-penalty", "repetition_penalty", std::numeric_limits<double>::min(), 2, "factor; 1: none");
  integer("--seed", "sampling_seed", std::numeric_limits<int64_t>::min(), kMaxInt64,
          "the same seed gives the same answer");
  f.texts_to(
      "--stop", [&params](const std::vector<std::string>& v) { params["stop"] = v; }, "TEXT",
      "the answer ends before it; may be given several times");
}

void add_log_level(Flags& f, std::string& level, const std::string& fallback) {
  level = fallback;
  f.choice("--log-level", level, {"debug", "info", "warn", "warning", "error", "critical", "off"},
           "(default: " + fallback + ")");
}

const std::vector<ForeignFlag>& foreign_flags() {
  static const std::vector<ForeignFlag> flags = {
      {"--abort-on-priority-when-disabled", false, nullptr},
      {"--attention-backend", true, nullptr},
      {"--attn-dp-size", true, "1"},
      {"--base-gpu-id", true, "0"},
      {"--completion-template", true, nullptr},
      {"--constrained-json-disable-any-whitespace", false, ""},  // as is the default
      {"--cpu-offload-gb", true, "0"},
      {"--crash-dump-folder", true, nullptr},
      {"--cuda-graph-backend-decode", true, "disabled"},
      {"--cuda-graph-bs", true, nullptr},
      {"--cuda-graph-max-bs", true, nullptr},
      {"--cuda-graph-max-bs-decode", true, nullptr},
      {"--data-parallel-size", true, "1"},
      {"--decode-attention-backend", true, nullptr},
      {"--disable-cuda-graph", false, ""},
      {"--disaggregation-bootstrap-port", true, nullptr},
      {"--disaggregation-mode", true, "null"},
      {"--disaggregation-transfer-backend", true, nullptr},
      {"--dist-init-addr", true, nullptr},
      {"--dp-size", true, "1"},
      {"--enable-cache-report", false, ""},  // always reported
      {"--enable-custom-logit-processor", false, nullptr},
      {"--enable-dp-attention", false, nullptr},
      {"--enable-hierarchical-cache", false, nullptr},
      {"--enable-lora", false, nullptr},
      {"--enable-mixed-chunk", false, ""},  // prompts and decoding always share steps
      {"--enable-multimodal", false, nullptr},
      {"--enable-return-hidden-states", false, nullptr},
      {"--enable-torch-compile", false, nullptr},
      {"--ep-size", true, "1"},
      {"--expert-parallel-size", true, "1"},
      {"--grammar-backend", true, "xgrammar"},  // its own, with all that one's grammars
      {"--hf-chat-template-name", true, nullptr},
      {"--hicache-ratio", true, nullptr},
      {"--hicache-size", true, nullptr},
      {"--hicache-storage-backend", true, nullptr},
      {"--hicache-write-policy", true, nullptr},
      {"--limit-mm-data-per-request", true, nullptr},
      {"--load-balance-method", true, "auto"},
      {"--lora-backend", true, nullptr},
      {"--lora-paths", true, nullptr},
      {"--max-lora-rank", true, nullptr},
      {"--max-loras-per-batch", true, nullptr},
      {"--mm-attention-backend", true, nullptr},
      {"--nnodes", true, "1"},
      {"--node-rank", true, "0"},
      {"--num-continuous-decode-steps", true, "1"},
      {"--pipeline-parallel-size", true, "1"},
      {"--pp-size", true, "1"},
      {"--prefill-attention-backend", true, nullptr},
      {"--radix-eviction-policy", true, "lru"},
      {"--sampling-backend", true, nullptr},
      {"--sleep-on-idle", false, ""},  // an idle engine always sleeps
      {"--speculative-accept-threshold-acc", true, nullptr},
      {"--speculative-accept-threshold-single", true, nullptr},
      {"--speculative-algorithm", true, nullptr},
      {"--speculative-draft-model-path", true, nullptr},
      {"--speculative-eagle-topk", true, nullptr},
      {"--speculative-num-draft-tokens", true, nullptr},
      {"--speculative-num-steps", true, nullptr},
      {"--tokenizer-mode", true, "auto"},
      {"--torch-compile-max-bs", true, nullptr},
      {"--trust-remote-code", false, ""},  // nothing in a model is ever run
      {"--warmups", true, nullptr},
      {"--watchdog-timeout", true, "300"},  // SGLang's default; health tells of a step that does not end
  };
  return flags;
}

}  // namespace sgl::cli
