// The "model" of a tokenizer.json: vocabulary and merges, which are nearly all of the file.

#include <fmt/format.h>

#include <sgl/error.h>

#include "text/bpe.h"
#include "text/tokenizer_json_parts.h"
#include "text/unigram.h"
#include "text/word_piece.h"

namespace sgl::tokenizer_json {
namespace {

namespace dom = simdjson::dom;

constexpr size_t kUsualTokenSize = 8;  // bytes; a guess that saves growing the pool

// {"token": id, …}
Vocab read_vocab(const Object& model) {
  Object json = model.object("vocab");
  size_t count = 0;
  for ([[maybe_unused]] auto field : json.fields()) ++count;
  Vocab vocab;
  vocab.reserve(count, count * kUsualTokenSize);
  for (auto [token, value] : json.fields()) {
    int64_t id = 0;
    if (value.get_int64().get(id) != simdjson::SUCCESS) {
      throw Error(ErrorKind::CorruptFile,
                  fmt::format("{}: the id of token '{}' must be an integer", json.path(), token.substr(0, 80)));
    }
    vocab.add(token, id);
  }
  vocab.finish();
  return vocab;
}

// "a b" or ["a", "b"]
MergeTable::Pair read_merge(dom::element value, const std::string& path, size_t index) {
  std::string_view text;
  if (value.get_string().get(text) == simdjson::SUCCESS) {
    size_t space = text.find(' ');
    if (space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  }
  dom::array pair;
  std::string_view left, right;
  if (value.get_array().get(pair) == simdjson::SUCCESS) {
    auto it = pair.begin();
    bool both = it != pair.end() && (*it).get_string().get(left) == simdjson::SUCCESS && ++it != pair.end() &&
                (*it).get_string().get(right) == simdjson::SUCCESS && !(++it != pair.end());
    if (both) return {left, right};
  }
  throw Error(ErrorKind::CorruptFile, fmt::format("{}[{}] must be two tokens: \"a b\" or [\"a\", \"b\"]", path, index));
}

std::unique_ptr<TokenModel> read_bpe(const Object& json) {
  Vocab vocab = read_vocab(json);
  std::string path = json.path_of("merges");
  std::vector<MergeTable::Pair> pairs;
  dom::array merges = json.array("merges");
  pairs.reserve(merges.size());
  for (dom::element merge : merges) pairs.push_back(read_merge(merge, path, pairs.size()));

  BpeOptions options;
  options.continuing_prefix = json.string("continuing_subword_prefix", "");
  options.word_suffix = json.string("end_of_word_suffix", "");
  options.fuse_unknown = json.boolean("fuse_unk", false);
  options.byte_fallback = json.boolean("byte_fallback", false);
  options.ignore_merges = json.boolean("ignore_merges", false);
  if (json.find("unk_token")) options.unknown = vocab.find(json.string("unk_token"));
  MergeTable table(vocab, pairs, options.continuing_prefix.size());
  return std::make_unique<Bpe>(std::move(vocab), std::move(table), std::move(options));
}

// [["<unk>", 0.0], ["▁the", -3.2], …]; the position is the id.
std::unique_ptr<TokenModel> read_unigram(const Object& json) {
  dom::array items = json.array("vocab");
  std::vector<double> scores;
  scores.reserve(items.size());
  Vocab vocab;
  vocab.reserve(items.size(), items.size() * kUsualTokenSize);
  for (dom::element item : items) {
    dom::array pair;
    std::string_view token;
    double score = 0;
    bool good = item.get_array().get(pair) == simdjson::SUCCESS &&
                pair.at(0).get_string().get(token) == simdjson::SUCCESS &&
                pair.at(1).get_double().get(score) == simdjson::SUCCESS;
    if (!good) {
      throw Error(ErrorKind::CorruptFile,
                  fmt::format("{}[{}] must be a token and its score", json.path_of("vocab"), scores.size()));
    }
    vocab.add(token, static_cast<int64_t>(scores.size()));
    scores.push_back(score);
  }
  vocab.finish();
  std::optional<int32_t> unknown;
  if (json.find("unk_id")) {
    int64_t id = json.integer("unk_id");
    if (id < 0 || id >= vocab.size()) json.fail("unk_id", "the id of a token");
    unknown = static_cast<int32_t>(id);
  }
  return std::make_unique<Unigram>(std::move(vocab), std::move(scores), unknown, json.boolean("byte_fallback", false));
}

int32_t read_unknown(const Object& json, const Vocab& vocab, std::string_view fallback) {
  auto id = vocab.find(json.string("unk_token", fallback));
  if (!id) json.fail("unk_token", "in the vocabulary");
  return *id;
}

// Old files do not name the type.
std::string_view guess_type(const Object& json) {
  if (json.find("merges")) return "BPE";
  auto vocab = json.find("vocab");
  if (vocab && vocab->is_array()) return "Unigram";
  return json.find("continuing_subword_prefix") ? "WordPiece" : "WordLevel";
}

}  // namespace

std::unique_ptr<TokenModel> read_model(const Object& json) {
  std::string_view type = json.find("type") ? json.string("type") : guess_type(json);
  if (type == "BPE") return read_bpe(json);
  if (type == "Unigram") return read_unigram(json);
  if (type == "WordPiece") {
    Vocab vocab = read_vocab(json);
    int32_t unknown = read_unknown(json, vocab, "[UNK]");
    int64_t max_chars = json.integer("max_input_chars_per_word", 100);
    if (max_chars < 0) json.fail("max_input_chars_per_word", "0 or more");
    return std::make_unique<WordPiece>(std::move(vocab), unknown,
                                       std::string(json.string("continuing_subword_prefix", "##")),
                                       static_cast<size_t>(max_chars));
  }
  if (type == "WordLevel") {
    Vocab vocab = read_vocab(json);
    int32_t unknown = read_unknown(json, vocab, "<unk>");
    return std::make_unique<WordLevel>(std::move(vocab), unknown);
  }
  throw Error(ErrorKind::Unsupported,
              fmt::format("{} is of type '{}', which is not supported; known types: BPE, Unigram, WordPiece, WordLevel",
                          json.path(), type));
}

}  // namespace sgl::tokenizer_json
