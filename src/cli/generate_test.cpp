#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/batch.h"
#include "cli/test_world.h"

namespace sgl::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::vector<Json> json_lines(const std::string& text) {
  std::vector<Json> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(Json::parse(line));
  return out;
}

std::string prompt_of(const Request& r) {
  if (const auto* text = std::get_if<std::string>(&r.prompt)) return *text;
  if (const auto* ids = std::get_if<std::vector<int32_t>>(&r.prompt)) return ByteTokenizer().decode(*ids, true);
  return "?";
}

class Generate : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / fmt::format("sgl_generate_{:08x}", std::random_device{}());
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }
  std::string path(const std::string& name) const { return (dir_ / name).string(); }
  std::string write(const std::string& text) const {
    std::ofstream(path("in.jsonl"), std::ios::binary) << text;
    return path("in.jsonl");
  }
  static std::string read(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  fs::path dir_;
};

TEST_F(Generate, APromptGivesOneLineOfJson) {
  TestWorld w;
  EXPECT_EQ(w.run({"generate", "Hi", "--max-new-tokens", "5", "--model-path", "m"}), 0) << w.err.str();
  auto lines = json_lines(w.out.str());
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0]["text"], "Hello");
  EXPECT_EQ(lines[0]["output_ids"].size(), 5U);
  EXPECT_EQ(lines[0]["meta_info"]["finish_reason"]["type"], "length");
  EXPECT_EQ(w.loaded->model_path, "m");
  EXPECT_EQ(prompt_of(w.engine->last()), "Hi");
}

TEST_F(Generate, APersonSeesPlainText) {
  TestWorld w;
  w.world.out_is_terminal = true;
  EXPECT_EQ(w.run({"generate", "--prompt", "Hi"}), 0) << w.err.str();
  EXPECT_EQ(w.out.str(), "Hello, wörld!\n");
  TestWorld jsonl;
  jsonl.world.out_is_terminal = true;
  EXPECT_EQ(jsonl.run({"generate", "Hi", "--format", "jsonl"}), 0);
  EXPECT_EQ(json_lines(jsonl.out.str())[0]["text"], "Hello, wörld!");
}

TEST_F(Generate, ThePromptMayComeFromTheStandardInput) {
  TestWorld w("two\nlines\n");
  EXPECT_EQ(w.run({"generate", "--format", "text"}), 0) << w.err.str();
  EXPECT_EQ(prompt_of(w.engine->last()), "two\nlines");
  EXPECT_EQ(w.out.str(), "Hello, wörld!\n");
  TestWorld empty("");
  EXPECT_EQ(empty.run({"generate"}), 2);
}

TEST_F(Generate, SamplingFlagsReachTheRequest) {
  TestWorld w;
  EXPECT_EQ(w.run({"generate",
                   "Hi",
                   "--max-new-tokens",
                   "9",
                   "--min-new-tokens",
                   "2",
                   "--temperature",
                   "0.25",
                   "--top-p",
                   "0.5",
                   "--top-k",
                   "7",
                   "--min-p",
                   "0.125",
                   "--frequency-penalty",
                   "-1",
                   "--presence-penalty",
                   "0.5",
                   "--repetition-penalty",
                   "1.5",
                   "--seed",
                   "11",
                   "--stop",
                   "a",
                   "--stop",
                   "--b",
                   "--n",
                   "2"}),
            0)
      << w.err.str();
  const SamplingParams s = w.engine->last().sampling;
  EXPECT_EQ(s.max_new_tokens, 9);
  EXPECT_EQ(s.min_new_tokens, 2);
  EXPECT_FLOAT_EQ(s.temperature, 0.25F);
  EXPECT_FLOAT_EQ(s.top_p, 0.5F);
  EXPECT_EQ(s.top_k, 7);
  EXPECT_FLOAT_EQ(s.min_p, 0.125F);
  EXPECT_FLOAT_EQ(s.frequency_penalty, -1);
  EXPECT_FLOAT_EQ(s.presence_penalty, 0.5F);
  EXPECT_FLOAT_EQ(s.repetition_penalty, 1.5F);
  EXPECT_EQ(s.seed, 11);
  EXPECT_EQ(s.stop, (std::vector<std::string>{"a", "--b"}));
  EXPECT_EQ(s.n, 2);
  EXPECT_EQ(json_lines(w.out.str())[0].size(), 2U);
}

TEST_F(Generate, AFileIsAnsweredLineByLineInOrder) {
  std::string input;
  for (int i = 0; i < 500; ++i)
    input += Json{{"prompt", fmt::format("p{}", i)}, {"rid", fmt::format("r{}", i)}}.dump() + "\n";
  TestWorld w;
  EXPECT_EQ(w.run({"generate", "--input", write(input), "--output", path("out.jsonl"), "--max-in-flight", "7"}), 0)
      << w.err.str();
  EXPECT_EQ(w.out.str(), "");
  auto lines = json_lines(read(path("out.jsonl")));
  ASSERT_EQ(lines.size(), 500U);
  for (size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(lines[i]["meta_info"]["id"], fmt::format("r{}", i));
  EXPECT_LE(w.engine->submitted().size(), 500U);
}

TEST_F(Generate, ALineMayBeWrittenInManyWays) {
  TestWorld w(
      "\"a string\"\n"
      "\r\n"
      "{\"text\": \"a text\"}\r\n"
      "{\"input_ids\": [72, 105]}\n"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"a chat\"}]}\n"
      "{\"prompt\": \"last\"}");
  EXPECT_EQ(w.run({"generate", "--input", "-"}), 0) << w.err.str();
  auto requests = w.engine->submitted();
  ASSERT_EQ(requests.size(), 5U);
  const char* prompts[] = {"a string", "a text", "Hi", "a chat", "last"};
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(prompt_of(requests[i]), prompts[i]);
  EXPECT_EQ(json_lines(w.out.str()).size(), 5U);
}

TEST_F(Generate, ALinesOwnParametersWinOverFlagsAndFlagsOverTheModels) {
  TestWorld w(
      "{\"prompt\": \"x\", \"sampling_params\": {\"temperature\": 0.75}}\n"
      "{\"prompt\": \"x\"}\n"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}\n"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}], \"sampling_params\": {\"max_new_tokens\": null}}\n");
  EXPECT_EQ(w.run({"generate", "-i", "-", "--max-new-tokens", "3", "--seed", "1"}), 0) << w.err.str();
  auto r = w.engine->submitted();
  ASSERT_EQ(r.size(), 4U);
  EXPECT_FLOAT_EQ(r[0].sampling.temperature, 0.75F);
  EXPECT_EQ(r[0].sampling.max_new_tokens, 3);
  EXPECT_EQ(r[0].sampling.seed, 1);
  EXPECT_FLOAT_EQ(r[1].sampling.temperature, 1.0F);
  EXPECT_FLOAT_EQ(r[2].sampling.temperature, 0.5F);  // the fake model's generation config
  EXPECT_EQ(r[2].sampling.top_k, 20);
  EXPECT_EQ(r[3].sampling.max_new_tokens, std::nullopt);
}

TEST_F(Generate, BadLinesAreAnsweredWithErrorsAndTheRestGoesOn) {
  TestWorld w(
      "{\"prompt\": \"good\"}\n"
      "{oops\n"
      "{\"prompt\": \"a\", \"text\": \"b\"}\n"
      "[1]\n"
      "{\"prompt\": \"x\", \"sampling_params\": {\"nope\": 1}}\n"
      "{\"prompt\": \"x\", \"sampling_params\": 5}\n"
      "{\"prompt\": [\"fine\", 5]}\n"
      "{\"prompt\": \"also good\"}\n");
  EXPECT_EQ(w.run({"generate", "--input", "-"}), 1);
  EXPECT_TRUE(has(w.err.str(), "sgl: 6 of 8 lines failed, line 2 first")) << w.err.str();
  auto lines = json_lines(w.out.str());
  ASSERT_EQ(lines.size(), 8U);
  EXPECT_EQ(lines[0]["text"], "Hello, wörld!");
  EXPECT_EQ(lines[7]["text"], "Hello, wörld!");
  for (size_t i = 1; i < 7; ++i) {
    ASSERT_TRUE(lines[i].contains("error")) << lines[i];
    EXPECT_EQ(lines[i]["error"]["line"], i + 1);
    EXPECT_FALSE(lines[i]["error"]["message"].get<std::string>().empty());
  }
  EXPECT_TRUE(has(lines[4]["error"]["message"], "nope")) << lines[4];
}

TEST_F(Generate, InvalidUtf8IsAnErrorOfItsLine) {
  TestWorld w("{\"prompt\": \"\xff\"}\n{\"prompt\": \"x\"}\n");
  EXPECT_EQ(w.run({"generate", "--input", "-"}), 1);
  auto lines = json_lines(w.out.str());
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_TRUE(lines[0].contains("error"));
  EXPECT_TRUE(lines[1].contains("text"));
}

TEST_F(Generate, AListOfPromptsIsOneLineAndOneAnswer) {
  TestWorld w("{\"prompt\": [\"a\", \"b\", \"c\"]}\n{\"prompt\": \"d\"}\n");
  EXPECT_EQ(w.run({"generate", "--input", "-", "--max-in-flight", "1"}), 0) << w.err.str();
  auto lines = json_lines(w.out.str());
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0].size(), 3U);
  EXPECT_EQ(lines[1]["text"], "Hello, wörld!");
}

TEST_F(Generate, AFailingEngineIsAnErrorOfTheLinesItBreaks) {
  TestWorld w("{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n");
  w.engine->fail_with(500, "the device is gone");
  EXPECT_EQ(w.run({"generate", "--input", "-"}), 1);
  auto lines = json_lines(w.out.str());
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0]["meta_info"]["finish_reason"]["message"], "the device is gone");
}

TEST_F(Generate, AFullQueueIsWaitedFor) {
  std::shared_ptr<FakeEngine> engine = std::make_shared<FakeEngine>();
  std::vector<std::string> answers;
  Batch batch(*engine, Json::object(), 100, [&](const std::string& a) { answers.push_back(a); });
  batch.add("\"a\"", 1);
  engine->refuse_next(1);
  batch.add("\"b\"", 2);  // refused once; taken after a piece of the first answer
  batch.finish();
  EXPECT_EQ(answers.size(), 2U);
  EXPECT_EQ(batch.failed(), 0U);
}

TEST_F(Generate, AnAbandonedBatchAbortsWhatRuns) {
  std::shared_ptr<FakeEngine> engine = std::make_shared<FakeEngine>();
  engine->hold(true);
  {
    Batch batch(*engine, Json::object(), 100, [](const std::string&) {});
    batch.add("\"a\"", 1);
    ASSERT_TRUE(engine->wait_running([](size_t n) { return n == 1; }));
  }
  EXPECT_TRUE(engine->wait_running([](size_t n) { return n == 0; }));
}

TEST_F(Generate, FilesThatCannotBeReadOrWrittenAreNamed) {
  TestWorld w;
  EXPECT_EQ(w.run({"generate", "--input", path("missing.jsonl")}), 1);
  EXPECT_TRUE(has(w.err.str(), "missing.jsonl")) << w.err.str();
  TestWorld folder;
  EXPECT_EQ(folder.run({"generate", "--input", path("")}), 1);
  TestWorld out;
  EXPECT_EQ(out.run({"generate", "x", "--output", path("no/such/file")}), 1);
  EXPECT_TRUE(has(out.err.str(), "no/such/file")) << out.err.str();
  EXPECT_FALSE(out.loaded);  // said before anything is loaded
  TestWorld empty;
  EXPECT_EQ(empty.run({"generate", "--input", write("")}), 0) << empty.err.str();
  EXPECT_EQ(empty.out.str(), "");
}

TEST_F(Generate, ContradictingFlagsAreUsageErrors) {
  for (const std::vector<std::string>& flags : {std::vector<std::string>{"a", "--prompt", "b"},
                                                {"a", "--input", "f"},
                                                {"--input", "f", "--format", "text"},
                                                {"--input", "f", "--chat"},
                                                {"a", "b"}}) {
    TestWorld w;
    std::vector<std::string> arguments = {"generate"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    EXPECT_EQ(w.run(arguments), 2) << w.err.str();
  }
  TestWorld nothing;
  nothing.world.in_is_terminal = true;
  EXPECT_EQ(nothing.run({"generate"}), 2);
  EXPECT_TRUE(has(nothing.err.str(), "no prompt")) << nothing.err.str();
}

TEST_F(Generate, ChatPutsThePromptIntoAMessage) {
  TestWorld w;
  EXPECT_EQ(w.run({"generate", "Hi", "--chat"}), 0) << w.err.str();
  EXPECT_EQ(prompt_of(w.engine->last()), "Hi");
  EXPECT_FLOAT_EQ(w.engine->last().sampling.temperature, 0.5F);
}

}  // namespace
}  // namespace sgl::cli
