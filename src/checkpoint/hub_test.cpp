#include "checkpoint/hub.h"

#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "checkpoint/hub_test_support.h"
#include "sgl/error.h"

namespace sgl::hub {
namespace {

namespace fs = std::filesystem;

class Hub : public testing::Test {
 protected:
  Hub() {
    hub_.files = {{"config.json", "{}"},
                  {"tokenizer.json", "{\"a\": 1}"},
                  {"README.md", "# hello"},
                  {"pytorch_model.bin", random_bytes(5000)},
                  {"model.safetensors", random_bytes(200'000)}};
  }

  std::string resolve(const std::string& path) { return resolve_model(path, options_); }
  Error error(const std::string& path) {
    try {
      std::string got = resolve(path);
      ADD_FAILURE() << "no error for " << path << " but " << got;
    } catch (const Error& e) {
      return e;
    }
    return Error(ErrorKind::Internal, "none");
  }
  void expect_error(const std::string& path, ErrorKind kind, const std::vector<std::string>& parts) {
    Error e = error(path);
    EXPECT_EQ(e.kind(), kind) << e.what();
    for (const std::string& part : parts) EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }

  FakeHub hub_;
  TemporaryFolder folder_;
  TestServer server_{[this](const TestRequest& r) { return hub_(r); }};
  HubOptions options_ = test_options(folder_, server_.url());
};

TEST_F(Hub, DownloadsWhatServingNeedsInTheCacheLayoutOfTheEcosystem) {
  std::string dir = resolve("org/model");
  EXPECT_EQ(dir, folder_ / ("hub/models--org--model/snapshots/" + hub_.commit));
  for (const char* name : {"config.json", "tokenizer.json", "model.safetensors"}) {
    EXPECT_EQ(read_text(dir + "/" + name), hub_.files[name]) << name;
    EXPECT_TRUE(fs::is_symlink(dir + "/" + name));
    EXPECT_TRUE(fs::read_symlink(dir + "/" + name).is_relative());
  }
  EXPECT_FALSE(fs::exists(dir + "/README.md"));
  EXPECT_FALSE(fs::exists(dir + "/pytorch_model.bin"));
  EXPECT_EQ(read_text(folder_ / "hub/models--org--model/refs/main"), hub_.commit);
  EXPECT_TRUE(fs::exists(folder_ / ("hub/models--org--model/blobs/" + sha256_of(hub_.files["model.safetensors"]))));
}

TEST_F(Hub, ACachedModelNeedsNoRequest) {
  std::string first = resolve("org/model");
  size_t requests = server_.requests().size();
  EXPECT_EQ(resolve("org/model"), first);
  EXPECT_EQ(resolve("org/model@" + hub_.commit), first);
  options_.offline = true;
  EXPECT_EQ(resolve("org/model@main"), first);
  EXPECT_EQ(server_.requests().size(), requests);
}

TEST_F(Hub, ATokenizerComesWithoutWeights) {
  std::string dir = resolve_tokenizer("org/model", options_);
  EXPECT_EQ(dir, folder_ / ("hub/models--org--model/snapshots/" + hub_.commit));
  EXPECT_EQ(read_text(dir + "/tokenizer.json"), hub_.files["tokenizer.json"]);
  EXPECT_FALSE(fs::exists(dir + "/model.safetensors"));
  options_.offline = true;
  EXPECT_EQ(resolve_tokenizer("org/model", options_), dir);
  EXPECT_EQ(resolve_tokenizer(dir, options_), dir);
  EXPECT_EQ(error("org/model").kind(), ErrorKind::Unavailable) << "the weights are not there";
  EXPECT_THROW(resolve_tokenizer("org/other", options_), Error);
  EXPECT_THROW(resolve_tokenizer("./nowhere", options_), Error);
  options_.offline = false;
  EXPECT_EQ(resolve("org/model"), dir);
}

TEST_F(Hub, AModelThatIsNotWholeIsCompleted) {
  std::string dir = resolve("org/model");
  fs::remove(dir + "/model.safetensors");
  fs::remove(folder_ / ("hub/models--org--model/blobs/" + sha256_of(hub_.files["model.safetensors"])));
  size_t requests = server_.requests().size();
  EXPECT_EQ(resolve("org/model"), dir);
  EXPECT_EQ(read_text(dir + "/model.safetensors"), hub_.files["model.safetensors"]);
  EXPECT_EQ(server_.requests().size(), requests + 2);  // the list and the weights
}

TEST_F(Hub, TheIndexSaysWhichShardsAreNeeded) {
  hub_.files.erase("model.safetensors");
  hub_.files["model-00001-of-00002.safetensors"] = random_bytes(2000, 1);
  hub_.files["model-00002-of-00002.safetensors"] = random_bytes(2000, 2);
  hub_.files["consolidated.safetensors"] = random_bytes(4000, 3);
  hub_.files["model.safetensors.index.json"] =
      R"({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})";
  std::string dir = resolve("org/model");
  EXPECT_TRUE(fs::exists(dir + "/model-00002-of-00002.safetensors"));
  EXPECT_FALSE(fs::exists(dir + "/consolidated.safetensors"));
  fs::remove(dir + "/model-00002-of-00002.safetensors");
  options_.offline = true;
  expect_error("org/model", ErrorKind::Unavailable, {"org/model", "HF_HUB_OFFLINE"});
}

TEST_F(Hub, AnIndexThatNamesForeignFilesIsRefused) {
  hub_.files["model.safetensors.index.json"] = R"({"weight_map": {"a": "../../../../etc/passwd"}})";
  expect_error("org/model", ErrorKind::CorruptFile, {"model.safetensors.index.json", "etc/passwd"});
  hub_.files["model.safetensors.index.json"] = "[]";
  hub_.commit = std::string(40, 'b');
  expect_error("org/model", ErrorKind::CorruptFile, {"weight_map"});
}

TEST_F(Hub, ACutDownloadIsContinuedByTheNextRun) {
  const std::string weights = hub_.files["model.safetensors"];
  hub_.intercept = [&](const TestRequest& r) -> std::optional<TestReply> {
    if (r.target.find("model.safetensors") == std::string::npos) return std::nullopt;
    if (!r.header("range").empty()) return TestReply{.status = 404, .headers = {}, .body = "", .cut_after = {}};
    TestReply reply = file_reply(r, weights, "\"e\"");
    reply.cut_after = 70'000;
    return reply;
  };
  EXPECT_EQ(error("org/model").kind(), ErrorKind::NotFound);
  std::string partial = folder_ / ("hub/models--org--model/blobs/" + sha256_of(weights) + ".incomplete");
  EXPECT_EQ(fs::file_size(partial), 70'000U);
  hub_.intercept = nullptr;
  std::string dir = resolve("org/model");
  EXPECT_EQ(read_text(dir + "/model.safetensors"), weights);
  EXPECT_EQ(server_.requests().back().header("range"), "bytes=70000-");
  EXPECT_FALSE(fs::exists(partial));
}

TEST_F(Hub, ABlobOfAnotherRevisionIsNotFetchedTwice) {
  resolve("org/model");
  hub_.commit = std::string(40, 'b');
  hub_.files["config.json"] = "{\"new\": 1}";
  std::string dir = resolve("org/model@dev");
  EXPECT_EQ(read_text(dir + "/config.json"), "{\"new\": 1}");
  EXPECT_EQ(read_text(dir + "/model.safetensors"), hub_.files["model.safetensors"]);
  EXPECT_EQ(server_.count("/model.safetensors"), 1U);
  EXPECT_EQ(read_text(folder_ / "hub/models--org--model/refs/main"), std::string(40, 'a'));
  EXPECT_EQ(read_text(folder_ / "hub/models--org--model/refs/dev"), hub_.commit);
}

TEST_F(Hub, WorksWithAHubThatGivesNeitherSizesNorHashes) {
  hub_.give_hashes = false;
  std::string dir = resolve("org/model");
  EXPECT_EQ(read_text(dir + "/model.safetensors"), hub_.files["model.safetensors"]);
}

TEST_F(Hub, DamagedContentIsRefusedAndNotKept) {
  std::string damaged = hub_.files["model.safetensors"];
  damaged[1000] ^= 1;
  hub_.intercept = [&](const TestRequest& r) -> std::optional<TestReply> {
    if (r.target.find("model.safetensors") == std::string::npos) return std::nullopt;
    return file_reply(r, damaged, "");
  };
  expect_error("org/model", ErrorKind::CorruptFile,
               {"SHA-256", sha256_of(damaged), sha256_of(hub_.files["model.safetensors"])});
  for (const auto& entry : fs::directory_iterator(folder_ / "hub/models--org--model/blobs")) {
    EXPECT_LT(entry.file_size(), 1000U) << entry.path();
  }
}

TEST_F(Hub, ADamagedStartOfAnEarlierRunIsFetchedAnew) {
  const std::string& weights = hub_.files["model.safetensors"];
  write_text(folder_ / ("hub/models--org--model/blobs/" + sha256_of(weights) + ".incomplete"), std::string(1000, 'x'));
  EXPECT_EQ(read_text(resolve("org/model") + "/model.safetensors"), weights);
}

TEST_F(Hub, FileNamesThatLeaveTheCacheAreRefused) {
  for (const char* name : {"../../../evil.json", "/etc/evil.json", "a\\..\\evil.json", "..", ""}) {
    hub_.files = {{"config.json", "{}"}, {"model.safetensors", "x"}, {name, "evil"}};
    expect_error("org/model", ErrorKind::CorruptFile, {"refused"});
  }
  EXPECT_FALSE(fs::exists(folder_ / "evil.json"));
  hub_.files.erase("");
  hub_.commit = "../../../../../../" + std::string(22, 'a');
  expect_error("org/model", ErrorKind::CorruptFile, {"HF_ENDPOINT"});
}

TEST_F(Hub, TheTokenOpensAPrivateModel) {
  hub_.required_token = "hf_right";
  expect_error("org/model", ErrorKind::NotFound, {"org/model", "401", "HF_TOKEN"});
  options_.token = "hf_right";
  EXPECT_NO_THROW(resolve("org/model"));
}

TEST_F(Hub, ErrorsSayWhatToDo) {
  expect_error("org/other", ErrorKind::NotFound, {"org/other", "404", "check the name"});
  hub_.intercept = [](const TestRequest&) {
    return TestReply{.status = 403, .headers = {{"X-Error-Code", "GatedRepo"}}, .body = "", .cut_after = {}};
  };
  expect_error("org/model", ErrorKind::NotFound, {"gated", "accept its terms", "HF_TOKEN"});
  hub_.intercept = [](const TestRequest&) {
    return TestReply{.status = 404, .headers = {{"X-Error-Code", "RevisionNotFound"}}, .body = "", .cut_after = {}};
  };
  expect_error("org/model@nope", ErrorKind::NotFound, {"org/model", "revision 'nope'"});
  hub_.intercept = [](const TestRequest&) {
    return TestReply{.status = 500, .headers = {}, .body = "", .cut_after = {}};
  };
  expect_error("org/model", ErrorKind::Unavailable, {"HTTP 500", "try again"});
  hub_.intercept = [](const TestRequest&) { return TestReply{.headers = {}, .body = "<html>", .cut_after = {}}; };
  expect_error("org/model", ErrorKind::CorruptFile, {"HF_ENDPOINT"});
}

TEST_F(Hub, OfflineMakesNoRequest) {
  options_.offline = true;
  expect_error("org/model", ErrorKind::Unavailable, {"org/model", "HF_HUB_OFFLINE"});
  expect_error("", ErrorKind::Unavailable, {"SmolLM2", "HF_HUB_OFFLINE"});
  EXPECT_EQ(server_.requests().size(), 0U);
}

TEST_F(Hub, ChoosesOneGgufByItsSelector) {
  hub_.files = {{"README.md", "x"}, {"m-Q4_K_M.gguf", random_bytes(2000, 1)}, {"m-Q8_0.gguf", random_bytes(3000, 2)}};
  expect_error("org/model", ErrorKind::InvalidArgument, {"m-Q4_K_M.gguf", "m-Q8_0.gguf"});
  std::string file = resolve("org/model:q8_0");
  EXPECT_TRUE(file.ends_with("/m-Q8_0.gguf"));
  EXPECT_EQ(read_text(file), hub_.files["m-Q8_0.gguf"]);
  EXPECT_EQ(server_.count("Q4_K_M"), 0U);
  size_t requests = server_.requests().size();
  EXPECT_EQ(resolve("org/model:Q8_0"), file);
  EXPECT_EQ(server_.requests().size(), requests);
  EXPECT_TRUE(resolve("org/model:Q4_K_M").ends_with("/m-Q4_K_M.gguf"));
  expect_error("org/model", ErrorKind::InvalidArgument, {"m-Q4_K_M.gguf", "m-Q8_0.gguf"});  // now from the cache
  expect_error("org/model:Q2_K", ErrorKind::NotFound, {"Q2_K", "m-Q8_0.gguf"});
}

TEST_F(Hub, AGgufInPartsIsItsFirstPart) {
  hub_.files = {{"big/m-00001-of-00002.gguf", random_bytes(2000, 1)},
                {"big/m-00002-of-00002.gguf", random_bytes(2000, 2)}};
  std::string file = resolve("org/model");
  EXPECT_TRUE(file.ends_with("/big/m-00001-of-00002.gguf"));
  EXPECT_EQ(read_text(fs::path(file).parent_path() / "m-00002-of-00002.gguf"), hub_.files["big/m-00002-of-00002.gguf"]);
}

TEST_F(Hub, ARepositoryWithoutUsableWeightsIsUnsupported) {
  hub_.files = {{"config.json", "{}"}, {"pytorch_model.bin", "x"}};
  expect_error("org/model", ErrorKind::Unsupported, {"safetensors", "gguf"});
}

TEST_F(Hub, ManyAtOnceFetchEachFileOnce) {
  std::vector<std::thread> threads;
  std::vector<std::string> got(8);
  for (std::string& g : got) threads.emplace_back([&] { g = resolve("org/model"); });
  for (std::thread& t : threads) t.join();
  for (const std::string& g : got) EXPECT_EQ(read_text(g + "/model.safetensors"), hub_.files["model.safetensors"]);
  EXPECT_EQ(server_.count("/model.safetensors"), 1U);
}

TEST_F(Hub, TheRevisionMayComeFromEitherSide) {
  options_.revision = "dev";
  resolve("org/model");
  EXPECT_EQ(server_.count("/revision/dev?"), 1U);
  expect_error("org/model@main", ErrorKind::InvalidArgument, {"main", "dev"});
  options_.revision = "../x";
  expect_error("org/model", ErrorKind::InvalidArgument, {"../x"});
}

TEST_F(Hub, LocalPathsAreTakenAsTheyAre) {
  write_text(folder_ / "dir/config.json", "{}");
  write_text(folder_ / "one.gguf", "x");
  write_text(folder_ / "single/m.gguf", "x");
  write_text(folder_ / "several/a-Q4_0.gguf", "x");
  write_text(folder_ / "several/a-Q8_0.gguf", "x");
  write_text(folder_ / "empty/README.md", "x");
  write_text(folder_ / "weights.bin", "x");
  EXPECT_EQ(resolve(folder_ / "dir"), folder_ / "dir");
  EXPECT_EQ(resolve(folder_ / "one.gguf"), folder_ / "one.gguf");
  EXPECT_EQ(resolve(folder_ / "single"), folder_ / "single/m.gguf");
  EXPECT_EQ(resolve(folder_ / "several:Q8_0"), folder_ / "several/a-Q8_0.gguf");
  expect_error(folder_ / "several", ErrorKind::InvalidArgument, {"a-Q4_0.gguf", "a-Q8_0.gguf"});
  expect_error(folder_ / "several:Q2_K", ErrorKind::NotFound, {"Q2_K"});
  expect_error(folder_ / "empty", ErrorKind::NotFound, {"empty", "config.json", ".gguf"});
  expect_error(folder_ / "weights.bin", ErrorKind::InvalidArgument, {"weights.bin", "folder"});
  expect_error(folder_ / "missing", ErrorKind::NotFound, {"missing", "no file or folder"});
  expect_error("missing.gguf", ErrorKind::NotFound, {"missing.gguf", "no file or folder"});
  expect_error("a/b/c", ErrorKind::NotFound, {"a/b/c"});
  EXPECT_EQ(server_.requests().size(), 0U);
}

/// Sets variables and puts the old values back.
class Environment {
 public:
  void set(const char* name, const std::string& value) {
    const char* old = std::getenv(name);
    saved_.emplace_back(name, old == nullptr ? std::optional<std::string>() : old);
    setenv(name, value.c_str(), 1);
  }
  ~Environment() {
    for (auto it = saved_.rbegin(); it != saved_.rend(); ++it) {
      if (it->second) setenv(it->first, it->second->c_str(), 1);
      if (!it->second) unsetenv(it->first);
    }
  }

 private:
  std::vector<std::pair<const char*, std::optional<std::string>>> saved_;
};

TEST(HubEnvironment, FollowsTheVariablesOfTheEcosystem) {
  TemporaryFolder folder;
  Environment env;
  for (const char* name :
       {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT",
        "HF_HUB_OFFLINE", "HF_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "PIP_INDEX_URL", "PIP_CONFIG_FILE",
        "SGL_PYPI_INDEX_URL", "SGL_CACHE", "SGL_HUB_ALLOW_PRIVATE"}) {
    env.set(name, "");
  }
  env.set("HOME", folder / "home");
  write_text(folder / "home/.cache/huggingface/token", "hf_from_file\n");
  write_text(folder / "home/.config/pip/pip.conf",
             "[install]\nindex-url = https://wrong\n[global]\nindex-url = https://a/simple\n");
  HubOptions o = HubOptions::from_environment();
  EXPECT_EQ(o.models_dir, folder / "home/.cache/sgl/models");
  EXPECT_EQ(o.hub_cache, folder / "home/.cache/huggingface/hub");
  EXPECT_EQ(o.endpoint, "https://huggingface.co");
  EXPECT_EQ(o.token, "hf_from_file");
  EXPECT_EQ(o.pypi_index_url, "https://a/simple");
  EXPECT_FALSE(o.offline);
  EXPECT_FALSE(o.allow_private);

  env.set("HF_HOME", folder / "hf");
  env.set("SGL_HUB_ALLOW_PRIVATE", "1");
  env.set("HF_TOKEN", " hf_from_variable ");
  env.set("HF_ENDPOINT", "http://mirror:8080//");
  env.set("HF_HUB_OFFLINE", "true");
  env.set("PIP_INDEX_URL", "https://b/simple");
  o = HubOptions::from_environment();
  EXPECT_EQ(o.hub_cache, folder / "hf/hub");
  EXPECT_EQ(o.token, "hf_from_variable");
  EXPECT_EQ(o.endpoint, "http://mirror:8080");
  EXPECT_TRUE(o.offline);
  EXPECT_TRUE(o.allow_private);
  EXPECT_EQ(o.pypi_index_url, "https://b/simple");

  env.set("HF_HUB_CACHE", folder / "cache");
  env.set("SGL_PYPI_INDEX_URL", "https://c/simple");
  o = HubOptions::from_environment();
  EXPECT_EQ(o.hub_cache, folder / "cache");
  EXPECT_EQ(o.pypi_index_url, "https://c/simple");
  env.set("HF_TOKEN", "two\nlines: header");
  EXPECT_THROW(HubOptions::from_environment(), Error);
}

}  // namespace
}  // namespace sgl::hub
