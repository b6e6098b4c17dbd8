// JSON as Python's json module writes and reads it.

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "sgl/error.h"
#include "text/jinja_library.h"
#include "text/jinja_runtime.h"
#include "text/unicode.h"

namespace sgl::jinja {
namespace {

void append_json_string(std::string& out, std::string_view s, bool ensure_ascii) {
  out += '"';
  for_each_char(s, [&](char32_t c, uint32_t) {
    switch (c) {
      case '"':
        out += "\\\"";
        return;
      case '\\':
        out += "\\\\";
        return;
      case '\n':
        out += "\\n";
        return;
      case '\r':
        out += "\\r";
        return;
      case '\t':
        out += "\\t";
        return;
      case '\f':
        out += "\\f";
        return;
      case '\b':
        out += "\\b";
        return;
      default:
        break;
    }
    auto u = static_cast<uint32_t>(c);
    if (c >= 0x20 && (c < 0x7F || !ensure_ascii)) {
      append_utf8(out, c);
    } else if (c < 0x10000) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", u);
    } else {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}\\u{:04x}", 0xD800 + ((u - 0x10000) >> 10),
                     0xDC00 + ((u - 0x10000) & 0x3FF));
    }
  });
  out += '"';
}

// json.dumps: numbers and keys as Python has them.
class JsonWriter {
 public:
  JsonWriter(Runtime& rt, std::string& out, const JsonStyle& style) : rt_(rt), out_(out), style_(style) {}

  void append(const Value& v) {
    rt_.charge();
    rt_.check_size(out_.size());
    switch (v.kind) {
      case Kind::None:
        out_ += "null";
        return;
      case Kind::Bool:
        out_ += v.as_bool() ? "true" : "false";
        return;
      case Kind::Int:
      case Kind::BigInt:
        return append_str(rt_, out_, v);
      case Kind::Float:
        out_ += number(v.as_double());
        return;
      case Kind::String:
        rt_.charge_text(v.as_string().size());
        return append_json_string(out_, v.as_string(), style_.ensure_ascii);
      case Kind::List:
      case Kind::Tuple: {
        const auto& items = v.list().items;
        return append_items('[', items.size(), ']', [&](size_t i) { append(items[i]); });
      }
      case Kind::Dict:
        return append_dict(v.dict());
      default:
        rt_.fail(fmt::format("Object of type {} is not JSON serializable", type_name(v)));
    }
  }

 private:
  static std::string number(double d) {
    if (std::isnan(d)) return "NaN";
    if (std::isinf(d)) return d > 0 ? "Infinity" : "-Infinity";
    return float_repr(d);
  }

  std::string key_text(const Value& key) const {
    std::string text;
    switch (key.kind) {
      case Kind::String:
        return std::string(key.as_string());
      case Kind::None:
        return "null";
      case Kind::Bool:
        return key.as_bool() ? "true" : "false";
      case Kind::Float:
        return number(key.as_double());
      case Kind::Int:
      case Kind::BigInt:
        append_str(rt_, text, key);
        return text;
      default:
        rt_.fail(fmt::format("keys must be str, int, float, bool or None, not {}", type_name(key)));
    }
  }

  void append_dict(const Dict& dict) {
    std::vector<const Dict::Entry*> entries;
    for (const auto& e : dict.entries) entries.push_back(&e);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(), [&](const Dict::Entry* a, const Dict::Entry* b) {
        return compare(rt_, Op::Lt, a->first, b->first);
      });
    }
    append_items('{', entries.size(), '}', [&](size_t i) {
      append_json_string(out_, key_text(entries[i]->first), style_.ensure_ascii);
      out_ += style_.key_separator;
      append(entries[i]->second);
    });
  }

  template <typename F>
  void append_items(char open, size_t n, char close, F append_item) {
    Runtime::Nested nested(rt_);
    out_ += open;
    ++level_;
    for (size_t i = 0; i < n; ++i) {
      if (i > 0) out_ += style_.item_separator;
      if (style_.pretty) new_line();
      append_item(i);
    }
    --level_;
    if (n > 0 && style_.pretty) new_line();
    out_ += close;
  }

  void new_line() {
    out_ += '\n';
    rt_.check_size(out_.size() + style_.indent.size() * level_);
    for (size_t i = 0; i < level_; ++i) out_ += style_.indent;
    rt_.charge_text(style_.indent.size() * level_);
  }

  Runtime& rt_;
  std::string& out_;
  const JsonStyle& style_;
  size_t level_ = 0;
};

// Builds values while nlohmann's parser reads.
class JsonReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit JsonReader(Heap& heap) : heap_(heap) {}

  bool null() override { return add(Value::none()); }
  bool boolean(bool b) override { return add(Value::boolean(b)); }
  bool number_integer(number_integer_t i) override { return add(Value::integer(i)); }
  bool number_unsigned(number_unsigned_t u) override {
    if (u <= INT64_MAX) return add(Value::integer(static_cast<int64_t>(u)));
    return add(Value::big_integer(heap_.copy(std::to_string(u))));
  }
  bool number_float(number_float_t d, const std::string& text) override {
    bool is_integer = text.find_first_of(".eE") == std::string::npos;
    return add(is_integer ? Value::big_integer(heap_.copy(text)) : Value::real(d));
  }
  bool string(std::string& s) override { return add(heap_.string(s)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return open(true); }
  bool start_array(size_t) override { return open(false); }
  bool key(std::string& k) override {
    open_.back().key = heap_.copy(k);
    return true;
  }
  bool end_object() override {
    const Dict& dict = *open_.back().dict;
    open_.pop_back();
    return add(to_value(dict));
  }
  bool end_array() override {
    Value list = heap_.list(std::move(open_.back().items));
    open_.pop_back();
    return add(list);
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& e) override {
    std::string message = e.what();  // "[json.exception.parse_error.101] parse error at …"
    size_t end = message.find("] ");
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("invalid JSON: {}", end == std::string::npos ? message : message.substr(end + 2)));
  }

  Value result;

 private:
  struct Open {
    Dict* dict;  // null: an array
    std::pmr::vector<Value> items;
    std::string_view key{};
  };

  bool open(bool is_object) {
    if (open_.size() >= kMaxNesting) {
      throw Error(ErrorKind::InvalidArgument, fmt::format("JSON is nested deeper than {} levels", kMaxNesting));
    }
    open_.push_back({is_object ? &heap_.dict() : nullptr, heap_.values()});
    return true;
  }

  bool add(const Value& v) {
    if (open_.empty()) {
      result = v;
    } else if (Open& o = open_.back(); o.dict != nullptr) {
      o.dict->set(Value::string(o.key), v);
    } else {
      o.items.push_back(v);
    }
    return true;
  }

  Heap& heap_;
  std::vector<Open> open_;
};

}  // namespace

void append_json(Runtime& rt, std::string& out, const Value& v, const JsonStyle& style) {
  JsonWriter(rt, out, style).append(v);
}

Value parse_json(Heap& heap, std::string_view json) {
  JsonReader reader(heap);
  nlohmann::json::sax_parse(json.begin(), json.end(), &reader);
  return reader.result;
}

}  // namespace sgl::jinja
