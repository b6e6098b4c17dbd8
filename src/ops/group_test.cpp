// What ranks do together, against sums of doubles: on the reference, and on two, four and eight GPUs where there are so
// many.

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ops/backend.h"
#include "sgl/error.h"
#include "tensor/block_formats.h"

namespace sgl {
namespace {

using Rows = std::vector<float>;

// The ranks of a group, each on a thread. Throws what the first of them throws.
void on_ranks(int ranks, const BackendOptions& options, const std::function<void(Backend&)>& job) {
  const auto group = std::make_shared<RankGroup>(ranks);
  std::vector<std::exception_ptr> errors(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r) {
    threads.emplace_back([&, r] {
      try {
        BackendOptions own = options;
        own.group = group;
        own.rank = r;
        const auto backend = Backend::create(own);
        job(*backend);
        group->meet(r, nullptr);  // nobody's memory goes while another one reads it
      } catch (const AnotherRankFailed&) {
      } catch (...) {
        errors[static_cast<size_t>(r)] = std::current_exception();
        group->cancel();
      }
    });
  }
  for (std::thread& t : threads) t.join();
  for (const std::exception_ptr& e : errors) {
    if (e) std::rethrow_exception(e);
  }
}

// Numbers that the type holds exactly, so that only sums are rounded.
Rows random_rows(std::mt19937& random, int64_t count) {
  std::uniform_int_distribution<int> each(-128, 128);
  Rows rows(static_cast<size_t>(count));
  for (float& x : rows) x = static_cast<float>(each(random)) / 64.0F;
  return rows;
}

void put(Backend& b, const Tensor& to, const Rows& rows) {
  std::vector<std::byte> raw(static_cast<size_t>(row_bytes(to.dtype, static_cast<int64_t>(rows.size()))));
  quantize_row(to.dtype, rows.data(), raw.data(), static_cast<int64_t>(rows.size()));
  b.upload(to.data, raw.data(), raw.size());
}

Rows get(Backend& b, const Tensor& from) {
  const int64_t count = from.shape.elements();
  std::vector<std::byte> raw(static_cast<size_t>(row_bytes(from.dtype, count)));
  b.download(raw.data(), from.data, raw.size());
  Rows rows(static_cast<size_t>(count));
  dequantize_row(from.dtype, raw.data(), rows.data(), count);
  return rows;
}

struct Size {
  int64_t n, d;
};
// One row, widths of no eights, more than a block takes at once, more rows than blocks run at once.
constexpr Size kSizes[] = {{1, 4096}, {1, 20}, {3, 5001}, {17, 96}, {5, 10240}, {2500, 512}, {1, 8}};

void expect_sums(int ranks, const BackendOptions& options) {
  std::mt19937 random(20260304);
  for (const Size size : kSizes) {
    if (ranks > 3 && options.device == "ref" && size.n * size.d > 20'000) continue;  // slow
    const int64_t n = size.n, d = size.d, count = n * d;
    std::vector<Rows> parts;
    for (int r = 0; r < ranks; ++r) parts.push_back(random_rows(random, count));
    const Rows stream = random_rows(random, count), weight = random_rows(random, d);
    std::vector<double> sums(static_cast<size_t>(count), 0.0);
    for (const Rows& part : parts) {
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += part[i];
    }
    const auto where = fmt::format("{} ranks on {}, {} x {}", ranks, options.device, n, d);
    std::vector<Rows> summed(static_cast<size_t>(ranks)), streams = summed, normed = summed, gathered = summed;
    on_ranks(ranks, options, [&](Backend& b) {
      const auto r = static_cast<size_t>(b.rank());
      const DType type = b.activations();
      const auto bytes = [&](DType t, int64_t elements) { return static_cast<size_t>(row_bytes(t, elements)); };
      Buffer out = b.allocate(bytes(type, count)), h = b.allocate(bytes(DType::F32, count)),
             w = b.allocate(bytes(DType::F32, d)), all = b.allocate(bytes(DType::F32, count * ranks));
      const Tensor out_rows(out.data(), type, {n, d}), h_rows(h.data(), DType::F32, {n, d}),
          w_row(w.data(), DType::F32, {d});
      put(b, h_rows, stream);
      put(b, w_row, weight);
      for (int again = 0; again < 3; ++again) {  // both places of exchange(), and one of them twice
        const Tensor part = b.exchange(type, n, d);
        put(b, part, parts[r]);
        b.all_reduce(out_rows, part);
      }
      summed[r] = get(b, out_rows);
      const Tensor part = b.exchange(type, n, d);
      put(b, part, parts[r]);
      Normed y{out_rows};
      b.all_reduce_norm(y, h_rows, part, {w_row, 1e-5F});
      EXPECT_TRUE(y.whole);
      streams[r] = get(b, h_rows);
      normed[r] = get(b, out_rows);
      const Tensor logits = b.exchange(DType::F32, n, d);
      put(b, logits, parts[r]);
      b.gather_parts(r == 0 ? Tensor(all.data(), DType::F32, {n, d * ranks}) : Tensor(), logits);
      if (r == 0) gathered[r] = get(b, Tensor(all.data(), DType::F32, {n, d * ranks}));
    });
    const double rounding = options.device == "ref" ? 1e-6 : 1.0 / 256;  // of bfloat16, to nearest
    for (size_t r = 0; r < summed.size(); ++r) {
      EXPECT_EQ(summed[r], summed[0]) << where << ": rank " << r;
      EXPECT_EQ(streams[r], streams[0]) << where << ": rank " << r;
      EXPECT_EQ(normed[r], normed[0]) << where << ": rank " << r;
    }
    double sum_error = 0, stream_error = 0, norm_error = 0;
    for (int64_t i = 0; i < n; ++i) {
      double squares = 0;
      for (int64_t j = 0; j < d; ++j) {
        const auto at = static_cast<size_t>(i * d + j);
        sum_error = std::max(sum_error, std::abs(summed[0][at] - sums[at]) / std::max(1.0, std::abs(sums[at])));
        stream_error = std::max(stream_error, std::abs(streams[0][at] - (stream[at] + sums[at])));
        squares += (stream[at] + sums[at]) * (stream[at] + sums[at]);
      }
      const double inverse = 1 / std::sqrt(squares / static_cast<double>(d) + 1e-5);
      for (int64_t j = 0; j < d; ++j) {
        const auto at = static_cast<size_t>(i * d + j);
        const double want = (stream[at] + sums[at]) * inverse * weight[static_cast<size_t>(j)];
        norm_error = std::max(norm_error, std::abs(normed[0][at] - want) / std::max(1.0, std::abs(want)));
      }
    }
    EXPECT_LE(sum_error, rounding) << where;
    EXPECT_LE(stream_error, 1e-5) << where;
    EXPECT_LE(norm_error, rounding + 1e-5) << where;
    for (int64_t i = 0; i < n; ++i) {
      for (int r = 0; r < ranks; ++r) {
        const auto got = gathered[0].begin() + (i * ranks + r) * d;
        const auto want = parts[static_cast<size_t>(r)].begin() + i * d;
        EXPECT_TRUE(std::equal(got, got + d, want)) << where << ": row " << i << ", part " << r;
      }
    }
  }
}

TEST(RankOps, AddUpOnTheReference) {
  for (const int ranks : {2, 3, 8}) expect_sums(ranks, {.device = "ref", .threads = 1});
}

TEST(RankOps, AddUpOnGpus) {
  const BackendOptions options{.device = "cuda", .threads = 2};
  for (const int ranks : {2, 4, 8}) {
    try {
      on_ranks(ranks, options, [](Backend&) {});
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::Unsupported) throw;
      if (ranks > 2) break;
      GTEST_SKIP() << e.what();
    }
    expect_sums(ranks, options);
  }
}

// After a rank has failed and all have been told, they exchange as before.
TEST(RankOps, AGroupGoesOnAfterAFailure) {
  constexpr int kRanks = 3;
  const auto group = std::make_shared<RankGroup>(kRanks);
  std::vector<std::unique_ptr<Backend>> backends;
  for (int r = 0; r < kRanks; ++r) backends.push_back(Backend::create({.device = "ref", .group = group, .rank = r}));
  for (int round = 0; round < 5; ++round) {
    std::vector<float> sums(kRanks, 0);
    std::vector<int> told(kRanks, 0);
    auto exchange = [&](int r, bool fails) {
      Backend& b = *backends[static_cast<size_t>(r)];
      try {
        const Tensor part = b.exchange(DType::F32, 1, 1);
        if (fails) throw Error(ErrorKind::ResourceExhausted, "no memory");
        *part.f32() = static_cast<float>(r + round);
        const Tensor out(&sums[static_cast<size_t>(r)], DType::F32, {1, 1});
        b.all_reduce(out, part);
      } catch (const AnotherRankFailed&) {
        told[static_cast<size_t>(r)] = 1;
      } catch (const Error&) {
        group->cancel();
      }
    };
    for (const bool failing : {true, false}) {
      std::vector<std::thread> threads;
      for (int r = 0; r < kRanks; ++r) threads.emplace_back(exchange, r, failing && r == 1);
      for (std::thread& t : threads) t.join();
      if (failing) {
        EXPECT_EQ(told, (std::vector<int>{1, 0, 1}));
        group->restart();
      }
    }
    EXPECT_EQ(sums, std::vector<float>(kRanks, static_cast<float>(3 + 3 * round)));
  }
}

TEST(RankOps, WhoseRankFailsIsNotWaitedFor) {
  EXPECT_THROW(on_ranks(3, {.device = "ref", .threads = 1},
                        [](Backend& b) {
                          if (b.rank() == 1) throw Error(ErrorKind::ResourceExhausted, "no memory");
                          const Tensor part = b.exchange(DType::F32, 1, 8);
                          b.all_reduce(part, part);
                          ADD_FAILURE() << "rank " << b.rank() << " went on";
                        }),
               Error);
}

}  // namespace
}  // namespace sgl
