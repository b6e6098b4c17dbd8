// store_kv() and attention() on the processor: cuts a batch into tiles of rows for the kernels.
//
// A task is a tile: some tokens of one sequence, the query heads of one KV head. Where one of them has
// much of all the work (decode of few sequences with much context), the splits of a tile's context become tasks of
// their own and are merged afterwards, by the same operations in the same order as when one thread does it all.
//
// Splits that several sequences share are attended before, once for the rows of all of them: their keys and values are
// read once, and there are rows enough to multiply at full speed. The order of merging stays the same.

#include <algorithm>

#include "ops/cpu_backend.h"

namespace sgl {
namespace {

constexpr int64_t kMaxSplitBytes = 64 << 20;
constexpr int kTilesPerThread = 4;

bool has_own_layout(const KvView& kv) {
  const bool int8 = kv.dtype == DType::Q8_0;
  return kv.dtype != DType::F8E4M3 && kv.head_dim % (int8 ? kKvBlock : 16) == 0 &&
         kv.head_dim <= (int8 ? kMaxWidenedDim : kMaxHeadDim) && kv.page_size % kKeyGroup == 0;
}

int64_t head_bytes(const KvView& kv) { return row_bytes(kv.dtype, int64_t{kv.page_size} * kv.head_dim); }

// The state of `rows` rows in memory of state_floats() floats.
int64_t state_floats(int64_t rows, int64_t head_dim) { return (rows * (head_dim + 2) + 15) / 16 * 16; }
AttentionState state_at(float* memory, int rows, int head_dim) {
  return {memory + rows * head_dim, memory + rows * head_dim + rows, memory};
}
AttentionState from_row(const AttentionState& s, int row, int head_dim) {
  return {s.max + row, s.sum + row, s.out + int64_t{row} * head_dim};
}
void copy_state(const AttentionState& to, const AttentionState& from, int rows, int head_dim) {
  std::copy_n(from.max, rows, to.max);
  std::copy_n(from.sum, rows, to.sum);
  std::copy_n(from.out, int64_t{rows} * head_dim, to.out);
}

// What tiles of one KV head have in common; `seq` is whose pages they look at.
AttentionTile tile_of(const KvView& kv, const PagedBatch& batch, const AttentionOptions& o, int kv_head, int32_t seq) {
  const BatchSeq& of = batch.seqs[static_cast<size_t>(seq)];
  AttentionTile t;
  t.head_dim = kv.head_dim;
  t.scale = o.scale;
  t.softcap = o.softcap;
  t.window = o.window;
  t.k = kv.k + kv_head * head_bytes(kv);
  t.v = kv.v + kv_head * head_bytes(kv);
  t.dtype = kv.dtype;
  t.page_bytes = kv.page_bytes();
  t.page_size = kv.page_size;
  t.pages = batch.pages.data() + of.page_begin;
  t.kv_len = of.kv_len;
  return t;
}

// The last position that new token `token` of a sequence sees.
int last_seen(const BatchSeq& seq, int token, const AttentionOptions& o) {
  return o.causal ? seq.kv_len - seq.q_len + token : seq.kv_len - 1;
}

int group_of(const KvView& kv, const AttentionOptions& o) { return o.num_heads / kv.num_kv_heads; }
// The state of one shared tile and KV head: room for the largest tile.
int64_t shared_state_floats(const SharedSplits& shared, int group, int head_dim) {
  return state_floats(shared.largest() * group, head_dim);
}

}  // namespace

void CpuBackend::store_kv(const KvView& kv, Tensor k, Tensor v, const PagedBatch& batch) {
  if (!has_own_layout(kv)) return RefBackend::store_kv(kv, k, v, batch);
  check_attention("store_kv", k, kv, batch, kv.num_kv_heads);
  check_attention("store_kv", v, kv, batch, kv.num_kv_heads);
  auto store_token = [&](const BatchSeq& seq, int64_t row) {
    const int64_t position = seq.kv_len - seq.q_len + row - seq.q_begin;
    const int64_t page = batch.pages[static_cast<size_t>(seq.page_begin + position / kv.page_size)] * kv.page_bytes();
    for (int64_t h = 0; h < kv.num_kv_heads; ++h) {
      const int64_t at = page + h * head_bytes(kv);
      attention_.store(k.f32(row) + h * kv.head_dim, v.f32(row) + h * kv.head_dim, kv.head_dim,
                       static_cast<int>(position % kv.page_size), kv.dtype, kv.k + at, kv.v + at);
    }
  };
  for (const BatchSeq& seq : batch.seqs) {
    pool_.parallel_for(seq.q_len, 4 * kKeyGroup, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) store_token(seq, seq.q_begin + t);
    });
  }
}

void CpuBackend::begin(const PagedBatch& batch) {
  RefBackend::begin(batch);
  shared_found_ = false;
}

// Whether this layer attends shared splits apart. They are looked for once a step: layers differ in their windows only.
bool CpuBackend::find_shared_splits(const KvView& kv, const PagedBatch& batch, const AttentionOptions& o) {
  if (o.window > 0 || kSplit % kv.page_size != 0) return false;
  const int group = group_of(kv, o), most = max_attention_rows(kv.head_dim) / group;
  if (!shared_found_) {
    const int64_t wanted = (int64_t{kTilesPerThread} * pool_.threads() + kv.num_kv_heads - 1) / kv.num_kv_heads;
    shared_.find(batch, kSplit, kv.page_size, most, wanted);
    shared_found_ = true;
  }
  const auto states = static_cast<int64_t>(shared_.tiles().size()) * kv.num_kv_heads;
  const int64_t bytes = states * shared_state_floats(shared_, group, kv.head_dim) * static_cast<int64_t>(sizeof(float));
  return states > 0 && most >= 2 && bytes <= kMaxSplitBytes;
}

void CpuBackend::attend_shared_splits(Tensor q, const KvView& kv, const PagedBatch& batch, const AttentionOptions& o) {
  const int group = group_of(kv, o);
  const int64_t floats = shared_state_floats(shared_, group, kv.head_dim);
  const auto states = static_cast<int64_t>(shared_.tiles().size()) * kv.num_kv_heads;
  auto* memory = reinterpret_cast<float*>(shared_states_.get(static_cast<size_t>(states * floats) * sizeof(float)));
  pool_.parallel_for(states, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const SharedTile& shared = shared_.tiles()[static_cast<size_t>(i / kv.num_kv_heads)];
      const int kv_head = static_cast<int>(i % kv.num_kv_heads);
      AttentionToken tokens[kMaxAttentionRows];
      int n = 0;
      for (int32_t s : shared_.members(shared)) {
        const BatchSeq& seq = batch.seqs[static_cast<size_t>(s)];
        tokens[n++] = {q.f32(seq.q_begin) + int64_t{kv_head} * group * kv.head_dim, seq.kv_len - 1};
      }
      AttentionTile t = tile_of(kv, batch, o, kv_head, shared_.members(shared)[0]);
      t.tokens = tokens;
      t.num_tokens = n;
      t.heads = group;
      const int64_t first = int64_t{shared.split} * kSplit;
      attention_.attend(t, first, first + kSplit, state_at(memory + i * floats, t.rows(), kv.head_dim));
    }
  });
}

void CpuBackend::list_attention_tasks(const KvView& kv, const PagedBatch& batch, const AttentionOptions& o,
                                      bool sharing) {
  tasks_.clear();
  const int group = group_of(kv, o);
  // Large tiles, but some for every thread.
  const int64_t rows_of_all = batch.num_tokens() * group, for_all = int64_t{kTilesPerThread} * pool_.threads();
  const int most = max_attention_rows(kv.head_dim);
  const int most_rows =
      static_cast<int>(std::clamp<int64_t>(rows_of_all * kv.num_kv_heads / for_all, std::min(16, most), most));
  const int head_tiles = (group + most_rows - 1) / most_rows;
  const int tokens_per_tile = std::max(1, most_rows / group);
  for (size_t s = 0; s < batch.seqs.size(); ++s) {
    const BatchSeq& seq = batch.seqs[s];
    for (int token = (seq.q_len - 1) / tokens_per_tile * tokens_per_tile; token >= 0; token -= tokens_per_tile) {
      AttentionTask task{};
      task.seq = static_cast<int32_t>(s);
      task.first_token = token;
      task.tokens = std::min(tokens_per_tile, seq.q_len - token);
      const int position = seq.kv_len - seq.q_len + token;
      task.first_split =
          sharing ? shared_.count(task.seq) : std::max(0, o.window > 0 ? position - o.window + 1 : 0) / kSplit;
      task.num_splits = last_seen(seq, token + task.tokens - 1, o) / kSplit + 1 - task.first_split;
      for (int kv_head = 0; kv_head < kv.num_kv_heads; ++kv_head) {
        for (int i = 0; i < head_tiles; ++i) {
          task.kv_head = kv_head;
          task.first_head = kv_head * group + group * i / head_tiles;
          task.heads = kv_head * group + group * (i + 1) / head_tiles - task.first_head;
          tasks_.push_back(task);
        }
      }
    }
  }
}

void CpuBackend::attention(Tensor out, Tensor q, const KvView& kv, const PagedBatch& batch, const AttentionOptions& o) {
  if (!has_own_layout(kv)) return RefBackend::attention(out, q, kv, batch, o);
  check_attention("attention", q, kv, batch, o.num_heads);
  check_attention("attention", out, kv, batch, o.num_heads);
  const bool sharing = find_shared_splits(kv, batch, o);
  if (sharing) attend_shared_splits(q, kv, batch, o);
  list_attention_tasks(kv, batch, o, sharing);
  const auto num_tasks = static_cast<int64_t>(tasks_.size());
  const int head_dim = kv.head_dim;

  auto attend_split = [&](const AttentionTask& task, int64_t split, const AttentionState& state) {
    const BatchSeq& seq = batch.seqs[static_cast<size_t>(task.seq)];
    AttentionToken tokens[kMaxAttentionRows];
    for (int i = 0; i < task.tokens; ++i) {
      const int token = task.first_token + i;
      tokens[i] = {q.f32(seq.q_begin + token) + int64_t{task.first_head} * head_dim, last_seen(seq, token, o)};
    }
    AttentionTile t = tile_of(kv, batch, o, task.kv_head, task.seq);
    t.tokens = tokens;
    t.num_tokens = task.tokens;
    t.heads = task.heads;
    const int64_t begin = (task.first_split + split) * kSplit;
    attention_.attend(t, begin, std::min(begin + kSplit, tokens[task.tokens - 1].last + 1), state);
  };
  // Begins a task's state with the splits that were attended for several sequences; false if there are none.
  auto begin_shared = [&](const AttentionTask& task, const AttentionState& state) {
    if (!sharing || shared_.count(task.seq) == 0) return false;
    const int group = group_of(kv, o), rows = task.tokens * task.heads;
    const int64_t floats = shared_state_floats(shared_, group, head_dim);
    auto* memory = reinterpret_cast<float*>(shared_states_.get(0));
    for (int s = 0; s < shared_.count(task.seq); ++s) {
      const SharedSplits::Place place = shared_.place(task.seq, s);
      const int tile_rows = shared_.tiles()[static_cast<size_t>(place.tile)].count * group;
      const AttentionState from = from_row(
          state_at(memory + (int64_t{place.tile} * kv.num_kv_heads + task.kv_head) * floats, tile_rows, head_dim),
          place.member * group + task.first_head - task.kv_head * group, head_dim);
      if (s == 0) {
        copy_state(state, from, rows, head_dim);
      } else {
        attention_.merge(rows, head_dim, state, from);
      }
    }
    return true;
  };
  auto finish = [&](const AttentionTask& task, const AttentionState& state) {
    const BatchSeq& seq = batch.seqs[static_cast<size_t>(task.seq)];
    for (int r = 0; r < task.tokens * task.heads; ++r) {
      const float* from = state.out + r * head_dim;
      float* to = out.f32(seq.q_begin + task.first_token + r / task.heads) +
                  int64_t{task.first_head + r % task.heads} * head_dim;
      for (int d = 0; d < head_dim; ++d) to[d] = from[d] / state.sum[r];
    }
  };

  int64_t num_splits = 0, longest = 0;
  for (const AttentionTask& task : tasks_) {
    num_splits += task.num_splits;
    longest = std::max<int64_t>(longest, task.num_splits);
  }
  const int64_t floats = state_floats(max_attention_rows(head_dim), head_dim);
  const bool apart = pool_.threads() > 1 && longest > 1 && longest * 4 * pool_.threads() > num_splits &&
                     num_splits * floats * static_cast<int64_t>(sizeof(float)) <= kMaxSplitBytes;
  if (!apart) {
    pool_.parallel_for(num_tasks, 1, [&](int64_t begin, int64_t end) {
      alignas(64) float memory[2][kMaxTileFloats + 2 * kMaxAttentionRows];
      for (int64_t i = begin; i < end; ++i) {
        const AttentionTask& task = tasks_[static_cast<size_t>(i)];
        const int rows = task.tokens * task.heads;
        const AttentionState state = state_at(memory[0], rows, head_dim), next = state_at(memory[1], rows, head_dim);
        const bool begun = begin_shared(task, state);
        if (!begun) attend_split(task, 0, state);
        for (int s = begun ? 0 : 1; s < task.num_splits; ++s) {
          attend_split(task, s, next);
          attention_.merge(rows, head_dim, state, next);
        }
        finish(task, state);
      }
    });
    return;
  }

  auto* memory = reinterpret_cast<float*>(splits_.get(static_cast<size_t>(num_splits * floats) * sizeof(float)));
  pool_.parallel_for(num_splits, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      size_t task = 0;
      int64_t split = i;
      while (split >= tasks_[task].num_splits) split -= tasks_[task++].num_splits;
      attend_split(tasks_[task], split,
                   state_at(memory + i * floats, tasks_[task].tokens * tasks_[task].heads, head_dim));
    }
  });
  alignas(64) float begin_memory[kMaxTileFloats + 2 * kMaxAttentionRows];
  for (const AttentionTask& task : tasks_) {
    const int rows = task.tokens * task.heads;
    const bool begun = begin_shared(task, state_at(begin_memory, rows, head_dim));
    const AttentionState state = state_at(begun ? begin_memory : memory, rows, head_dim);
    for (int s = begun ? 0 : 1; s < task.num_splits; ++s) {
      attention_.merge(rows, head_dim, state, state_at(memory + s * floats, rows, head_dim));
    }
    finish(task, state);
    memory += task.num_splits * floats;
  }
}

}  // namespace sgl
