#include "cli/bench.h"

#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/test_world.h"

namespace sgl::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A file that goes with the test.
struct TempFile {
  fs::path path = fs::temp_directory_path() / fmt::format("sgl_bench_{:08x}.json", std::random_device{}());
  ~TempFile() { fs::remove(path); }
  Json json() const {
    std::ifstream in(path);
    return Json::parse(in);
  }
};

TEST(Bench, ListsItsBenchmarks) {
  TestWorld w;
  EXPECT_EQ(w.run({"bench", "--help"}), 0);
  for (const char* name : {"ops", "latency", "throughput", "serving"}) EXPECT_TRUE(has(w.out.str(), name)) << name;
  TestWorld none, wrong;
  EXPECT_EQ(none.run({"bench"}), 2);
  EXPECT_TRUE(has(none.err.str(), "a benchmark is missing")) << none.err.str();
  EXPECT_EQ(wrong.run({"bench", "servnig"}), 2);
  EXPECT_TRUE(has(wrong.err.str(), "did you mean serving?")) << wrong.err.str();
}

TEST(Bench, ListsOfNumbersAreRead) {
  EXPECT_EQ(integer_list("--x", "1,16,4", 1, 16), (std::vector<int>{1, 16, 4}));
  for (const char* bad : {"", "1,", ",1", "1;2", "0", "17", "1.5", "x", "99999999999999999999"}) {
    EXPECT_THROW(integer_list("--x", bad, 1, 16), UsageError) << bad;
  }
}

TEST(Bench, LatencyMeasuresEveryCombinationOnAnEngineThatIsLargeEnough) {
  TestWorld w;
  TempFile file;
  ASSERT_EQ(w.run({"bench", "latency", "--model-path", "m", "--batch-size", "1,3", "--input-len", "8,20",
                   "--output-len", "4", "--repeat", "2", "--json", file.path.string()}),
            0)
      << w.err.str();
  ASSERT_TRUE(w.loaded);
  EXPECT_EQ(w.loaded->model_path, "m");
  EXPECT_EQ(w.loaded->max_running_requests, 3);
  EXPECT_GE(w.loaded->max_total_tokens, 3 * 24);
  const Json json = file.json();
  EXPECT_EQ(json["benchmark"], "latency");
  EXPECT_FALSE(json["machine"]["cpu"].get<std::string>().empty());
  ASSERT_EQ(json["results"].size(), 4U);
  EXPECT_EQ(json["results"][3]["batch"], 3);
  EXPECT_EQ(json["results"][3]["input"], 20);
  for (const Json& r : json["results"]) EXPECT_GT(r["decode_tok_s"]["p50"].get<double>(), 0);
}

TEST(Bench, ThroughputRunsWorkloadsAtRatesAndWritesThem) {
  TestWorld w;
  TempFile file;
  ASSERT_EQ(w.run({"bench", "throughput", "--workload", "random,conversations", "--requests", "4", "--input-len", "5",
                   "--output-len", "3", "--request-rate", "200,inf", "--slo-ttft-ms", "60000", "--details", "--json",
                   file.path.string()}),
            0)
      << w.err.str();
  const Json results = file.json()["results"];
  ASSERT_EQ(results.size(), 4U);
  EXPECT_EQ(results[0]["request_rate"], 200);
  EXPECT_TRUE(results[1]["request_rate"].is_null());
  EXPECT_EQ(results[2]["workload"], "conversations");
  EXPECT_EQ(results[2]["completed"], 20) << "four conversations of five turns";
  EXPECT_EQ(results[2]["output_tokens"], 60);
  EXPECT_EQ(results[2]["answers"].size(), 20U);
  EXPECT_NE(results[0]["seed"], results[1]["seed"]) << "no run finds the texts of another in a cache";
  EXPECT_EQ(results[0]["goodput_requests_s"], results[0]["requests_s"]);
  EXPECT_TRUE(has(w.out.str(), "goodput: answers with TTFT ≤ 60000 ms")) << w.out.str();
}

TEST(Bench, AFailedRequestGivesStatusOneAndIsSaid) {
  TestWorld w;
  w.engine->set_full(true);
  EXPECT_EQ(w.run({"bench", "throughput", "--requests", "2", "--input-len", "5", "--output-len", "3"}), 1);
  EXPECT_TRUE(has(w.out.str(), "2 of 2 failed: The request queue is full.")) << w.out.str();
}

TEST(Bench, OpsOfADeviceThatIsNotThereGiveTheBackendsError) {
  TestWorld w;
  EXPECT_EQ(w.run({"bench", "ops", "--device", "cuda", "--filter", "no such case"}), 1);
  EXPECT_TRUE(has(w.err.str(), "--device cpu") || has(w.err.str(), "no case has the op")) << w.err.str();
}

TEST(Bench, WrongFlagsNameWhatWasExpected) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"serving", "--workload", "rnadom"}, "unknown workload 'rnadom'; expected one of alone, random"},
      {{"serving", "--request-rate", "0"}, "positive numbers or inf, got '0'"},
      {{"serving", "--api", "soap"}, "completions, chat"},
      {{"latency", "--roofs", "--device", "cuda"}, "--roofs measures the processor, and --device is cuda"},
      {{"latency", "--batch-size", "0"}, "--batch-size: expected integers in [1, 16384]"},
      {{"throughput", "--slo-ttft", "x"}, "--slo-ttft-ms: expected a number"},
      {{"ops", "--bogus"}, "unknown flag --bogus"},
      {{"ops", "--device", "tpu"}, "--device: expected one of cpu, cuda, got 'tpu'"},
      {{"ops", "--quantization", "int4"}, "--quantization is for --device cuda"},
  };
  for (const auto& [arguments, message] : cases) {
    TestWorld w;
    std::vector<std::string> all{"bench"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    EXPECT_EQ(w.run(all), 2);
    EXPECT_TRUE(has(w.err.str(), message)) << w.err.str();
  }
  TestWorld https;
  EXPECT_EQ(https.run({"bench", "serving", "--url", "https://x"}), 1);
  EXPECT_TRUE(has(https.err.str(), "https is not supported")) << https.err.str();
}

}  // namespace
}  // namespace sgl::cli
