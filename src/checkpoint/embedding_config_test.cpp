// modules.json and what stands beside it → EmbeddingConfig.

#include "checkpoint/embedding_config.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "checkpoint/expect_error.h"
#include "checkpoint/test_files.h"
#include "sgl/error.h"

namespace sgl {
namespace {

using testing::expect_error;
using testing::TemporaryDirectory;

constexpr const char* kModules = R"([
  {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
  {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
  {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}])";

class EmbeddingConfigFiles : public ::testing::Test {
 protected:
  EmbeddingConfigFiles() { std::filesystem::create_directory(directory_.path() + "/1_Pooling"); }
  EmbeddingConfig read(const ModelConfig& c = {}) { return read_embedding_config(directory_.path(), c); }
  void write(const std::string& modules, const std::string& pooling) {
    directory_.write("modules.json", modules);
    directory_.write("1_Pooling/config.json", pooling);
  }
  TemporaryDirectory directory_;
};

TEST_F(EmbeddingConfigFiles, ArchitecturesHaveDefaults) {
  ModelConfig encoder, cross_encoder;
  encoder.encoder = cross_encoder.encoder = true;
  cross_encoder.num_labels = 1;
  for (const std::string& directory : {directory_.path(), std::string()}) {
    EXPECT_EQ(read_embedding_config(directory, {}).pooling, Pooling::Last);
    EXPECT_EQ(read_embedding_config(directory, encoder).pooling, Pooling::Mean);
    EXPECT_EQ(read_embedding_config(directory, cross_encoder).pooling, Pooling::First);
    EXPECT_TRUE(read_embedding_config(directory, encoder).normalize);
    EXPECT_FALSE(read_embedding_config(directory, cross_encoder).normalize);
    EXPECT_FALSE(read_embedding_config(directory, {}).declared);
  }
}

TEST_F(EmbeddingConfigFiles, PoolingComesInTwoForms) {
  const auto pooling_of = [&](const char* text) {
    write(kModules, text);
    return read().pooling;
  };
  // As all-MiniLM, bge and e5-mistral have it, and as newer releases write it.
  EXPECT_EQ(pooling_of(R"({"word_embedding_dimension": 384, "pooling_mode_cls_token": false,
    "pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": false})"),
            Pooling::Mean);
  EXPECT_EQ(pooling_of(R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false})"), Pooling::First);
  EXPECT_EQ(pooling_of(R"({"pooling_mode_cls_token": false, "pooling_mode_lasttoken": true, "include_prompt": true})"),
            Pooling::Last);
  EXPECT_EQ(pooling_of(R"({"pooling_mode": "mean", "embedding_dimension": 384})"), Pooling::Mean);
  EXPECT_EQ(pooling_of(R"({"pooling_mode": "cls"})"), Pooling::First);
  EXPECT_TRUE(read().declared);
}

TEST_F(EmbeddingConfigFiles, ModulesSayWhetherToNormaliseAndHowLongATextIs) {
  write(kModules, R"({"pooling_mode": "mean"})");
  EXPECT_TRUE(read().normalize);
  EXPECT_EQ(read().max_tokens, std::nullopt);
  directory_.write("sentence_bert_config.json", R"({"max_seq_length": 256, "do_lower_case": false})");
  EXPECT_EQ(read().max_tokens, 256);
  directory_.write("sentence_bert_config.json", R"({"max_seq_length": null})");
  EXPECT_EQ(read().max_tokens, std::nullopt);
  write(R"([{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling", "type": "a.b.Pooling"}])",
        R"({"pooling_mode": "mean"})");
  EXPECT_FALSE(read().normalize);
}

TEST_F(EmbeddingConfigFiles, ADefaultPromptIsRead) {
  write(kModules, R"({"pooling_mode": "mean"})");
  directory_.write("config_sentence_transformers.json",
                   R"({"prompts": {"query": "query: "}, "default_prompt_name": null})");
  EXPECT_EQ(read().default_prompt, "");
  directory_.write("config_sentence_transformers.json",
                   R"({"prompts": {"query": "query: "}, "default_prompt_name": "query"})");
  EXPECT_EQ(read().default_prompt, "query: ");
  directory_.write("config_sentence_transformers.json", R"({"prompts": {}, "default_prompt_name": "query"})");
  expect_error(ErrorKind::CorruptFile, {"default_prompt_name"}, [&] { read(); });
}

TEST_F(EmbeddingConfigFiles, AGeneratingModelsOtherModulesAreNoMatter) {
  write(R"([{"path": "", "type": "a.Transformer"}, {"path": "1", "type": "a.LogitScore"}])", "");
  EXPECT_FALSE(read().declared);
  EXPECT_EQ(read().pooling, Pooling::Last);
}

TEST_F(EmbeddingConfigFiles, WhatIsNotSupportedIsNamed) {
  const auto refused = [&](ErrorKind kind, const char* modules, const char* pooling, const char* part) {
    write(modules, pooling);
    expect_error(kind, {part}, [&] { read(); });
  };
  refused(ErrorKind::Unsupported, kModules, R"({"pooling_mode": "max"})", "\"max\"");
  refused(ErrorKind::Unsupported, kModules, R"({"pooling_mode_weightedmean_tokens": true})", "\"weightedmean\"");
  refused(ErrorKind::Unsupported, kModules, R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true})",
          "one pooling mode");
  refused(ErrorKind::Unsupported, kModules, R"({"pooling_mode": "mean", "include_prompt": false})", "include_prompt");
  refused(ErrorKind::Unsupported,
          R"([{"path": "1_Pooling", "type": "a.Pooling"}, {"path": "2_Dense", "type": "a.Dense"}])",
          R"({"pooling_mode": "mean"})", "module Dense");
  refused(ErrorKind::CorruptFile, R"([{"path": "../../etc", "type": "a.Pooling"}])", "{}", "path");
  refused(ErrorKind::CorruptFile, R"({"0": 1})", "{}", "array of modules");
  refused(ErrorKind::NotFound, R"([{"path": "9_Pooling", "type": "a.Pooling"}])", "{}", "9_Pooling");
}

}  // namespace
}  // namespace sgl
