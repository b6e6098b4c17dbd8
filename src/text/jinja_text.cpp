// Values as text: Python's str() and repr(), HTML escapes.

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "text/jinja_library.h"
#include "text/jinja_runtime.h"
#include "text/jinja_unicode.h"
#include "text/unicode.h"

namespace sgl::jinja {
namespace {

// repr() of values with parts. Namespaces can contain themselves, so those being written are remembered.
class Repr {
 public:
  Repr(Runtime& rt, std::string& out) : rt_(rt), out_(out) {}

  void append(const Value& v) {
    Runtime::Nested nested(rt_);
    rt_.charge();
    rt_.check_size(out_.size());
    switch (v.kind) {
      case Kind::String:
        rt_.charge_text(v.as_string().size());
        if (v.markup) out_ += "Markup(";
        append_string_repr(out_, v.as_string());
        if (v.markup) out_ += ')';
        return;
      case Kind::Undefined:
        out_ += "Undefined";
        return;
      case Kind::List:
        return append_items('[', v.list().items, ']');
      case Kind::Tuple:
        append_items('(', v.list().items, '\0');
        out_ += v.list().items.size() == 1 ? ",)" : ")";
        return;
      case Kind::Dict:
        return append_dict(v.dict());
      case Kind::View:
        return append_view(v.as<View>());
      case Kind::Namespace:
        return append_namespace(v.as<Namespace>());
      default:
        append_str(rt_, out_, v);
    }
  }

 private:
  void append_items(char open, const std::pmr::vector<Value>& items, char close) {
    out_ += open;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += ", ";
      append(items[i]);
    }
    if (close != '\0') out_ += close;
  }

  void append_dict(const Dict& dict) {
    out_ += '{';
    bool first = true;
    for (const auto& [key, value] : dict.entries) {
      if (!std::exchange(first, false)) out_ += ", ";
      append(key);
      out_ += ": ";
      append(value);
    }
    out_ += '}';
  }

  void append_view(const View& view) {
    const char* names[] = {"dict_keys([", "dict_values([", "dict_items(["};
    out_ += names[static_cast<int>(view.of)];
    bool first = true;
    for (const auto& [key, value] : view.dict->entries) {
      if (!std::exchange(first, false)) out_ += ", ";
      if (view.of == View::Of::Items) out_ += '(';
      if (view.of != View::Of::Values) append(key);
      if (view.of == View::Of::Items) out_ += ", ";
      if (view.of != View::Of::Keys) append(value);
      if (view.of == View::Of::Items) out_ += ')';
    }
    out_ += "])";
  }

  void append_namespace(const Namespace& ns) {
    out_ += "<Namespace ";
    if (std::find(open_.begin(), open_.end(), &ns) != open_.end()) {
      out_ += "{...}";
    } else {
      open_.push_back(&ns);
      append_dict(ns.attributes);
      open_.pop_back();
    }
    out_ += '>';
  }

  Runtime& rt_;
  std::string& out_;
  std::vector<const Namespace*> open_;
};

}  // namespace

void append_string_repr(std::string& out, std::string_view s) {
  char quote = s.find('\'') != std::string_view::npos && s.find('"') == std::string_view::npos ? '"' : '\'';
  out += quote;
  for_each_char(s, [&](char32_t c, uint32_t) {
    auto u = static_cast<uint32_t>(c);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      append_utf8(out, c);
    } else {
      out += c < 0x100     ? fmt::format("\\x{:02x}", u)
             : c < 0x10000 ? fmt::format("\\u{:04x}", u)
                           : fmt::format("\\U{:08x}", u);
    }
  });
  out += quote;
}

// The shortest digits that read back as `d`; an exponent below 1e-4 and from 1e16, as in Python.
std::string float_repr(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d > 0 ? "inf" : "-inf";
  char buffer[32];
  auto [end, error] = std::to_chars(buffer, buffer + sizeof(buffer), d, std::chars_format::scientific);
  std::string_view text(buffer, static_cast<size_t>(end - buffer));
  std::string out;
  if (text.starts_with('-')) {
    out += '-';
    text.remove_prefix(1);
  }
  size_t e = text.find('e');
  int exponent = std::atoi(std::string(text.substr(e + 1)).c_str());
  std::string digits(text.substr(0, e));  // d or d.ddd
  std::erase(digits, '.');
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (digits.size() > 1) out.append(".").append(digits, 1);
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return out.append("0.").append(static_cast<size_t>(-exponent) - 1, '0') + digits;
  auto whole = static_cast<size_t>(exponent) + 1;  // digits before the point
  if (digits.size() <= whole) return out.append(digits).append(whole - digits.size(), '0') + ".0";
  return out.append(digits, 0, whole).append(".").append(digits, whole);
}

void append_repr(Runtime& rt, std::string& out, const Value& v) { Repr(rt, out).append(v); }

void append_str(Runtime& rt, std::string& out, const Value& v) {
  switch (v.kind) {
    case Kind::Missing:
    case Kind::Undefined:
      return;
    case Kind::None:
      out += "None";
      return;
    case Kind::Bool:
      out += v.as_bool() ? "True" : "False";
      return;
    case Kind::Int:
      out += std::to_string(v.as_int());
      return;
    case Kind::Float:
      out += float_repr(v.as_double());
      return;
    case Kind::String:
    case Kind::BigInt:
      out += v.as_string();
      return;
    case Kind::Range: {
      const auto& r = v.as<RangeObject>();
      out += r.step == 1 ? fmt::format("range({}, {})", r.start, r.stop)
                         : fmt::format("range({}, {}, {})", r.start, r.stop, r.step);
      return;
    }
    case Kind::Macro: {
      const std::string& name = v.as<const MacroObject>().code->name;
      out += "<Macro ";
      if (name.empty()) {
        out += "anonymous";
      } else {
        append_string_repr(out, name);
      }
      out += '>';
      return;
    }
    case Kind::Loop: {
      auto& loop = v.as<LoopObject>();
      int64_t length = loop.get_length(rt);
      out += fmt::format("<LoopContext {}/{}>", loop.index0 + 1, length);
      return;
    }
    case Kind::Function:
      out += fmt::format("<function {}>", v.as<Function>().name);
      return;
    case Kind::Iterator:
    case Kind::Cycler:
    case Kind::Joiner:
      out += fmt::format("<{} object>", type_name(v));
      return;
    default:
      append_repr(rt, out, v);
  }
}

Value to_str(Runtime& rt, const Value& v) {
  Value s = soft_str(rt, v);
  s.markup = false;
  return s;
}

Value soft_str(Runtime& rt, const Value& v) {
  if (v.is(Kind::String)) return v;
  std::string text;
  append_str(rt, text, v);
  rt.charge_text(text.size());
  return rt.heap.string(text);
}

Value escape(Runtime& rt, const Value& v) {
  Value s = soft_str(rt, v);
  if (s.markup) return s;
  std::string out;
  for (char c : s.as_string()) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  rt.charge_text(out.size());
  rt.check_size(out.size());
  return rt.heap.string(out, true);
}

}  // namespace sgl::jinja
