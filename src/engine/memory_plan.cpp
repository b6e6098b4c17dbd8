#include "engine/memory_plan.h"

#include <algorithm>

#include <fmt/format.h>

#include "engine/plan.h"
#include "sgl/error.h"

namespace sgl {
namespace {

constexpr double kMiB = 1024.0 * 1024, kGiB = 1024 * kMiB;
constexpr int64_t kDefaultPoolBytes = int64_t{8} << 30;
constexpr int64_t kProgramBytes = int64_t{32} << 20;  ///< tokenizer, cache tree, threads, HTTP
constexpr int kSmallestUsefulTokens = 512;            ///< a pool below this (or below the context) serves nobody

std::string size_text(int64_t bytes) {
  const auto b = static_cast<double>(bytes);
  return b < kGiB ? fmt::format("{:.0f} MiB", b / kMiB) : fmt::format("{:.2f} GiB", b / kGiB);
}

// Whether rows are looked up in it: then it stays as it is.
bool is_table(std::string_view name) {
  return name.ends_with("embed_tokens.weight") || name.ends_with("wte.weight") || name.ends_with("wpe.weight") ||
         name.ends_with("_embeddings.weight");
}

// Of one of so many ranks: each has a part of the matrices, and all tables and vectors.
int64_t weight_bytes(const Checkpoint& checkpoint, std::optional<DType> converted, Quantization quantization,
                     int ranks) {
  const bool whole_head = checkpoint.config().vocab_size % ranks != 0;  // nn/decoder.h
  int64_t total = 0, table = 0;
  for (std::string_view name : checkpoint.names()) {
    const FileTensor& t = *checkpoint.find(name);
    auto bytes = converted ? row_bytes(*converted, t.shape.elements()) : t.bytes();
    if (name.ends_with("embed_tokens.weight") || name.ends_with("wte.weight")) table = bytes;
    const bool matrix = t.shape.rank() == 2 && !is_table(name), head = name.ends_with("lm_head.weight");
    if (converted && matrix && !head) {
      // Groups of the device's own size stay as they are, whatever is asked for (CudaBackend::prepare), unless a rank's
      // share of the inputs cuts one (Loader::add_share).
      const bool kept_int4 = t.dtype == DType::Int4G128 && converted != DType::F32 &&
                             t.shape[1] % (ranks * block_layout(t.dtype).elements) == 0;
      const Quantization kept = kept_int4 ? Quantization::Int4 : quantization;
      if (kept != Quantization::None) bytes = quantized_bytes(kept, t.shape[0], t.shape[1]);
    } else if (!converted && matrix) {
      const bool int8_head = quantization != Quantization::None && head;
      bytes = row_bytes(quantized_format(int8_head ? Quantization::Int8 : quantization, t.dtype, t.shape[1]),
                        t.shape.elements());
    }
    const bool whole = !matrix || (whole_head && head);
    total += whole ? bytes : bytes / ranks;
  }
  // A device that converts has the table for look-ups and, if it is also the head, the matrix.
  return total + (converted && checkpoint.config().tie_word_embeddings ? table / (whole_head ? 1 : ranks) : 0);
}

// What the largest step computes beside the KV cache: a block's float32 activations for all of its tokens
// (nn/layers.cpp) and the logits of the rows that want them.
int64_t scratch_bytes(const EngineOptions& o, const ModelConfig& c, int context_length) {
  const int64_t running = o.max_running_requests;
  const int64_t prompt_tokens =
      o.chunked_prefill_size > 0 ? o.chunked_prefill_size : std::max<int64_t>(context_length, o.max_prefill_tokens);
  const int64_t heads = int64_t{c.num_heads} * c.head_dim, kv_heads = int64_t{c.num_kv_heads} * c.head_dim;
  const int64_t shared_out = 2 * (heads + kv_heads) + int64_t{3} * c.intermediate_size;
  const int64_t rows = prompt_tokens + running, logit_rows = kMostScoredRows + running;
  const int64_t activations = rows * (int64_t{6} * c.hidden_size + shared_out / o.tp_size) * 4;
  const int64_t logits = logit_rows * c.vocab_size * 4;
  // Parts that other ranks read, of the residual stream's sums or of the logits, in two places (ops/exchange.cpp).
  const int64_t parts = std::max(rows * c.hidden_size * 4, logits / o.tp_size) * (o.tp_size > 1 ? 2 : 0);
  return (activations + logits + parts) / 4 * 5 + kProgramBytes;  // the arena keeps a quarter in reserve
}

}  // namespace

std::string MemoryPlan::describe() const {
  return fmt::format("weights {}, KV pool {}, computing up to {}, free {}", size_text(weight_bytes),
                     size_text(pool_bytes), size_text(scratch_bytes), size_text(available));
}

DType parse_kv_dtype(const std::string& name, DType automatic) {
  if (name == "auto") return automatic;
  if (name == "float32" || name == "fp32") return DType::F32;
  if (name == "float16" || name == "fp16" || name == "half") return DType::F16;
  if (name == "bfloat16" || name == "bf16") return DType::BF16;
  if (name == "int8") return DType::Q8_0;
  if (name == "fp8_e4m3" || name == "fp8") return DType::F8E4M3;
  throw Error(
      ErrorKind::InvalidArgument,
      fmt::format("--kv-cache-dtype must be auto, float32, float16, bfloat16, int8 or fp8_e4m3, got \"{}\"", name));
}

Quantization parse_quantization(const std::string& name, const std::string& device) {
  if (name.empty()) return Quantization::None;
  if (device != "cuda" && device != "cpu") {
    throw Error(
        ErrorKind::InvalidArgument,
        fmt::format("--quantization is for the devices cpu and cuda; {} computes with what the file has", device));
  }
  const bool cuda = device == "cuda";
  const auto named = quantization_named(name);
  if (named && (cuda || *named != Quantization::Fp8)) return *named;
  throw Error(ErrorKind::InvalidArgument,
              fmt::format("--quantization must be {}int8 or int4 on the {} device, got \"{}\"", cuda ? "fp8, " : "",
                          device, name));
}

MemoryPlan plan_memory(const EngineOptions& options, const Checkpoint& checkpoint, const KvGeometry& geometry,
                       int context_length, int64_t available, std::optional<DType> converted,
                       Quantization quantization) {
  MemoryPlan plan;
  plan.available = available;
  plan.weight_bytes = weight_bytes(checkpoint, converted, quantization, options.tp_size);
  const int64_t page = geometry.page_bytes();
  plan.scratch_bytes = scratch_bytes(options, checkpoint.config(), context_length);
  if (geometry.dtype == DType::F8E4M3) {
    const int64_t pages = (context_length + geometry.page_size - 1) / geometry.page_size;
    const int64_t longest = pages * geometry.page_size * geometry.num_kv_heads * geometry.head_dim * 4;
    plan.scratch_bytes += std::max(longest, kWidenedBytes) / 4 * 5;  // with the quarter that scratch grows by
  }
  const int64_t room = available > 0 ? available - plan.weight_bytes - plan.scratch_bytes : kDefaultPoolBytes;
  const int64_t smallest = (std::min(context_length, kSmallestUsefulTokens) + geometry.page_size) / geometry.page_size;

  if (options.max_total_tokens) {
    plan.num_pages = *options.max_total_tokens / geometry.page_size;
    if (plan.num_pages < 2) {
      throw Error(ErrorKind::InvalidArgument, fmt::format("--max-total-tokens must be at least {} (two pages), got {}",
                                                          2 * geometry.page_size, *options.max_total_tokens));
    }
  } else {
    // A GPU serves one program: it takes all. The host's memory has other uses.
    int64_t bytes = options.device == "cuda" ? room / 10 * 9 : std::min(room / 4, kDefaultPoolBytes);
    if (options.mem_fraction_static > 0) {
      bytes = static_cast<int64_t>(options.mem_fraction_static * static_cast<double>(available)) - plan.weight_bytes;
      if (available > 0) bytes = std::min(bytes, room);
    }
    // A short context needs no large pool, but at least the smallest useful one is tried.
    plan.num_pages = std::clamp<int64_t>(bytes / page, smallest, INT32_MAX);
  }
  plan.pool_bytes = plan.num_pages * page;
  if (available > 0 && plan.pool_bytes > room) {
    throw Error(
        ErrorKind::ResourceExhausted,
        fmt::format(
            "too little memory: weights need {}, the KV pool of {} tokens needs {}, computing takes about {}; {} are "
            "free. Take a smaller model or a smaller --max-total-tokens (now {}).",
            size_text(plan.weight_bytes), plan.num_pages * geometry.page_size, size_text(plan.pool_bytes),
            size_text(plan.scratch_bytes), size_text(available),
            options.max_total_tokens ? std::to_string(*options.max_total_tokens) : "chosen by the program"));
  }
  return plan;
}

}  // namespace sgl
