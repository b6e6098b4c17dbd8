#include "server/http_parser.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace sgl {
namespace {

constexpr size_t kHeader = 1024, kBody = 4096;

// Feeds `bytes` in pieces of `piece`, as a connection does: what is not consumed comes again with more behind it.
size_t feed_in_pieces(HttpParser& parser, const std::string& bytes, size_t piece) {
  std::string buffer;
  size_t fed = 0, used = 0;
  while (fed < bytes.size() &&
         (parser.state() == HttpParser::State::Header || parser.state() == HttpParser::State::Body)) {
    buffer += bytes.substr(fed, piece);
    fed = std::min(fed + piece, bytes.size());
    const size_t n = parser.feed(buffer);
    used += n;
    buffer.erase(0, n);
  }
  return used;
}

int status_of(const std::string& bytes) {
  HttpParser parser(kHeader, kBody);
  parser.feed(bytes);
  return parser.state() == HttpParser::State::Failed ? parser.error_status() : 0;
}

TEST(HttpParser, ARequestReadsTheSameHoweverItIsCut) {
  const std::string bytes =
      "POST /v1/x%20y?a=1&b=%41 HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: "
      "5\r\n\r\nhelloGET";
  for (size_t piece = 1; piece <= bytes.size(); ++piece) {
    HttpParser parser(kHeader, kBody);
    const size_t used = feed_in_pieces(parser, bytes, piece);
    ASSERT_EQ(parser.state(), HttpParser::State::Done) << piece;
    EXPECT_EQ(used, bytes.size() - 3) << "what follows belongs to the next request";
    const HttpRequest r = parser.take();
    EXPECT_EQ(r.method, "POST");
    EXPECT_EQ(r.path, "/v1/x y");
    EXPECT_EQ(r.query_parameter("a"), "1");
    EXPECT_EQ(r.query_parameter("b"), "A");
    EXPECT_EQ(r.query_parameter("c"), std::nullopt);
    EXPECT_EQ(r.header("content-TYPE"), "application/json");
    EXPECT_EQ(r.header("absent"), "");
    EXPECT_EQ(r.body, "hello");
    EXPECT_TRUE(r.http11 && r.keep_alive);
  }
}

TEST(HttpParser, ChunkedBodiesReadTheSameHoweverTheyAreCut) {
  const std::string bytes =
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: "
      "x\r\n\r\n";
  for (size_t piece = 1; piece <= bytes.size(); ++piece) {
    HttpParser parser(kHeader, kBody);
    EXPECT_EQ(feed_in_pieces(parser, bytes, piece), bytes.size());
    ASSERT_EQ(parser.state(), HttpParser::State::Done) << piece;
    EXPECT_EQ(parser.take().body, "hello world");
  }
}

TEST(HttpParser, TrailersAreNoHeaders) {
  const std::string bytes =
      "POST / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
      "Expect: a miracle\r\nAuthorization: Bearer k\r\nConnection: close\r\n\r\n";
  for (size_t piece = 1; piece <= bytes.size(); ++piece) {
    HttpParser parser(kHeader, kBody);
    feed_in_pieces(parser, bytes, piece);
    ASSERT_EQ(parser.state(), HttpParser::State::Done) << "pieces of " << piece << ": " << parser.error_message();
    const HttpRequest request = parser.take();
    EXPECT_EQ(request.body, "hello");
    EXPECT_EQ(request.headers.size(), 3U);
    EXPECT_EQ(request.header("Authorization"), "");
    EXPECT_TRUE(request.keep_alive);
  }
}

TEST(HttpParser, LimitsAreKept) {
  EXPECT_EQ(status_of(std::string("GET / HTTP/1.1\r\nHost: h\r\nX: ") + std::string(2 * kHeader, 'x') + "\r\n\r\n"),
            431);
  EXPECT_EQ(status_of(std::string("GET /") + std::string(2 * kHeader, 'x') + " HTTP/1.1\r\nHost: h\r\n\r\n"), 431);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: a b/c\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: [::1]:30000\r\n\r\n"), 0);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4097\r\n\r\n"), 413);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551615\r\n\r\n"), 413);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1001\r\n"), 413);
  EXPECT_EQ(status_of(std::string("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n") +
                      std::string(0x800, 'x') + "\r\n801\r\n" + std::string(0x801, 'x')),
            413);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4096\r\n\r\n"), 0);
}

TEST(HttpParser, TheLimitOfTheHeaderIsExactHoweverItIsCut) {
  for (size_t length : {kHeader - 1, kHeader, kHeader + 1}) {
    std::string bytes = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX: ";
    bytes += std::string(length - bytes.size() - 4, 'x') + "\r\n\r\nhello";
    for (size_t piece = 1; piece <= bytes.size(); ++piece) {
      HttpParser parser(kHeader, kBody);
      feed_in_pieces(parser, bytes, piece);
      ASSERT_EQ(parser.state() == HttpParser::State::Done, length <= kHeader) << length << " in pieces of " << piece;
      ASSERT_EQ(parser.error_status(), length <= kHeader ? 0 : 431);
    }
  }
}

TEST(HttpParser, AFieldTooLongForItsSizeToBeKeptIsRefusedWhateverTheLimit) {
  constexpr size_t kLarge = size_t{1} << 20;
  const std::string chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n";
  for (const size_t length : {size_t{65'000}, size_t{65'533}, size_t{65'534}, size_t{70'000}, size_t{500'000}}) {
    const std::string text(length, 'a');
    for (const std::string& bytes : {"GET / HTTP/1.1\r\nHost: h\r\nX: " + text + "\r\n\r\n",
                                     "GET / HTTP/1.1\r\nHost: h\r\n" + text + ": x\r\n\r\n",
                                     chunked + "X: " + text + "\r\n\r\n", chunked + text + ": x\r\n\r\n"}) {
      for (const size_t piece : {bytes.size(), size_t{60'000}}) {
        HttpParser parser(kLarge, kBody, kBody);
        feed_in_pieces(parser, bytes, piece);
        SCOPED_TRACE(testing::Message() << length << " bytes in pieces of " << piece << ": " << bytes.substr(0, 40));
        if (length <= 65'533) {
          EXPECT_EQ(parser.state(), HttpParser::State::Done) << parser.error_message();
        } else {
          EXPECT_EQ(parser.state(), HttpParser::State::Failed);
          EXPECT_EQ(parser.error_status(), 431) << parser.error_message();
        }
      }
    }
  }
}

TEST(HttpParser, ALongUrlIsRefusedWhateverTheRestOfTheHeaderIs) {
  const auto status = [](size_t length) {
    HttpParser parser(4096, 4096, 64);
    parser.feed("GET /" + std::string(length - 1, 'x') + " HTTP/1.1\r\nHost: x\r\n\r\n");
    return parser.error_status();
  };
  EXPECT_EQ(status(64), 0);
  EXPECT_EQ(status(65), 414);
}

TEST(HttpParser, WhatIsNotHttpFails) {
  EXPECT_EQ(status_of("GET / HTTP/2.0\r\n\r\n"), 505);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nHost: h\r\nExpect: magic\r\nContent-Length: 3\r\n\r\n"), 417);
  for (const char* bytes :
       {"\x16\x03\x01\x02\x01\x01\xfc\x03\x03", "hello\r\n\r\n", "GET /\r\n\r\n", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nbad header\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"}) {
    EXPECT_EQ(status_of(bytes), 400) << bytes;
  }
}

TEST(HttpParser, ARequestNamesOneHost) {
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost:\r\n\r\n"), 0) << "where the target has no authority";
  EXPECT_EQ(status_of("GET / HTTP/1.0\r\n\r\n"), 0) << "it is older than the rule";
}

TEST(HttpParser, ATransferEncodingThatIsNotChunkedIsNoRequest) {
  for (const char* fields : {"Transfer-Encoding: gzip\r\n", "Transfer-Encoding: identity\r\n", "Transfer-Encoding:\r\n",
                             "Transfer-Encoding: chunked, gzip\r\n", "Transfer-Encoding: gzip, chunked\r\n",
                             "Transfer-Encoding: xchunked\r\n", "Transfer-Encoding: gzip\r\nContent-Length: 3\r\n",
                             "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"}) {
    const std::string smuggled = "GET /admin HTTP/1.1\r\nHost: h\r\n\r\n";
    EXPECT_EQ(status_of("POST / HTTP/1.1\r\nHost: h\r\n" + std::string(fields) + "\r\n" + smuggled), 501) << fields;
  }
  for (const char* fields : {"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
                             "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"}) {
    EXPECT_NE(status_of("POST / HTTP/1.1\r\nHost: h\r\n" + std::string(fields) + "\r\n0\r\n\r\n"), 0) << fields;
  }
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"), 0);
}

TEST(HttpParser, TheTargetMayBeAbsoluteAndABadOneMatchesNothing) {
  const auto path_of = [](const std::string& target) {
    HttpParser parser(kHeader, kBody);
    parser.feed(std::string("GET ") + target + " HTTP/1.1\r\nHost: h\r\n\r\n");
    return parser.take().path;
  };
  EXPECT_EQ(path_of("http://host:1/a/b?c"), "/a/b");
  EXPECT_EQ(path_of("http://host"), "/");
  EXPECT_EQ(path_of("/%zz"), "/%zz");
  EXPECT_EQ(path_of("*"), "*");
}

TEST(HttpParser, KeepAliveFollowsVersionAndHeader) {
  const auto keeps = [](const std::string& rest) {
    HttpParser parser(kHeader, kBody);
    parser.feed(std::string("GET / HTTP/1.") + rest + "\r\nHost: h\r\n\r\n");
    return parser.take().keep_alive;
  };
  EXPECT_TRUE(keeps("1"));
  EXPECT_FALSE(keeps("1\r\nConnection: close"));
  EXPECT_FALSE(keeps("0"));
  EXPECT_TRUE(keeps("0\r\nConnection: keep-alive"));
}

TEST(HttpParser, RandomMutationsNeverBreakIt) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 rng(seed);
  const std::vector<std::string> seeds = {
      "POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
      "GET /health HTTP/1.0\r\n\r\n"};
  int done = 0, failed = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = seeds[rng() % seeds.size()];
    for (unsigned n = rng() % 4; n > 0; --n) {
      const size_t at = rng() % bytes.size();
      switch (rng() % 3) {
        case 0:
          bytes[at] = static_cast<char>(rng());
          break;
        case 1:
          bytes.insert(at, bytes.substr(rng() % bytes.size(), rng() % 8));
          break;
        default:
          bytes.erase(at, rng() % 4);
          break;
      }
      if (bytes.empty()) bytes.push_back('x');
    }
    HttpParser parser(kHeader, kBody);
    const size_t used = feed_in_pieces(parser, bytes, 1 + rng() % 16);
    EXPECT_LE(used, bytes.size());
    if (parser.state() == HttpParser::State::Done) {
      ++done;
      EXPECT_LE(parser.take().body.size(), kBody);
    } else if (parser.state() == HttpParser::State::Failed) {
      ++failed;
      EXPECT_GE(parser.error_status(), 400);
    }
  }
  EXPECT_GT(done, 0);
  EXPECT_GT(failed, 0);
}

}  // namespace
}  // namespace sgl
