// Published tokenizers against what the reference package made of the corpus (recorded/*.txt).
//
// The vocabularies are too large to be kept here. Those in ../shared/tokenizers are unpacked with xz; SmolLM2 is read
// from the default model if that has been downloaded; the other GGUF files are named by environment variables. What is
// absent is skipped, and said.

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include <sgl/error.h>

#include "checkpoint/hub.h"
#include "text/test_corpus.h"
#include "text/tokenizer_json.h"
#include "tokenizers/load_gguf.h"

namespace sgl {
namespace {

namespace fs = std::filesystem;

std::string recorded(const std::string& name) { return tokenizer_test_data("recorded/" + name + ".txt"); }

class Published : public testing::TestWithParam<std::string> {};

TEST_P(Published, TokenizerJsonGivesTheReferencesIds) {
  fs::path packed = fs::path(SGL_SOURCE_DIR) / ".." / "shared" / "tokenizers" / GetParam();
  if (!fs::exists(packed / "tokenizer.json.xz")) GTEST_SKIP() << "absent, skipped: " << packed;
  if (std::system("xz --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "absent, skipped: the program xz";
  fs::path folder = fs::temp_directory_path() / fmt::format("sgl_{}_{}", GetParam(), std::random_device()());
  fs::create_directories(folder);
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) {
    std::string command = fmt::format("xz -dc '{}/{}.xz' > '{}/{}'", packed.string(), file, folder.string(), file);
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  std::unique_ptr<Tokenizer> tokenizer = load_tokenizer_json(folder.string());
  fs::remove_all(folder);
  expect_recorded(*tokenizer, recorded(GetParam()));
  EXPECT_FALSE(tokenizer->eos_ids().empty());
  EXPECT_EQ(tokenizer->chat_template().empty(), GetParam() == "llama2");
}
INSTANTIATE_TEST_SUITE_P(Shared, Published, testing::Values("llama3_1", "qwen3", "llama2", "gemma3"),
                         [](const auto& param) { return param.param; });

TEST(PublishedGguf, DefaultModelGivesTheIdsOfItsTokenizerJson) {
  const std::string path = resolve_model("", HubOptions::from_environment());  // downloaded where it is not there
  expect_recorded(*load_gguf_tokenizer(path), recorded("smollm2"));
}

TEST(PublishedGguf, NamedFilesGiveTheIdsOfTheirTokenizerJson) {
  const std::pair<const char*, const char*> files[] = {{"SGL_TEST_QWEN2_5_GGUF", "qwen2_5"},
                                                       {"SGL_TEST_GEMMA3_GGUF", "gemma3_270m"}};
  int found = 0;
  for (auto [variable, name] : files) {
    const char* path = std::getenv(variable);
    if (path == nullptr) continue;
    ++found;
    expect_recorded(*load_gguf_tokenizer(path), recorded(name));
  }
  if (found == 0) GTEST_SKIP() << "absent, skipped: SGL_TEST_QWEN2_5_GGUF and SGL_TEST_GEMMA3_GGUF name no file";
}

}  // namespace
}  // namespace sgl
