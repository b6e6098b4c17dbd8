#include "text/pre_tokenizer.h"

#include <utility>

#include "text/byte_level.h"
#include "text/unicode.h"

namespace sgl {
namespace {

// Turns a text's matches into pieces. Matches come in order; what lies between two is told here as a non-match.
class Cutter {
 public:
  Cutter(Piece whole, SplitBehavior behavior, bool invert, PieceSink sink)
      : whole_(whole), behavior_(behavior), invert_(invert), sink_(sink) {}

  void match(size_t begin, size_t end) {
    if (begin != seen_) part(seen_, begin, invert_);
    part(begin, end, !invert_);
    seen_ = end;
  }
  void finish() {
    if (seen_ != whole_.text.size()) part(seen_, whole_.text.size(), invert_);
    if (open_) give(open_begin_, open_end_);
  }

 private:
  void part(size_t begin, size_t end, bool delimiter) {
    switch (behavior_) {
      case SplitBehavior::Isolated:
        give(begin, end);
        break;
      case SplitBehavior::Removed:
        if (!delimiter) give(begin, end);
        break;
      case SplitBehavior::Contiguous:
        join(begin, end, open_ && delimiter == open_delimiter_, delimiter);
        break;
      case SplitBehavior::MergedWithPrevious:
        join(begin, end, open_ && delimiter && !open_delimiter_, delimiter);
        break;
      case SplitBehavior::MergedWithNext:
        join(begin, end, open_ && !delimiter && open_delimiter_, delimiter);
        break;
    }
  }
  // Adds the part to the open piece, or closes that and opens a new one.
  void join(size_t begin, size_t end, bool to_open, bool delimiter) {
    if (!to_open) {
      if (open_) give(open_begin_, open_end_);
      open_begin_ = begin;
    }
    open_ = true;
    open_end_ = end;
    open_delimiter_ = delimiter;
  }
  void give(size_t begin, size_t end) {
    if (begin != end) sink_({whole_.text.substr(begin, end - begin), whole_.at_start && begin == 0});
  }

  Piece whole_;
  SplitBehavior behavior_;
  bool invert_;
  PieceSink sink_;
  size_t seen_ = 0;
  bool open_ = false, open_delimiter_ = false;
  size_t open_begin_ = 0, open_end_ = 0;
};

class Split final : public PreTokenizer {
 public:
  Split(Pattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void split(Piece piece, PieceSink sink) const override {
    Cutter cutter(piece, behavior_, invert_, sink);
    pattern_.for_each_match(piece.text, [&](size_t begin, size_t end) { cutter.match(begin, end); });
    cutter.finish();
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

// Splits where single characters satisfy a predicate: each one is a match.
template <typename F>
class CharSplit final : public PreTokenizer {
 public:
  CharSplit(F is_delimiter, SplitBehavior behavior) : is_delimiter_(is_delimiter), behavior_(behavior) {}
  void split(Piece piece, PieceSink sink) const override {
    Cutter cutter(piece, behavior_, false, sink);
    size_t at = 0;
    for_each_char(piece.text, [&](char32_t code, uint32_t size) {
      if (is_delimiter_(code)) cutter.match(at, at + size);
      at += size;
    });
    cutter.finish();
  }

 private:
  F is_delimiter_;
  SplitBehavior behavior_;
};

template <typename F>
PreTokenizerPtr make_char_split(F is_delimiter, SplitBehavior behavior) {
  return std::make_unique<CharSplit<F>>(is_delimiter, behavior);
}

class PrefixSpace final : public PreTokenizer {
 public:
  void split(Piece piece, PieceSink sink) const override {
    if (piece.text.front() == ' ') return sink(piece);
    std::string spaced = " ";
    spaced += piece.text;
    sink({spaced, piece.at_start});
  }
};

class ByteSpelled final : public PreTokenizer {
 public:
  void split(Piece piece, PieceSink sink) const override {
    std::string spelled = bytes_to_spelling(piece.text);
    sink({spelled, piece.at_start});
  }
};

class Metaspace final : public PreTokenizer {
 public:
  Metaspace(std::string replacement, PrependScheme scheme, bool split)
      : replacement_(std::move(replacement)), scheme_(scheme), split_(split) {}
  void split(Piece piece, PieceSink sink) const override {
    bool prepend = scheme_ == PrependScheme::Always || (scheme_ == PrependScheme::First && piece.at_start);
    bool has_one = piece.text.front() == ' ' || piece.text.starts_with(replacement_);
    std::string text;
    text.reserve(piece.text.size() * 2 + replacement_.size());
    if (prepend && !has_one) text += replacement_;
    for (char c : piece.text) {
      if (c == ' ') {
        text += replacement_;
      } else {
        text += c;
      }
    }
    Piece whole{text, piece.at_start};
    if (!split_) return sink(whole);
    Cutter cutter(whole, SplitBehavior::MergedWithNext, false, sink);
    for (size_t at = 0; (at = text.find(replacement_, at)) != std::string::npos; at += replacement_.size()) {
      cutter.match(at, at + replacement_.size());
    }
    cutter.finish();
  }

 private:
  std::string replacement_;
  PrependScheme scheme_;
  bool split_;
};

// \w+ and [^\w\s]+ are pieces; what lies between, white space, is dropped.
class Whitespace final : public PreTokenizer {
 public:
  void split(Piece piece, PieceSink sink) const override {
    auto class_of = [](char32_t code) { return is_space(code) ? 0 : is_word(code) ? 1 : 2; };
    size_t begin = 0, at = 0;
    int current = 0;
    auto give = [&](size_t end) {
      if (current != 0) sink({piece.text.substr(begin, end - begin), piece.at_start && begin == 0});
    };
    for_each_char(piece.text, [&](char32_t code, uint32_t size) {
      int next = class_of(code);
      if (next != current) {
        give(at);
        begin = at;
        current = next;
      }
      at += size;
    });
    give(at);
  }
};

}  // namespace

PreTokenizerPtr make_split(Pattern pattern, SplitBehavior behavior, bool invert) {
  return std::make_unique<Split>(std::move(pattern), behavior, invert);
}
PreTokenizerPtr make_prefix_space() { return std::make_unique<PrefixSpace>(); }
PreTokenizerPtr make_byte_spelling() { return std::make_unique<ByteSpelled>(); }
PreTokenizerPtr make_metaspace(std::string replacement, PrependScheme scheme, bool split) {
  return std::make_unique<Metaspace>(std::move(replacement), scheme, split);
}
PreTokenizerPtr make_digits(bool individual) {
  return make_char_split(is_numeric, individual ? SplitBehavior::Isolated : SplitBehavior::Contiguous);
}
PreTokenizerPtr make_punctuation(SplitBehavior behavior) { return make_char_split(is_bert_punctuation, behavior); }
PreTokenizerPtr make_whitespace() { return std::make_unique<Whitespace>(); }
PreTokenizerPtr make_whitespace_split() { return make_char_split(is_space, SplitBehavior::Removed); }
PreTokenizerPtr make_char_delimiter_split(char32_t delimiter) {
  return make_char_split([delimiter](char32_t code) { return code == delimiter; }, SplitBehavior::Removed);
}

PreTokenizerPtr make_bert_pre_tokenizer() {
  class Bert final : public PreTokenizer {
   public:
    void split(Piece piece, PieceSink sink) const override {
      spaces_->split(piece, [&](Piece word) { punctuation_->split(word, sink); });
    }

   private:
    PreTokenizerPtr spaces_ = make_whitespace_split();
    PreTokenizerPtr punctuation_ = make_punctuation(SplitBehavior::Isolated);
  };
  return std::make_unique<Bert>();
}

void run_pre_tokenizers(const std::vector<PreTokenizerPtr>& steps, Piece piece, PieceSink sink, size_t first) {
  if (first == steps.size()) return sink(piece);
  if (first + 1 == steps.size()) return steps[first]->split(piece, sink);
  steps[first]->split(piece, [&](Piece part) { run_pre_tokenizers(steps, part, sink, first + 1); });
}

}  // namespace sgl
