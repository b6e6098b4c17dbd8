#include "grammar/json_text.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include <sgl/error.h>

#include "text/unicode.h"

namespace sgl::grammar {
namespace {

constexpr int kDeepestJson = 500;
constexpr int kLargestExponent = 1000;
constexpr size_t kMostDigits = 1000;  // of a number that is calculated with
constexpr size_t kSmallObject = 8;    // members that are searched one by one

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  JsonValue read() {
    skip_space();
    JsonValue value = read_value(0);
    skip_space();
    if (at_ != text_.size()) fail("nothing more");
    return value;
  }

 private:
  [[noreturn]] void fail(std::string_view expected) const {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("the JSON text is malformed at byte {}: expected {}, got {}", at_, expected,
                            at_ < text_.size() ? fmt::format("'{}'", text_.substr(at_, char_size())) : "the end"));
  }
  // Of the character at hand, so that a message holds no half of one.
  size_t char_size() const {
    size_t n = 1;
    while (at_ + n < text_.size() && (static_cast<unsigned char>(text_[at_ + n]) & 0xC0) == 0x80) ++n;
    return n;
  }
  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != std::string_view::npos) ++at_;
  }
  bool take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  JsonValue read_value(int depth) {
    if (depth > kDeepestJson) {
      throw Error(ErrorKind::Unsupported,
                  fmt::format("the JSON text is nested more than {} levels deep", kDeepestJson));
    }
    JsonValue value;
    using Type = JsonValue::Type;
    if (take("null")) {
    } else if (take("true")) {
      value.type = Type::Boolean;
      value.boolean = true;
    } else if (take("false")) {
      value.type = Type::Boolean;
    } else if (peek() == '"') {
      value.type = Type::String;
      value.text = read_string();
    } else if (peek() == '[') {
      value.type = Type::Array;
      ++at_;
      skip_space();
      if (take("]")) return value;
      do {
        skip_space();
        value.items.push_back(read_value(depth + 1));
        skip_space();
      } while (take(","));
      if (!take("]")) fail("',' or ']'");
    } else if (peek() == '{') {
      value.type = Type::Object;
      ++at_;
      skip_space();
      if (take("}")) return value;
      do {
        skip_space();
        if (peek() != '"') fail("a member's name");
        std::string name = read_string();
        skip_space();
        if (!take(":")) fail("':'");
        skip_space();
        JsonValue member = read_value(depth + 1);
        value.members.push_back({std::move(name), std::move(member)});
        skip_space();
      } while (take(","));
      if (!take("}")) fail("',' or '}'");
      drop_repeated(value);
    } else {
      value.type = Type::Number;
      value.text = read_number();
    }
    return value;
  }

  // Leaves the last of the members of each name, and puts a large object's in order.
  static void drop_repeated(JsonValue& object) {
    std::vector<JsonMember>& members = object.members;
    std::vector<uint32_t> order = order_of(members);
    std::vector<bool> gone(members.size());
    for (size_t i = 0; i + 1 < order.size(); ++i) gone[order[i]] = members[order[i]].name == members[order[i + 1]].name;
    if (std::find(gone.begin(), gone.end(), true) != gone.end()) {
      size_t at = 0;
      std::erase_if(members, [&](const JsonMember&) { return gone[at++]; });
      order = order_of(members);
    }
    if (members.size() > kSmallObject) object.by_name = std::move(order);
  }

  static std::vector<uint32_t> order_of(const std::vector<JsonMember>& members) {
    std::vector<uint32_t> order(members.size());
    std::iota(order.begin(), order.end(), 0U);
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return members[a].name < members[b].name; });
    return order;
  }

  std::string read_number() {
    size_t start = at_;
    take("-");
    auto digits = [&] {
      size_t from = at_;
      while (peek() >= '0' && peek() <= '9') ++at_;
      if (at_ == from) fail("a JSON value");
    };
    if (!take("0")) digits();
    if (take(".")) digits();
    if (take("e") || take("E")) {
      if (!take("+")) take("-");
      digits();
    }
    return std::string(text_.substr(start, at_ - start));
  }

  uint32_t read_hex() {
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      char c = peek();
      char lower = static_cast<char>(c | 32);
      if (c >= '0' && c <= '9') {
        code = code * 16 + static_cast<uint32_t>(c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        code = code * 16 + static_cast<uint32_t>(lower - 'a' + 10);
      } else {
        fail("a hexadecimal digit");
      }
    }
    return code;
  }

  std::string read_string() {
    ++at_;
    std::string out;
    for (;;) {
      if (at_ >= text_.size()) fail("'\"'");
      char c = text_[at_++];
      if (c == '"') break;
      if (static_cast<unsigned char>(c) < 0x20) {
        --at_;
        fail("an escape: control characters may not stand in a string");
      }
      if (c != '\\') {
        out.push_back(c);
        continue;
      }
      char e = peek();
      ++at_;
      switch (e) {
        case '"':
        case '\\':
        case '/':
          out.push_back(e);
          break;
        case 'b':
          out.push_back('\b');
          break;
        case 'f':
          out.push_back('\f');
          break;
        case 'n':
          out.push_back('\n');
          break;
        case 'r':
          out.push_back('\r');
          break;
        case 't':
          out.push_back('\t');
          break;
        case 'u': {
          uint32_t code = read_hex();
          if (code >= 0xD800 && code <= 0xDBFF && take("\\u")) {
            uint32_t second = read_hex();
            if (second < 0xDC00 || second > 0xDFFF) fail("the second half of a surrogate pair");
            code = 0x10000 + ((code & 0x3FF) << 10 | (second & 0x3FF));
          }
          if (code >= 0xD800 && code <= 0xDFFF) fail("a surrogate pair, not half of one");
          append_utf8(out, code);
          break;
        }
        default:
          --at_;
          fail("an escape");
      }
    }
    return out;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

const JsonValue* JsonValue::find(std::string_view name) const {
  if (!by_name.empty()) {
    auto at = std::lower_bound(by_name.begin(), by_name.end(), name,
                               [&](uint32_t i, std::string_view wanted) { return members[i].name < wanted; });
    return at != by_name.end() && members[*at].name == name ? &members[*at].value : nullptr;
  }
  for (const auto& [key, value] : members) {
    if (key == name) return &value;
  }
  return nullptr;
}

JsonValue parse_json_text(std::string_view text) {
  if (!is_valid_utf8(text)) throw Error(ErrorKind::InvalidArgument, "the JSON text is not valid UTF-8");
  return Reader(text).read();
}

Decimal to_decimal(std::string_view number) {
  Decimal d;
  d.negative = number.starts_with('-');
  if (d.negative) number.remove_prefix(1);
  size_t e = number.find_first_of("eE");
  std::string_view mantissa = number.substr(0, e);
  long exponent = 0;
  if (e != std::string_view::npos) {
    std::string_view text = number.substr(e + 1);
    bool minus = text.starts_with('-');
    if (minus || text.starts_with('+')) text.remove_prefix(1);
    for (char c : text) exponent = std::min<long>(exponent * 10 + (c - '0'), 1'000'000);
    if (minus) exponent = -exponent;
  }
  size_t point = mantissa.find('.');
  std::string whole(mantissa.substr(0, point));
  std::string fraction = point == std::string_view::npos ? "" : std::string(mantissa.substr(point + 1));
  bool zero = whole.find_first_not_of('0') == std::string::npos && fraction.find_first_not_of('0') == std::string::npos;
  if (zero) return {};
  if (whole.size() + fraction.size() > kMostDigits) {
    throw Error(ErrorKind::Unsupported,
                fmt::format("the number {}… has more than {} digits", number.substr(0, 20), kMostDigits));
  }
  if (exponent > kLargestExponent || exponent < -kLargestExponent) {
    throw Error(ErrorKind::Unsupported,
                fmt::format("the number {} has an exponent beyond ±{}", number, kLargestExponent));
  }
  for (; exponent > 0; --exponent) {
    whole.push_back(fraction.empty() ? '0' : fraction[0]);
    if (!fraction.empty()) fraction.erase(0, 1);
  }
  for (; exponent < 0; ++exponent) {
    fraction.insert(fraction.begin(), whole.empty() ? '0' : whole.back());
    if (!whole.empty()) whole.pop_back();
  }
  size_t first = whole.find_first_not_of('0');
  d.whole = first == std::string::npos ? "0" : whole.substr(first);
  size_t last = fraction.find_last_not_of('0');
  d.fraction = last == std::string::npos ? "" : fraction.substr(0, last + 1);
  return d;
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  int sign = a.negative ? -1 : 1;
  if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size() ? -sign : sign;
  int c = a.whole.compare(b.whole);
  if (c == 0) c = a.fraction.compare(b.fraction);  // no trailing zeros: a prefix is smaller
  return c == 0 ? 0 : c < 0 ? -sign : sign;
}

bool equal(const JsonValue& a, const JsonValue& b) {
  if (a.type != b.type) return false;
  switch (a.type) {
    case JsonValue::Type::Null:
      return true;
    case JsonValue::Type::Boolean:
      return a.boolean == b.boolean;
    case JsonValue::Type::Number:
      return to_decimal(a.text) == to_decimal(b.text);
    case JsonValue::Type::String:
      return a.text == b.text;
    case JsonValue::Type::Array:
      return std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(), equal);
    case JsonValue::Type::Object:
      return a.members.size() == b.members.size() &&
             std::all_of(a.members.begin(), a.members.end(), [&](const JsonMember& member) {
               const JsonValue* other = b.find(member.name);
               return other != nullptr && equal(member.value, *other);
             });
  }
  return false;
}

bool to_count(const JsonValue& value, uint64_t& count) {
  if (!value.is(JsonValue::Type::Number)) return false;
  Decimal d = to_decimal(value.text);
  if (d.negative || !d.is_integer()) return false;
  count = 0;
  for (char c : d.whole) {
    count = count * 10 + static_cast<uint64_t>(c - '0');
    if (count > uint64_t{1} << 62) {
      count = uint64_t{1} << 62;
      break;
    }
  }
  return true;
}

}  // namespace sgl::grammar
