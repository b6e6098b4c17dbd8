#include "server/text_routes.h"

#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "server/json_reader.h"
#include "server/json_writer.h"
#include "server/openai_chat.h"
#include "server/openai_tools.h"

namespace sgl {
namespace {

const Tokenizer& require_tokenizer(const EngineApi& engine) {
  if (engine.tokenizer() == nullptr) {
    throw Error(ErrorKind::InvalidArgument, "the server runs with --skip-tokenizer-init and knows ids only");
  }
  return *engine.tokenizer();
}

// `ids` as read_ids() takes them, each within the vocabulary.
std::string text_of(const Tokenizer& tokenizer, const Json& value, const std::string& name, bool skip_special) {
  const std::vector<int32_t> ids = read_ids(value, name);
  for (int32_t id : ids) {
    if (id < 0 || id >= tokenizer.vocab_size()) {
      throw Error(ErrorKind::InvalidArgument,
                  fmt::format("{} holds the token id {}; ids are in [0, {})", name, id, tokenizer.vocab_size()));
    }
  }
  return tokenizer.decode(ids, skip_special);
}

}  // namespace

void handle_tokenize(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.require_engine();
  const Tokenizer& tokenizer = require_tokenizer(*engine);
  const Json body = parse_json(request.body);
  const Fields f(body);
  const bool chat = f.find("messages") != nullptr;
  if (chat == (f.find("prompt") != nullptr)) {
    throw Error(ErrorKind::InvalidArgument, "exactly one of prompt and messages must be given");
  }
  const bool special = f.boolean("add_special_tokens").value_or(true);
  std::vector<std::vector<int32_t>> all;
  bool as_list = false;
  if (chat) {
    Request r;
    ChatPrompt prompt = read_chat_prompt(body);
    give_tools(prompt, read_tool_fields(f).offered, service.chat_formats());
    r.prompt = std::move(prompt);
    all.push_back(engine->tokenize(r));
  } else {
    as_list = f.find("prompt")->is_array();
    const auto texts = f.strings("prompt");
    for (const std::string& text : *texts) all.push_back(tokenizer.encode(text, special));
  }
  std::string out;
  JsonWriter w(out);
  w.begin_object().key("tokens");
  if (as_list) w.begin_array();
  for (const auto& ids : all) write_ids(w, ids);
  if (as_list) w.end_array();
  w.key("count");
  if (as_list) w.begin_array();
  for (const auto& ids : all) w.value(ids.size());
  if (as_list) w.end_array();
  w.field("max_model_len", engine->info().context_length).end_object();
  responder->respond(json_response(std::move(out)));
}

void handle_detokenize(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.require_engine();
  const Tokenizer& tokenizer = require_tokenizer(*engine);
  const Json body = parse_json(request.body);
  const Fields f(body);
  const Json& tokens = f.require("tokens", "an array of token ids, or an array of such arrays");
  const bool skip_special = f.boolean("skip_special_tokens").value_or(true);
  std::string out;
  JsonWriter w(out);
  w.begin_object().key("text");
  if (is_nested_array(tokens)) {
    w.begin_array();
    for (size_t i = 0; i < tokens.size(); ++i) {
      w.value(text_of(tokenizer, tokens[i], fmt::format("tokens[{}]", i), skip_special));
    }
    w.end_array();
  } else {
    w.value(text_of(tokenizer, tokens, "tokens", skip_special));
  }
  w.end_object();
  responder->respond(json_response(std::move(out)));
}

}  // namespace sgl
