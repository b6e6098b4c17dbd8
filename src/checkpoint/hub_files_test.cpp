#include "checkpoint/hub_files.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "sgl/error.h"

namespace sgl::hub {
namespace {

TEST(HubFiles, ReadsHubIds) {
  auto id = parse_hub_id("Qwen/Qwen2.5-0.5B-Instruct-GGUF@refs/pr/1:Q4_K_M");
  ASSERT_TRUE(id);
  EXPECT_EQ(id->repo, "Qwen/Qwen2.5-0.5B-Instruct-GGUF");
  EXPECT_EQ(id->revision, "refs/pr/1");
  EXPECT_EQ(id->selector, "Q4_K_M");
  EXPECT_EQ(parse_hub_id("gpt2")->repo, "gpt2");
  EXPECT_EQ(parse_hub_id("a/b:sub/x.gguf")->selector, "sub/x.gguf");
}

TEST(HubFiles, RefusesWhatNoHubIdIs) {
  for (const char* text :
       {"",        "/",         "a/",    "/a",    "a/b/c", "../a", "a/..",       "a/b@",           "a/b@../x",
        "a/b:",    "a/b:../x",  "a b/c", "a/b?x", "-a/b",  ".a/b", "model.gguf", "dir/model.gguf", "a/b@x\n",
        "a/b@x y", "C:\\models"}) {
    EXPECT_FALSE(parse_hub_id(text)) << text;
  }
  EXPECT_FALSE(parse_hub_id(std::string(97, 'a')));
}

TEST(HubFiles, NamesThatLeaveTheFolderAreUnsafe) {
  for (const char* name : {"a", "a/b.json", "...", "a..b"}) EXPECT_TRUE(is_safe_name(name)) << name;
  for (const char* name : {"", "/a", "../a", "a/../b", "a/..", "a//b", "a/", "./a", "a\\b", "c:a", "a\nb"}) {
    EXPECT_FALSE(is_safe_name(name)) << name;
  }
  EXPECT_FALSE(is_safe_name(std::string("a\0b", 3)));
  EXPECT_FALSE(is_safe_name(std::string(300, 'a')));
}

TEST(HubFiles, PartsOfAGgufModelAreOneModel) {
  auto models = gguf_models({"b-00002-of-00002.gguf", "a.gguf", "b-00001-of-00002.gguf", "c-00001-of-00002.gguf",
                             "mmproj-f16.gguf", "x.imatrix.gguf", "README.md"});
  ASSERT_EQ(models.size(), 2U);
  EXPECT_EQ(models[0].files, std::vector<std::string>{"a.gguf"});
  EXPECT_EQ(models[1].files, (std::vector<std::string>{"b-00001-of-00002.gguf", "b-00002-of-00002.gguf"}));
}

const std::vector<std::string> kNames = {"m-Q4_K_M.gguf", "m-Q4_K_M_L.gguf", "m-q8_0.gguf",
                                         "BF16/m-BF16-00001-of-00002.gguf", "BF16/m-BF16-00002-of-00002.gguf"};

TEST(HubFiles, ASelectorNamesAFileOrAPartOfIt) {
  EXPECT_EQ(choose_gguf(kNames, "q4_k_m", "x").files[0], "m-Q4_K_M.gguf");
  EXPECT_EQ(choose_gguf(kNames, "Q8_0", "x").files[0], "m-q8_0.gguf");
  EXPECT_EQ(choose_gguf(kNames, "m-Q4_K_M_L.gguf", "x").files[0], "m-Q4_K_M_L.gguf");
  EXPECT_EQ(choose_gguf(kNames, "m-Q4_K_M_L", "x").files[0], "m-Q4_K_M_L.gguf");
  EXPECT_EQ(choose_gguf(kNames, "bf16", "x").files.size(), 2U);
}

TEST(HubFiles, AnAmbiguousChoiceListsTheModels) {
  for (const char* selector : {"", "m"}) {
    try {
      choose_gguf(kNames, selector, "org/repo");
      FAIL() << "no error";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument);
      for (const char* part : {"org/repo", "m-Q4_K_M.gguf", "m-q8_0.gguf"}) {
        EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
      }
    }
  }
}

TEST(HubFiles, ASelectorThatFitsNothingIsNotFound) {
  try {
    choose_gguf(kNames, "Q4", "org/repo");
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::NotFound);
  }
}

TEST(HubFiles, TakesOneSetOfWeights) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(safetensors_without_index({"consolidated.safetensors", "model.safetensors", "model.fp16.safetensors"}),
            Names{"model.safetensors"});
  EXPECT_EQ(safetensors_without_index({"consolidated.safetensors", "w.safetensors", "onnx/x.safetensors"}),
            Names{"w.safetensors"});
  EXPECT_EQ(safetensors_without_index({"consolidated.safetensors"}), Names{"consolidated.safetensors"});
  EXPECT_TRUE(is_side_file("tokenizer.model"));
  EXPECT_TRUE(is_side_file("chat_template.jinja"));
  EXPECT_TRUE(is_side_file("model.safetensors.index.json"));
  EXPECT_FALSE(is_side_file("pytorch_model.bin.index.json"));
  EXPECT_FALSE(is_side_file("onnx/config.json"));
  EXPECT_TRUE(is_side_file("1_Pooling/config.json"));
  EXPECT_TRUE(is_side_file("modules.json"));
  EXPECT_FALSE(is_side_file("1_Pooling/more/config.json"));
  EXPECT_FALSE(is_side_file("2_Dense/model.safetensors"));
}

}  // namespace
}  // namespace sgl::hub
