#include "grammar/compile.h"
namespace sgl::grammar {
TermId compile_structural_tag(CharTerms&, std::string_view, const GrammarOptions&) { return kNone; }
}
