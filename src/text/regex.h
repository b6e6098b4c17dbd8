#pragma once
// Regular expressions of tokenizer files, run by PCRE2's JIT.
//
// The files are written for Oniguruma (Ruby syntax, Unicode 16). The pattern is translated where the two engines read
// the same text differently; what cannot be translated is refused, because a wrong split silently gives wrong ids.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "text/function_ref.h"

namespace sgl {

/// Immutable; may be used from any thread.
class Regex {
 public:
  /// Throws CorruptFile where the pattern is malformed, Unsupported where PCRE2 has no equal.
  explicit Regex(std::string_view oniguruma_pattern);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  /// Calls on_match(begin, end) for every match in `text` (valid UTF-8) from left to right. Matches do not overlap, and
  /// an empty match never touches the one before it. Throws InvalidArgument where the engine's step limit is reached.
  void for_each_match(std::string_view text, FunctionRef<void(size_t, size_t)> on_match) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

/// The PCRE2 pattern (with UTF, UCP and MULTILINE) for a pattern in Oniguruma's Ruby syntax. For tests.
std::string translate_oniguruma(std::string_view pattern);

}  // namespace sgl
