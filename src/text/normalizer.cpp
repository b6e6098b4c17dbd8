#include "text/normalizer.h"

#include <utility>

#include "text/byte_level.h"

namespace sgl {
namespace {

// A normalizer from a function of the text.
template <typename F>
class FunctionNormalizer final : public Normalizer {
 public:
  explicit FunctionNormalizer(F f) : f_(std::move(f)) {}
  void apply(std::string& text) const override { f_(text); }

 private:
  F f_;
};

template <typename F>
NormalizerPtr make(F f) {
  return std::make_unique<FunctionNormalizer<F>>(std::move(f));
}

// Rewrites the text character by character: f(code, out) appends what the character becomes.
template <typename F>
void rewrite(std::string& text, F f) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  for_each_char(text, [&](char32_t code, uint32_t) { f(code, out); });
  text = std::move(out);
}

// What BERT's clean_text does: U+0000, U+FFFD and controls go, white space becomes a space.
void clean_text(std::string& text) {
  rewrite(text, [](char32_t code, std::string& out) {
    bool line = code == '\t' || code == '\n' || code == '\r';
    if (line || (is_space(code) && !is_bert_control(code))) {
      out += ' ';
    } else if (code != 0 && code != 0xFFFD && !is_bert_control(code)) {
      append_utf8(out, code);
    }
  });
}

void space_chinese(std::string& text) {
  rewrite(text, [](char32_t code, std::string& out) {
    bool chinese = is_chinese(code);
    if (chinese) out += ' ';
    append_utf8(out, code);
    if (chinese) out += ' ';
  });
}

// The character classes of SentencePiece's "nmt" rules.
void apply_nmt(std::string& text) {
  rewrite(text, [](char32_t c, std::string& out) {
    bool dropped = (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
    bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                 c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
    if (space) {
      out += ' ';
    } else if (!dropped) {
      append_utf8(out, c);
    }
  });
}

void strip(std::string& text, bool left, bool right) {
  size_t begin = 0, end = text.size();
  while (right && end > 0) {
    Utf8Char c = decode_utf8_before(text, end);
    if (!is_space(c.code)) break;
    end -= c.size;
  }
  while (left && begin < end) {
    Utf8Char c = decode_utf8(text, begin);
    if (!is_space(c.code)) break;
    begin += c.size;
  }
  text = text.substr(begin, end - begin);
}

void replace(std::string& text, const Pattern& pattern, const std::string& content) {
  std::string out;
  size_t copied = 0;
  pattern.for_each_match(text, [&](size_t begin, size_t end) {
    if (copied == 0) out.reserve(text.size() + text.size() / 4);
    out.append(text, copied, begin - copied);
    out += content;
    copied = end;
  });
  if (copied == 0 && out.empty()) return;
  out.append(text, copied, std::string::npos);
  text = std::move(out);
}

}  // namespace

NormalizerPtr make_sequence_normalizer(std::vector<NormalizerPtr> steps) {
  return make([steps = std::move(steps)](std::string& text) {
    for (const NormalizerPtr& step : steps) step->apply(text);
  });
}

NormalizerPtr make_form_normalizer(NormalForm form) {
  return make([form](std::string& text) { text = normal_form(text, form); });
}

NormalizerPtr make_lowercase_normalizer() {
  return make([](std::string& text) { text = to_lower(text); });
}

NormalizerPtr make_strip_accents_normalizer() {
  return make([](std::string& text) {
    rewrite(text, [](char32_t code, std::string& out) {
      if (!is_combining_mark(code)) append_utf8(out, code);
    });
  });
}

NormalizerPtr make_strip_normalizer(bool left, bool right) {
  return make([left, right](std::string& text) { strip(text, left, right); });
}

NormalizerPtr make_prepend_normalizer(std::string prefix) {
  return make([prefix = std::move(prefix)](std::string& text) {
    if (!text.empty()) text.insert(0, prefix);
  });
}

NormalizerPtr make_replace_normalizer(Pattern pattern, std::string content) {
  return make([pattern = std::move(pattern), content = std::move(content)](std::string& text) {
    replace(text, pattern, content);
  });
}

NormalizerPtr make_nmt_normalizer() { return make(apply_nmt); }

NormalizerPtr make_byte_level_normalizer() {
  return make([](std::string& text) { text = bytes_to_spelling(text); });
}

NormalizerPtr make_bert_normalizer(BertNormalizerOptions options) {
  return make([options](std::string& text) {
    if (options.clean_text) clean_text(text);
    if (options.handle_chinese_chars) space_chinese(text);
    if (options.strip_accents) {
      text = normal_form(text, NormalForm::Nfd);
      rewrite(text, [](char32_t code, std::string& out) {
        if (!is_bert_accent(code)) append_utf8(out, code);
      });
    }
    if (options.lowercase) text = to_lower(text);
  });
}

}  // namespace sgl
