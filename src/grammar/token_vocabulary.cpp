#include "grammar/token_vocabulary.h"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <utility>

#include "text/unicode.h"

namespace sgl::grammar {
namespace {

/// kinds[i]: of the characters from byte i on; with kBroken where byte i begins none.
void suffix_kinds(std::string_view bytes, std::vector<CharKinds>& kinds) {
  kinds.assign(bytes.size() + 1, 0);
  size_t end = bytes.size();  // of the character that byte i is in
  for (size_t i = bytes.size(); i-- > 0;) {
    auto byte = static_cast<unsigned char>(bytes[i]);
    if (byte >= 0x80 && byte < 0xC0) {
      kinds[i] = kBroken;
      continue;
    }
    CharKinds kind = kByteKinds[byte];
    if (byte >= 0x80) {
      const std::string_view character = bytes.substr(i, end - i);
      kind = !is_valid_utf8(character)                                    ? kBroken
             : character == "\xE2\x80\xA8" || character == "\xE2\x80\xA9" ? kLineSeparators
                                                                          : kWideChars;
    } else if (end != i + 1) {
      kind = kBroken;  // bytes of no character follow
    }
    kinds[i] = kind | kinds[end];
    end = i;
  }
}

size_t count_chars(std::string_view bytes) {
  return static_cast<size_t>(std::count_if(bytes.begin(), bytes.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

TokenTrie::TokenTrie(std::span<const Entry> sorted) {
  std::vector<uint32_t> open;  // the path to the last token: node of each depth
  auto close_to = [&](size_t depth) {
    for (; open.size() > depth; open.pop_back()) nodes_[open.back()].end = static_cast<uint32_t>(nodes_.size());
  };
  std::string_view last;
  std::vector<CharKinds> kinds;
  for (auto [token, id] : sorted) {
    size_t common =
        static_cast<size_t>(std::mismatch(last.begin(), last.end(), token.begin(), token.end()).first - last.begin());
    close_to(common);
    for (size_t i = common; i < token.size(); ++i) {
      open.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back(
          {0, static_cast<uint32_t>(ids_.size()), static_cast<uint16_t>(i + 1), static_cast<uint8_t>(token[i]), 0, 0});
    }
    auto chars = static_cast<uint8_t>(std::min<size_t>(count_chars(token), 255));
    suffix_kinds(token, kinds);
    for (size_t i = 0; i < open.size(); ++i) {
      Node& node = nodes_[open[i]];
      node.most_chars = std::max(node.most_chars, chars);
      node.kinds |= kinds[i];
    }
    ids_.push_back(id);
    chars_.push_back(chars);
    deepest_ = std::max(deepest_, token.size());
    last = token;
  }
  close_to(0);
  nodes_.push_back({static_cast<uint32_t>(nodes_.size() + 1), static_cast<uint32_t>(ids_.size()), 0, 0, 0, 0});
}

TokenVocabulary::TokenVocabulary(std::vector<std::string> bytes, std::vector<int32_t> eos_ids,
                                 std::vector<Special> specials)
    : bytes_(std::move(bytes)), eos_ids_(std::move(eos_ids)) {
  std::sort(eos_ids_.begin(), eos_ids_.end());
  eos_ids_.erase(std::unique(eos_ids_.begin(), eos_ids_.end()), eos_ids_.end());
  std::erase_if(eos_ids_, [&](int32_t id) { return id < 0 || static_cast<size_t>(id) >= bytes_.size(); });
  for (int32_t id : eos_ids_) bytes_[static_cast<size_t>(id)].clear();  // an end, whatever it spells
  add_specials(std::move(specials));

  std::vector<int32_t> order(bytes_.size());
  std::iota(order.begin(), order.end(), 0);
  // A token of more than 64k bytes is no token that anybody generates.
  std::erase_if(order, [&](int32_t id) {
    size_t n = bytes_[static_cast<size_t>(id)].size();
    return n == 0 || n > UINT16_MAX;
  });
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    const std::string &x = bytes_[static_cast<size_t>(a)], &y = bytes_[static_cast<size_t>(b)];
    int c = x.compare(y);
    return c != 0 ? c < 0 : a < b;
  });
  std::vector<TokenTrie::Entry> parts[kNumTries];
  std::vector<CharKinds> kinds;
  std::vector<std::pair<size_t, int32_t>> by_chars;
  short_kinds_.assign(mask_words() * 32, kBroken);
  short_up_to_.assign((kShort + 1) * mask_words(), 0);
  for (int32_t id : order) {
    const std::string& token = bytes_[static_cast<size_t>(id)];
    suffix_kinds(token, kinds);
    bool plain = (kinds[0] & ~kPlainKinds) == 0;
    size_t chars = count_chars(token);
    if (token.size() > kShort) {
      parts[plain ? kLongPlain : kLongOther].push_back({token, id});
      if (plain) by_chars.emplace_back(chars, id);
      continue;
    }
    parts[plain ? kPlain : kOther].push_back({token, id});
    if ((kinds[0] & kBroken) != 0) continue;
    short_kinds_[static_cast<size_t>(id)] = kinds[0];
    short_up_to_[chars * mask_words() + static_cast<size_t>(id) / 32] |= 1U << (id % 32);
  }
  for (size_t i = mask_words(); i < short_up_to_.size(); ++i) {
    short_up_to_[i] |= short_up_to_[i - mask_words()];  // those with fewer characters as well
  }
  kinds_.emplace(kPlainKinds, make_short_tokens(kPlainKinds));
  std::sort(by_chars.begin(), by_chars.end());
  for (auto [chars, id] : by_chars) {
    while (long_plain_ends_.size() < chars) long_plain_ends_.push_back(long_plain_.size());
    long_plain_.push_back(id);
  }
  for (const auto& part : parts) tries_.emplace_back(part);
}

// A code is the token's number, three bits a byte. Tokens that hold such bytes by themselves, pieces of no character,
// are not taken by any grammar, and could be taken for the beginning of a code.
void TokenVocabulary::add_specials(std::vector<Special> specials) {
  for (std::string& token : bytes_) {
    if (std::any_of(token.begin(), token.end(), is_special_byte)) token.clear();
  }
  for (Special& special : specials) {
    if (is_eos(special.id) || special.name.empty() || !specials_.try_emplace(special.name, special.id).second) continue;
    std::string& code = bytes_[static_cast<size_t>(special.id)];
    code.clear();
    for (int shift = 30; shift >= 0; shift -= 3) {
      code.push_back(static_cast<char>(kFirstSpecialByte + (static_cast<unsigned>(special.id) >> shift) % 8));
    }
  }
}

// The names in front of `text` are in order of their lengths, and the last name that is not behind `text` in the order
// of all is either the longest of them or has a longer part in common with `text` than any of them.
TokenVocabulary::Specials::const_iterator TokenVocabulary::longest_special_in_front_of(std::string_view text) const {
  while (!text.empty()) {
    auto at = specials_.upper_bound(text);
    if (at == specials_.begin()) break;
    const std::string& name = (--at)->first;
    const auto common = std::mismatch(name.begin(), name.end(), text.begin(), text.end());
    if (common.first == name.end()) return at;
    text = text.substr(0, static_cast<size_t>(common.first - name.begin()));
  }
  return specials_.end();
}

std::vector<TokenVocabulary::Piece> TokenVocabulary::split_at_specials(std::string_view text) const {
  std::vector<Piece> pieces;
  size_t begin = 0;  // of the words at hand
  const auto add_words = [&](size_t end) {
    const std::string_view words = text.substr(begin, end - begin);
    if (!words.empty()) pieces.push_back({words, words});
  };
  for (size_t at = 0; at < text.size();) {
    const auto found = longest_special_in_front_of(text.substr(at));
    if (found == specials_.end()) {
      ++at;
      continue;
    }
    add_words(at);
    pieces.push_back({text.substr(at, found->first.size()), bytes(found->second)});
    at += found->first.size();
    begin = at;
  }
  add_words(text.size());
  return pieces;
}

KindMask TokenVocabulary::make_short_tokens(CharKinds kinds) const {
  KindMask mask(mask_words());
  const CharKinds* of_token = short_kinds_.data();
  for (uint32_t& word : mask) {
    for (unsigned eight = 0; eight < 32; eight += 8) {
      std::array<uint8_t, 8> fits{};  // compilers make vector instructions of this,
      for (uint8_t& each : fits) each = (*of_token++ & ~kinds) == 0 ? 1 : 0;
      // and this product moves the last bit of each byte to the first byte.
      word |= static_cast<uint32_t>((std::bit_cast<uint64_t>(fits) * 0x0102040810204080U) >> 56) << eight;
    }
  }
  return mask;
}

const KindMask* TokenVocabulary::short_tokens(CharKinds kinds) const {
  std::unique_lock lock(mutex_);
  auto find = [&]() -> const KindMask* {
    auto at = kinds_.find(kinds);
    return at != kinds_.end() ? &at->second : nullptr;
  };
  const KindMask* known = find();
  if (known != nullptr || kinds_.size() == kMostKinds) return known;
  lock.unlock();  // others go on
  KindMask made = make_short_tokens(kinds);
  lock.lock();
  return kinds_.size() < kMostKinds ? &kinds_.try_emplace(kinds, std::move(made)).first->second : find();
}

std::span<const int32_t> TokenVocabulary::long_plain(size_t chars) const {
  return {long_plain_.data(), chars < long_plain_ends_.size() ? long_plain_ends_[chars] : long_plain_.size()};
}

std::shared_ptr<const TokenVocabulary> TokenVocabulary::of(const Tokenizer& tokenizer,
                                                           std::span<const int32_t> more_eos_ids) {
  std::vector<std::string> bytes(static_cast<size_t>(tokenizer.vocab_size()));
  std::vector<Special> specials;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    bytes[static_cast<size_t>(id)] = tokenizer.token_bytes(id);
    const std::string_view name = tokenizer.token(id);
    // These are no marks of a format, and their names are common in markup.
    const bool is_filler = id == tokenizer.bos_id() || name == "<unk>" || name == "<pad>";
    if (tokenizer.is_special(id) && !is_filler) specials.push_back({std::string(name), id});
  }
  std::vector<int32_t> eos = tokenizer.eos_ids();
  eos.insert(eos.end(), more_eos_ids.begin(), more_eos_ids.end());
  return std::make_shared<const TokenVocabulary>(std::move(bytes), std::move(eos), std::move(specials));
}

bool TokenVocabulary::is_eos(int32_t id) const { return std::binary_search(eos_ids_.begin(), eos_ids_.end(), id); }

std::shared_ptr<const PartialMask> TokenVocabulary::find_mask(uint64_t key) const {
  std::lock_guard lock(mutex_);
  auto at = masks_.find(key);
  if (at == masks_.end()) return nullptr;
  recent_.splice(recent_.begin(), recent_, at->second);
  return at->second->second;
}

void TokenVocabulary::keep_mask(uint64_t key, std::shared_ptr<const PartialMask> mask) const {
  std::lock_guard lock(mutex_);
  if (masks_.contains(key)) return;
  mask_bytes_ += mask->memory();
  recent_.emplace_front(key, std::move(mask));
  masks_[key] = recent_.begin();
  while (mask_bytes_ > kMostMaskBytes && recent_.size() > 1) {
    mask_bytes_ -= recent_.back().second->memory();
    masks_.erase(recent_.back().first);
    recent_.pop_back();
  }
}

}  // namespace sgl::grammar
