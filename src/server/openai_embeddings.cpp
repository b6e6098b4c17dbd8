#include "server/openai_embeddings.h"

#include <bit>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/base64.h"
#include "server/openai_common.h"
#include "server/prompts.h"

namespace sgl {
namespace {

class EmbeddingsReply final : public Reply {
 public:
  EmbeddingsReply(std::string model, size_t inputs, bool as_base64)
      : model_(std::move(model)), vectors_(inputs), as_base64_(as_base64) {}

  void add(size_t request, Output&& piece) override {
    vectors_[request] = std::move(piece.embedding);
    prompt_tokens_ += piece.prompt_tokens;
  }
  void take_events(std::string& /*out*/) override {}

  std::string body() override {
    std::string out;
    JsonWriter w(out);
    w.begin_object().field("object", "list").key("data").begin_array();
    for (size_t i = 0; i < vectors_.size(); ++i) {
      w.begin_object().field("object", "embedding").key("embedding");
      write_vector(w, vectors_[i]);
      w.field("index", i).end_object();
    }
    w.end_array().field("model", model_).key("usage").begin_object();
    w.field("prompt_tokens", prompt_tokens_).field("total_tokens", prompt_tokens_).end_object().end_object();
    return out;
  }

 private:
  void write_vector(JsonWriter& w, const std::vector<float>& vector) const {
    static_assert(std::endian::native == std::endian::little, "the bytes of a vector are sent as they lie in memory");
    if (as_base64_) {
      w.value(base64({reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float)}));
      return;
    }
    w.begin_array();
    for (float x : vector) w.value(x);
    w.end_array();
  }

  const std::string model_;
  std::vector<std::vector<float>> vectors_;  ///< for each input
  const bool as_base64_;
  int64_t prompt_tokens_ = 0;
};

bool read_base64(const Fields& f) {
  const std::string format = f.string("encoding_format").value_or("float");
  if (format == "float" || format == "base64") return format == "base64";
  throw Error(ErrorKind::InvalidArgument,
              fmt::format("encoding_format must be \"float\" or \"base64\", got {}", quote(format)));
}

// SGLang's form for inputs of several kinds, of which there is one here: [{"text": "…"}, …].
std::vector<Prompt> read_text_objects(const Json& input) {
  check_samples(input.size(), 1);
  std::vector<Prompt> out;
  for (size_t i = 0; i < input.size(); ++i) {
    const Fields item(input[i], fmt::format("input[{}]", i));
    for (std::string_view key : {"image", "video", "audio"}) {
      refuse_field(item, key, "only text can be embedded");
    }
    item.require("text", "the text to embed");
    out.emplace_back(*item.string("text"));
  }
  return out;
}

std::vector<Prompt> read_inputs(const Fields& f) {
  const Json* input = f.find("input");
  const bool objects = input != nullptr && input->is_array() && !input->empty() && input->front().is_object();
  std::vector<Prompt> inputs = objects ? read_text_objects(*input) : read_openai_prompts(f, "input");
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto* text = std::get_if<std::string>(&inputs[i]);
    if (text != nullptr) check_not_blank(*text, inputs.size() > 1 ? fmt::format("input[{}]", i) : "input");
  }
  return inputs;
}

}  // namespace

Call parse_embeddings(const Json& body, const EngineApi& engine) {
  const Fields f(body);
  const ModelInfo& info = engine.info();
  if (info.is_cross_encoder) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("{} ({}) scores pairs of texts and has no embeddings; ask /v1/rerank or /encode",
                            info.served_model_name, info.architecture));
  }
  refuse_field(f, "lora_path", "LoRA adapters are not supported yet");
  std::vector<Prompt> inputs = read_inputs(f);
  const bool as_base64 = read_base64(f);
  const std::optional<int> dimensions = f.small_integer("dimensions");
  const std::string cache_namespace = read_cache_namespace(f);
  const int priority = read_priority(f);
  const std::string rid = f.short_string("rid").value_or("");

  Call call;
  call.dialect = Dialect::OpenAi;
  call.abort_fails = true;
  for (size_t i = 0; i < inputs.size(); ++i) {
    Request& r = call.requests.emplace_back();
    r.rid = engine_rid(rid.empty() || inputs.size() == 1 ? rid : fmt::format("{}_{}", rid, i));
    r.prompt = std::move(inputs[i]);
    r.embedding.emplace().dimensions = dimensions;
    r.cache_namespace = cache_namespace;
    r.priority = priority;
  }
  call.reply = std::make_unique<EmbeddingsReply>(f.short_string("model").value_or(info.served_model_name),
                                                 inputs.size(), as_base64);
  return call;
}

}  // namespace sgl
