#include "server/access.h"

#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "sgl/error.h"

namespace sgl {
namespace {

// 0: it may pass; else the status of the refusal.
int status(const KeyRing& keys, Access access, const std::string& key) {
  const auto refusal = keys.refusal(access, key.empty() ? "" : "Bearer " + key);
  return refusal ? refusal->status : 0;
}

struct KeyFile {
  explicit KeyFile(const std::string& name) : path((std::filesystem::temp_directory_path() / name).string()) {}
  ~KeyFile() { std::filesystem::remove(path); }
  void write(const std::string& text) const { std::ofstream(path) << text; }
  const std::string path;
};

TEST(KeyRing, OpensWhatTheTableSays) {
  const KeyRing none({}), normal({.api_key = "k"}), admin({.admin_api_key = "a"}),
      both({.api_key = "k", .admin_api_key = "a"});
  struct Row {
    Access access;
    std::string key;
    int none, normal, admin, both;
  };
  const Row rows[] = {
      {Access::Normal, "", 0, 401, 0, 401},  {Access::Normal, "k", 0, 0, 0, 0},
      {Access::Normal, "a", 0, 401, 0, 401}, {Access::Normal, "x", 0, 401, 0, 401},
      {Access::Admin, "", 0, 401, 401, 401}, {Access::Admin, "k", 0, 0, 401, 403},
      {Access::Admin, "a", 0, 401, 0, 0},    {Access::Admin, "x", 0, 401, 401, 401},
  };
  for (const Row& r : rows) {
    SCOPED_TRACE((r.access == Access::Admin ? "admin route, key '" : "normal route, key '") + r.key + "'");
    EXPECT_EQ(status(none, r.access, r.key), r.none);
    EXPECT_EQ(status(normal, r.access, r.key), r.normal);
    EXPECT_EQ(status(admin, r.access, r.key), r.admin);
    EXPECT_EQ(status(both, r.access, r.key), r.both);
  }
}

TEST(KeyRing, OnlyTheWholeKeyInABearerTokenOpens) {
  const KeyRing keys({.api_key = "sesame"});
  for (const char* given : {"", "sesame", "Bearer", "Bearer ", "Bearer sesam", "Bearer sesames", "Bearersesame",
                            "Bearer: sesame", "Basic sesame", "Bearer sesamesesame", "Bearer sesame sesame"}) {
    EXPECT_TRUE(keys.refusal(Access::Normal, given)) << given;
  }
  for (const char* given : {"Bearer sesame", "bearer sesame", "BEARER sesame", "Bearer   sesame"}) {
    EXPECT_FALSE(keys.refusal(Access::Normal, given)) << given;
  }
}

TEST(KeyRing, FilesAddKeysAndAreReadAgain) {
  const KeyFile file("sgl_access_test_keys");
  file.write("# of the team\n  one  \r\n\ntwo\n");
  KeyRing keys({.api_key = "zero", .api_key_file = file.path});
  EXPECT_EQ(keys.counts(), std::make_pair(size_t{3}, size_t{0}));
  for (const char* key : {"zero", "one", "two"}) EXPECT_EQ(status(keys, Access::Normal, key), 0) << key;
  EXPECT_EQ(status(keys, Access::Normal, "# of the team"), 401);

  file.write("three\n");
  EXPECT_EQ(status(keys, Access::Normal, "one"), 0) << "not before it is told";
  keys.reload();
  EXPECT_EQ(status(keys, Access::Normal, "one"), 401);
  EXPECT_EQ(status(keys, Access::Normal, "three"), 0);
  EXPECT_EQ(status(keys, Access::Normal, "zero"), 0);
}

TEST(KeyRing, AFileThatGivesNoKeysIsAnErrorAndChangesNothing) {
  const KeyFile file("sgl_access_test_empty");
  EXPECT_THROW(KeyRing({.api_key_file = file.path}), Error) << "there is none";
  file.write("# nobody\n");
  EXPECT_THROW(KeyRing({.admin_api_key_file = file.path}), Error);
  file.write("one\n");
  KeyRing keys({.api_key_file = file.path});
  file.write("");
  EXPECT_THROW(keys.reload(), Error);
  EXPECT_EQ(status(keys, Access::Normal, "one"), 0);
  EXPECT_EQ(status(keys, Access::Normal, ""), 401);
}

TEST(Cors, AllowsTheOriginsThatAreNamed) {
  EXPECT_EQ(Cors("*").allowed("https://a.example"), "*");
  EXPECT_EQ(Cors("*").allowed(""), "") << "not from a browser";
  EXPECT_FALSE(Cors("*").varies());
  const Cors two("https://a.example, http://localhost:3000");
  EXPECT_TRUE(two.varies());
  EXPECT_EQ(two.allowed("https://a.example"), "https://a.example");
  EXPECT_EQ(two.allowed("http://localhost:3000"), "http://localhost:3000");
  for (const char* other : {"http://a.example", "https://a.example.org", "https://a", "null"}) {
    EXPECT_EQ(two.allowed(other), "") << other;
  }
  EXPECT_EQ(Cors("").allowed("https://a.example"), "");
}

}  // namespace
}  // namespace sgl
