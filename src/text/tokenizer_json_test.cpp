#include "text/tokenizer_json.h"

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <sgl/error.h>

#include "text/test_corpus.h"

namespace sgl {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// A directory of its own for each test, removed at the end.
class TokenizerJson : public testing::Test {
 protected:
  TokenizerJson() {
    std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    dir_ = fs::temp_directory_path() / fmt::format("sgl_{}_{}", name, std::random_device()());
    fs::create_directories(dir_);
  }
  ~TokenizerJson() override { fs::remove_all(dir_); }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream file(dir_ / name, std::ios::binary);
    file << text;
    ASSERT_TRUE(file.good());
  }
  std::unique_ptr<Tokenizer> load(const json& tokenizer) const {
    write("tokenizer.json", tokenizer.dump());
    return load_tokenizer_json(dir_.string());
  }
  // The kind of error, or nothing if it loads.
  std::optional<ErrorKind> error_of(const std::string& text) const {
    write("tokenizer.json", text);
    try {
      load_tokenizer_json(dir_.string());
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()), "");
      return e.kind();
    }
    return std::nullopt;
  }
  std::optional<ErrorKind> error_of(const json& tokenizer) const { return error_of(tokenizer.dump()); }

  fs::path dir_;
};

json small(const std::string& name) {
  return json::parse(read_file(tokenizer_test_data("small/" + name + "/tokenizer.json")));
}

std::vector<std::string> small_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(tokenizer_test_data("small")))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

class SmallTokenizer : public testing::TestWithParam<std::string> {};

TEST_P(SmallTokenizer, EncodesAndDecodesAsTheReferenceDoes) {
  std::string folder = tokenizer_test_data("small/" + GetParam());
  expect_recorded(*load_tokenizer_json(folder), folder + "/expected.txt");
}
INSTANTIATE_TEST_SUITE_P(All, SmallTokenizer, testing::ValuesIn(small_names()),
                         [](const auto& param) { return param.param; });

TEST_F(TokenizerJson, ReadsTokensByIdAndName) {
  auto t = load_tokenizer_json(tokenizer_test_data("small/qwen2"));
  std::optional<int32_t> end = t->token_to_id("<|im_end|>"), think = t->token_to_id("<think>"),
                         space = t->token_to_id("Ġthe");
  ASSERT_TRUE(end && think && space);
  EXPECT_TRUE(t->is_special(*end));
  EXPECT_FALSE(t->is_special(*think));
  EXPECT_EQ(t->token_bytes(*end), "");
  EXPECT_EQ(t->token_bytes(*think), "<think>");
  EXPECT_EQ(t->token_bytes(*space), " the");
  EXPECT_EQ(t->token(*space), "Ġthe");
  EXPECT_EQ(t->token_bytes(-1), "");
  EXPECT_EQ(t->token_bytes(t->vocab_size()), "");
  EXPECT_EQ(t->token(t->vocab_size()), "");
  EXPECT_FALSE(t->token_to_id("no such token"));
  EXPECT_EQ(t->decode(std::vector<int32_t>{-5, *space, 1 << 30}), " the");
  // The tokens' bytes, put together, are the text.
  std::string text = "def main():\n  print('Größe 世界')", bytes;
  for (int32_t id : t->encode(text)) bytes += t->token_bytes(id);
  EXPECT_EQ(bytes, text);
}

TEST_F(TokenizerJson, ReadsTheConfigBesideIt) {
  json tokenizer = small("llama2");
  write("tokenizer_config.json",
        R"({"model_max_length": 1000000000000000019884624838656, "bos_token": {"content": "<s>"},
    "eos_token": "</s>", "chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]})");
  auto t = load(tokenizer);
  EXPECT_EQ(t->bos_id(), 1);
  EXPECT_EQ(t->eos_ids(), std::vector<int32_t>{2});
  EXPECT_EQ(t->chat_template(), "D");
  EXPECT_EQ(t->encode("").size(), 1U);

  write("tokenizer_config.json",
        R"({"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": false, "add_eos_token": true,
    "bos_token": null, "eos_token": null, "chat_template": "S"})");
  write("special_tokens_map.json", R"({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}})");
  t = load(tokenizer);
  EXPECT_EQ(t->bos_id(), 1);
  EXPECT_EQ(t->encode(""), std::vector<int32_t>{2});
  EXPECT_EQ(t->encode("", false), std::vector<int32_t>{});
  EXPECT_EQ(t->chat_template(), "S");

  write("chat_template.jinja", "{{ messages }}");
  EXPECT_EQ(load(tokenizer)->chat_template(), "{{ messages }}");
  write("tokenizer_config.json", R"({"eos_token": 5, "chat_template": )");
  EXPECT_EQ(error_of(tokenizer), ErrorKind::CorruptFile);
}

TEST_F(TokenizerJson, ADirectoryWithoutItIsNotFound) {
  try {
    load_tokenizer_json(dir_.string());
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::NotFound);
    EXPECT_NE(std::string(e.what()).find("tokenizer.json"), std::string::npos);
  }
}

TEST_F(TokenizerJson, MalformedFilesAreCorrupt) {
  for (const char* text :
       {"", "{", "[]", "{}", "null", "{\"model\": 5}", "{\"model\": {\"type\": \"BPE\"}}", "\xFF\xFE"}) {
    EXPECT_EQ(error_of(std::string(text)), ErrorKind::CorruptFile) << text;
  }
  const json good = small("llama3");
  auto corrupt = [&](const char* what, auto change) {
    json bad = good;
    change(bad);
    EXPECT_EQ(error_of(bad), ErrorKind::CorruptFile) << what;
  };
  corrupt("huge id", [](json& j) { j["model"]["vocab"]["zz"] = 4000000000000; });
  corrupt("negative id", [](json& j) { j["model"]["vocab"]["zz"] = -1; });
  corrupt("id is text", [](json& j) { j["model"]["vocab"]["zz"] = "1"; });
  corrupt("id is a fraction", [](json& j) { j["model"]["vocab"]["zz"] = 1.5; });
  corrupt("vocab is a list", [](json& j) { j["model"]["vocab"] = json::array(); });
  corrupt("no merges", [](json& j) { j["model"].erase("merges"); });
  corrupt("merge of absent tokens", [](json& j) { j["model"]["merges"].push_back({"absent", "tokens"}); });
  corrupt("merge of one", [](json& j) { j["model"]["merges"].push_back({"a"}); });
  corrupt("merge of three", [](json& j) { j["model"]["merges"].push_back("a b c"); });
  corrupt("merge is a number", [](json& j) { j["model"]["merges"].push_back(7); });
  corrupt("added token without id", [](json& j) { j["added_tokens"][0].erase("id"); });
  corrupt("added token with a huge id", [](json& j) {
    j["added_tokens"].push_back({{"id", 2000000000}, {"content", "x"}});
  });
  corrupt("added tokens not a list", [](json& j) { j["added_tokens"] = 1; });
  corrupt("pattern", [](json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {{"Regex", "("}}; });
  corrupt("behavior", [](json& j) { j["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Sideways"; });
  corrupt("template with an unknown token", [](json& j) { j["post_processor"]["special_tokens"].clear(); });
  corrupt("template with an id out of range",
          [](json& j) { j["post_processor"]["special_tokens"]["<|begin_of_text|>"]["ids"] = {123456789}; });
  corrupt("decoder without a type", [](json& j) { j["decoder"].erase("type"); });
  corrupt("flag is a number", [](json& j) { j["model"]["ignore_merges"] = 1; });
}

TEST_F(TokenizerJson, NestingIsAllowedToADepthAndRefusedBeyond) {
  std::string text = small("llama3").dump(), none = "\"normalizer\":null";
  size_t at = text.find(none);
  ASSERT_NE(at, std::string::npos);
  auto nested = [&](int depth) {
    std::string inner = R"({"type":"NFC"})";
    for (int i = 0; i < depth; ++i) inner = R"({"type":"Sequence","normalizers":[)" + inner + "]}";
    return text.substr(0, at) + "\"normalizer\":" + inner + text.substr(at + none.size());
  };
  EXPECT_EQ(error_of(nested(100)), std::nullopt);
  EXPECT_EQ(error_of(nested(3000)), ErrorKind::CorruptFile);
}

TEST_F(TokenizerJson, UnknownComponentsAreNamed) {
  for (const char* part : {"normalizer", "pre_tokenizer", "post_processor", "decoder", "model"}) {
    json j = small("llama3");
    if (std::string(part) != "model") j[part] = json::object();
    j[part]["type"] = "Quantum";
    write("tokenizer.json", j.dump());
    try {
      load_tokenizer_json(dir_.string());
      FAIL() << part;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::Unsupported);
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find("Quantum"), std::string::npos) << e.what();
    }
  }
}

// Puts wrong values in random places of the JSON.
void spoil(json& j, std::mt19937& random, int depth = 0) {
  static const std::vector<json> values = {nullptr,
                                           true,
                                           -1,
                                           1e300,
                                           18446744073709551615ULL,
                                           "",
                                           "x",
                                           "▁",
                                           json::array(),
                                           json::object(),
                                           json::array({1, "a"}),
                                           json::object({{"type", "Sequence"}})};
  if (depth > 0 && (j.empty() || !j.is_structured() || random() % 6 == 0)) {
    j = values[random() % values.size()];
    return;
  }
  if (!j.is_structured() || j.empty()) return;
  auto it = j.begin();
  std::advance(it, static_cast<std::ptrdiff_t>(random() % j.size()));
  if (j.is_object() && random() % 10 == 0) {
    j.erase(it);
  } else {
    spoil(*it, random, depth + 1);
  }
}

TEST_F(TokenizerJson, SpoiledFilesGiveErrorsOrWorkingTokenizers) {
  unsigned seed = 14;
  std::mt19937 random(seed);
  std::vector<std::string> names = small_names();
  for (int round = 0; round < 400; ++round) {
    json j = small(names[random() % names.size()]);
    for (unsigned n = random() % 3 + 1; n > 0; --n) spoil(j, random);
    std::string text = j.dump();
    if (random() % 4 == 0) text.resize(random() % text.size());
    write("tokenizer.json", text);
    try {
      auto t = load_tokenizer_json(dir_.string());
      for (size_t i = 0; i < 20; ++i) {
        const std::string& source = test_corpus()[random() % test_corpus().size()];
        std::vector<int32_t> ids = t->encode(source);
        for (int32_t id : ids) ASSERT_TRUE(id >= 0 && id < t->vocab_size()) << "seed " << seed << ", round " << round;
        ASSERT_TRUE(is_valid_utf8(t->decode(ids))) << "seed " << seed << ", round " << round;
      }
    } catch (const Error& e) {
      EXPECT_NE(e.kind(), ErrorKind::Internal) << e.what();
    }
  }
}

TEST_F(TokenizerJson, ThreadsMayShareATokenizer) {
  for (const char* name : {"llama3", "deepseek3", "gemma3", "bert", "unigram"}) {
    const auto t = load_tokenizer_json(tokenizer_test_data(std::string("small/") + name));
    std::vector<std::vector<std::vector<int32_t>>> results(4);
    std::vector<std::thread> threads;
    for (auto& result : results) {
      threads.emplace_back([&] {
        for (const std::string& text : test_corpus()) {
          result.push_back(t->encode(text));
          t->decode(result.back());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& result : results) EXPECT_EQ(result, results[0]) << name;
  }
}

TEST_F(TokenizerJson, ATokenizerWithoutADecoderJoinsTokensWithSpaces) {
  auto t = load_tokenizer_json(tokenizer_test_data("small/words"));
  std::vector<int32_t> ids = {*t->token_to_id("t"), *t->token_to_id("the")};
  EXPECT_EQ(t->decode(ids), "t the");
}

}  // namespace
}  // namespace sgl
