#include "engine/memory_plan.h"

#include <algorithm>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl {
namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;
constexpr int64_t kDefaultPoolBytes = int64_t{8} << 30;
constexpr int64_t kScratchBytes = int64_t{64} << 20;  ///< activations, logits, buffers
constexpr int kSmallestUsefulTokens = 512;            ///< a pool below this (or below the context) serves nobody

std::string gib(int64_t bytes) { return fmt::format("{:.2f} GiB", static_cast<double>(bytes) / kGiB); }

int64_t weight_bytes(const Checkpoint& checkpoint) {
  int64_t total = 0;
  for (std::string_view name : checkpoint.names()) total += static_cast<int64_t>(checkpoint.find(name)->data.size());
  return total;
}

}  // namespace

std::string MemoryPlan::describe() const {
  return fmt::format("weights {}, KV pool {}, free {}", gib(weight_bytes), gib(pool_bytes), gib(available));
}

DType parse_kv_dtype(const std::string& name, const std::string& dtype, const std::string& device) {
  if (name == "auto") return device == "ref" || dtype == "float32" ? DType::F32 : DType::F16;
  if (name == "float32" || name == "fp32") return DType::F32;
  if (name == "float16" || name == "fp16" || name == "half") return DType::F16;
  if (name == "bfloat16" || name == "bf16") return DType::BF16;
  throw Error(ErrorKind::InvalidArgument,
              fmt::format("kv-cache-dtype must be auto, float32, float16 or bfloat16, got \"{}\"", name));
}

MemoryPlan plan_memory(const EngineOptions& options, const Checkpoint& checkpoint, const KvGeometry& geometry,
                       int context_length, int64_t available) {
  MemoryPlan plan;
  plan.available = available;
  plan.weight_bytes = weight_bytes(checkpoint);
  const int64_t page = geometry.page_bytes();
  const int64_t room = available > 0 ? available - plan.weight_bytes - kScratchBytes : kDefaultPoolBytes;
  const int64_t smallest = (std::min(context_length, kSmallestUsefulTokens) + geometry.page_size) / geometry.page_size;

  if (options.max_total_tokens) {
    plan.num_pages = *options.max_total_tokens / geometry.page_size;
    if (plan.num_pages < 2) {
      throw Error(ErrorKind::InvalidArgument, fmt::format("--max-total-tokens must be at least {} (two pages), got {}",
                                                          2 * geometry.page_size, *options.max_total_tokens));
    }
  } else {
    int64_t bytes = std::min(room / 4, kDefaultPoolBytes);
    if (options.mem_fraction_static > 0) {
      bytes = static_cast<int64_t>(options.mem_fraction_static * static_cast<double>(available)) - plan.weight_bytes;
    }
    // A short context needs no large pool, but at least the smallest useful one is tried.
    plan.num_pages = std::clamp<int64_t>(bytes / page, smallest, INT32_MAX);
  }
  plan.pool_bytes = plan.num_pages * page;
  if (available > 0 && plan.pool_bytes > room) {
    throw Error(
        ErrorKind::ResourceExhausted,
        fmt::format(
            "too little memory: weights need {}, the KV pool of {} tokens needs {}, activations about {}; {} are "
            "free. Take a smaller model or a smaller --max-total-tokens (now {}).",
            gib(plan.weight_bytes), plan.num_pages * geometry.page_size, gib(plan.pool_bytes), gib(kScratchBytes),
            gib(available),
            options.max_total_tokens ? std::to_string(*options.max_total_tokens) : "chosen by the program"));
  }
  return plan;
}

}  // namespace sgl
