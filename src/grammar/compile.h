#pragma once
// The languages that grammars are written in, each a function from text to a term. Errors: see Grammar.

#include <string_view>

#include "grammar/char_set.h"
#include "grammar/grammar.h"
#include "grammar/token_vocabulary.h"

namespace sgl::grammar {

/// The text is a match, or with `search` holds one.
TermId compile_regex(CharTerms& chars, std::string_view pattern, bool search = false);
TermId compile_json_schema(CharTerms& chars, std::string_view schema, const GrammarOptions& options);
TermId compile_ebnf(CharTerms& chars, std::string_view text);
/// Where a tag has the name of one of the vocabulary's special tokens, that token must come. vocabulary: may be null.
TermId compile_structural_tag(CharTerms& chars, std::string_view text, const GrammarOptions& options,
                              const TokenVocabulary* vocabulary);

}  // namespace sgl::grammar
