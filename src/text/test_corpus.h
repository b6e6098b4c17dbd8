#pragma once
// The recorded corpus of tests/tokenizers, for tests: what the reference package made of a few hundred texts.
// The files' form is described in tests/tokenizers/record.py.

#include <cstdint>
#include <random>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <sgl/tokenizer.h>

#include "base/file.h"
#include "text/detokenizer.h"
#include "text/unicode.h"

namespace sgl {

inline std::string tokenizer_test_data(const std::string& name) {
  return std::string(SGL_SOURCE_DIR) + "/tests/tokenizers/" + name;
}

/// corpus.txt: texts, not all of them UTF-8.
inline const std::vector<std::string>& test_corpus() {
  static const std::vector<std::string> corpus = [] {
    std::vector<std::string> texts;
    std::istringstream lines(read_file(tokenizer_test_data("corpus.txt")));
    for (std::string line; std::getline(lines, line);) {
      std::string text;
      for (size_t i = 0; i < line.size(); ++i) {
        if (line[i] != '%') {
          text += line[i];
        } else {
          text += static_cast<char>(std::stoi(line.substr(i + 1, 2), nullptr, 16));
          i += 2;
        }
      }
      texts.push_back(text);
    }
    return texts;
  }();
  return corpus;
}

struct Recorded {
  std::vector<int32_t> ids;
  std::string decoded;  ///< hash of both decodings
};

inline std::vector<Recorded> read_recorded(const std::string& path) {
  std::vector<Recorded> all;
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) {
    Recorded& r = all.emplace_back();
    size_t tab = line.find('\t');
    std::istringstream ids(line.substr(0, tab));
    for (int32_t id = 0; ids >> id;) r.ids.push_back(id);
    r.decoded = line.substr(tab + 1);
  }
  return all;
}

/// FNV-1a of both decodings, as record.py writes it.
inline std::string decoded_hash(const std::string& plain, const std::string& full) {
  uint64_t h = 0xCBF29CE484222325;
  for (char c : plain + '\0' + full) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return fmt::format("{:016x}", h);
}

/// The ids' text by pieces of random length, none of which may hold half a character.
inline std::string decode_by_pieces(const Tokenizer& tokenizer, std::span<const int32_t> ids, bool skip,
                                    std::mt19937& random) {
  std::string text;
  IncrementalDetokenizer stream(tokenizer, skip);
  for (size_t at = 0; at < ids.size();) {
    size_t n = std::min<size_t>(ids.size() - at, random() % 4);
    std::string piece = stream.append(ids.subspan(at, n));
    EXPECT_TRUE(is_valid_utf8(piece)) << piece;
    text += piece;
    at += n;
  }
  return text + stream.flush();
}

/// Expects the recorded ids and decodings for every text of the corpus, the latter also by pieces.
inline void expect_recorded(const Tokenizer& tokenizer, const std::string& path) {
  const std::vector<std::string>& corpus = test_corpus();
  std::vector<Recorded> recorded = read_recorded(path);
  ASSERT_EQ(recorded.size(), corpus.size()) << path;
  ASSERT_GT(corpus.size(), 100U);
  std::mt19937 random(1);
  for (size_t i = 0; i < corpus.size(); ++i) {
    SCOPED_TRACE(fmt::format("{}, line {}", path, i + 1));
    const std::vector<int32_t>& ids = recorded[i].ids;
    ASSERT_EQ(tokenizer.encode(corpus[i]), ids) << "text: " << corpus[i];
    std::string plain = tokenizer.decode(ids, true), full = tokenizer.decode(ids, false);
    ASSERT_EQ(decoded_hash(plain, full), recorded[i].decoded) << "decoded: " << full;
    ASSERT_EQ(decode_by_pieces(tokenizer, ids, true, random), plain);
    ASSERT_EQ(decode_by_pieces(tokenizer, ids, false, random), full);
  }
}

}  // namespace sgl
