#include "models/registry.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/bert.h"
#include "models/gemma.h"
#include "models/gpt2.h"
#include "models/llama.h"
#include "nn/decoder.h"
#include "nn/encoder.h"
#include "sgl/error.h"

namespace sgl {
namespace {

using Factory = std::unique_ptr<Model> (*)(const Loader&, int context_length, const DecoderNames&, ModelResult);

template <typename Block>
std::unique_ptr<Model> decoder(const Loader& w, int context_length, const DecoderNames& names, ModelResult result) {
  return std::make_unique<Decoder<Block>>(w, context_length, names, result);
}

template <typename Block>
std::unique_ptr<Model> encoder(const Loader& w, int /*context_length*/, const DecoderNames& /*names*/,
                               ModelResult /*result*/) {
  return std::make_unique<Encoder<Block>>(w);
}

struct Row {
  const char* architecture;
  Factory factory;
  DecoderNames names = {};
};

const std::vector<Row>& rows() {
  static const std::vector<Row> table = {
      {"BertForSequenceClassification", encoder<BertBlock>},
      {"BertModel", encoder<BertBlock>},
      {"GPT2LMHeadModel",
       decoder<Gpt2Block>,
       {.root = "transformer", .embed = "wte", .positions = "wpe", .layers = "h", .norm = "ln_f"}},
      {"Gemma2ForCausalLM", decoder<GemmaBlock>},
      {"Gemma3ForCausalLM", decoder<GemmaBlock>},
      {"LlamaForCausalLM", decoder<LlamaBlock>},
      {"MistralForCausalLM", decoder<LlamaBlock>},
      {"Phi3ForCausalLM", decoder<LlamaBlock>},
      {"Qwen2ForCausalLM", decoder<LlamaBlock>},
      {"Qwen3ForCausalLM", decoder<LlamaBlock>},
      {"RobertaForSequenceClassification", encoder<BertBlock>},
      {"RobertaModel", encoder<BertBlock>},
      {"XLMRobertaForSequenceClassification", encoder<BertBlock>},
      {"XLMRobertaModel", encoder<BertBlock>},
  };
  return table;
}

const Row& row_of(const std::string& architecture) {
  for (const Row& row : rows()) {
    if (row.architecture == architecture) return row;
  }
  throw Error(ErrorKind::Unsupported, fmt::format("architecture {} is not supported; supported are {}", architecture,
                                                  fmt::join(supported_architectures(), ", ")));
}

}  // namespace

std::vector<std::string> supported_architectures() {
  std::vector<std::string> names;
  for (const Row& row : rows()) names.emplace_back(row.architecture);
  std::sort(names.begin(), names.end());
  return names;
}

void check_architecture(const std::string& architecture) { row_of(architecture); }

std::unique_ptr<Model> build_model(const Checkpoint& checkpoint, Backend& backend, int context_length,
                                   ModelResult result) {
  const Row& row = row_of(checkpoint.config().architecture);
  Loader loader(checkpoint, backend);
  std::unique_ptr<Model> model = row.factory(loader, context_length, row.names, result);
  loader.check_all_used();
  return model;
}

}  // namespace sgl
