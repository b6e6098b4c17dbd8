// store_kv() and attention(): every instruction set against the reference, and the exact equalities.

#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

#include "ops/cpu_backend.h"
#include "ops/op_cases.h"
#include "ops/test_data.h"

namespace sgl {
namespace {

using test::Matrix;
using test::random_matrix;
using test::same_bits;

constexpr unsigned kSeed = 20260102;

// Sequences with all their keys and values, and pools to run parts of them on.
class Sequences {
 public:
  Sequences(const AttentionCase& c, unsigned seed) : c_(c), random_(seed) {
    for (auto [n, all] : c.seqs) {
      q_.push_back(random_matrix(random_, all, int64_t{c.heads} * c.head_dim));
      k_.push_back(random_matrix(random_, all, int64_t{c.kv_heads} * c.head_dim));
      v_.push_back(random_matrix(random_, all, int64_t{c.kv_heads} * c.head_dim));
    }
  }

  // Sequence `id` begins with the first `tokens` of sequence `like`, a whole number of pages.
  void share(size_t id, size_t like, int tokens) {
    for (std::vector<Matrix>* all : {&k_, &v_}) {
      for (int t = 0; t < tokens; ++t) {
        std::copy_n((*all)[like].tensor.f32(t), (*all)[like].tensor.cols(), (*all)[id].tensor.f32(t));
      }
    }
    shared_.push_back({id, like, tokens / c_.page_size});
  }

  AttentionOptions options() const {
    return {.num_heads = c_.heads,
            .scale = 1.0F / std::sqrt(static_cast<float>(c_.head_dim)),
            .softcap = c_.softcap,
            .window = c_.window,
            .causal = c_.causal};
  }

  // Where a run keeps its cache: pages in random order, some unused, all NaN at first.
  struct Pool {
    std::vector<std::byte> k, v;
    KvView view;
    std::vector<std::vector<int32_t>> pages;  // of each sequence
    std::vector<int> stored;                  // tokens of each sequence
  };
  Pool make_pool(unsigned seed) const {
    Pool p;
    int64_t needed = 0;
    for (auto [n, all] : c_.seqs) needed += (all + c_.page_size - 1) / c_.page_size;
    p.view.dtype = c_.dtype;
    p.view.num_pages = needed + 3;
    p.view.page_size = c_.page_size;
    p.view.num_kv_heads = c_.kv_heads;
    p.view.head_dim = c_.head_dim;
    const auto bytes = static_cast<size_t>(p.view.page_bytes() * p.view.num_pages);
    p.k.assign(bytes, std::byte{0xff});  // NaN in every dtype
    p.v.assign(bytes, std::byte{0xff});
    p.view.k = p.k.data();
    p.view.v = p.v.data();
    std::vector<int32_t> order(static_cast<size_t>(p.view.num_pages));
    std::iota(order.begin(), order.end(), 0);
    std::mt19937 random(seed);
    std::shuffle(order.begin(), order.end(), random);
    size_t next = 0;
    for (auto [n, all] : c_.seqs) {
      size_t count = static_cast<size_t>((all + c_.page_size - 1) / c_.page_size);
      p.pages.emplace_back(order.begin() + static_cast<std::ptrdiff_t>(next),
                           order.begin() + static_cast<std::ptrdiff_t>(next + count));
      next += count;
    }
    p.stored.assign(c_.seqs.size(), 0);
    return p;
  }

  // One step: sequence `ids[i]` gets its next counts[i] tokens. Returns the rows of attention's result, if wanted.
  Matrix step(Backend& backend, Pool& pool, const std::vector<size_t>& ids, const std::vector<int>& counts,
              bool attend = true) {
    PagedBatch batch;
    int64_t rows = std::accumulate(counts.begin(), counts.end(), int64_t{0});
    Matrix q(rows, int64_t{c_.heads} * c_.head_dim, 16), k(rows, int64_t{c_.kv_heads} * c_.head_dim, 7),
        v(rows, int64_t{c_.kv_heads} * c_.head_dim), out(rows, int64_t{c_.heads} * c_.head_dim, 3);
    for (size_t i = 0; i < ids.size(); ++i) {
      const size_t id = ids[i];
      BatchSeq seq{static_cast<int32_t>(batch.token_ids.size()), counts[i], pool.stored[id] + counts[i],
                   static_cast<int32_t>(batch.pages.size())};
      size_t count = static_cast<size_t>((seq.kv_len + c_.page_size - 1) / c_.page_size);
      batch.pages.insert(batch.pages.end(), pool.pages[id].begin(),
                         pool.pages[id].begin() + static_cast<std::ptrdiff_t>(count));
      for (int t = 0; t < counts[i]; ++t) {
        auto copy = [&](Matrix& to, Matrix& from) {
          std::copy_n(from.tensor.f32(pool.stored[id] + t), from.tensor.cols(), to.tensor.f32(seq.q_begin + t));
        };
        copy(q, q_[id]);
        copy(k, k_[id]);
        copy(v, v_[id]);
        batch.token_ids.push_back(0);
        batch.positions.push_back(pool.stored[id] + t);
      }
      pool.stored[id] += counts[i];
      batch.seqs.push_back(seq);
    }
    backend.begin(batch);
    backend.store_kv(pool.view, k.tensor, v.tensor, batch);
    if (!attend) return out;
    backend.attention(out.tensor, q.tensor, pool.view, batch, options());
    EXPECT_TRUE(out.padding_untouched());
    return out;
  }

  // What came before the case's new tokens, then these in one step. With `same_pages`, what sequences share stands in
  // the same pages.
  std::vector<float> whole(Backend& backend, unsigned seed, bool same_pages = false) {
    Pool pool = make_pool(seed);
    if (same_pages) {
      for (const auto& [id, like, pages] : shared_) {
        std::copy_n(pool.pages[like].begin(), pages, pool.pages[id].begin());
      }
    }
    std::vector<size_t> ids;
    std::vector<int> before, last;
    for (size_t i = 0; i < c_.seqs.size(); ++i) {
      ids.push_back(i);
      before.push_back(c_.seqs[i].second - c_.seqs[i].first);
      last.push_back(c_.seqs[i].first);
    }
    step(backend, pool, ids, before, false);
    return step(backend, pool, ids, last).values();
  }

  // Each sequence alone, in steps of at most `chunk` tokens; the new tokens' rows, sequence by sequence.
  std::vector<float> alone_in_chunks(Backend& backend, unsigned seed, int chunk) {
    Pool pool = make_pool(seed);
    std::vector<float> result;
    for (size_t i = 0; i < c_.seqs.size(); ++i) {
      std::vector<float> rows;
      while (pool.stored[i] < c_.seqs[i].second) {
        const int n = std::min(chunk, c_.seqs[i].second - pool.stored[i]);
        const bool wanted = pool.stored[i] + n > c_.seqs[i].second - c_.seqs[i].first;
        std::vector<float> some = step(backend, pool, {i}, {n}, wanted).values();
        rows.insert(rows.end(), some.begin(), some.end());
      }
      result.insert(result.end(), rows.end() - int64_t{c_.seqs[i].first} * c_.heads * c_.head_dim, rows.end());
    }
    return result;
  }

 private:
  AttentionCase c_;
  std::mt19937 random_;
  std::vector<Matrix> q_, k_, v_;
  struct Shared {
    size_t id, like;
    int pages;
  };
  std::vector<Shared> shared_;
};

class AttentionOnEachIsa : public ::testing::TestWithParam<CpuIsa> {
 protected:
  static CpuBackend cpu(int threads) { return CpuBackend({.device = "cpu", .threads = threads}, GetParam()); }
};

TEST_P(AttentionOnEachIsa, EqualsReference) {
  RefBackend ref;
  CpuBackend backend = cpu(2);
  for (const AttentionCase& c : attention_cases()) {
    SCOPED_TRACE(to_string(c));
    Sequences sequences(c, kSeed);
    std::vector<float> got = sequences.whole(backend, 1), want = sequences.whole(ref, 2);
    ASSERT_EQ(got.size(), want.size());
    // Keys and values are rounded alike; what remains are float32 sums of numbers of order 1.
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 4e-6) << "element " << i;
  }
}

TEST_P(AttentionOnEachIsa, RowsDoNotDependOnBatchChunksPagesOrThreads) {
  CpuBackend one = cpu(1), two = cpu(2), three = cpu(3);
  for (const AttentionCase& c : attention_cases()) {
    SCOPED_TRACE(to_string(c));
    Sequences sequences(c, kSeed);
    const std::vector<float> expected = sequences.whole(one, 1);
    EXPECT_TRUE(same_bits(expected, sequences.whole(two, 1))) << "2 threads";
    EXPECT_TRUE(same_bits(expected, sequences.whole(three, 2))) << "3 threads, other pages";
    for (int chunk : {1, 3, 16, 50, 100, 1000}) {
      if (!c.causal && chunk < 1000) continue;  // such a sequence is computed in one step
      EXPECT_TRUE(same_bits(expected, sequences.alone_in_chunks(two, 3, chunk))) << "alone, chunks of " << chunk;
    }
  }
}

// A tree of prefixes: most sequences share the first 1,024 tokens, some of them more, one nothing; two have several new
// tokens.
TEST_P(AttentionOnEachIsa, WhatSequencesShareIsComputedOnceWithTheSameBits) {
  const std::vector<std::pair<int, int>> seqs = {{1, 1300}, {1, 1700}, {1, 1025}, {3, 1600}, {1, 1624},
                                                 {1, 1281}, {1, 600},  {1, 257},  {1, 1700}, {2, 1030}};
  for (const AttentionCase& c : std::vector<AttentionCase>{{9, 3, 64, seqs, 16, DType::F16},
                                                           {14, 2, 32, seqs, 64, DType::BF16, 0, 30.0F},
                                                           {4, 4, 48, seqs, 128, DType::F32},
                                                           {40, 1, 256, seqs, 16, DType::F16},
                                                           {9, 3, 64, seqs, 16, DType::Q8_0},
                                                           {6, 2, 32, seqs, 16, DType::F16, 700}}) {
    SCOPED_TRACE(to_string(c));
    Sequences sequences(c, kSeed);
    for (size_t id : {1U, 2U, 3U, 4U, 5U, 8U, 9U}) sequences.share(id, 0, 1024);
    sequences.share(8, 1, 1664);
    sequences.share(7, 0, 256);
    CpuBackend one = cpu(1), three = cpu(3);
    const std::vector<float> expected = sequences.whole(one, 1);
    EXPECT_TRUE(same_bits(expected, sequences.whole(one, 2, true))) << "1 thread";
    EXPECT_TRUE(same_bits(expected, sequences.whole(three, 3, true))) << "3 threads";
  }
}

TEST_P(AttentionOnEachIsa, LargeScoresDoNotOverflow) {
  CpuBackend backend = cpu(1);
  RefBackend ref;
  AttentionCase c{2, 1, 32, {{3, 200}}, 16, DType::F32};
  for (float size : {30.0F, 1e-20F}) {
    std::mt19937 random(kSeed);
    Matrix q = random_matrix(random, 200, 64, 0, size), k = random_matrix(random, 200, 32, 0, size),
           v = random_matrix(random, 200, 32), got(200, 64), want(200, 64);
    for (Backend* b : {static_cast<Backend*>(&backend), static_cast<Backend*>(&ref)}) {
      Sequences sequences(c, kSeed);
      Sequences::Pool pool = sequences.make_pool(1);
      PagedBatch batch;
      batch.seqs = {{0, 200, 200, 0}};
      batch.pages = pool.pages[0];
      batch.token_ids.assign(200, 0);
      b->begin(batch);
      b->store_kv(pool.view, k.tensor, v.tensor, batch);
      b->attention(b == &ref ? want.tensor : got.tensor, q.tensor, pool.view, batch, sequences.options());
    }
    // Scores near a thousand lose digits in float32: 1000 · 2^-24 in the exponent.
    for (size_t i = 0; i < 200 * 64; ++i) ASSERT_NEAR(got.memory[i], want.memory[i], size > 1 ? 2e-3 : 4e-6) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(, AttentionOnEachIsa, ::testing::ValuesIn(available_isas()),
                         [](const auto& isa) { return std::string(name(isa.param)); });

TEST(Attention, Avx2AndAvx512GiveTheSameBits) {
  if (available_isas().back() < CpuIsa::Avx512) GTEST_SKIP() << "this machine has no AVX-512";
  CpuBackend a({.device = "cpu", .threads = 1}, CpuIsa::Avx2), b({.device = "cpu", .threads = 1}, CpuIsa::Avx512);
  for (const AttentionCase& c : attention_cases()) {
    SCOPED_TRACE(to_string(c));
    Sequences sequences(c, kSeed);
    EXPECT_TRUE(same_bits(sequences.whole(a, 1), sequences.whole(b, 1)));
  }
}

}  // namespace
}  // namespace sgl
