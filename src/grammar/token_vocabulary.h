#pragma once
// A vocabulary as grammars see it: the bytes of each token, in tries that are walked with an automaton.
//
// Four tries, so that most of most masks is not walked at all:
//   plain   short tokens of whole characters that may stand in a JSON string as they are (by far the most)
//   other   the other short ones: quotes, line ends, halves of characters
//   long    those of more than kShort bytes, plain and other: few, but they see far into counters and stacks
// An automaton that takes any plain text for the next n characters gets all plain tokens of up to n characters at once,
// from what was made ahead.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <sgl/tokenizer.h>

#include "grammar/char_kinds.h"

namespace sgl::grammar {

/// Nodes in preorder: a node's subtree is [its index, end).
class TokenTrie {
 public:
  struct Node {
    uint32_t end;        ///< one past the last node of the subtree
    uint32_t first_id;   ///< tokens of this node: ids()[first_id … first_id of the next node)
    uint16_t depth;      ///< bytes from the root, at least 1
    uint8_t byte;        ///< the edge into the node
    uint8_t most_chars;  ///< most characters of any token in the subtree; 255 is 255 or more
    CharKinds kinds;     ///< of the characters in the subtree, from the one on that `byte` begins, if it begins one
  };
  struct Entry {
    std::string_view bytes;
    int32_t id;
  };
  /// Requires: sorted by bytes. They are not referred to later.
  explicit TokenTrie(std::span<const Entry> sorted);

  uint32_t size() const { return static_cast<uint32_t>(nodes_.size() - 1); }
  const Node& node(uint32_t i) const { return nodes_[i]; }
  std::span<const int32_t> tokens(uint32_t i) const {
    return {ids_.data() + nodes_[i].first_id, ids_.data() + nodes_[i + 1].first_id};
  }
  /// Those of the node and of all below it.
  std::span<const int32_t> tokens_below(uint32_t i) const {
    return {ids_.data() + nodes_[i].first_id, ids_.data() + nodes_[nodes_[i].end].first_id};
  }
  /// How many characters each of tokens_below() has; 255 is 255 or more.
  std::span<const uint8_t> chars_below(uint32_t i) const {
    return {chars_.data() + nodes_[i].first_id, chars_.data() + nodes_[nodes_[i].end].first_id};
  }
  size_t deepest() const { return deepest_; }
  size_t memory() const { return nodes_.size() * sizeof(Node) + ids_.size() * 5; }

 private:
  std::vector<Node> nodes_;
  std::vector<int32_t> ids_;
  std::vector<uint8_t> chars_;
  size_t deepest_ = 0;
};

/// A mask of the short tokens whose characters are all of some kinds.
using KindMask = std::vector<uint32_t>;

/// What one term allows, whatever follows it: tokens it takes whole, and those inside of which it can end, so that what
/// follows decides about their rest. Immutable.
struct PartialMask {
  /// A node before which the term can end, with tokens below it that the term does not take whole.
  struct Exit {
    uint32_t node;
    uint8_t trie, byte;  ///< byte: the edge into the node
  };
  const KindMask* kinds = nullptr;  ///< of these tokens, which the vocabulary has (null: none),
  size_t chars = 0;                 ///< all with up to so many characters, at most kShort,
  std::vector<uint32_t> words;      ///< those with a set bit (empty: none),
  std::vector<int32_t> ids;         ///< and these
  std::optional<TokenTrie> rests;   ///< what is left of tokens where the term can end inside of them,
  std::vector<Exit> exits;          ///< or, where these are very many, where in the tries they begin

  size_t memory() const {
    return words.size() * 4 + ids.size() * 4 + exits.size() * 8 + (rests ? rests->memory() : 0) + 96;
  }
};

/// Immutable but for its cache, and shared by all grammars of a model. Thread: any.
class TokenVocabulary {
 public:
  static constexpr size_t kShort = 16;  ///< most bytes of a short token
  enum : uint32_t { kPlain, kOther, kLongPlain, kLongOther, kNumTries };

  /// A token that stands for no text of its own, but may be named in a structural tag.
  struct Special {
    std::string name;  ///< how it is written, <|python_tag|>
    int32_t id;
  };

  /// `bytes[i]`: what token i adds to a text; empty for those that no grammar allows. `eos_ids` are allowed where a
  /// text is complete, and never otherwise; `specials` where a structural tag has their names.
  TokenVocabulary(std::vector<std::string> bytes, std::vector<int32_t> eos_ids, std::vector<Special> specials = {});
  /// With the tokenizer's own EOS ids and `more_eos_ids`, and its special tokens but those for the start of a text, for
  /// what is unknown and for padding.
  static std::shared_ptr<const TokenVocabulary> of(const Tokenizer& tokenizer,
                                                   std::span<const int32_t> more_eos_ids = {});

  int32_t size() const { return static_cast<int32_t>(bytes_.size()); }
  size_t mask_words() const { return (bytes_.size() + 31) / 32; }
  /// What grammars take for the token: of a special one a code of bytes that UTF-8 does not have, the same length for
  /// all.
  const std::string& bytes(int32_t id) const { return bytes_[static_cast<size_t>(id)]; }
  /// Whether the token is text.
  bool is_text(int32_t id) const { return !bytes(id).empty() && !is_special_byte(bytes(id).front()); }
  static bool is_special_byte(char byte) { return static_cast<unsigned char>(byte) >= kFirstSpecialByte; }
  using Specials = std::map<std::string, int32_t, std::less<>>;  ///< ids by names
  const Specials& specials() const { return specials_; }
  /// A piece of a text: either words, or the name of a special token.
  struct Piece {
    std::string_view text;
    std::string_view bytes;  ///< as grammars take it: the words themselves, or the token's code
  };
  /// At each place the longest name. The pieces refer to `text` and to this object.
  std::vector<Piece> split_at_specials(std::string_view text) const;
  const std::vector<int32_t>& eos_ids() const { return eos_ids_; }
  bool is_eos(int32_t id) const;
  const TokenTrie& trie(uint32_t which) const { return tries_[which]; }
  /// The short tokens of these kinds, which are not kBroken. Made when they are first asked for, in some ten
  /// microseconds, and kept as long as this object lives; those of plain text are always there. Null for further kinds
  /// than the first kMostKinds.
  const KindMask* short_tokens(CharKinds kinds) const;
  /// A mask of the short tokens of whole characters, up to so many: at most kShort.
  std::span<const uint32_t> short_tokens_up_to(size_t chars) const {
    return std::span(short_up_to_).subspan(chars * mask_words(), mask_words());
  }

  /// The long plain tokens with up to `chars` characters.
  std::span<const int32_t> long_plain(size_t chars) const;

  // Masks of terms that mean the same in any grammar, most recently used first, in bounded memory.
  std::shared_ptr<const PartialMask> find_mask(uint64_t key) const;
  void keep_mask(uint64_t key, std::shared_ptr<const PartialMask> mask) const;
  static constexpr size_t kMostMaskBytes = size_t{64} << 20;
  static constexpr size_t kMostKinds = 256;  ///< sets of kinds, a bit for each token

 private:
  static constexpr unsigned kFirstSpecialByte = 0xF8;
  KindMask make_short_tokens(CharKinds kinds) const;
  void add_specials(std::vector<Special> specials);
  Specials::const_iterator longest_special_in_front_of(std::string_view text) const;

  using Entry = std::pair<uint64_t, std::shared_ptr<const PartialMask>>;
  std::vector<std::string> bytes_;
  std::vector<int32_t> eos_ids_;
  Specials specials_;
  std::vector<TokenTrie> tries_;
  std::vector<CharKinds> short_kinds_;   // of each token; kBroken for those that are none, to whole words of a mask
  std::vector<uint32_t> short_up_to_;    // masks, one after the other
  std::vector<int32_t> long_plain_;      // fewest characters first
  std::vector<size_t> long_plain_ends_;  // by most characters
  mutable std::mutex mutex_;
  mutable std::unordered_map<CharKinds, KindMask> kinds_;  // they stay where they are
  mutable std::list<Entry> recent_;
  mutable std::unordered_map<uint64_t, std::list<Entry>::iterator> masks_;
  mutable size_t mask_bytes_ = 0;
};

}  // namespace sgl::grammar
