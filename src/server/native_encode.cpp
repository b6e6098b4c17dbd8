#include "server/native_encode.h"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "server/json_writer.h"
#include "server/prompts.h"
#include "server/sampling_fields.h"

namespace sgl {
namespace {

using Clock = std::chrono::steady_clock;

class EncodeReply final : public Reply {
 public:
  EncodeReply(std::vector<std::string> ids, bool as_list)
      : ids_(std::move(ids)), as_list_(as_list), results_(ids_.size()) {}

  void add(size_t request, Output&& piece) override {
    results_[request] = {std::move(piece), std::chrono::duration<double>(Clock::now() - start_).count()};
  }
  void take_events(std::string& /*out*/) override {}

  std::string body() override {
    std::string out;
    JsonWriter w(out);
    if (as_list_) w.begin_array();
    for (size_t i = 0; i < results_.size(); ++i) {
      const Output& o = results_[i].output;
      w.begin_object().key("embedding").begin_array();
      for (float x : o.embedding) w.value(x);
      w.end_array().key("meta_info").begin_object().field("id", ids_[i]);
      w.key("finish_reason").begin_object().field("type", "length").field("length", 0).end_object();
      w.field("prompt_tokens", o.prompt_tokens).field("cached_tokens", o.cached_tokens);
      w.field("num_retractions", o.num_retractions).field("weight_version", "default");
      w.field("e2e_latency", results_[i].seconds).end_object().end_object();
    }
    if (as_list_) w.end_array();
    return out;
  }

 private:
  struct Result {
    Output output;
    double seconds = 0;
  };
  const std::vector<std::string> ids_;  ///< for each input
  const bool as_list_;
  const Clock::time_point start_ = Clock::now();
  std::vector<Result> results_;
};

struct Inputs {
  std::vector<Prompt> first;
  std::vector<std::string> second;  ///< of pairs
  bool is_list = false;
};

// A pair, or a list of pairs.
Inputs read_pairs(const Fields& f) {
  const Json& text = f.require("text", "a pair of texts, or a list of pairs");
  Inputs out;
  out.is_list = is_nested_array(text);
  check_samples(text.size(), 1);
  const auto add = [&](const Json& pair, const std::string& name) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
      throw ValidationError(fmt::format("{} must be a pair of texts, got {}", name, describe(pair)));
    }
    out.first.emplace_back(pair[0].get<std::string>());
    out.second.push_back(pair[1].get<std::string>());
  };
  if (!out.is_list) {
    add(text, "text");
  } else {
    for (size_t i = 0; i < text.size(); ++i) add(text[i], fmt::format("text[{}]", i));
  }
  return out;
}

}  // namespace

Call parse_encode(const Json& body, const EngineApi& /*engine*/) {
  const Fields f(body);
  for (std::string_view key : {"image_data", "video_data", "audio_data"}) {
    refuse_field(f, key, "only text can be embedded");
  }
  refuse_field(f, "lora_path", "LoRA adapters are not supported yet");
  Inputs inputs;
  if (f.boolean("is_cross_encoder_request").value_or(false)) {
    inputs = read_pairs(f);
  } else {
    NativePrompts prompts = read_native_prompts(f);
    inputs = {.first = std::move(prompts.list), .second = {}, .is_list = prompts.is_list};
  }
  const std::optional<int> dimensions = f.small_integer("dimensions");
  const std::string cache_namespace = read_cache_namespace(f);
  const int priority = read_priority(f);
  std::vector<std::string> ids = read_rids(f, inputs.first.size(), inputs.is_list);

  Call call;
  call.dialect = Dialect::Native;
  call.abort_fails = true;
  for (size_t i = 0; i < inputs.first.size(); ++i) {
    Request& r = call.requests.emplace_back();
    r.rid = engine_rid(ids[i]);
    if (ids[i].empty()) ids[i] = r.rid;
    r.prompt = std::move(inputs.first[i]);
    r.embedding.emplace().dimensions = dimensions;
    if (!inputs.second.empty()) r.embedding->second_text = std::move(inputs.second[i]);
    r.cache_namespace = cache_namespace;
    r.priority = priority;
  }
  call.reply = std::make_unique<EncodeReply>(std::move(ids), inputs.is_list);
  return call;
}

}  // namespace sgl
