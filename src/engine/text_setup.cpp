#include "engine/text_setup.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "sgl/error.h"
#include "text/tokenizer_json.h"

namespace sgl {
namespace {

// End-of-message tokens that some publishers list nowhere.
constexpr const char* kEndTokens[] = {"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>"};

std::string special_token(const Tokenizer& t, std::optional<int32_t> id) {
  return id ? std::string(t.token(*id)) : std::string();
}

}  // namespace

GgufVocab read_vocab(const GgufFile& file) {
  GgufVocab v;
  auto text = [&](const char* key) { return std::string(file.string(key).value_or("")); };
  auto strings = [&](const char* key) {
    std::vector<std::string_view> views = file.strings(key);
    return std::vector<std::string>(views.begin(), views.end());
  };
  auto id = [&](const char* key) { return file.token_id(key); };
  v.model = text("tokenizer.ggml.model");
  v.pre = text("tokenizer.ggml.pre");
  v.tokens = strings("tokenizer.ggml.tokens");
  v.scores = file.floats("tokenizer.ggml.scores");
  v.token_types = file.ints("tokenizer.ggml.token_type");
  v.merges = strings("tokenizer.ggml.merges");
  v.bos = id("tokenizer.ggml.bos_token_id");
  v.eos = id("tokenizer.ggml.eos_token_id");
  v.eot = id("tokenizer.ggml.eot_token_id");
  v.unk = id("tokenizer.ggml.unknown_token_id");
  v.pad = id("tokenizer.ggml.padding_token_id");
  v.sep = id("tokenizer.ggml.seperator_token_id");  // as the format spells it
  v.cls = id("tokenizer.ggml.cls_token_id");
  v.add_bos = file.boolean("tokenizer.ggml.add_bos_token");
  v.add_eos = file.boolean("tokenizer.ggml.add_eos_token");
  v.add_space_prefix = file.boolean("tokenizer.ggml.add_space_prefix");
  v.chat_template = text("tokenizer.chat_template");
  return v;
}

std::string TextSetup::render(const ChatPrompt& chat) const {
  if (chat_template == nullptr) {
    throw Error(ErrorKind::InvalidArgument,
                "this model has no chat template: use a text prompt, or start with --chat-template FILE or NAME");
  }
  return chat_template->render(chat);
}

TextSetup load_text(const EngineOptions& options, const Checkpoint& checkpoint) {
  TextSetup text;
  if (options.skip_tokenizer_init) return text;
  const std::string& path = options.tokenizer_path;
  if (path.ends_with(".gguf")) {
    text.tokenizer = make_gguf_tokenizer(read_vocab(GgufFile(path)));
  } else if (!path.empty()) {
    text.tokenizer = load_tokenizer_json(path);
  } else if (checkpoint.gguf() != nullptr) {
    text.tokenizer = make_gguf_tokenizer(read_vocab(*checkpoint.gguf()));
  } else {
    if (!std::filesystem::exists(checkpoint.directory() + "/tokenizer.json")) {
      throw Error(ErrorKind::NotFound,
                  fmt::format("{} has no tokenizer.json; name one with --tokenizer-path, or serve token ids "
                              "with --skip-tokenizer-init",
                              checkpoint.directory()));
    }
    text.tokenizer = load_tokenizer_json(checkpoint.directory());
  }
  const Tokenizer& t = *text.tokenizer;
  if (t.vocab_size() < 1) throw Error(ErrorKind::CorruptFile, "the tokenizer has no tokens");
  const std::string bos = special_token(t, t.bos_id());
  const std::string eos = t.eos_ids().empty() ? "" : std::string(t.token(t.eos_ids()[0]));
  if (!options.chat_template.empty()) {
    text.chat_template = std::make_unique<ChatTemplate>(load_chat_template(options.chat_template), bos, eos);
  } else if (!t.chat_template().empty()) {
    text.chat_template = std::make_unique<ChatTemplate>(t.chat_template(), bos, eos);
  }
  return text;
}

std::vector<int32_t> end_ids(const ModelConfig& config, const Tokenizer* tokenizer) {
  std::vector<int32_t> ids = config.eos_ids;
  if (tokenizer != nullptr) {
    ids.insert(ids.end(), tokenizer->eos_ids().begin(), tokenizer->eos_ids().end());
    for (const char* token : kEndTokens) {
      std::optional<int32_t> id = tokenizer->token_to_id(token);
      if (id && tokenizer->is_special(*id)) ids.push_back(*id);
    }
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  std::erase_if(ids, [&](int32_t id) { return id < 0 || id >= config.vocab_size; });
  return ids;
}

}  // namespace sgl
