#include "server/json_writer.h"

#include <cmath>
#include <iterator>

#include <fmt/format.h>

namespace sgl {
namespace {

// Length of the well-formed UTF-8 sequence at the start of `s`, or 0; then `bad` is the length of the maximal
// ill-formed part (Unicode 15, table 3-7 and §3.9).
size_t sequence_length(std::string_view s, size_t& bad) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char lead = byte(0);
  bad = 1;
  size_t length = 0;
  unsigned char low = 0x80, high = 0xbf;  // of the second byte
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    length = 3;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
  } else {
    return 0;
  }
  for (size_t i = 1; i < length; ++i) {
    if (i >= s.size() || byte(i) < low || byte(i) > high) {
      bad = i;
      return 0;
    }
    low = 0x80, high = 0xbf;
  }
  return length;
}

template <typename Float>
void append_float(std::string& out, Float x) {
  const size_t before = out.size();
  fmt::format_to(std::back_inserter(out), "{}", x);
  if (out.find_first_of(".e", before) == std::string::npos) out += ".0";
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  size_t plain = 0;  // [plain, i) needs no change
  for (size_t i = 0; i < text.size();) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
      ++i;
      continue;
    }
    size_t bad = 1;
    if (c >= 0x80) {
      if (const size_t n = sequence_length(text.substr(i), bad); n > 0) {
        i += n;
        continue;
      }
    }
    out.append(text, plain, i - plain);
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (c >= 0x80) {
          out += "\xef\xbf\xbd";
        } else {
          fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
        }
    }
    i += bad;
    plain = i;
  }
  out.append(text, plain, text.size() - plain);
  out += '"';
}

JsonWriter& JsonWriter::key(std::string_view name) {
  comma();
  append_json_string(out_, name);
  out_ += ':';
  need_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::raw_key(std::string_view json) {
  comma();
  out_ += json;
  out_ += ':';
  need_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) {
  comma();
  append_json_string(out_, text);
  return *this;
}

JsonWriter& JsonWriter::value(float x) {
  if (!std::isfinite(x)) return null();
  comma();
  append_float(out_, x);
  return *this;
}

JsonWriter& JsonWriter::value(double x) {
  if (!std::isfinite(x)) return null();
  comma();
  append_float(out_, x);
  return *this;
}

JsonWriter& JsonWriter::integer(int64_t x) {
  comma();
  fmt::format_to(std::back_inserter(out_), "{}", x);
  return *this;
}

JsonWriter& JsonWriter::raw(std::string_view json) {
  comma();
  out_ += json;
  return *this;
}

JsonWriter& JsonWriter::open(char bracket) {
  comma();
  out_ += bracket;
  need_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::close(char bracket) {
  out_ += bracket;
  need_comma_ = true;
  return *this;
}

void JsonWriter::comma() {
  if (need_comma_) out_ += ',';
  need_comma_ = true;
}

void write_ids(JsonWriter& w, std::span<const int32_t> ids) {
  w.begin_array();
  for (int32_t id : ids) w.value(id);
  w.end_array();
}

}  // namespace sgl
