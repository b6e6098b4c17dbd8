#include "checkpoint/hub_zip.h"

#include <random>
#include <span>
#include <string>

#include <gtest/gtest.h>

#include "checkpoint/hub_test_support.h"
#include "sgl/error.h"

namespace sgl::hub {
namespace {

std::string unzip(const std::string& archive, const std::string& member, uint64_t max_size = 1 << 24) {
  std::string out;
  unzip_member(std::as_bytes(std::span(archive)), "test.zip", member, max_size, [&](std::span<const std::byte> part) {
    out.append(reinterpret_cast<const char*>(part.data()), part.size());
  });
  return out;
}

ErrorKind error_of(const std::string& archive, const std::string& member, uint64_t max_size = 1 << 24) {
  try {
    unzip(archive, member, max_size);
  } catch (const Error& e) {
    return e.kind();
  }
  ADD_FAILURE() << "no error";
  return ErrorKind::Internal;
}

TEST(HubZip, ReadsStoredAndDeflatedMembers) {
  std::string large = random_bytes(1'000'000) + std::string(1'000'000, 'x');
  std::string zip = make_zip({{"a", "stored", 0}, {"dir/b", large, 8}, {"empty", "", 8}});
  EXPECT_EQ(unzip(zip, "a"), "stored");
  EXPECT_EQ(unzip(zip, "dir/b"), large);
  EXPECT_EQ(unzip(zip, "empty"), "");
}

TEST(HubZip, AcceptsACommentAtTheEnd) {
  EXPECT_EQ(unzip(make_zip({{"a", "data"}}, "a comment PK\x05\x06 with a false end"), "a"), "data");
}

TEST(HubZip, AMissingMemberIsNotFound) { EXPECT_EQ(error_of(make_zip({{"a", "data"}}), "b"), ErrorKind::NotFound); }

TEST(HubZip, OtherMethodsAndEncryptionAreUnsupported) {
  EXPECT_EQ(error_of(make_zip({{"a", "data", 12}}), "a"), ErrorKind::Unsupported);
  std::string zip = make_zip({{"a", "data", 0}});
  zip[zip.find("PK\x01\x02") + 8] = 1;
  EXPECT_EQ(error_of(zip, "a"), ErrorKind::Unsupported);
}

TEST(HubZip, NeverUnpacksMoreThanAllowed) {
  std::string zip = make_zip({{"a", std::string(100'000, 'x')}});
  EXPECT_EQ(error_of(zip, "a", 99'999), ErrorKind::ResourceExhausted);
  // A directory that promises less than the data hold.
  std::string liar = zip;
  liar.replace(liar.find("PK\x01\x02") + 24, 4, little_endian(10, 4));
  EXPECT_EQ(error_of(liar, "a"), ErrorKind::CorruptFile);
}

TEST(HubZip, DamagedDataFailTheChecksum) {
  std::string zip = make_zip({{"a", "some data", 0}});
  zip[zip.find("some data")] ^= 1;
  EXPECT_EQ(error_of(zip, "a"), ErrorKind::CorruptFile);
}

TEST(HubZip, AFileThatIsNoZipIsCorrupt) {
  EXPECT_EQ(error_of("", "a"), ErrorKind::CorruptFile);
  EXPECT_EQ(error_of("<html>not found</html> and more than 22 bytes", "a"), ErrorKind::CorruptFile);
}

TEST(HubZip, EveryTruncationIsAnErrorOfItsOwn) {
  std::string zip = make_zip({{"a", random_bytes(300)}, {"b", "text"}});
  for (size_t n = 0; n < zip.size(); ++n) EXPECT_EQ(error_of(zip.substr(0, n), "a"), ErrorKind::CorruptFile) << n;
}

TEST(HubZip, DamagedArchivesNeverCrash) {
  unsigned seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937 random(seed);
  const std::string content = random_bytes(200) + std::string(200, 'x');
  const std::string zip = make_zip({{"a", content, 8}, {"b", "text", 0}});
  for (int i = 0; i < 20'000; ++i) {
    std::string damaged = zip;
    for (unsigned k = random() % 4 + 1; k > 0; --k) damaged[random() % damaged.size()] = static_cast<char>(random());
    try {
      EXPECT_EQ(unzip(damaged, "a"), content);  // the damage was elsewhere
    } catch (const Error& e) {
      EXPECT_NE(e.kind(), ErrorKind::Internal) << e.what();
    }
  }
}

}  // namespace
}  // namespace sgl::hub
