#include "text/gguf_vocab.h"

#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <sgl/error.h>

#include "text/gguf_pre_tokenizer.h"
#include "text/test_corpus.h"
#include "text/tokenizer_json.h"

namespace sgl {
namespace {

using nlohmann::json;

json small(const std::string& name, const std::string& file = "tokenizer.json") {
  return json::parse(read_file(tokenizer_test_data("small/" + name + "/" + file)));
}

// The vocabulary of a tokenizer.json as a converter writes it.
GgufVocab convert(const json& tokenizer, const std::string& model, const std::string& pre) {
  GgufVocab v;
  v.model = model;
  v.pre = pre;
  const json& vocab = tokenizer["model"]["vocab"];
  size_t size = vocab.size();
  for (const json& added : tokenizer["added_tokens"]) size = std::max(size, added["id"].get<size_t>() + 1);
  v.tokens.resize(size);
  v.token_types.assign(size, 1);
  if (vocab.is_object()) {
    for (const auto& [token, id] : vocab.items()) v.tokens[id.get<size_t>()] = token;
  } else {
    for (size_t i = 0; i < vocab.size(); ++i) {
      v.tokens[i] = vocab[i][0];
      v.scores.push_back(vocab[i][1].get<float>());
    }
  }
  for (const json& added : tokenizer["added_tokens"]) {
    auto id = added["id"].get<size_t>();
    v.tokens[id] = added["content"];
    v.token_types[id] = added["special"].get<bool>() ? 3 : 4;
  }
  if (tokenizer["model"].contains("merges")) {
    for (const json& m : tokenizer["model"]["merges"])
      v.merges.push_back(m[0].get<std::string>() + " " + m[1].get<std::string>());
  }
  v.add_bos = v.add_eos = false;
  return v;
}

int32_t id_of(const GgufVocab& v, const std::string& token) {
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    if (v.tokens[i] == token) return static_cast<int32_t>(i);
  }
  ADD_FAILURE() << token;
  return 0;
}

TEST(GgufVocab, ByteLevelNamesStandForTheirPublishersTokenizers) {
  const std::pair<const char*, const char*> models[] = {
      {"llama3", "llama-bpe"},      {"qwen2", "qwen2"},
      {"smollm", "smollm"},         {"gpt4o", "gpt-4o"},
      {"deepseek3", "deepseek-v3"}, {"deepseek_coder", "deepseek-coder"},
      {"falcon", "falcon"},         {"deepseek_llm", "deepseek-llm"}};
  for (auto [name, pre] : models) {
    GgufVocab v = convert(small(name), "gpt2", pre);
    if (std::string(name) == "llama3") {
      v.bos = id_of(v, "<|begin_of_text|>");
      v.add_bos.reset();
    }
    expect_recorded(*make_gguf_tokenizer(v), tokenizer_test_data(std::string("small/") + name + "/expected.txt"));
  }
}

TEST(GgufVocab, ScoresGiveTheIdsOfThePublishersMerges) {
  for (const char* name : {"llama2", "gemma3"}) {
    json file = small(name, "gguf.json");
    GgufVocab v;
    v.model = "llama";
    v.tokens = file["tokens"].get<std::vector<std::string>>();
    v.scores = file["scores"].get<std::vector<float>>();
    v.token_types = file["token_types"].get<std::vector<int32_t>>();
    v.unk = 0, v.bos = 1, v.eos = 2;
    bool gemma = std::string(name) == "gemma3";
    if (gemma) v.add_space_prefix = false;
    for (size_t i = 0; gemma && i < v.scores.size(); ++i) {
      if (v.token_types[i] != 1) v.scores[i] = -1000;  // as converters write them for added tokens
    }
    auto t = make_gguf_tokenizer(v);
    expect_recorded(*t, tokenizer_test_data(std::string("small/") + name + "/expected.txt"));
    EXPECT_EQ(t->bos_id(), 1);
    EXPECT_EQ(t->eos_ids(), std::vector<int32_t>{2});
  }
}

TEST(GgufVocab, BertTokensGetTheirPrefixBack) {
  json bert = small("bert");
  bert["model"]["max_input_chars_per_word"] = 100;
  GgufVocab v = convert(bert, "bert", "");
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    std::string& token = v.tokens[i];
    if (v.token_types[i] == 1 && token != "[]") token = token.starts_with("##") ? token.substr(2) : "▁" + token;
  }
  v.add_bos = v.add_eos = true;
  v.unk = id_of(v, "[UNK]");
  auto t = make_gguf_tokenizer(v);
  auto original = load_tokenizer_json(tokenizer_test_data("small/bert"));
  for (const std::string& text : test_corpus()) {
    if (text.size() > 40) continue;  // the small tokenizer gives up on words of 40 characters, a GGUF does not say
    std::vector<int32_t> ids = original->encode(text);
    ASSERT_EQ(t->encode(text), ids) << text;
    ASSERT_EQ(t->decode(ids), original->decode(ids));
  }
}

TEST(GgufVocab, T5IsUnigram) {
  GgufVocab v = convert(small("t5"), "t5", "");
  v.unk = id_of(v, "<unk>");
  v.eos = id_of(v, "</s>");
  v.add_eos = true;
  expect_recorded(*make_gguf_tokenizer(v), tokenizer_test_data("small/t5/expected.txt"));
}

TEST(GgufVocab, EndOfTurnCountsAsEnd) {
  GgufVocab v = convert(small("qwen2"), "gpt2", "qwen2");
  v.eos = id_of(v, "<|endoftext|>");
  v.eot = id_of(v, "<|im_end|>");
  v.chat_template = "T";
  auto t = make_gguf_tokenizer(v);
  EXPECT_EQ(t->eos_ids(), (std::vector<int32_t>{*v.eos, *v.eot}));
  EXPECT_EQ(t->chat_template(), "T");
  EXPECT_FALSE(t->bos_id());
}

ErrorKind error_of(const GgufVocab& v) {
  try {
    make_gguf_tokenizer(v);
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("GGUF"), std::string::npos) << e.what();
    return e.kind();
  }
  ADD_FAILURE() << "no error";
  return ErrorKind::Internal;
}

TEST(GgufVocab, ListsThatDisagreeAreCorrupt) {
  const GgufVocab good = convert(small("qwen2"), "gpt2", "qwen2");
  auto corrupt = [&](const char* what, auto change) {
    GgufVocab v = good;
    change(v);
    EXPECT_EQ(error_of(v), ErrorKind::CorruptFile) << what;
  };
  corrupt("no tokens", [](GgufVocab& v) { v.tokens.clear(); });
  corrupt("types", [](GgufVocab& v) { v.token_types.pop_back(); });
  corrupt("scores", [](GgufVocab& v) { v.scores.push_back(1); });
  corrupt("no merges", [](GgufVocab& v) { v.merges.clear(); });
  corrupt("merge of one", [](GgufVocab& v) { v.merges.emplace_back("abc"); });
  corrupt("merge of absent tokens", [](GgufVocab& v) { v.merges.emplace_back("no such"); });
  corrupt("bos", [](GgufVocab& v) { v.bos = 1 << 30; });
  corrupt("eos", [](GgufVocab& v) { v.eos = -1; });
  corrupt("no scores", [](GgufVocab& v) { v.model = "llama"; });
  corrupt("no scores", [](GgufVocab& v) { v.model = "t5"; });
  corrupt("no unknown token", [](GgufVocab& v) { v.model = "bert"; });
}

TEST(GgufVocab, UnknownModelsAndPreTokenizersAreNamed) {
  GgufVocab v = convert(small("qwen2"), "gpt2", "qwen2");
  v.pre = "quantum";
  EXPECT_EQ(error_of(v), ErrorKind::Unsupported);
  v.model = "rwkv";
  EXPECT_EQ(error_of(v), ErrorKind::Unsupported);
}

TEST(GgufVocab, EveryNamedPreTokenizerCompiles) {
  for (const char* name : {"", "gpt-2", "mpt", "command-r", "dbrx", "stablelm2", "tekken", "llama4", "hunyuan-dense"}) {
    EXPECT_FALSE(make_gguf_pre_tokenizer(name).steps.empty()) << name;
  }
}

TEST(GgufVocab, RandomVocabulariesNeverCrash) {
  unsigned seed = 15;
  std::mt19937 random(seed);
  const char* models[] = {"llama", "gpt2", "bert", "t5"};
  const char* tokens[] = {"",       " ",   "  ",    "a",   "b",    "ab", "▁",   "▁a",
                          "<0x61>", "<s>", "[UNK]", "##a", "\xFF", "Ġ",  "a ▁", "\n\n"};
  for (int round = 0; round < 2000; ++round) {
    GgufVocab v;
    v.model = models[random() % 4];
    for (unsigned n = random() % 20; n > 0; --n) {
      v.tokens.emplace_back(tokens[random() % std::size(tokens)]);
      v.scores.push_back(random() % 5 == 0 ? std::numeric_limits<float>::quiet_NaN()
                                           : static_cast<float>(random() % 9));
      v.token_types.push_back(static_cast<int32_t>(random() % 9) - 1);
    }
    if (random() % 2 == 0) v.merges = {"a b", "Ġ a", "a", "▁ a"};
    v.unk = static_cast<int32_t>(random() % 4), v.bos = static_cast<int32_t>(random() % 4);
    try {
      auto t = make_gguf_tokenizer(v);
      for (const char* text : {"", " a  ab", "\n\n▁é<s>", "\xFFz[UNK]"}) {
        std::vector<int32_t> ids = t->encode(text);
        for (int32_t id : ids) ASSERT_TRUE(id >= 0 && id < t->vocab_size());
        ASSERT_TRUE(is_valid_utf8(t->decode(ids)));
      }
    } catch (const Error& e) {
      EXPECT_NE(e.kind(), ErrorKind::Internal) << e.what() << ", seed " << seed << ", round " << round;
    }
  }
}

}  // namespace
}  // namespace sgl
