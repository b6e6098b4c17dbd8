#include "bench/device_ops.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bench/timing.h"

namespace sgl::bench {
namespace {

DeviceSizes small_sizes() {
  return {.model = "small",
          .hidden = 64,
          .inter = 96,
          .vocab = 160,
          .heads = 4,
          .kv_heads = 2,
          .head_dim = 32,
          .rows = {1, 3},
          .logit_rows = 2,
          .attention = {{3, 1, 40, /*page_size=*/16, /*shared=*/32},
                        {2, 5, 37, /*page_size=*/32, /*shared=*/0, /*scattered=*/true},
                        {2, 1, 20, /*page_size=*/16, /*shared=*/0, /*scattered=*/false, /*codes=*/true}},
          .turn_bytes = 40000,
          .copied_bytes = 1 << 20,
          .square = 64};
}

class DeviceOpsOnCpu : public ::testing::Test {
 protected:
  std::vector<OpFigures> run(const OpsChoice& choice) {
    std::vector<OpFigures> all;
    DeviceOps ops(*backend_, small_sizes(), choice, [&](const OpFigures& f) { all.push_back(f); });
    const int cases = ops.run();
    EXPECT_EQ(cases, static_cast<int>(all.size()));
    return all;
  }
  std::unique_ptr<Backend> backend_ = Backend::create({.device = "cpu", .threads = 1});
};

// On the cpu all numbers are float32, 4 bytes.
TEST_F(DeviceOpsOnCpu, EveryCaseSaysWhatItMustDoAtLeast) {
  const std::vector<OpFigures> all = run({.seconds = 0});
  EXPECT_EQ(all.size(), 4U * 2 + 1 + 3 + 2 * 2 + 3);
  struct Expected {
    const char* name;
    double bytes, ops;
  };
  for (const auto& [name, bytes, ops] : {
           Expected{"linear/small/qkv 64x256 m3", 4 * (64 * 256 + 3 * (64 + 256)), 2 * 3 * 64 * 256},
           Expected{"linear/small/o 128x64 m1", 4 * (128 * 64 + 128 + 64), 2 * 128 * 64},
           Expected{"linear/small/gate_up 64x96 m3", 4 * (64 * 192 + 3 * (64 + 96)), 2 * 3 * 64 * 192},
           Expected{"linear/small/down 96x64 m1", 4 * (96 * 64 + 96 + 64), 2 * 96 * 64},
           Expected{"linear/small/head 64x160 m1", 4 * (64 * 160 + 64 + 160), 2 * 64 * 160},
           // 32 positions of all and 8 of each; 2 heads of 32 of keys, and of values; 4 of q, and of what comes out.
           Expected{"attention/small 3x1 of 40 page 16 shared 32", 4 * (2 * 56 * 64 + 2 * 3 * 128), 4 * 3 * 40 * 128},
           Expected{"attention/small 2x5 of 37 page 32 scattered", 4 * (2 * 74 * 64 + 2 * 10 * 128),
                    4 * 2 * (33 + 34 + 35 + 36 + 37) * 128},
           Expected{"attention/small 2x1 of 20 page 16 fp8_e4m3", 2 * 40 * 64 + 4 * 2 * 2 * 128, 4 * 2 * 20 * 128},
           Expected{"rms_norm/small m3", 4 * 2 * 3 * 64, 0},
           Expected{"add_rms_norm/small m1", 4 * 4 * 64, 0},
           Expected{"sample/top_p small m1", 4 * 160, 0},
       }) {
    const std::string wanted = name;
    const auto found = std::find_if(all.begin(), all.end(), [&](const OpFigures& f) { return f.name == wanted; });
    ASSERT_NE(found, all.end()) << wanted;
    EXPECT_EQ(found->work.bytes, bytes) << wanted;
    EXPECT_EQ(found->work.ops, ops) << wanted;
    EXPECT_GT(found->time.best, 0) << wanted;
  }
}

TEST_F(DeviceOpsOnCpu, CasesTakeTurnsWithAsMuchMemoryAsAModelHas) {
  for (const OpFigures& f : run({.op = "linear", .seconds = 0})) EXPECT_GE(f.work.working_set, 40000) << f.name;
  for (const OpFigures& f : run({.op = "attention", .seconds = 0})) EXPECT_GE(f.work.working_set, 40000) << f.name;
}

TEST_F(DeviceOpsOnCpu, OnlyWhatIsWantedRuns) {
  const std::vector<OpFigures> some = run({.op = "linear", .filter = "gate_up", .seconds = 0});
  ASSERT_EQ(some.size(), 2U);
  EXPECT_EQ(some[0].name, "linear/small/gate_up 64x96 m1");
  EXPECT_TRUE(run({.op = "lin", .seconds = 0}).empty());
}

TEST_F(DeviceOpsOnCpu, RoofsAreACopyAndAProduct) {
  DeviceOps ops(*backend_, small_sizes(), {.seconds = 0}, [](const OpFigures&) {});
  const Roofs roofs = ops.measure_roofs();
  ASSERT_EQ(roofs.read.size(), 1U);
  EXPECT_EQ(roofs.read[0].first, 2 << 20) << "read and written";
  EXPECT_GT(roofs.read[0].second, 0);
  EXPECT_NE(table(roofs).find("copy"), std::string::npos);
  EXPECT_EQ(to_json(roofs)["read"][0]["copied"], true);
  ASSERT_EQ(roofs.units.size(), 1U);
  EXPECT_EQ(roofs.units[0].name, "linear 64x64x64");
  EXPECT_EQ(roofs.units[0].kind, Arithmetic::Float32);
  EXPECT_GT(roofs.units[0].ops_s, 0);
}

TEST(TimeQueued, WaitsForManyRunsAtOnce) {
  int samples = 0, runs = 0, queued = 0, waits = 0;
  const Timing t = time_queued(
      0.05, [&] { ++samples; }, [&] { ++runs, ++queued; },
      [&] {
        ++waits;
        queued = 0;
      });
  EXPECT_EQ(queued, 0) << "the last run was waited for";
  EXPECT_EQ(waits, 2 * samples);
  EXPECT_GT(runs, 100 * waits);
  EXPECT_GT(t.best, 0);
  EXPECT_LE(t.best, t.median);
}

}  // namespace
}  // namespace sgl::bench
