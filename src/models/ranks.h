#pragma once
// A model on one device, or shared out to the ranks of a tensor-parallel group: what the engine runs.
//
//   Ranks::forward ─┬─ rank 0, on the calling thread:  backend, model, KV pool, arena
//                   ├─ rank 1, on a thread of its own: backend, model, KV pool, arena
//                   └─ …
//
// Each rank has the heads h / n … of attention, a part of each MLP and of the vocabulary, and all of the residual
// stream. Rank 0 has the logits and chooses the tokens.

#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cache/kv_pool.h"
#include "checkpoint/checkpoint.h"
#include "nn/model.h"
#include "ops/backend.h"

namespace sgl {

/// Thread: calls come from one at a time; rank 0 runs on the one that calls.
class Ranks : public Model {
 public:
  /// Creates the backends. Throws InvalidArgument when `size` is not in [1, RankGroup::kMost], and what
  /// Backend::create() throws.
  Ranks(const BackendOptions& options, int size);
  ~Ranks() override;

  int size() const { return static_cast<int>(ranks_.size()); }
  /// Rank 0's.
  Backend& backend() const { return *ranks_[0].backend; }
  const KvPool& kv() const { return *ranks_[0].kv; }
  /// Rank 0's, and how many there are.
  std::string describe() const;
  /// Of the rank that has least; 0 if unknown.
  int64_t available_memory();

  /// Each rank loads its part. `geometry` has the KV heads of one rank. The checkpoint must outlive the ranks.
  void load(const Checkpoint& checkpoint, int context_length, ModelResult result, const KvGeometry& geometry,
            int64_t num_pages);

  const ModelConfig& config() const override { return ranks_[0].model->config(); }
  /// ops, arena and kv are rank 0's. The others' errors come out of it, too; afterwards the next step may be tried.
  Tensor forward(Backend& ops, Arena& arena, const KvPool& kv, const PagedBatch& batch,
                 std::span<const int32_t> rows) const override;

 private:
  struct Rank {
    std::unique_ptr<Backend> backend;
    std::unique_ptr<Model> model;
    std::unique_ptr<KvPool> kv;
    std::unique_ptr<Arena> arena;  ///< none at rank 0: the runner's
  };
  class Threads;
  /// job(rank) for all ranks at once, each on its thread. Gives, or throws, one of their errors: that which matters.
  std::exception_ptr run_all(const std::function<void(int)>& job) const;
  void run(const std::function<void(int)>& job) const;

  std::shared_ptr<RankGroup> group_;  ///< null: one rank
  std::vector<Rank> ranks_;
  std::unique_ptr<Threads> threads_;
};

}  // namespace sgl
