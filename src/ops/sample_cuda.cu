// Choosing a token from a row of logits: a block for each row, which sorts nothing.
//
// What the filters keep is all that is heavier than some weight, and of those of that weight the first few. The weight
// is found digit by digit, as radix sort would: a histogram of the highest bits of all weights says in which bin the
// last token that is kept lies, and two more of that bin's tokens, by their lower bits, say which weight it is. Weights
// are e^(x − largest), whose bits order as they do. Sums are of fixed point numbers, so they do not depend on an order,
// and agree with the cpu backend's double sums to 13 digits.

#include <cstdint>

#include "ops/device_cuda.h"
#include "ops/kernels_cuda.h"

namespace sgl::cuda {
namespace {

constexpr int kThreads = 1024, kWarps = kThreads / kWarp;
constexpr int kHighBits = 11, kMiddleBits = 10, kLowBits = 9;  // of the 30 that weights up to 1 have
constexpr int kBins = 1 << kHighBits;
constexpr int kPieces = 256;     // that a row is cut into, to find a draw's place
constexpr double kOne = 0x1p44;  // weight 1 in fixed point: sums of 2^19 of them fit
using Sum = unsigned long long;

// Larger first, on a tie the lower id; a NaN comes before all.
struct Best {
  float x;
  int32_t id;
};
__device__ bool before(const Best& a, const Best& b) {
  const bool a_nan = a.x != a.x, b_nan = b.x != b.x;
  if (a_nan != b_nan) return a_nan;
  return a.x > b.x || (!(a.x < b.x) && a.id < b.id);
}
__device__ Best warp_best(Best best) {
#pragma unroll
  for (int lane = kWarp / 2; lane > 0; lane /= 2) {
    const Best other{__shfl_xor_sync(0xffffffffU, best.x, lane), __shfl_xor_sync(0xffffffffU, best.id, lane)};
    if (before(other, best)) best = other;
  }
  return best;
}

struct Memory {
  Sum sums[kBins];
  uint32_t counts[kBins];
  Sum pieces[kPieces];
  Best best[kWarps];
  // What one warp tells the others:
  int bin;
  uint32_t count;  ///< of what is heavier than the bin
  Sum sum;
  int32_t id;
};

// A block's row: its logits, with what is not allowed left out.
struct RowOf {
  const float* logits;
  const uint32_t* allowed;
  int vocab;
  float inverse;  ///< of the temperature
  float largest;  ///< of the scaled logits

  __device__ bool is_allowed(int i) const { return allowed == nullptr || (allowed[i / 32] >> (i % 32) & 1U) != 0; }
  __device__ float at(int i) const { return is_allowed(i) ? logits[i] : -INFINITY; }
  // Rounded as `largest` is: with a fused multiply-add the rounding of a huge logit would be the exponent.
  __device__ float weight(int i) const { return expf(__fmul_rn(at(i), inverse) - largest); }
};

__device__ Sum fixed(float weight) { return static_cast<Sum>(static_cast<double>(weight) * kOne); }
__device__ int threads_begin() { return static_cast<int>(threadIdx.x); }

__device__ Sum warp_total(Sum x) {
#pragma unroll
  for (int lane = kWarp / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffU, x, lane);
  return x;
}
// The sum of the lanes up to and with this one.
__device__ Sum warp_prefix(Sum x) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const Sum other = __shfl_up_sync(0xffffffffU, x, step);
    if (lane >= step) x += other;
  }
  return x;
}

// What the filters keep: weights above `bits`, and those that have them up to id `last`.
struct Kept {
  uint32_t bits = 0;
  int32_t last = INT32_MAX;
  float least = 0;  ///< min_p
  __device__ bool has(float weight, int id) const {
    const uint32_t b = __float_as_uint(weight);
    return weight > 0 && weight >= least && (b > bits || (b == bits && id <= last));
  }
};

// What the model gave as infinite stays so, and is told.
__device__ float edited(float logit, float x) {
  return isfinite(logit) ? fminf(fmaxf(x, -kLargestEditedLogit), kLargestEditedLogit) : x;
}

// The logits as the penalties, the bias and the bans make them.
__device__ void edit(float* logits, const SampleTask& task, const SampleEdit* edits) {
  for (int i = task.edits + threads_begin(); i < task.counts_end; i += kThreads) {
    float& logit = logits[edits[i].id];
    float x = logit;
    if (task.repetition != 1.0F) x = x > 0 ? x / task.repetition : x * task.repetition;
    logit = edited(logit, x - (task.frequency * edits[i].value + task.presence));
  }
  __syncthreads();
  for (int i = task.counts_end + threads_begin(); i < task.bias_end; i += kThreads) {
    float& logit = logits[edits[i].id];  // no other edit here is of this id
    logit = edited(logit, logit + edits[i].value);
  }
  __syncthreads();
  for (int i = task.bias_end + threads_begin(); i < task.edits_end; i += kThreads) logits[edits[i].id] = -INFINITY;
  __syncthreads();
}

__device__ Best find_largest(const RowOf& row, Memory& memory) {
  Best best{-INFINITY, row.vocab};
  for (int i = threads_begin(); i < row.vocab; i += kThreads) {
    const Best other{row.at(i), i};
    if (before(other, best)) best = other;
  }
  best = warp_best(best);
  if (threadIdx.x % kWarp == 0) memory.best[threadIdx.x / kWarp] = best;
  __syncthreads();
  best = warp_best(memory.best[threadIdx.x % kWarp]);
  __syncthreads();
  return best;
}

// Of the bins, the one with the last token that is kept: it has tokens, and what is heavier than it are fewer than k
// and weigh no more than limit. By one warp; the answer goes to memory.bin, count and sum. count and sum come in as
// those of what is heavier than all bins.
__device__ void find_bin(Memory& memory, int bins, uint32_t k, Sum limit) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, own = bins / kWarp, top = bins - lane * own;
  uint32_t count = 0;
  Sum sum = 0;
  for (int i = top - own; i < top; ++i) {
    count += memory.counts[i];
    sum += memory.sums[i];
  }
  count = static_cast<uint32_t>(warp_prefix(count)) - count + memory.count;
  sum = warp_prefix(sum) - sum + memory.sum;
  int found = bins;
  uint32_t found_count = 0;
  Sum found_sum = 0;
  for (int i = top - 1; i >= top - own && count < k && sum <= limit; --i) {
    if (memory.counts[i] == 0) continue;
    found = i;
    found_count = count;
    found_sum = sum;
    count += memory.counts[i];
    sum += memory.sums[i];
  }
  int lowest = found;
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) lowest = min(lowest, __shfl_xor_sync(0xffffffffU, lowest, step));
  __syncwarp();
  if (found == lowest && found < bins) {
    memory.bin = found;
    memory.count = found_count;
    memory.sum = found_sum;
  }
}

__device__ void clear_bins(Memory& memory) {
  __syncthreads();
  for (int i = threads_begin(); i < kBins; i += kThreads) {
    memory.counts[i] = 0;
    memory.sums[i] = 0;
  }
  __syncthreads();
}

// The tokens whose bits from `shift + width` on are `prefix`, by the `width` bits below these.
__device__ void count_bins(const RowOf& row, Memory& memory, uint32_t prefix, int shift, int width) {
  for (int i = threads_begin(); i < row.vocab; i += kThreads) {
    const float w = row.weight(i);
    const uint32_t bits = __float_as_uint(w);
    if (w <= 0 || bits >> (shift + width) != prefix) continue;
    const uint32_t bin = bits >> shift & ((1U << width) - 1);
    atomicAdd(memory.counts + bin, 1U);
    atomicAdd(memory.sums + bin, fixed(w));
  }
  __syncthreads();
}

// The id of the n-th token that weighs `bits`.
__device__ int32_t id_of_tie(const RowOf& row, Memory& memory, uint32_t bits, uint32_t n) {
  __shared__ uint32_t counts[kWarps];
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  uint32_t seen = 0;
  for (int begin = 0; begin < row.vocab && seen < n; begin += kThreads) {
    const int i = begin + threads_begin();
    const bool tie = i < row.vocab && __float_as_uint(row.weight(i)) == bits;
    const uint32_t ties = __ballot_sync(0xffffffffU, tie);
    if (lane == 0) counts[warp] = static_cast<uint32_t>(__popc(ties));
    __syncthreads();
    uint32_t rank = seen + static_cast<uint32_t>(__popc(ties & ((1U << lane) - 1)));
    for (int w = 0; w < kWarps; ++w) {
      if (w < warp) rank += counts[w];
      seen += counts[w];
    }
    if (tie && rank + 1 == n) memory.id = i;
    __syncthreads();
  }
  return memory.id;
}

// The k heaviest, of these those before which no more than `limit` stands; their sum goes to `mass`.
__device__ Kept select(const RowOf& row, Memory& memory, uint32_t k, Sum limit, Sum& mass) {
  uint32_t prefix = 0;
  int shift = kHighBits + kMiddleBits + kLowBits;
  if (threadIdx.x == 0) {
    memory.count = 0;
    memory.sum = 0;
  }
  for (const int width : {kHighBits, kMiddleBits, kLowBits}) {
    shift -= width;
    clear_bins(memory);
    count_bins(row, memory, prefix, shift, width);
    if (threadIdx.x < kWarp) find_bin(memory, 1 << width, k, limit);
    __syncthreads();
    prefix = prefix << width | static_cast<uint32_t>(memory.bin);
  }
  Kept kept{.bits = prefix};
  const uint32_t ties = memory.counts[memory.bin], room = k - memory.count;
  const Sum each = fixed(__uint_as_float(prefix)), heavier = memory.sum;
  uint32_t n = ties < room ? ties : room;
  if (each > 0 && (limit - heavier) / each < n - 1) n = static_cast<uint32_t>((limit - heavier) / each) + 1;
  mass = heavier + n * each;
  if (n < ties) kept.last = id_of_tie(row, memory, prefix, n);
  __syncthreads();
  return kept;
}

// Sums of what is kept, by pieces of the row; the answer is the whole sum.
__device__ Sum sum_pieces(const RowOf& row, Memory& memory, int piece, const Kept& kept, Sum* all) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  __shared__ Sum everything;
  if (threadIdx.x == 0) everything = 0;
  __syncthreads();
  Sum mine = 0;
  for (int n = warp; n < kPieces; n += kWarps) {
    Sum sum = 0;
    const int end = min((n + 1) * piece, row.vocab);
    for (int i = n * piece + lane; i < end; i += kWarp) {
      const float w = row.weight(i);
      const Sum x = fixed(w);
      mine += x;
      if (kept.has(w, i)) sum += x;
    }
    sum = warp_total(sum);
    if (lane == 0) memory.pieces[n] = sum;
  }
  mine = warp_total(mine);
  if (lane == 0) atomicAdd(&everything, mine);
  __syncthreads();
  *all = everything;
  Sum total = 0;
  for (int n = lane; n < kPieces; n += kWarp) total += memory.pieces[n];
  return warp_total(total);
}

// The first kept token at which the sum of the kept ones reaches `target`. By one warp; it goes to memory.id.
__device__ void draw(const RowOf& row, Memory& memory, int piece, const Kept& kept, Sum target) {
  const int lane = static_cast<int>(threadIdx.x);
  constexpr int kOwn = kPieces / kWarp;
  Sum own = 0;
  for (int i = 0; i < kOwn; ++i) own += memory.pieces[lane * kOwn + i];
  Sum sum = warp_prefix(own) - own;
  int n = kPieces;
  Sum base = 0;
  for (int i = 0; i < kOwn && n == kPieces; ++i) {
    const Sum next = sum + memory.pieces[lane * kOwn + i];
    if (sum < target && next >= target) {
      n = lane * kOwn + i;
      base = sum;
    }
    sum = next;
  }
  const uint32_t has = __ballot_sync(0xffffffffU, n < kPieces);
  const int owner = has != 0 ? __ffs(static_cast<int>(has)) - 1 : 0;
  n = __shfl_sync(0xffffffffU, n, owner);
  base = __shfl_sync(0xffffffffU, base, owner);
  const int end = min((n + 1) * piece, row.vocab);
  for (int begin = n * piece; begin < end; begin += kWarp) {
    const int i = begin + lane;
    const float w = i < end ? row.weight(i) : 0.0F;
    const Sum x = i < end && kept.has(w, i) ? fixed(w) : 0;
    const Sum upto = warp_prefix(x) + base;
    const uint32_t reached = __ballot_sync(0xffffffffU, x > 0 && upto >= target);
    if (reached != 0) {
      if (lane == 0) memory.id = begin + __ffs(static_cast<int>(reached)) - 1;
      return;
    }
    base = __shfl_sync(0xffffffffU, upto, kWarp - 1);
  }
}

__global__ void __launch_bounds__(kThreads)
    sample_kernel(SampleChoice* choices, int32_t* chosen, float* logits, int64_t stride, int vocab,
                  const SampleTask* tasks, const SampleEdit* edits, const uint32_t* masks) {
  let_next_start();
  extern __shared__ __align__(16) unsigned char bytes[];
  Memory& memory = *reinterpret_cast<Memory*>(bytes);
  const SampleTask task = tasks[blockIdx.x];
  wait_for_previous();
  float* own = logits + task.row * stride;
  if (task.edits < task.edits_end) edit(own, task, edits);
  RowOf row{own, task.mask < 0 ? nullptr : masks + task.mask, vocab, task.inverse_temperature, 0.0F};
  const Best best = find_largest(row, memory);
  SampleChoice choice{.token = best.id, .logprob = 0.0F};
  if (!isfinite(best.x)) {
    if (threadIdx.x == 0) {
      choices[blockIdx.x] = {-1, 0.0F};
      chosen[task.row] = 0;
    }
    return;
  }
  row.largest = __fmul_rn(best.x, row.inverse);
  Sum all = 0;
  if (task.draws) {
    const int piece = ((vocab + kPieces - 1) / kPieces + kWarp - 1) / kWarp * kWarp;
    const bool by_k = task.top_k > 0 && task.top_k < vocab, by_p = task.top_p < 1.0F;
    Kept kept{.least = task.min_p};
    Sum total = sum_pieces(row, memory, piece, kept, &all);
    if (by_k || by_p) {
      const uint32_t k = by_k ? static_cast<uint32_t>(task.top_k) : UINT32_MAX;
      // With min_p each filter renormalises what the one before left.
      Sum mass = all;
      if (by_k && by_p && task.min_p > 0) select(row, memory, k, ~Sum{0}, mass);
      const Sum limit = by_p ? static_cast<Sum>(static_cast<double>(task.top_p) * static_cast<double>(mass)) : ~Sum{0};
      kept = select(row, memory, k, limit, mass);
      kept.least = task.min_p;
      total = sum_pieces(row, memory, piece, kept, &all);
    }
    const auto target = static_cast<Sum>(ceil(task.uniform * static_cast<double>(total)));
    if (threadIdx.x == 0) memory.id = best.id;
    __syncthreads();
    if (threadIdx.x < kWarp) draw(row, memory, piece, kept, target < 1 ? 1 : target > total ? total : target);
    __syncthreads();
    choice.token = memory.id;
  } else if (task.wants_logprob) {
    sum_pieces(row, memory, (vocab + kPieces - 1) / kPieces, Kept{}, &all);
  }
  if (threadIdx.x != 0) return;
  if (task.forced >= 0) choice.token = task.forced;
  if (task.wants_logprob) {
    const double log_total = static_cast<double>(row.largest) + log(static_cast<double>(all) / kOne);
    choice.logprob = static_cast<float>(static_cast<double>(row.at(choice.token) * row.inverse) - log_total);
  }
  choices[blockIdx.x] = choice;
  chosen[task.row] = choice.token;
}

}  // namespace

void sample(cudaStream_t stream, SampleChoice* choices, int32_t* chosen, Tensor logits, int num_tasks,
            const SampleTask* tasks, const SampleEdit* edits, const uint32_t* masks) {
  launch(stream, static_cast<unsigned>(num_tasks), kThreads, sizeof(Memory), sample_kernel, choices, chosen,
         pointer<float>(logits), logits.row_stride, static_cast<int>(logits.cols()), tasks, edits, masks);
}

}  // namespace sgl::cuda
