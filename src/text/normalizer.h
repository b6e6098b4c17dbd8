#pragma once
// Normalizers: what a tokenizer does to the text before it looks for words.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/pattern.h"
#include "text/unicode.h"

namespace sgl {

/// One rewriting of a text. Immutable; `apply` may be called from any thread.
/// Text goes in and comes out as valid UTF-8.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(std::string& text) const = 0;
};
using NormalizerPtr = std::unique_ptr<const Normalizer>;

struct BertNormalizerOptions {
  bool clean_text = true;            ///< drop controls and U+FFFD, make every white space a space
  bool handle_chinese_chars = true;  ///< a space before and after each ideograph
  bool strip_accents = true;
  bool lowercase = true;
};

// Each does what the type of the same name in tokenizer.json does.
NormalizerPtr make_sequence_normalizer(std::vector<NormalizerPtr> steps);
NormalizerPtr make_form_normalizer(NormalForm form);
NormalizerPtr make_lowercase_normalizer();
NormalizerPtr make_strip_accents_normalizer();
NormalizerPtr make_strip_normalizer(bool left, bool right);
NormalizerPtr make_prepend_normalizer(std::string prefix);
NormalizerPtr make_replace_normalizer(Pattern pattern, std::string content);
NormalizerPtr make_nmt_normalizer();
NormalizerPtr make_byte_level_normalizer();
NormalizerPtr make_bert_normalizer(BertNormalizerOptions options);

}  // namespace sgl
