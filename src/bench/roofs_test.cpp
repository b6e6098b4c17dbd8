#include "bench/roofs.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "bench/ops_bench.h"
#include "bench/roof_kernels.h"

namespace sgl::bench {
namespace {

Roofs some_roofs() {
  Roofs r;
  r.units = {
      {"narrow", Arithmetic::Float32, 1e9}, {"wide", Arithmetic::Float32, 2e9}, {"bytes", Arithmetic::Int8, 8e9}};
  r.read = {{1 << 10, 100e9}, {1 << 20, 10e9}};
  return r;
}

TEST(Roofs, TheBestUnitOfAKindCounts) {
  const Roofs r = some_roofs();
  EXPECT_EQ(r.best(Arithmetic::Float32)->name, "wide");
  EXPECT_EQ(r.best(Arithmetic::Int8)->name, "bytes");
  EXPECT_EQ(r.best(Arithmetic::Bfloat16), nullptr);
}

TEST(Roofs, ReadingSpeedDependsOnTheWorkingSet) {
  const Roofs r = some_roofs();
  EXPECT_DOUBLE_EQ(r.read_bytes_s(1), 100e9);
  EXPECT_DOUBLE_EQ(r.read_bytes_s(1 << 10), 100e9);
  EXPECT_DOUBLE_EQ(r.read_bytes_s(1 << 15), 55e9) << "halfway between 2^10 and 2^20";
  EXPECT_DOUBLE_EQ(r.read_bytes_s(1 << 20), 10e9);
  EXPECT_DOUBLE_EQ(r.read_bytes_s(1 << 30), 10e9);
}

TEST(Roofs, AnOpsShareIsTheLargerOfTheTwo) {
  const Roofs r = some_roofs();
  OpFigures f{.name = "x", .time = {.best = 1e-3, .median = 1e-3}, .work = {}};
  f.work = {.bytes = 5e6, .ops = 4e6, .arithmetic = Arithmetic::Int8, .working_set = 1 << 20};
  EXPECT_DOUBLE_EQ(share_of_roof(f, r), 0.5);
  f.work.bytes = 1e6;
  EXPECT_DOUBLE_EQ(share_of_roof(f, r), 0.5) << "4 of 8 GOP/s";
  f.work.arithmetic = Arithmetic::Bfloat16;
  EXPECT_DOUBLE_EQ(share_of_roof(f, r), 2) << "without such a unit float32's";
  f.work = {};
  EXPECT_EQ(share_of_roof(f, r), 0);
}

TEST(Roofs, AreMeasured) {
  ThreadPool pool(1);
  const Roofs r = measure_roofs(pool, /*largest=*/int64_t{1} << 20);
  ASSERT_EQ(r.read.size(), 2U);
  for (const auto& [bytes, speed] : r.read) EXPECT_GT(speed, 1e6);
  std::set<std::pair<std::string, Arithmetic>> units;
  for (const Roofs::Unit& u : r.units) {
    EXPECT_GT(u.ops_s, 1e6) << u.name;
    EXPECT_TRUE(units.emplace(u.name, u.kind).second) << u.name << " is there twice";
  }
  EXPECT_NE(r.best(Arithmetic::Float32), nullptr);
  EXPECT_NE(r.best(Arithmetic::Int8), nullptr);
}

// One round adds as many products as the loop says: sums of ones, which every unit adds exactly.
TEST(RoofUnits, RunOnThisMachineIfItHasThem) {
  const CpuUnits have = cpu_units();
  int units = 0;
  if (have.amx_int8) {
    // 64 products of ones for each element of the tile, a round.
    EXPECT_EQ(amx_int8_loop().run(10), 640U);
    ++units;
  }
  if (have.avx512_bf16) {
    // Twelve sums of two ones a round; the first keeps them all.
    EXPECT_EQ(avx512_bf16_loop().run(10), 240U);
    ++units;
  }
  if (have.avx_vnni) {
    EXPECT_EQ(avx_vnni_int8_loop().run(10), 12U * 10 * (1 + 2 + 3 + 4));
    ++units;
  }
  if (units == 0) GTEST_SKIP() << "this machine has no unit beyond its vectors";
}

TEST(OpsBench, RunsTheCasesThatAreWantedAndGivesTheirShares) {
  std::vector<OpFigures> all;
  OpsBench bench(/*threads=*/1, {.op = "linear", .filter = "smollm2/o", .seconds = 0},
                 [&](const OpFigures& f) { all.push_back(f); });
  EXPECT_EQ(bench.run(), 5);
  ASSERT_EQ(all.size(), 5U);
  EXPECT_EQ(all[0].name, "linear/smollm2/o Q4_1 576x576 m1");
  for (const OpFigures& f : all) {
    EXPECT_GT(f.time.best, 0);
    EXPECT_LE(f.time.best, f.time.median);
    EXPECT_GT(share_of_roof(f, some_roofs()), 0);
  }
}

}  // namespace
}  // namespace sgl::bench
