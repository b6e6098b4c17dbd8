#pragma once
// One HTTP/1.1 response out of bytes that come in pieces: what a client that only measures needs of it.

#include <cstdint>
#include <string>
#include <string_view>

namespace sgl::bench {

class HttpReply {
 public:
  /// Consumes all of `bytes` and appends what belongs to the body to `body`. Throws Error on what is no HTTP response.
  /// Requires: not done().
  void feed(std::string_view bytes, std::string& body);
  /// The server closed the connection. Throws Error if that cuts the response off.
  void close();

  bool done() const { return state_ == State::Done; }
  int status() const { return status_; }  ///< 0 until the header has come
  bool keeps_alive() const { return keeps_alive_; }
  bool is_event_stream() const { return is_event_stream_; }

 private:
  enum class State { Header, Sized, UntilClose, ChunkSize, Chunk, ChunkEnd, Trailer, Done };
  void read_header();
  bool take_line(std::string_view& bytes);  ///< into line_; false when its end has not come

  State state_ = State::Header;
  std::string line_;    ///< the beginning of a line
  std::string header_;  ///< its lines, each with '\n'
  int status_ = 0;
  bool keeps_alive_ = true, is_event_stream_ = false;
  uint64_t left_ = 0;  ///< bytes of the body or chunk
};

}  // namespace sgl::bench
