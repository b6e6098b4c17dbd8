#include "bench/http_reply.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "sgl/error.h"

namespace sgl::bench {
namespace {

struct Read {
  HttpReply reply;
  std::string body;
};

Read read(const std::vector<std::string>& pieces) {
  Read r;
  for (const std::string& piece : pieces) {
    if (!piece.empty()) r.reply.feed(piece, r.body);
  }
  return r;
}

TEST(HttpReply, ReadsABodyOfKnownLength) {
  const Read r = read({"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello"});
  EXPECT_TRUE(r.reply.done());
  EXPECT_EQ(r.reply.status(), 404);
  EXPECT_EQ(r.body, "hello");
  EXPECT_TRUE(r.reply.keeps_alive());
  EXPECT_FALSE(r.reply.is_event_stream());
}

TEST(HttpReply, ReadsChunksHoweverTheyAreCut) {
  const std::string bytes =
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nCONTENT-TYPE:text/event-stream\r\n"
      "Connection: close\r\n\r\n6;x=y\r\ndata: \r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n";
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    const Read r = read({bytes.substr(0, cut), bytes.substr(cut)});
    EXPECT_TRUE(r.reply.done()) << "cut at " << cut;
    EXPECT_EQ(r.body, "data: 0123456789") << "cut at " << cut;
    EXPECT_EQ(r.reply.status(), 200);
    EXPECT_TRUE(r.reply.is_event_stream());
    EXPECT_FALSE(r.reply.keeps_alive());
  }
}

TEST(HttpReply, WithoutALengthTheBodyEndsWithTheConnection) {
  Read r = read({"HTTP/1.0 200 OK\r\n\r\nab", "cd"});
  EXPECT_FALSE(r.reply.done());
  r.reply.close();
  EXPECT_TRUE(r.reply.done());
  EXPECT_EQ(r.body, "abcd");
  EXPECT_FALSE(r.reply.keeps_alive());
}

TEST(HttpReply, AConnectionThatEndsTooEarlyIsAnError) {
  HttpReply nothing;
  EXPECT_THROW(nothing.close(), Error);
  Read half = read({"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"});
  EXPECT_THROW(half.reply.close(), Error);
  Read no_last_chunk = read({"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"});
  EXPECT_THROW(no_last_chunk.reply.close(), Error);
}

TEST(HttpReply, WhatIsNoHttpIsAnError) {
  EXPECT_THROW(read({"SSH-2.0-OpenSSH\r\n\r\n"}), Error);
  EXPECT_THROW(read({"HTTP/1.1 x\r\n\r\n"}), Error);
  EXPECT_THROW(read({"HTTP/1.1\r\n\r\n"}), Error);
  EXPECT_THROW(read({"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"}), Error);
  EXPECT_THROW(read({"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"}), Error);
  EXPECT_THROW(read({"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n"}), Error);
  EXPECT_THROW(read({"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab"}), Error);
  EXPECT_THROW(read({std::string(100000, 'x')}), Error);
}

}  // namespace
}  // namespace sgl::bench
