// A piece goes through four stages:
//   words     SentencePiece models get whole texts; where no token reaches over "x▁", the text is cut there
//   look-up   a word that is a token, and is known to come out as that token, is done
//   symbols   the word's characters (or bytes) as tokens
//   merges    the best-ranked pair of neighbours becomes one token, until no pair is left

#include "text/bpe.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include <sgl/error.h>

#include "text/byte_level.h"
#include "text/unicode.h"

namespace sgl {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // ▁, U+2581
constexpr size_t kShortWord = 40;                        // symbols; beyond, a heap is faster than a scan

std::string byte_token(unsigned byte) { return fmt::format("<0x{:02X}>", byte); }

}  // namespace

Bpe::Bpe(Vocab vocab, Merges merges, BpeOptions options)
    : vocab_(std::move(vocab)), merges_(std::move(merges)), options_(std::move(options)) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = options_.byte_fallback ? vocab_.find(byte_token(byte)).value_or(-1) : -1;
  }
  for (size_t c = 0; c < ascii_ids_.size(); ++c) {
    char text = static_cast<char>(c);
    ascii_ids_[c] = vocab_.find(std::string_view(&text, 1)).value_or(-1);
  }
  auto size = static_cast<size_t>(vocab_.size());
  whole_ = std::make_unique<std::atomic<Whole>[]>(size);
  find_word_starts();
}

bool Bpe::use_byte_level() {
  if (!options_.continuing_prefix.empty() || !options_.word_suffix.empty()) return false;
  std::array<int32_t, 256> ids;
  for (size_t byte = 0; byte < 256; ++byte) {
    const ByteSpelling& s = byte_spellings()[byte];
    ids[byte] = vocab_.find({s.text, s.size}).value_or(-1);
  }
  if (std::find(ids.begin(), ids.end(), -1) != ids.end()) return false;
  byte_ids_ = ids;
  byte_level_ = true;
  cut_words_ = false;
  return true;
}

// No merge reaches over a place "x▁" if no token has that x before a "▁": every product of a merge is a token. So the
// words of a text can be encoded one by one, and most are found whole. Requires "▁" itself to be a token, because it
// ends a run of unknown characters. A token that has "▁" after an unknown or byte token forbids all cuts.
void Bpe::find_word_starts() {
  if (!options_.continuing_prefix.empty() || !options_.word_suffix.empty() || !vocab_.find(kSpaceMark)) return;
  if (options_.ignore_merges) return;  // then a piece counts as a whole
  std::string_view unknown = options_.unknown ? vocab_.spelling(*options_.unknown) : "";
  for (int32_t id = 0; id < vocab_.size(); ++id) {
    std::string_view token = vocab_.spelling(id);
    for (size_t at = 1; (at = token.find(kSpaceMark, at)) != std::string_view::npos; at += kSpaceMark.size()) {
      std::string_view before = token.substr(0, at);
      if (before.ends_with(kSpaceMark)) continue;
      bool after_byte =
          before.ends_with('>') && before.size() >= 6 && before.substr(before.size() - 6).starts_with("<0x");
      if (after_byte || (!unknown.empty() && before.ends_with(unknown))) return;
      joins_.insert(decode_utf8_before(token, at).code);
    }
  }
  cut_words_ = true;
}

// End of the word that begins at `begin`: the next place "x▁" with x neither "▁" nor in joins_.
size_t Bpe::word_end(std::string_view piece, size_t begin) const {
  if (!cut_words_) return piece.size();
  for (size_t at = begin + 1; (at = piece.find(kSpaceMark, at)) != std::string_view::npos; at += kSpaceMark.size()) {
    if (piece.substr(begin, at - begin).ends_with(kSpaceMark)) continue;
    if (joins_.empty() || !joins_.contains(decode_utf8_before(piece, at).code)) return at;
  }
  return piece.size();
}

void Bpe::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  if (piece.size() > std::numeric_limits<int32_t>::max()) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("a text of {} bytes is too long, expected less than 2 GiB", piece.size()));
  }
  for (size_t begin = 0; begin < piece.size();) {
    size_t end = word_end(piece, begin);
    std::string_view word = piece.substr(begin, end - begin);
    std::visit([&](const auto& rule) { encode_word(rule, word, ids); }, merges_);
    begin = end;
  }
}

// The token that is spelled like the word, or −1.
int32_t Bpe::whole_word(std::string_view word) const {
  if (word.size() > vocab_.longest()) return -1;
  if (!byte_level_) return vocab_.find_hashed(word, hash_bytes(word));
  char spelled[256];
  if (word.size() * 2 > sizeof(spelled)) return vocab_.find(bytes_to_spelling(word)).value_or(-1);
  size_t n = 0;
  for (char c : word) {
    const ByteSpelling& s = byte_spellings()[static_cast<unsigned char>(c)];
    spelled[n] = s.text[0], spelled[n + 1] = s.text[1];
    n += s.size;
  }
  std::string_view spelling(spelled, n);
  return vocab_.find_hashed(spelling, hash_bytes(spelling));
}

template <typename Rule>
void Bpe::encode_word(const Rule& rule, std::string_view word, std::vector<int32_t>& ids) const {
  bool plain = options_.continuing_prefix.empty() && options_.word_suffix.empty();
  int32_t whole = plain || options_.ignore_merges ? whole_word(word) : -1;
  if (whole >= 0 && options_.ignore_merges) return ids.push_back(whole);
  std::atomic<Whole>* known = whole >= 0 ? &whole_[static_cast<size_t>(whole)] : nullptr;
  if (known != nullptr && known->load(std::memory_order_relaxed) == Whole::Yes) return ids.push_back(whole);

  std::vector<BpeSymbol> symbols;
  first_symbols(word, symbols);
  if (symbols.size() <= kShortWord) {
    merge_short(rule, word, symbols);
  } else {
    merge_long(rule, word, symbols);
  }
  for (const BpeSymbol& s : symbols) ids.push_back(s.id);
  if (known != nullptr) {
    bool itself = symbols.size() == 1 && symbols[0].id == whole;
    known->store(itself ? Whole::Yes : Whole::No, std::memory_order_relaxed);
  }
}

// The reference keeps an unknown token back to fuse it with the next, and puts it only before the next known character:
// byte tokens in between come first. That is kept, since ids must be equal.
void Bpe::first_symbols(std::string_view word, std::vector<BpeSymbol>& symbols) const {
  symbols.reserve(word.size());
  if (byte_level_) {
    for (size_t i = 0; i < word.size(); ++i) {
      symbols.push_back({byte_ids_[static_cast<unsigned char>(word[i])], static_cast<uint32_t>(i), 1});
    }
    return;
  }
  bool pending = false;
  bool plain = options_.continuing_prefix.empty() && options_.word_suffix.empty();
  std::string spelling;
  for (size_t at = 0; at < word.size();) {
    Utf8Char c = decode_utf8(word, at);
    auto begin = static_cast<uint32_t>(at);
    std::string_view character = word.substr(at, c.size);
    at += c.size;
    int32_t id = -1;
    if (plain) {
      id = c.code < 128 ? ascii_ids_[c.code] : vocab_.find_hashed(character, hash_bytes(character));
    } else {
      spelling = begin == 0 ? "" : options_.continuing_prefix;
      spelling += character;
      if (at == word.size()) spelling += options_.word_suffix;
      id = vocab_.find(spelling).value_or(-1);
      character = spelling;
    }
    if (id >= 0) {
      if (pending) symbols.push_back({*options_.unknown, begin, 0});
      pending = false;
      symbols.push_back({id, begin, c.size});
      continue;
    }
    auto token_of = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
    if (options_.byte_fallback &&
        std::all_of(character.begin(), character.end(), [&](char byte) { return token_of(byte) >= 0; })) {
      for (char byte : character) symbols.push_back({token_of(byte), begin, 0});
    } else if (options_.unknown) {
      if (pending && !options_.fuse_unknown) symbols.push_back({*options_.unknown, begin, 0});
      pending = true;
    }
  }
  if (pending) symbols.push_back({*options_.unknown, static_cast<uint32_t>(word.size()), 0});
}

// Scans all pairs for the best one, n times. Few symbols fit in a cache line or two, so this beats a heap.
template <typename Rule>
void Bpe::merge_short(const Rule& rule, std::string_view word, std::vector<BpeSymbol>& symbols) const {
  std::array<Merge, kShortWord> merges;  // merges[i]: of symbols i and i + 1
  size_t n = symbols.size();
  for (size_t i = 0; i + 1 < n; ++i) merges[i] = rule.find(vocab_, word, symbols[i], symbols[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (merges[i].before(merges[best])) best = i;
    }
    if (merges[best].id < 0) break;
    symbols[best] = {merges[best].id, symbols[best].begin, symbols[best].size + symbols[best + 1].size};
    for (size_t i = best + 1; i + 1 < n; ++i) {
      symbols[i] = symbols[i + 1];
      merges[i] = merges[i + 1];
    }
    --n;
    if (best + 1 < n) merges[best] = rule.find(vocab_, word, symbols[best], symbols[best + 1]);
    if (best > 0) merges[best - 1] = rule.find(vocab_, word, symbols[best - 1], symbols[best]);
  }
  symbols.resize(n);
}

// A heap of candidate merges over a linked list of symbols. A candidate is stale, and skipped, when its symbols have
// changed since: the pair at a place only ever grows, so it never makes the same product again.
template <typename Rule>
void Bpe::merge_long(const Rule& rule, std::string_view word, std::vector<BpeSymbol>& symbols) const {
  struct Candidate {
    Merge merge;
    uint32_t at;
  };
  auto later = [](const Candidate& a, const Candidate& b) {
    if (a.merge.before(b.merge)) return false;
    return b.merge.before(a.merge) || a.at > b.at;
  };
  constexpr uint32_t kEnd = UINT32_MAX;
  auto n = static_cast<uint32_t>(symbols.size());
  std::vector<uint32_t> next(n), previous(n);
  std::vector<bool> dead(n, false);
  std::vector<Candidate> heap;
  heap.reserve(n);
  for (uint32_t i = 0; i < n; ++i) {
    next[i] = i + 1 < n ? i + 1 : kEnd;
    previous[i] = i > 0 ? i - 1 : kEnd;
    if (i + 1 == n) break;
    Merge merge = rule.find(vocab_, word, symbols[i], symbols[i + 1]);
    if (merge.id >= 0) heap.push_back({merge, i});
  }
  std::make_heap(heap.begin(), heap.end(), later);
  auto push = [&](uint32_t left, uint32_t right) {
    Merge merge = rule.find(vocab_, word, symbols[left], symbols[right]);
    if (merge.id < 0) return;
    heap.push_back({merge, left});
    std::push_heap(heap.begin(), heap.end(), later);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    Candidate best = heap.back();
    heap.pop_back();
    uint32_t left = best.at, right = next[left];
    if (dead[left] || right == kEnd) continue;
    if (rule.find(vocab_, word, symbols[left], symbols[right]).id != best.merge.id) continue;
    symbols[left] = {best.merge.id, symbols[left].begin, symbols[left].size + symbols[right].size};
    dead[right] = true;
    next[left] = next[right];
    if (next[left] != kEnd) previous[next[left]] = left, push(left, next[left]);
    if (previous[left] != kEnd) push(previous[left], left);
  }
  size_t kept = 0;
  for (uint32_t i = 0; i < n; ++i) {
    if (!dead[i]) symbols[kept++] = symbols[i];
  }
  symbols.resize(kept);
}

}  // namespace sgl
