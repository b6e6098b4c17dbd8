#pragma once
// API speculative execution: several gens for the price of one call.
//
// Chat: the constants and gens of an assistant turn are kept as a pattern; at the turn's end one call asks for all of
// it, and the reply is matched against the pattern. Completion: a call asks for more than its gen needs; if the
// surplus goes on with the constant that the program appends next, the next gen takes its text from there.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lang/node.h"
#include "sgl/program_backend.h"

namespace sgl::lang {

class Slot;

/// A node in a state's queue, with the variable that it defines.
struct Op {
  NodePtr node;
  std::shared_ptr<Slot> slot;      ///< null: none
  std::shared_ptr<Slot> thoughts;  ///< the variable of what separate_reasoning() takes out
};

constexpr int kMostTries = 3;  ///< calls for one turn

/// Position and length of the earliest of `stops` in `text`.
struct StopMatch {
  size_t begin, size;
};
std::optional<StopMatch> find_stop(std::string_view text, const std::vector<std::string>& stops);
/// Ends the texts before their earliest stop string, for an API that takes none.
void cut_at_stop(Generated& generated, const std::vector<std::string>& stops);

/// One part of a pattern: a text that must come, or a gen with its stop strings.
struct PatternPart {
  bool is_gen = false;
  std::string text = {};
  std::vector<std::string> stop = {};
};

/// The texts of the gens if `reply` follows the pattern: a constant follows literally; a gen takes all up to its
/// first stop string, or up to the constant behind it if none is there; only the last part may take all that is left,
/// and not of a reply that was `cut` off.
std::optional<std::vector<std::string>> match_pattern(const std::vector<PatternPart>& pattern, std::string_view reply,
                                                      bool cut);

/// Text that a completion call brought beyond what its gen took.
class Surplus {
 public:
  bool empty() const { return text_.empty(); }
  void clear();
  /// What a call for `asked` tokens brought.
  void set(Generated&& generated, int asked);
  /// The program goes on with this constant: it is taken off, or all is thrown away.
  void skip(std::string_view constant);
  /// The text of a gen with these stop strings and at most `max_tokens`, taken off; nothing if that cannot be known
  /// from here. Tokens are counted where the backend told their ends; else a token has at least one byte.
  std::optional<std::string> take(const std::vector<std::string>& stops, int max_tokens);

 private:
  void drop(size_t bytes);
  std::string text_;
  std::vector<size_t> ends_;  ///< of tokens in text_
  bool ended_ = false;        ///< the model had nothing more to say
  size_t asked_ = 0;          ///< tokens that the call asked for, while nothing is taken off
};

}  // namespace sgl::lang
