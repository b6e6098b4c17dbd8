#include "text/gguf_vocab.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include <sgl/error.h>

#include "text/bpe.h"
#include "text/gguf_pre_tokenizer.h"
#include "text/text_tokenizer.h"
#include "text/unicode.h"
#include "text/unigram.h"
#include "text/word_piece.h"

namespace sgl {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // ▁

enum TokenType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

int32_t type_of(const GgufVocab& v, size_t id) { return v.token_types.empty() ? kNormal : v.token_types[id]; }

void check(GgufVocab& v) {
  auto fail = [](const std::string& message) { throw Error(ErrorKind::CorruptFile, message); };
  size_t n = v.tokens.size();
  if (n == 0 || n > size_t{1} << 28) fail(fmt::format("it has {} tokens", n));
  if (!v.token_types.empty() && v.token_types.size() != n) {
    fail(fmt::format("{} tokens, but {} token types", n, v.token_types.size()));
  }
  if (!v.scores.empty() && v.scores.size() != n) fail(fmt::format("{} tokens, but {} scores", n, v.scores.size()));
  std::pair<const char*, std::optional<int32_t>> ids[] = {
      {"BOS", v.bos}, {"EOS", v.eos}, {"EOT", v.eot}, {"UNK", v.unk}, {"PAD", v.pad}, {"SEP", v.sep}, {"CLS", v.cls}};
  for (auto [name, id] : ids) {
    if (id && (*id < 0 || static_cast<size_t>(*id) >= n)) {
      fail(fmt::format("its {} id is {}, expected 0 to {}", name, *id, n - 1));
    }
  }
  for (std::string& token : v.tokens) {
    if (!is_valid_utf8(token)) token = to_valid_utf8(token);
  }
}

Vocab make_vocab(const std::vector<std::string>& tokens) {
  size_t bytes = 0;
  for (const std::string& token : tokens) bytes += token.size();
  Vocab vocab;
  vocab.reserve(tokens.size(), bytes);
  for (size_t id = 0; id < tokens.size(); ++id) vocab.add(tokens[id], static_cast<int64_t>(id));
  vocab.finish();
  return vocab;
}

// Control and unknown tokens are special; user-defined ones are looked for in the text all the same.
void add_added_tokens(const GgufVocab& v, TokenizerParts& parts) {
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    int32_t type = type_of(v, id);
    if (type != kUnknown && type != kControl && type != kUserDefined) continue;
    AddedToken token;
    token.id = static_cast<int32_t>(id);
    token.content = v.tokens[id];
    token.special = type != kUserDefined;
    parts.added.add(std::move(token));
  }
}

void add_bos_and_eos(const GgufVocab& v, bool bos_by_default, bool eos_by_default, TokenizerParts& parts) {
  if (v.add_bos.value_or(bos_by_default) && v.bos) parts.before.push_back(*v.bos);
  if (v.add_eos.value_or(eos_by_default) && v.eos) parts.after.push_back(*v.eos);
}

DecodeStep step(DecodeStep::Kind kind, std::string text = "", bool flag = false) {
  DecodeStep s;
  s.kind = kind;
  s.text = std::move(text);
  s.flag = flag;
  return s;
}

// "left right"; a token never begins with a space, so the first one behind the start is the border.
MergeTable::Pair split_merge(std::string_view merge) {
  size_t space = merge.find(' ', 1);
  if (space == std::string_view::npos) {
    throw Error(ErrorKind::CorruptFile, fmt::format("merge '{}' must be two tokens", merge));
  }
  return {merge.substr(0, space), merge.substr(space + 1)};
}

TokenizerParts make_byte_level(const GgufVocab& v) {
  if (v.merges.empty()) throw Error(ErrorKind::CorruptFile, "a 'gpt2' vocabulary needs merges");
  GgufPreTokenizer pre = make_gguf_pre_tokenizer(v.pre);
  Vocab vocab = make_vocab(v.tokens);
  std::vector<MergeTable::Pair> pairs;
  pairs.reserve(v.merges.size());
  for (const std::string& merge : v.merges) pairs.push_back(split_merge(merge));
  MergeTable merges(vocab, pairs, 0);
  BpeOptions options;
  options.ignore_merges = pre.ignore_merges;
  TokenizerParts parts;
  parts.model = std::make_unique<Bpe>(std::move(vocab), std::move(merges), std::move(options));
  parts.normalizer = std::move(pre.normalizer);
  parts.pre_tokenizers = std::move(pre.steps);
  parts.byte_level = !pre.spelled;
  parts.decoder = TokenDecoder({step(DecodeStep::Kind::ByteLevel)});
  add_bos_and_eos(v, pre.add_bos, false, parts);
  return parts;
}

// Publishers' files differ in how they order merges of equal score. Newer conversions (Gemma: vocabularies that hold
// runs of blanks as user-defined tokens) go by length, older ones (Llama 2) by id. There, added tokens have score 0.
ScoredMerges make_scored_merges(const GgufVocab& v) {
  std::vector<float> scores = v.scores;
  bool user_defined_runs = false;
  for (size_t id = 0; id < scores.size(); ++id) {
    int32_t type = type_of(v, id);
    if (type == kUnknown || type == kControl || type == kUserDefined) scores[id] = 0;
    user_defined_runs |= type == kUserDefined && v.tokens[id].find_first_not_of("\n\t ") == std::string::npos;
  }
  return {std::move(scores), user_defined_runs ? ScoredMerges::Ties::ByLength : ScoredMerges::Ties::ById};
}

TokenizerParts make_sentence_piece(GgufVocab& v) {
  if (v.scores.empty()) throw Error(ErrorKind::CorruptFile, "a 'llama' vocabulary needs scores");
  ScoredMerges merges = make_scored_merges(v);
  for (std::string& token : v.tokens) {  // converters write runs of "▁" as spaces
    if (token.empty() || token.find_first_not_of(' ') != std::string::npos) continue;
    size_t n = token.size();
    token.clear();
    for (size_t i = 0; i < n; ++i) token += kSpaceMark;
  }
  BpeOptions options;
  options.unknown = v.unk;
  options.fuse_unknown = true;
  options.byte_fallback = true;
  bool prefix = v.add_space_prefix.value_or(true);
  TokenizerParts parts;
  parts.model = std::make_unique<Bpe>(make_vocab(v.tokens), std::move(merges), std::move(options));
  std::vector<NormalizerPtr> normalizers;
  if (prefix) normalizers.push_back(make_prepend_normalizer(std::string(kSpaceMark)));
  normalizers.push_back(make_replace_normalizer(Pattern::literal(" "), std::string(kSpaceMark)));
  parts.normalizer = make_sequence_normalizer(std::move(normalizers));
  DecodeStep spaces = step(DecodeStep::Kind::Replace, " ");
  spaces.pattern = std::make_shared<const Pattern>(Pattern::literal(std::string(kSpaceMark)));
  std::vector<DecodeStep> steps = {spaces, step(DecodeStep::Kind::ByteFallback), step(DecodeStep::Kind::Fuse)};
  if (prefix) {
    steps.push_back(step(DecodeStep::Kind::Strip, " "));
    steps.back().start = 1;
  }
  parts.decoder = TokenDecoder(std::move(steps));
  add_bos_and_eos(v, true, false, parts);
  return parts;
}

// Converters write "##ing" as "ing" and "the" as "▁the"; "[CLS]" stays.
std::string bert_spelling(const std::string& token) {
  if (token.size() > 1 && token.front() == '[' && token.back() == ']') return token;
  if (token.starts_with(kSpaceMark)) return token.substr(kSpaceMark.size());
  return "##" + token;
}

TokenizerParts make_bert(GgufVocab& v) {
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    if (type_of(v, id) == kNormal) v.tokens[id] = bert_spelling(v.tokens[id]);
  }
  Vocab vocab = make_vocab(v.tokens);
  std::optional<int32_t> unknown = v.unk ? v.unk : vocab.find("[UNK]");
  if (!unknown) throw Error(ErrorKind::CorruptFile, "a 'bert' vocabulary needs an unknown token");
  TokenizerParts parts;
  std::optional<int32_t> cls = v.cls ? v.cls : v.bos ? v.bos : vocab.find("[CLS]");
  std::optional<int32_t> sep = v.sep ? v.sep : v.eos ? v.eos : vocab.find("[SEP]");
  if (cls && v.add_bos.value_or(true)) parts.before.push_back(*cls);
  if (sep && v.add_eos.value_or(true)) parts.after.push_back(*sep);
  parts.model = std::make_unique<WordPiece>(std::move(vocab), *unknown);
  parts.normalizer = make_bert_normalizer({});
  parts.pre_tokenizers.push_back(make_bert_pre_tokenizer());
  parts.decoder = TokenDecoder({step(DecodeStep::Kind::WordPiece, "##", true)});
  return parts;
}

TokenizerParts make_unigram(const GgufVocab& v) {
  if (v.scores.empty()) throw Error(ErrorKind::CorruptFile, "a 't5' vocabulary needs scores");
  TokenizerParts parts;
  std::vector<double> scores(v.scores.begin(), v.scores.end());
  bool bytes = std::find(v.token_types.begin(), v.token_types.end(), kByte) != v.token_types.end();
  parts.model = std::make_unique<Unigram>(make_vocab(v.tokens), std::move(scores), v.unk, bytes);
  parts.normalizer = make_form_normalizer(NormalForm::Nfkc);
  bool prefix = v.add_space_prefix.value_or(true);
  PrependScheme scheme = prefix ? PrependScheme::Always : PrependScheme::Never;
  parts.pre_tokenizers.push_back(make_whitespace_split());
  parts.pre_tokenizers.push_back(make_metaspace(std::string(kSpaceMark), scheme, true));
  std::vector<DecodeStep> steps;
  if (bytes) steps.push_back(step(DecodeStep::Kind::ByteFallback));
  steps.push_back(step(DecodeStep::Kind::Metaspace, std::string(kSpaceMark), prefix));
  parts.decoder = TokenDecoder(std::move(steps));
  add_bos_and_eos(v, false, true, parts);
  return parts;
}

std::unique_ptr<Tokenizer> make_tokenizer(GgufVocab& v) {
  check(v);
  TokenizerParts parts;
  if (v.model == "gpt2") {
    parts = make_byte_level(v);
  } else if (v.model == "llama") {
    parts = make_sentence_piece(v);
  } else if (v.model == "bert") {
    parts = make_bert(v);
  } else if (v.model == "t5") {
    parts = make_unigram(v);
  } else {
    throw Error(ErrorKind::Unsupported,
                fmt::format("tokenizer.ggml.model is '{}', which is not supported; known are gpt2, llama, bert and t5",
                            v.model));
  }
  add_added_tokens(v, parts);
  parts.bos_id = v.bos;
  if (v.eos) parts.eos_ids.push_back(*v.eos);
  if (v.eot && v.eot != v.eos) parts.eos_ids.push_back(*v.eot);
  parts.chat_template = std::move(v.chat_template);
  return std::make_unique<TextTokenizer>(std::move(parts));
}

}  // namespace

std::unique_ptr<Tokenizer> make_gguf_tokenizer(GgufVocab v) {
  try {
    return make_tokenizer(v);
  } catch (const Error& e) {
    throw Error(e.kind(), fmt::format("the GGUF file's tokenizer: {}", e.what()));
  }
}

}  // namespace sgl
