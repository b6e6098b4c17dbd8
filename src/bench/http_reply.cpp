#include "bench/http_reply.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl::bench {
namespace {

constexpr size_t kMaxHeaderBytes = 65536;

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorKind::Unavailable, "the server's answer is not HTTP: " + what);
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

uint64_t number(std::string_view text, int base) {
  uint64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n, base);
  if (error != std::errc() || end == text.data()) refuse(fmt::format("a size is missing in '{}'", text));
  return n;
}

}  // namespace

bool HttpReply::take_line(std::string_view& bytes) {
  const size_t end = bytes.find('\n');
  line_ += bytes.substr(0, end);
  bytes.remove_prefix(std::min(end == std::string_view::npos ? end : end + 1, bytes.size()));
  if (line_.size() + header_.size() > kMaxHeaderBytes) refuse("its header does not end");
  if (end == std::string_view::npos) return false;
  if (line_.ends_with('\r')) line_.pop_back();
  return true;
}

void HttpReply::feed(std::string_view bytes, std::string& body) {
  while (!bytes.empty()) {
    switch (state_) {
      case State::Header:
        if (!take_line(bytes)) return;
        if (line_.empty()) {
          read_header();
        } else {
          header_ += line_ + '\n';
        }
        line_.clear();
        break;
      case State::Sized:
      case State::Chunk: {
        const size_t n = std::min<uint64_t>(left_, bytes.size());
        body += bytes.substr(0, n);
        bytes.remove_prefix(n);
        left_ -= n;
        if (left_ == 0) state_ = state_ == State::Sized ? State::Done : State::ChunkEnd;
        break;
      }
      case State::UntilClose:
        body += bytes;
        return;
      case State::ChunkSize:
        if (!take_line(bytes)) return;
        left_ = number(line_, 16);
        line_.clear();
        state_ = left_ == 0 ? State::Trailer : State::Chunk;
        break;
      case State::ChunkEnd:
        if (!take_line(bytes)) return;
        if (!line_.empty()) refuse("a chunk is longer than it says");
        state_ = State::ChunkSize;
        break;
      case State::Trailer:
        if (!take_line(bytes)) return;
        if (line_.empty()) state_ = State::Done;
        line_.clear();
        break;
      case State::Done:
        refuse("more bytes follow its end");
    }
  }
}

void HttpReply::read_header() {
  if (!header_.starts_with("HTTP/1.")) refuse(fmt::format("it begins with '{}'", header_.substr(0, 20)));
  const size_t space = header_.find(' ');
  status_ = static_cast<int>(number(std::string_view(header_).substr(std::min(space, header_.size() - 1) + 1), 10));
  keeps_alive_ = header_.starts_with("HTTP/1.1");
  bool chunked = false, sized = false;
  for (size_t at = header_.find('\n') + 1; at < header_.size();) {
    const size_t end = header_.find('\n', at);
    const std::string line = lower(std::string_view(header_).substr(at, end - at));
    at = end + 1;
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string_view name = std::string_view(line).substr(0, colon);
    std::string_view value = std::string_view(line).substr(colon + 1);
    value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
    if (name == "transfer-encoding") {
      chunked = value.find("chunked") != std::string_view::npos;
    } else if (name == "content-length") {
      left_ = number(value, 10);
      sized = true;
    } else if (name == "content-type") {
      is_event_stream_ = value.starts_with("text/event-stream");
    } else if (name == "connection") {
      keeps_alive_ = value.find("close") == std::string_view::npos;
    }
  }
  header_.clear();
  if (status_ == 100) {  // "continue": the response proper follows
    state_ = State::Header;
  } else if (chunked) {
    state_ = State::ChunkSize;
  } else if (sized) {
    state_ = left_ > 0 ? State::Sized : State::Done;
  } else {
    state_ = State::UntilClose;
    keeps_alive_ = false;
  }
}

void HttpReply::close() {
  if (state_ == State::UntilClose) state_ = State::Done;
  if (state_ != State::Done) {
    throw Error(ErrorKind::Unavailable, status_ == 0 ? "the server closed the connection without an answer"
                                                     : "the server closed the connection in the middle of its answer");
  }
}

}  // namespace sgl::bench
