#pragma once
// Times what decides how fast Llama-3-8B runs on a device with memory of its own, which works while the host goes on:
// products, attention and ops on rows, beside what the device does at best. Everything is asked of it through Backend,
// so any device runs the cases: tests take small ones on the cpu.

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "bench/ops_bench.h"
#include "bench/roofs.h"
#include "ops/backend.h"

namespace sgl::bench {

/// A step of sequences that are alike: the last q_len of their kv_len tokens are new.
struct AttentionShape {
  int seqs, q_len, kv_len;
  int page_size = 16;
  int shared = 0;          ///< tokens that all begin with, in the same pages; a multiple of page_size
  bool scattered = false;  ///< pages lie anywhere, not one after the other
  bool codes = false;      ///< keys and values are F8E4M3, not the activations' type
};

struct DeviceSizes {
  std::string model = "llama8b";
  int64_t hidden = 4096, inter = 14336, vocab = 128256;
  int heads = 32, kv_heads = 8, head_dim = 128;
  std::vector<int64_t> rows = {1, 16, 64, 256, 8192};
  int64_t logit_rows = 256;  ///< the most that there are logits of
  std::vector<AttentionShape> attention = {
      {64, 1, 4100},
      {64, 1, 4100, /*page_size=*/64, /*shared=*/0, /*scattered=*/true},
      {64, 1, 4100, /*page_size=*/16, /*shared=*/0, /*scattered=*/false, /*codes=*/true},
      {256, 1, 540},
      {64, 1, 4100, /*page_size=*/16, /*shared=*/4080},
      {8, 2048, 2048},
      {4, 2048, 2048},
      {1, 8192, 8192},
      {16, 512, 512},
      {64, 32, 4128},
      {64, 32, 4128, /*page_size=*/16, /*shared=*/4096},
  };
  /// Of the weights, or of the layers' keys and values, that the runs of a case take in turn: ten times a large cache,
  /// so that they come from memory, as a model's do.
  int64_t turn_bytes = int64_t{512} << 20;
  int64_t copied_bytes = int64_t{1} << 30;  ///< the roofs: of the rows that are copied; and
  int64_t square = 8192;                    ///< rows, inputs and outputs of the product
};

class DeviceOps {
 public:
  /// `on_figures` gets each case's figures.
  DeviceOps(Backend& backend, DeviceSizes sizes, OpsChoice choice, std::function<void(const OpFigures&)> on_figures);

  /// How fast the device copies its memory, and how fast it multiplies numbers of the activations' type.
  Roofs measure_roofs();
  /// Runs the cases that are wanted and returns how many there were.
  int run();

 private:
  enum class Product { Plain, Gated, Head };
  void run_product(const char* matrix, Product product, int64_t in, int64_t out);
  void run_attention(const AttentionShape& shape);
  void run_norms(int64_t rows);
  void run_sampling(int64_t rows);

  bool wants(const std::string& name) const { return choice_.wants(name); }
  Timing time(const std::function<void()>& launch, const PagedBatch& batch);
  void report(const std::string& name, const OpWork& work, const std::function<void()>& launch,
              const PagedBatch& batch);
  void report(const std::string& name, const OpWork& work, const std::function<void()>& launch) {
    report(name, work, launch, no_batch_);
  }
  /// Random numbers of about `size`, the same ones again and again, on the host and on the device.
  Buffer host_numbers(DType type, int64_t count, float size) const;
  Param numbers(DType type, Shape shape, float size = 1.0F);
  void fill(std::byte* device, DType type, int64_t count, float size);
  Param room(DType type, Shape shape);

  Backend& backend_;
  const DeviceSizes sizes_;
  const OpsChoice choice_;
  const std::function<void(const OpFigures&)> on_figures_;
  const DType type_;
  const Arithmetic arithmetic_;
  std::mt19937 random_{1};
  std::vector<float> random_numbers_;
  const PagedBatch no_batch_{};
  int cases_ = 0;
};

}  // namespace sgl::bench
