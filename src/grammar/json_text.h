#pragma once
// JSON as grammars need it: members in the order of the text, numbers as they are written, nothing rounded.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sgl::grammar {

struct JsonMember;

struct JsonValue {
  enum class Type : uint8_t { Null, Boolean, Number, String, Array, Object } type = Type::Null;
  bool boolean = false;
  std::string text;                 ///< String: UTF-8; Number: as written
  std::vector<JsonValue> items;     ///< Array
  std::vector<JsonMember> members;  ///< Object; of a name that comes twice the last counts
  std::vector<uint32_t> by_name;    ///< of a large object: its members in order of their names; else empty

  bool is(Type t) const { return type == t; }
  /// The member, or null; null also for what is no object.
  const JsonValue* find(std::string_view name) const;
};

struct JsonMember {
  std::string name;
  JsonValue value;
};

/// Throws InvalidArgument, saying where, for what is not JSON, nested more than 500 levels, or holds half a surrogate
/// pair. The members of what it returns may not be added to: find() knows where they are.
JsonValue parse_json_text(std::string_view text);

/// A decimal number, exact. Trailing zeros of the fraction and leading ones are not kept; zero is not negative.
struct Decimal {
  bool negative = false;
  std::string whole = "0";  ///< digits before the point
  std::string fraction;     ///< digits after it

  bool is_zero() const { return whole == "0" && fraction.empty(); }
  bool is_integer() const { return fraction.empty(); }
  bool operator==(const Decimal&) const = default;
};

/// The value of a JSON number. Throws Unsupported for exponents beyond ±1000 and more than 1000 digits.
Decimal to_decimal(std::string_view number);
/// −1, 0, 1.
int compare(const Decimal& a, const Decimal& b);
/// JSON Schema's equality: 1 = 1.0, order of members does not matter.
bool equal(const JsonValue& a, const JsonValue& b);
/// A non-negative count, as maxLength has it (3.0 is 3); false if it is none. Very large ones become 2^62.
bool to_count(const JsonValue& value, uint64_t& count);

}  // namespace sgl::grammar
