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
    R"(\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF})"
    R"(\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1})"
    R"(\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5})"
    R"(\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A})"
    R"(\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B})"
    R"(\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC})"
    R"(\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107})"
    R"(\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134})"
    R"(\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4})"
    R"(\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787})"
    R"(\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A})"
    R"(\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2})"
    R"(\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}]+)";
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
         p.steps.push_back(make_byte_spelling());  // the digits are looked for in the spelling: "²" may be a byte
         p.spelled = true;
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
  throw Error(ErrorKind::Unsupported, fmt::format("tokenizer.ggml.pre is '{}', which is not known; known are:{}. "
                                                  "Give the original model's tokenizer.json instead",
                                                  name, known));
}

}  // namespace sgl
