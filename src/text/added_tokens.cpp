#include "text/added_tokens.h"

#include <algorithm>
#include <utility>

#include "text/unicode.h"

namespace sgl {

void AddedTokens::add(AddedToken token) {
  if (token.content.empty()) return;
  auto known = by_content_.find(token.content);
  size_t index = known != by_content_.end() ? known->second : tokens_.size();
  end_id_ = std::max(end_id_, token.id + 1);
  if (index == tokens_.size()) {
    by_content_.emplace(token.content, index);
    tokens_.push_back(std::move(token));
  } else {
    tokens_[index] = std::move(token);
  }
  by_id_[tokens_[index].id] = index;
}

void AddedTokens::finish(const Normalizer* normalizer) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    AddedToken& token = tokens_[i];
    token.spelling = token.content;
    if (token.normalized && normalizer != nullptr) normalizer->apply(token.spelling);
    (token.normalized ? normalized_ : raw_).add(token.spelling, static_cast<int32_t>(i));
  }
}

//   … text  ␣␣ <tok> ␣  text …        lstrip, rstrip: the token's part grows over the white space beside it,
//         ▲begin       ▲end           on the left not beyond the end of the part before (`done`)
void AddedTokens::split(const ByteTrie& trie, std::string_view text, PartSink sink) const {
  size_t done = 0;
  for (size_t at = 0; at < text.size() && !trie.empty();) {
    ByteTrie::Match match;
    if (trie.begins(text[at])) match = trie.longest(text, at);
    if (match.value < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(match.value)];
    size_t begin = at, end = at + match.size;
    at = end;
    if (token.single_word) {
      bool touches_left = begin > 0 && is_word(decode_utf8_before(text, begin).code);
      bool touches_right = end < text.size() && is_word(decode_utf8(text, end).code);
      if (touches_left || touches_right) continue;
    }
    while (token.lstrip && begin > done) {
      Utf8Char c = decode_utf8_before(text, begin);
      if (!is_space(c.code)) break;
      begin -= c.size;
    }
    while (token.rstrip && end < text.size()) {
      Utf8Char c = decode_utf8(text, end);
      if (!is_space(c.code)) break;
      end += c.size;
    }
    begin = std::max(begin, done);  // a token of white space may begin in what the one before took along
    if (done < begin) sink(-1, text.substr(done, begin - done), done);
    sink(token.id, text.substr(begin, std::max(begin, end) - begin), begin);
    done = std::max(done, end);
  }
  if (done < text.size()) sink(-1, text.substr(done), done);
}

const AddedToken* AddedTokens::find(int32_t id) const {
  auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second];
}

std::optional<int32_t> AddedTokens::find(std::string_view content) const {
  auto it = by_content_.find(std::string(content));
  if (it == by_content_.end()) return std::nullopt;
  return tokens_[it->second].id;
}

bool AddedTokens::is_special(int32_t id) const {
  const AddedToken* token = find(id);
  return token != nullptr && token->special;
}

}  // namespace sgl
