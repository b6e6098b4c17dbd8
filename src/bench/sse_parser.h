#pragma once
// Server-sent events out of bytes that come in pieces (WHATWG HTML, 9.2.6), as far as model servers use them.

#include <functional>
#include <string>
#include <string_view>

namespace sgl::bench {

/// Lines end with LF, CRLF or CR. Several data lines of an event are joined by LF; other fields and comments are
/// skipped. An event whose blank line never came is dropped, as the standard has it.
class SseParser {
 public:
  /// `on_data` gets each event's data; the view is valid during the call.
  explicit SseParser(std::function<void(std::string_view)> on_data) : on_data_(std::move(on_data)) {}

  void feed(std::string_view bytes);

 private:
  void take_line(std::string_view line);

  std::function<void(std::string_view)> on_data_;
  std::string line_;  ///< the beginning of a line whose end has not come
  std::string data_;
  bool has_data_ = false;
  bool after_cr_ = false;  ///< an LF that comes now belongs to the line that ended
};

}  // namespace sgl::bench
