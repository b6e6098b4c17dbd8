#include "text/unigram.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include <sgl/error.h>

#include "text/unicode.h"

namespace sgl {

Unigram::Unigram(Vocab vocab, std::vector<double> scores, std::optional<int32_t> unknown, bool byte_fallback)
    : vocab_(std::move(vocab)), scores_(std::move(scores)), unknown_(unknown) {
  double lowest = std::numeric_limits<double>::infinity();
  for (int32_t id = 0; id < vocab_.size(); ++id) {
    trie_.add(vocab_.spelling(id), id);
    lowest = std::min(lowest, scores_[static_cast<size_t>(id)]);
  }
  unknown_score_ = lowest - 10.0;
  if (!byte_fallback) return;
  for (unsigned byte = 0; byte < 256; ++byte) {
    byte_ids_.push_back(vocab_.find(fmt::format("<0x{:02X}>", byte)).value_or(-1));
  }
}

//  best[e] is the last token of the best segmentation of piece[0, e):
//     0 ──▁the──▶ 6 ──re──▶ 8 ──fore──▶ 12        score = sum of the tokens' scores; the first found wins a tie
void Unigram::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  struct Node {
    double score = 0;
    int64_t begin = -1;  // −1: not reached
    int32_t id = -1;     // −1: one uncovered character
  };
  std::vector<Node> best(piece.size() + 1);
  auto relax = [&](size_t begin, size_t end, int32_t id, double score) {
    score += best[begin].score;
    Node& node = best[end];
    if (node.begin < 0 || score > node.score) node = {score, static_cast<int64_t>(begin), id};
  };
  for (size_t begin = 0; begin < piece.size();) {
    size_t char_size = decode_utf8(piece, begin).size;
    bool covered = false;
    uint32_t node = ByteTrie::kRoot;
    for (size_t end = begin; end < piece.size();) {
      node = trie_.child(node, piece[end++]);
      if (node == ByteTrie::kNone) break;
      int32_t id = trie_.value(node);
      if (id < 0) continue;
      relax(begin, end, id, scores_[static_cast<size_t>(id)]);
      covered |= end - begin == char_size;
    }
    if (!covered) relax(begin, begin + char_size, -1, unknown_score_);
    begin += char_size;
  }

  struct Part {
    size_t begin, end;
    int32_t id;
  };
  std::vector<Part> parts;  // from the last to the first; neighbouring unknown ones joined
  for (size_t end = piece.size(); end > 0;) {
    const Node& node = best[end];
    auto begin = static_cast<size_t>(node.begin);
    int32_t id = unknown_ && node.id == *unknown_ ? -1 : node.id;
    if (id < 0 && !parts.empty() && parts.back().id < 0) {
      parts.back().begin = begin;
    } else {
      parts.push_back({begin, end, id});
    }
    end = begin;
  }
  for (size_t i = parts.size(); i-- > 0;) {
    const Part& p = parts[i];
    if (p.id >= 0) {
      ids.push_back(p.id);
    } else {
      append_unknown(piece.substr(p.begin, p.end - p.begin), ids);
    }
  }
}

void Unigram::append_unknown(std::string_view text, std::vector<int32_t>& ids) const {
  if (auto id = vocab_.find(text)) return ids.push_back(*id);
  auto has_token = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)] >= 0; };
  if (!byte_ids_.empty() && std::all_of(text.begin(), text.end(), has_token)) {
    for (char byte : text) ids.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
  } else if (unknown_) {
    ids.push_back(*unknown_);
  } else {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("the text has '{}', which the tokenizer's vocabulary cannot write, and there is no unknown "
                            "token",
                            text.substr(0, 40)));
  }
}

}  // namespace sgl
