// The pre-tokenizers of published byte-level models, by the names that GGUF converters give them.
//
// A converter recognises a model by hashing what its tokenizer makes of a test text, and writes a name. Each name
// stands for a list of splits as the model's tokenizer.json has them; all end with the byte-level alphabet.

#include "text/gguf_pre_tokenizer.h"

#include <algorithm>
#include <iterator>
#include <string>

#include <fmt/format.h>

#include <sgl/error.h>

#include "text/split_scanner.h"

namespace sgl {
namespace {

constexpr const char* kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekken = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                                R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
                                R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// DeepSeek LLM lists the letters that have case; the block of ideographs is the one it and DeepSeek Coder write.
constexpr const char* kCasedWord =
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-"
    "ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼι"
    "ῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-"
    "𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲"
    "𑢠-𑣟𞤀-𞥃]+";
constexpr const char* kAsianSigns = "\\s?[!-/:-~！-／：-～‘-‟　-。]+";
constexpr const char* kIdeographs = "[一-龥ࠀ-一가-퟿]+";
constexpr const char* kDeepSeek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";

PreTokenizerPtr isolate(std::string_view regex) {
  return make_split(Pattern::regex(regex), SplitBehavior::Isolated, false);
}
PreTokenizerPtr isolate(SplitPattern pattern) { return isolate(regex_of(pattern)); }

struct Recipe {
  std::vector<std::string_view> names;
  void (*fill)(GgufPreTokenizer&);
};

const std::vector<Recipe>& recipes() {
  static const std::vector<Recipe> all = {
      {{"", "default", "gpt-2", "phi-2", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "jina-v2-code",
        "roberta-bpe", "gigachat", "a.x-4.0", "mellum", "exaone4"},
       [](GgufPreTokenizer& p) { p.steps.push_back(isolate(SplitPattern::Gpt2)); }},
      {{"mpt", "olmo"},
       [](GgufPreTokenizer& p) {
         p.normalizer = make_form_normalizer(NormalForm::Nfc);
         p.steps.push_back(isolate(SplitPattern::Gpt2));
       }},
      {{"smollm", "starcoder", "refact", "codeshell", "exaone", "minerva-7b"},
       [](GgufPreTokenizer& p) {
         p.steps.push_back(make_digits(true));
         p.steps.push_back(isolate(SplitPattern::Gpt2));
       }},
      {{"command-r"},
       [](GgufPreTokenizer& p) {
         p.normalizer = make_form_normalizer(NormalForm::Nfc);
         p.steps.push_back(make_digits(true));
         p.steps.push_back(isolate(SplitPattern::Gpt2));
       }},
      {{"llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral"},
       [](GgufPreTokenizer& p) {
         p.steps.push_back(isolate(SplitPattern::Llama3));
         p.ignore_merges = true;
         p.add_bos = true;
       }},
      {{"dbrx", "smaug-bpe", "chatglm-bpe", "glm4"},
       [](GgufPreTokenizer& p) { p.steps.push_back(isolate(SplitPattern::Llama3)); }},
      {{"qwen2", "deepseek-r1-qwen", "megrez"},
       [](GgufPreTokenizer& p) {
         p.normalizer = make_form_normalizer(NormalForm::Nfc);
         p.steps.push_back(isolate(SplitPattern::Qwen2));
       }},
      {{"stablelm2", "hunyuan"}, [](GgufPreTokenizer& p) { p.steps.push_back(isolate(SplitPattern::Qwen2)); }},
      {{"gpt-4o", "llama4"}, [](GgufPreTokenizer& p) { p.steps.push_back(isolate(kGpt4o)); }},
      {{"tekken"},
       [](GgufPreTokenizer& p) {
         p.steps.push_back(isolate(kTekken));
         p.ignore_merges = true;
         p.add_bos = true;
       }},
      {{"deepseek-llm"},
       [](GgufPreTokenizer& p) {
         for (const char* regex : {"[\r\n]", kCasedWord, kAsianSigns, "\\s+$", kIdeographs}) {
           p.steps.push_back(isolate(regex));
         }
         p.steps.push_back(make_digits(true));
       }},
      {{"deepseek-coder"},
       [](GgufPreTokenizer& p) {
         for (const char* regex : {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", kIdeographs})
           p.steps.push_back(isolate(regex));
         p.steps.push_back(make_digits(true));
       }},
      {{"deepseek-v3", "hunyuan-dense"},
       [](GgufPreTokenizer& p) {
         for (const char* regex : {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", kDeepSeek3})
           p.steps.push_back(isolate(regex));
       }},
      {{"falcon"},
       [](GgufPreTokenizer& p) {
         p.steps.push_back(make_punctuation(SplitBehavior::Contiguous));
         p.steps.push_back(isolate(SplitPattern::Gpt2));
         p.steps.push_back(make_digits(false));
         p.steps.push_back(isolate("[0-9][0-9][0-9]"));
       }},
  };
  return all;
}

}  // namespace

GgufPreTokenizer make_gguf_pre_tokenizer(std::string_view name) {
  std::string known;
  for (const Recipe& recipe : recipes()) {
    if (std::find(recipe.names.begin(), recipe.names.end(), name) != recipe.names.end()) {
      GgufPreTokenizer made;
      recipe.fill(made);
      return made;
    }
    for (std::string_view other : recipe.names) known += other.empty() ? "" : fmt::format(" {}", other);
  }
  throw Error(
      ErrorKind::Unsupported,
      fmt::format("the GGUF file's pre-tokenizer (tokenizer.ggml.pre) is '{}', which is not known; known are:{}. "
                  "Give the original model's tokenizer.json instead",
                  name, known));
}

}  // namespace sgl
