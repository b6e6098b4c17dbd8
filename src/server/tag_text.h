#pragma once
// Looking for tags in text that comes in pieces: a tag may have begun at the end of what is there.

#include <cstddef>
#include <string>
#include <string_view>

namespace sgl {

/// Text that comes at its end and goes at its beginning. Both cost what comes and goes, not what is there.
class HeldText {
 public:
  void append(std::string_view text) { all_ += text; }
  void drop(size_t bytes) {
    gone_ += bytes;
    if (gone_ < all_.size() - gone_) return;
    all_.erase(0, gone_);
    gone_ = 0;
  }
  /// What is there, until the next append() or drop().
  std::string_view view() const { return std::string_view(all_).substr(gone_); }
  size_t size() const { return all_.size() - gone_; }
  bool empty() const { return size() == 0; }

 private:
  std::string all_;
  size_t gone_ = 0;  ///< bytes of it that have been dropped
};

inline bool is_white(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/// The first byte at or after `from` that is no white space; text.size() if there is none.
inline size_t skip_space(std::string_view text, size_t from = 0) {
  while (from < text.size() && is_white(text[from])) ++from;
  return from;
}
/// Where the white space before `end` begins.
inline size_t space_before(std::string_view text, size_t end) {
  while (end > 0 && is_white(text[end - 1])) --end;
  return end;
}

enum class TagMatch {
  No,
  Partial,  ///< all of the text matches, but the tag goes on
  Yes,
};

/// Whether `text` begins with `tag`, in which a blank stands for any white space, or none. `length` gets how much of
/// the text the tag takes.
inline TagMatch match_tag(std::string_view text, std::string_view tag, size_t& length) {
  size_t i = 0;
  for (char c : tag) {
    if (c == ' ') {
      i = skip_space(text, i);
    } else if (i == text.size()) {
      return TagMatch::Partial;
    } else if (text[i++] != c) {
      return TagMatch::No;
    }
  }
  length = i;
  return TagMatch::Yes;
}

}  // namespace sgl
