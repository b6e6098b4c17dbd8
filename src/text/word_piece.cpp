#include "text/word_piece.h"

#include <utility>

#include "text/unicode.h"

namespace sgl {

WordPiece::WordPiece(Vocab vocab, int32_t unknown, std::string continuing_prefix, size_t max_chars)
    : vocab_(std::move(vocab)), unknown_(unknown), prefix_(std::move(continuing_prefix)), max_chars_(max_chars) {}

void WordPiece::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  size_t chars = 0;
  for_each_char(piece, [&](char32_t, uint32_t) { ++chars; });
  size_t before = ids.size();
  if (chars > max_chars_ || !append_parts(piece, ids)) {
    ids.resize(before);
    ids.push_back(unknown_);
  }
}

bool WordPiece::append_parts(std::string_view word, std::vector<int32_t>& ids) const {
  std::string candidate;
  for (size_t begin = 0; begin < word.size();) {
    size_t end = word.size();
    int32_t id = -1;
    for (; end > begin; end -= decode_utf8_before(word, end).size) {
      candidate = begin > 0 ? prefix_ : "";
      candidate += word.substr(begin, end - begin);
      id = vocab_.find(candidate).value_or(-1);
      if (id >= 0) break;
    }
    if (id < 0) return false;
    ids.push_back(id);
    begin = end;
  }
  return true;
}

}  // namespace sgl
