// Times each op of the cpu backend with the shapes of real models, beside roofs measured in the same run.
//
//   sgl_ops_bench [--threads N] [--filter TEXT] [--seconds S]
//
// Weights cycle through copies that together exceed the caches, as a model's layers do. A line: op, shape, time of the
// fastest run and of the median one (processor time if --threads is 1), GB/s of weights or KV read and its share of the
// read bandwidth, GOP/s and its share of the int8 (float path, attention: float32) peak.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "ops/cpu_backend.h"
#include "ops/roof_kernels.h"
#include "ops/test_data.h"

namespace sgl {
namespace {

using Clock = std::chrono::steady_clock;
using test::Matrix;
using test::random_matrix;
using test::random_weights;

struct Timing {
  double best = 0, median = 0;  // seconds
};

// Time of this process's processors, or of the wall: with one thread the former, which other processes disturb less.
double now(bool processor_time) {
  if (processor_time) return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

// Samples of so many runs that one takes 100 us or more, since std::clock() counts microseconds.
Timing time_it(double seconds, bool processor_time, const std::function<void()>& run) {
  run();
  double once = now(false);
  run();
  once = now(false) - once;
  const int repeats = std::clamp(static_cast<int>(1e-4 / std::max(once, 1e-8)), 1, 10000);
  std::vector<double> times;
  const double start = now(false);
  do {
    const double begin = now(processor_time);
    for (int i = 0; i < repeats; ++i) run();
    times.push_back((now(processor_time) - begin) / repeats);
  } while (now(false) - start < seconds || times.size() < 5);
  std::sort(times.begin(), times.end());
  return {times[0], times[times.size() / 2]};
}

class Bench {
 public:
  Bench(int threads, std::string filter, double seconds)
      : filter_(std::move(filter)),
        seconds_(seconds),
        fast_({.device = "cpu", .threads = threads}),
        exact_({.device = "cpu", .threads = threads, .quantize_activations = false}),
        pool_(threads > 0 ? threads : default_compute_threads()) {}

  void roofs() {
#if defined(__x86_64__)
    const CpuIsa isa = choose_isa();
    const RoofKernels k = isa == CpuIsa::Avx512 ? avx512::roof_kernels()
                          : isa == CpuIsa::Avx2 ? avx2::roof_kernels()
                                                : generic::roof_kernels();
#else
    const RoofKernels k = generic::roof_kernels();
#endif
    const size_t bytes = size_t{512} << 20;
    Buffer memory = allocate_host(bytes);
    std::fill(memory.data(), memory.data() + bytes, std::byte{1});
    std::atomic<uint32_t> sink{0};
    const Timing read = time_it(1.0, pool_.threads() == 1, [&] {
      pool_.parallel_for(static_cast<int64_t>(bytes >> 20), 8, [&](int64_t begin, int64_t end) {
        sink += k.read(memory.data() + (begin << 20), static_cast<size_t>(end - begin) << 20);
      });
    });
    bandwidth_ = static_cast<double>(bytes) / read.best;
    const int64_t rounds = 1 << 16;
    auto peak = [&](uint32_t (*run)(int64_t), int64_t ops) {
      const Timing t = time_it(0.5, pool_.threads() == 1, [&] {
        pool_.parallel_for(16, 1, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) sink += run(rounds);
        });
      });
      return 16.0 * static_cast<double>(rounds * ops) / t.best;
    };
    int8_peak_ = peak(k.int8_dots, k.int8_ops);
    float_peak_ = peak(k.float_fmas, k.float_ops);
    fmt::print("{}\nroofs: read {:.1f} GB/s, int8 dot {:.0f} GOP/s, float32 {:.0f} GFLOP/s ({} wanted sums: {})\n\n",
               fast_.describe(), bandwidth_ / 1e9, int8_peak_ / 1e9, float_peak_ / 1e9, "un", sink.load() % 10);
  }

  void report(const std::string& name, double bytes, double ops, double peak, const std::function<void()>& run) {
    if (name.find(filter_) == std::string::npos) return;
    const Timing t = time_it(seconds_, pool_.threads() == 1, run);
    fmt::print("{:58} {:9.1f} us  median {:9.1f}", name, t.best * 1e6, t.median * 1e6);
    if (bytes > 0) fmt::print("  {:6.1f} GB/s {:3.0f} %", bytes / t.best / 1e9, 100 * bytes / t.best / bandwidth_);
    if (ops > 0) fmt::print("  {:6.0f} GOP/s {:3.0f} %", ops / t.best / 1e9, 100 * ops / t.best / peak);
    fmt::print("\n");
    std::fflush(stdout);
  }

  void linear(const char* model, const char* matrix, DType format, int64_t in, int64_t out, bool exact = false) {
    const std::string prefix =
        fmt::format("linear/{}/{} {} {}x{}{}", model, matrix, name(format), in, out, exact ? " exact" : "");
    if (prefix.find(filter_) == std::string::npos && filter_.find(prefix) == std::string::npos) return;
    CpuBackend& backend = exact ? exact_ : fast_;
    // Copies that exceed the caches; the packing is timed on the first.
    const int64_t bytes = row_bytes(format, in * out);
    const int64_t copies = std::clamp<int64_t>((int64_t{128} << 20) / bytes, 1, 64);
    auto source = random_weights(random_, format, out, in);
    std::vector<Weight> weights;
    for (int64_t i = 0; i < copies; ++i) weights.push_back(backend.prepare({&source.tensor, 1}));
    for (int64_t m : {1, 4, 16, 128, 512}) {
      if (out > 20000 && m > 16) continue;
      if (exact && m != 1 && m != 128) continue;
      Matrix x = random_matrix(random_, m, in), y(m, out);
      size_t next = 0;
      report(fmt::format("{} m{}", prefix, m), static_cast<double>(weights[0].parts[0].packed.bytes()),
             2.0 * static_cast<double>(m * in * out), exact || !is_block_format(format) ? float_peak_ : int8_peak_,
             [&] {
               backend.linear(y.tensor, x.tensor, weights[next], {});
               next = (next + 1) % weights.size();
             });
    }
  }

  void prepare(DType format, int64_t in, int64_t out) {
    auto source = random_weights(random_, format, out, in);
    report(fmt::format("prepare/{} {}x{}", name(format), in, out), static_cast<double>(source.bytes.size()), 0, 1, [&] {
      CpuBackend fresh({.device = "cpu", .threads = pool_.threads()});
      fresh.prepare({&source.tensor, 1});
    });
  }

  void attention(const char* model, int heads, int kv_heads, int head_dim, int seqs, int q_len, int kv_len) {
    const int page_size = 16, layers = 8;
    KvView kv;
    kv.dtype = DType::F16;
    kv.page_size = page_size;
    kv.num_kv_heads = kv_heads;
    kv.head_dim = head_dim;
    PagedBatch batch;
    const int pages = (kv_len + page_size - 1) / page_size;
    for (int s = 0; s < seqs; ++s) {
      batch.seqs.push_back({s * q_len, q_len, kv_len, s * pages});
      for (int p = 0; p < pages; ++p) batch.pages.push_back(s * pages + p);
    }
    batch.token_ids.assign(static_cast<size_t>(seqs * q_len), 0);
    kv.num_pages = seqs * pages;
    const auto bytes = static_cast<size_t>(kv.page_bytes() * kv.num_pages);
    Buffer memory = allocate_host(2 * bytes * layers);
    // Some numbers everywhere: binary16 0.0078.
    for (size_t i = 0; i < memory.bytes() / 2; ++i) reinterpret_cast<uint16_t*>(memory.data())[i] = 0x2000;
    const int64_t rows = int64_t{seqs} * q_len;
    Matrix q = random_matrix(random_, rows, int64_t{heads} * head_dim), out(rows, int64_t{heads} * head_dim),
           k = random_matrix(random_, rows, int64_t{kv_heads} * head_dim);
    AttentionOptions o{.num_heads = heads, .scale = 0.125F};
    int layer = 0;
    auto next_layer = [&] {
      kv.k = memory.data() + 2 * bytes * static_cast<size_t>(layer);
      kv.v = kv.k + bytes;
      layer = (layer + 1) % layers;
    };
    double visible = 0;  // (row, position) pairs
    for (int t = 0; t < q_len; ++t) visible += kv_len - q_len + t + 1;
    const std::string shape = fmt::format("{} {}x{} of {}", model, seqs, q_len, kv_len);
    report("attention/" + shape, static_cast<double>(2 * bytes), 4.0 * visible * seqs * heads * head_dim, float_peak_,
           [&] {
             next_layer();
             fast_.attention(out.tensor, q.tensor, kv, batch, o);
           });
    report("store_kv/" + shape, 0, 0, 1, [&] {
      next_layer();
      fast_.store_kv(kv, k.tensor, k.tensor, batch);
    });
  }

  void rows(const char* model, int64_t hidden, int64_t inter, int64_t vocab) {
    for (int64_t m : {1, 16, 512}) {
      Matrix x = random_matrix(random_, m, hidden), h = random_matrix(random_, m, hidden), out(m, hidden);
      Matrix w = random_matrix(random_, 1, hidden), gate = random_matrix(random_, m, 2 * inter), act(m, inter),
             table = random_matrix(random_, m, 64);
      Tensor weight(w.memory.data(), DType::F32, {hidden});
      const std::string shape = fmt::format("{} m{}", model, m);
      report("add_rms_norm/" + shape, 0, 0, 1,
             [&] { fast_.add_rms_norm(out.tensor, h.tensor, x.tensor, weight, 1e-5F); });
      report("gated_act/" + shape, 0, 0, 1, [&] { fast_.gated_act(act.tensor, gate.tensor, Act::Silu); });
      report("rope/" + shape, 0, 0, 1, [&] { fast_.rope(x.tensor, table.tensor, 64, false); });
      report("add/" + shape, 0, 0, 1, [&] { fast_.add(h.tensor, x.tensor); });
      if (m > 16) continue;
      Matrix logits = random_matrix(random_, m, vocab, 0, 3.0F);  // about as peaked as a model's
      std::vector<SampleResult> results(static_cast<size_t>(m));
      std::vector<SampleRow> greedy(static_cast<size_t>(m)), drawn(static_cast<size_t>(m));
      for (SampleRow& r : greedy) r.temperature = 0;
      for (SampleRow& r : drawn) r.top_p = 0.9F;
      std::vector<SampleRow> plain(static_cast<size_t>(m));
      report("sample/greedy " + shape, 0, 0, 1, [&] { fast_.sample(results, logits.tensor, greedy); });
      report("sample/plain " + shape, 0, 0, 1, [&] { fast_.sample(results, logits.tensor, plain); });
      report("sample/top_p " + shape, 0, 0, 1, [&] { fast_.sample(results, logits.tensor, drawn); });
    }
  }

  void threads() {
    for (int64_t n : {2, 8}) {
      report(fmt::format("parallel_for of {} empty pieces", n), 0, 0, 1,
             [&] { pool_.parallel_for(n, 1, [](int64_t, int64_t) {}); });
    }
  }

 private:
  std::string filter_;
  double seconds_;
  std::mt19937 random_{1};
  CpuBackend fast_, exact_;
  ThreadPool pool_;
  double bandwidth_ = 1, int8_peak_ = 1, float_peak_ = 1;
};

int run(int argc, char** argv) {
  int threads = 0;
  double seconds = 0.2;
  std::string filter;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--threads") {
      threads = std::atoi(argv[i + 1]);
    } else if (flag == "--filter") {
      filter = argv[i + 1];
    } else if (flag == "--seconds") {
      seconds = std::atof(argv[i + 1]);
    } else {
      fmt::print(stderr, "unknown flag {}; expected --threads, --filter or --seconds\n", flag);
      return 1;
    }
  }
  Bench b(threads, filter, seconds);
  b.roofs();
  b.threads();
  b.linear("smollm2", "qkv", DType::Q4_1, 576, 960);
  b.linear("smollm2", "o", DType::Q4_1, 576, 576);
  b.linear("smollm2", "gate_up", DType::Q4_1, 576, 3072);
  b.linear("smollm2", "down", DType::Q4_1, 1536, 576);
  b.linear("smollm2", "head", DType::Q8_0, 576, 49152);
  b.linear("qwen0.5b", "qkv", DType::Q5_0, 896, 1152);
  b.linear("qwen0.5b", "gate_up", DType::Q5_0, 896, 9728);
  b.linear("qwen0.5b", "down", DType::Q4_K, 4864, 896);
  b.linear("qwen0.5b", "down", DType::Q6_K, 4864, 896);
  b.linear("qwen0.5b", "head", DType::Q8_0, 896, 151936);
  b.linear("qwen0.5b", "gate_up", DType::BF16, 896, 9728);
  b.linear("qwen0.5b", "gate_up", DType::Q5_0, 896, 9728, true);
  for (DType t : {DType::Q4_1, DType::Q8_0, DType::Q5_0, DType::Q4_K, DType::Q6_K, DType::BF16})
    b.prepare(t, 1024, 8192);
  b.attention("smollm2", 9, 3, 64, 1, 1, 200);
  b.attention("smollm2", 9, 3, 64, 1, 1, 4096);
  b.attention("smollm2", 9, 3, 64, 16, 1, 500);
  b.attention("smollm2", 9, 3, 64, 1, 512, 512);
  b.attention("smollm2", 9, 3, 64, 1, 512, 4096);
  b.attention("qwen0.5b", 14, 2, 64, 1, 1, 1000);
  b.attention("qwen0.5b", 14, 2, 64, 16, 1, 1000);
  b.attention("qwen0.5b", 14, 2, 64, 1, 512, 512);
  b.rows("smollm2", 576, 1536, 49152);
  b.rows("qwen0.5b", 896, 4864, 151936);
  return 0;
}

}  // namespace
}  // namespace sgl

int main(int argc, char** argv) { return sgl::run(argc, argv); }
