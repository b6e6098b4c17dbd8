#pragma once
// Pre-tokenizers: how a normalized text is cut into the pieces that the model works on, one by one.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/function_ref.h"
#include "text/pattern.h"

namespace sgl {

/// A piece of text on its way to the model. Valid only during the call that it is given to.
struct Piece {
  std::string_view text;
  bool at_start;  ///< it begins where the whole text begins (what Metaspace's "first" asks)
};
using PieceSink = FunctionRef<void(Piece)>;

/// One cutting step. Immutable; `split` may be called from any thread. Never gives an empty piece.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Requires: piece.text is not empty and valid UTF-8.
  virtual void split(Piece piece, PieceSink sink) const = 0;
};
using PreTokenizerPtr = std::unique_ptr<const PreTokenizer>;

/// What becomes of the matches of a split, the delimiters. "one-two, three" split at '-' and ' ':
enum class SplitBehavior {
  Removed,             ///< one | two, | three
  Isolated,            ///< one | - | two, | ␣ | three
  MergedWithPrevious,  ///< one- | two,␣ | three
  MergedWithNext,      ///< one | -two, | ␣three
  Contiguous,          ///< as Isolated, with neighbouring matches in one piece
};

enum class PrependScheme { First, Always, Never };

/// `invert`: what lies between the matches is the delimiter.
PreTokenizerPtr make_split(Pattern pattern, SplitBehavior behavior, bool invert);
/// Puts a space before a piece that does not begin with one.
PreTokenizerPtr make_prefix_space();
/// Writes every byte in the byte-level alphabet.
PreTokenizerPtr make_byte_spelling();
PreTokenizerPtr make_metaspace(std::string replacement, PrependScheme scheme, bool split);
PreTokenizerPtr make_digits(bool individual);
PreTokenizerPtr make_punctuation(SplitBehavior behavior);
PreTokenizerPtr make_whitespace();        ///< words and runs of other symbols: \w+|[^\w\s]+
PreTokenizerPtr make_whitespace_split();  ///< at white space only
PreTokenizerPtr make_char_delimiter_split(char32_t delimiter);
PreTokenizerPtr make_bert_pre_tokenizer();

/// Runs `steps` from `first` on one after another over `piece`; the pieces of the last go to `sink`.
void run_pre_tokenizers(const std::vector<PreTokenizerPtr>& steps, Piece piece, PieceSink sink, size_t first = 0);

}  // namespace sgl
