#include "engine/constraint.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "sgl/error.h"
#include "text/unicode.h"

namespace sgl {
namespace {

// Output tokens that forced text is spelled together with. The tokenizers' words are shorter than that by far.
constexpr size_t kSpelledTogether = 64;

// Of SamplingParams.
const char* parameter(GrammarKind kind) {
  switch (kind) {
    case GrammarKind::Regex:
      return "regex";
    case GrammarKind::JsonSchema:
      return "json_schema";
    case GrammarKind::Ebnf:
      return "ebnf";
    case GrammarKind::StructuralTag:
      break;
  }
  return "structural_tag";
}

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xc0U) == 0x80U; }

// Ids of `lead` + text without those of `lead`, if the bytes come out even.
std::optional<std::vector<int32_t>> encode_behind(const Tokenizer& tokenizer, std::string_view lead,
                                                  std::string_view text) {
  std::vector<int32_t> ids = tokenizer.encode(std::string(lead) + std::string(text), false);
  size_t begin = 0;
  if (!lead.empty()) {
    std::string head;
    while (begin < ids.size() && !head.ends_with(lead)) head += tokenizer.token_bytes(ids[begin++]);
    ids.erase(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(begin));
  }
  size_t at = 0;
  for (int32_t id : ids) {
    const std::string bytes = tokenizer.token_bytes(id);
    if (bytes.empty() || text.substr(at, bytes.size()) != bytes) return std::nullopt;
    at += bytes.size();
  }
  return at == text.size() ? std::optional(std::move(ids)) : std::nullopt;
}

}  // namespace

std::optional<std::vector<int32_t>> encode_exactly(const Tokenizer& tokenizer, std::string_view text) {
  if (auto ids = encode_behind(tokenizer, "", text)) return ids;
  // SentencePiece's tokenizers put a space before a text; behind a line end they do not.
  return encode_behind(tokenizer, "\n", text);
}

OutputConstraint::OutputConstraint(const std::shared_ptr<const Grammar>& grammar, const Tokenizer& tokenizer,
                                   bool jump_forward)
    : matcher_(grammar), grammar_(grammar), tokenizer_(&tokenizer), jump_forward_(jump_forward) {}

bool OutputConstraint::fill_mask(std::vector<uint32_t>& mask, int64_t vocab) const {
  mask.resize(std::max((static_cast<size_t>(vocab) + 31) / 32, grammar_->vocabulary()->mask_words()));
  matcher_.fill_mask(mask);
  return std::any_of(mask.begin(), mask.end(), [](uint32_t word) { return word != 0; });
}

std::optional<OutputConstraint::Jump> OutputConstraint::jump(std::span<const int32_t> output, bool keep_tokens) {
  if (!jump_forward_) return std::nullopt;
  std::string text = matcher_.jump_forward();
  if (text.empty()) return std::nullopt;
  std::optional<Jump> jump = spell(output, std::move(text), keep_tokens);
  if (!jump || !matcher_.accept_text(jump->text)) return std::nullopt;
  size_t old = 0, at = 0;  // bytes of the old tokens that are replaced, and of the new ones
  for (int32_t id : output.subspan(jump->keep)) old += grammar_->vocabulary()->bytes(id).size();
  for (int32_t id : jump->ids) {
    if (at < old) ++jump->respelled;
    at += grammar_->vocabulary()->bytes(id).size();
    jump->ends.push_back(at - std::min(at, old));
  }
  return jump;
}

// The tail of the output is spelled anew together with the text: where that begins with other tokens, they replace the
// old ones. If the tail is not what the tokenizer makes of it, the text is spelled alone.
std::optional<OutputConstraint::Jump> OutputConstraint::spell(std::span<const int32_t> output, std::string text,
                                                              bool keep_tokens) const {
  const auto bytes = [&](int32_t id) -> const std::string& { return grammar_->vocabulary()->bytes(id); };
  size_t begin = output.size() - std::min(output.size(), kSpelledTogether);
  // Special tokens stay as they are; a tail begins with a whole character.
  for (size_t i = output.size(); i > begin; --i) {
    if (!grammar_->vocabulary()->is_text(output[i - 1])) begin = i;
  }
  while (begin < output.size() && is_continuation(bytes(output[begin]).front())) ++begin;
  std::string tail;
  for (int32_t id : output.subspan(begin)) tail += bytes(id);
  if (incomplete_utf8_tail(tail) != 0 || is_continuation(text.front())) return std::nullopt;

  Jump jump{.keep = output.size(), .ids = {}, .text = std::move(text), .ends = {}};
  if (auto ids = keep_tokens ? std::nullopt : encode_exactly(*tokenizer_, tail + jump.text)) {
    const auto old = output.subspan(begin);
    const auto differ = std::mismatch(old.begin(), old.end(), ids->begin(), ids->end());
    const auto common = static_cast<size_t>(differ.first - old.begin());
    // A cut through a word at the very beginning of the tail says nothing about how the word is spelled.
    if (begin == 0 || common > 0 || old.empty()) {
      jump.keep = begin + common;
      jump.ids.assign(differ.second, ids->end());
      return jump;
    }
  }
  auto ids = encode_exactly(*tokenizer_, jump.text);
  if (!ids) return std::nullopt;
  jump.ids = std::move(*ids);
  return jump;
}

ConstraintCompiler::ConstraintCompiler(const Tokenizer* tokenizer, std::vector<int32_t> eos_ids,
                                       const EngineOptions& options)
    : tokenizer_(tokenizer), eos_ids_(std::move(eos_ids)), jump_forward_(!options.disable_jump_forward) {
  json_.plain_integers = true;
  json_.compact = !options.constrained_json_any_whitespace;
  if (!json_.compact) json_.max_whitespace = static_cast<uint32_t>(options.constrained_json_max_whitespace);
}

GrammarCompiler& ConstraintCompiler::compiler() {
  std::call_once(made_, [&] {
    compiler_ = std::make_unique<GrammarCompiler>(grammar::TokenVocabulary::of(*tokenizer_, eos_ids_));
    is_made_ = true;
  });
  return *compiler_;
}

std::optional<GrammarSpec> ConstraintCompiler::spec_of(const SamplingParams& s) const {
  struct Field {
    GrammarKind kind;
    const std::string& text;
  };
  const Field fields[] = {{GrammarKind::Regex, s.regex},
                          {GrammarKind::JsonSchema, s.json_schema},
                          {GrammarKind::Ebnf, s.ebnf},
                          {GrammarKind::StructuralTag, s.structural_tag}};
  const Field* given = nullptr;
  for (const Field& f : fields) {
    if (f.text.empty()) continue;
    if (given != nullptr) {
      throw Error(ErrorKind::InvalidArgument,
                  fmt::format("{} and {} are both given; the output can follow one grammar only",
                              parameter(given->kind), parameter(f.kind)));
    }
    given = &f;
  }
  if (given == nullptr) return std::nullopt;
  if (tokenizer_ == nullptr) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("{} needs a tokenizer; the engine runs with skip_tokenizer_init and knows no text",
                            parameter(given->kind)));
  }
  GrammarSpec spec{given->kind, given->text, {}};
  if (given->kind == GrammarKind::JsonSchema || given->kind == GrammarKind::StructuralTag) spec.options = json_;
  return spec;
}

bool ConstraintCompiler::must_compile(const SamplingParams& s) const {
  const std::optional<GrammarSpec> spec = spec_of(s);
  return spec && !(is_made_ && compiler_->knows(*spec));
}

std::optional<OutputConstraint> ConstraintCompiler::compile(const SamplingParams& s) {
  const std::optional<GrammarSpec> spec = spec_of(s);
  if (!spec) return std::nullopt;
  try {
    return OutputConstraint(compiler().compile(*spec), *tokenizer_, jump_forward_);
  } catch (const Error& e) {
    throw Error(e.kind(), fmt::format("Failed to compile {}: {}", parameter(spec->kind), e.what()));
  }
}

}  // namespace sgl
