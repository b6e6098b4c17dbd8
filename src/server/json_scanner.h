#pragma once
// Reads one JSON object or array that comes in pieces, byte by byte: says where it ends, where it can be no JSON any
// more, and where the values of its members stand. Each byte is looked at once.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace sgl {

/// How far a text that comes in pieces has been read.
enum class Scan {
  More,    ///< right so far
  Done,    ///< complete
  Broken,  ///< wrong, whatever follows
};

class JsonScanner {
 public:
  /// Of the outermost object or array.
  struct Member {
    std::string key;  ///< as written, without the quotes; of an array empty
    size_t begin = kOpen, end = kOpen;
    static constexpr size_t kOpen = static_cast<size_t>(-1);  ///< not reached yet
  };

  /// `outermost`: the bracket that the text must begin with.
  explicit JsonScanner(char outermost = '{') : outermost_(outermost) {}

  /// Reads on. `text` is what it was in the last call and more: white space, and the object or array.
  Scan scan(std::string_view text);
  /// How much has been read; when Done, it ends there.
  size_t position() const { return at_; }
  const std::vector<Member>& members() const { return members_; }

 private:
  enum class Expect { Value, FirstItem, FirstKey, Key, Colon, Comma, String, Escape, Hex, Word, Number };
  enum class Digits { Minus, Zero, Integer, Point, Fraction, Exponent, Sign, Power };

  Scan step(char c);
  Scan begin_value(char c);
  Scan end_value();
  Scan close(char c);
  bool step_number(char c);  ///< false: the number has ended before `c`
  bool number_may_end() const;

  char outermost_;
  size_t at_ = 0;
  Expect expect_ = Expect::Value;
  Digits digits_ = Digits::Minus;
  std::string open_;       ///< the brackets around at_
  std::string_view word_;  ///< what is left of true, false, null
  int hex_ = 0;
  bool in_key_ = false;
  std::vector<Member> members_;
};

}  // namespace sgl
