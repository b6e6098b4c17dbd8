#include "base/file_writer.h"

#include <filesystem>
#include <random>
#include <span>
#include <string>

#include <gtest/gtest.h>

#include "base/file.h"
#include "sgl/error.h"

namespace sgl {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> bytes(std::string_view s) { return std::as_bytes(std::span(s)); }

class FileWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / ("sgl_file_writer_" + std::to_string(std::random_device{}()));
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }
  std::string path(const std::string& name) const { return (dir_ / name).string(); }

 private:
  fs::path dir_;
};

TEST_F(FileWriterTest, AppendGoesOnWhereTheFileEnds) {
  { FileWriter(path("f"), FileWriter::Mode::Truncate).write(bytes("abc")); }
  FileWriter file(path("f"), FileWriter::Mode::Append);
  EXPECT_EQ(file.size(), 3);
  file.write(bytes("de"));
  EXPECT_EQ(file.size(), 5);
  file.sync();
  EXPECT_EQ(read_file(path("f")), "abcde");
  file.clear();
  file.write(bytes("x"));
  EXPECT_EQ(read_file(path("f")), "x");
}

TEST_F(FileWriterTest, WriteFileReplacesInOneStepAndLeavesNoTemporary) {
  write_file(path("f"), "old");
  write_file(path("f"), "new");
  EXPECT_EQ(read_file(path("f")), "new");
  EXPECT_EQ(std::distance(fs::directory_iterator(path("")), fs::directory_iterator()), 1);
}

TEST_F(FileWriterTest, AMissingFolderIsAnErrorThatNamesThePath) {
  try {
    FileWriter file(path("no/such/file"), FileWriter::Mode::Truncate);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::NotFound);
    EXPECT_NE(std::string(e.what()).find("no/such/file"), std::string::npos) << e.what();
  }
}

TEST_F(FileWriterTest, ALockExcludesOthersUntilItEnds) {
  {
    LockFile first(path("lock"));
    EXPECT_FALSE(LockFile::try_lock(path("lock")));
  }
  EXPECT_TRUE(LockFile::try_lock(path("lock")));
}

}  // namespace
}  // namespace sgl
