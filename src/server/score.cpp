#include "server/score.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "server/openai_common.h"
#include "server/prompts.h"

namespace sgl {
namespace {

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::InvalidArgument, message); }

class ScoreReply final : public Reply {
 public:
  /// `temperature`: of the softmax over the labels; nullopt: their probabilities as they are.
  ScoreReply(std::string model, std::vector<int32_t> labels, size_t items, std::optional<float> temperature)
      : model_(std::move(model)), labels_(std::move(labels)), temperature_(temperature), scores_(items) {}

  void add(size_t request, Output&& piece) override {
    prompt_tokens_ += piece.prompt_tokens;
    cached_tokens_ += piece.cached_tokens;
    std::vector<double>& scores = scores_[request];
    for (int32_t label : labels_) scores.push_back(logprob_of(label, piece));
    if (!temperature_) {
      for (double& s : scores) s = std::exp(s);
      return;
    }
    const double largest = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& s : scores) sum += s = std::exp((s - largest) / double{*temperature_});
    for (double& s : scores) s /= sum;
  }
  void take_events(std::string& /*out*/) override {}

  std::string body() override {
    std::string out;
    JsonWriter w(out);
    w.begin_object().key("scores").begin_array();
    for (const std::vector<double>& scores : scores_) {
      w.begin_array();
      for (double s : scores) w.value(s);
      w.end_array();
    }
    w.end_array().field("model", model_).key("usage");
    write_usage(w, {.prompt_tokens = prompt_tokens_, .completion_tokens = 0, .cached_tokens = cached_tokens_});
    w.field("object", "scoring").end_object();
    return out;
  }

 private:
  static double logprob_of(int32_t label, const Output& piece) {
    if (!piece.logprobs.empty()) {
      for (const TokenLogprob& t : piece.logprobs[0].asked) {
        if (t.id == label && t.logprob) return double{*t.logprob};
      }
    }
    throw Error(ErrorKind::Internal, fmt::format("the engine gave no log-probability of the label {}", label));
  }

  const std::string model_;
  const std::vector<int32_t> labels_;
  const std::optional<float> temperature_;
  std::vector<std::vector<double>> scores_;  ///< for each item
  int64_t prompt_tokens_ = 0, cached_tokens_ = 0;
};

// Query and items together, each as one prompt.
std::vector<Prompt> read_score_prompts(const Fields& f) {
  const bool item_first = f.boolean("item_first").value_or(false);
  const Json& query = f.require("query", "a text, or token ids");
  std::vector<Prompt> prompts;
  if (query.is_string()) {
    const auto text = query.get<std::string>();
    f.require("items", "a text, or a list of texts");
    const std::vector<std::string> items = *f.strings("items");
    for (const std::string& item : items) {
      prompts.emplace_back(item_first ? item + text : text + item);
    }
  } else {
    const std::vector<int32_t> ids = read_ids(query, "query");
    const Json& items = f.require("items", "a list of lists of token ids, as the query is one");
    if (!items.is_array()) {
      throw ValidationError("items must be a list of lists of token ids like the query, got " + describe(items));
    }
    for (size_t i = 0; i < items.size(); ++i) {
      std::vector<int32_t> first = read_ids(items[i], fmt::format("items[{}]", i)), second = ids;
      if (!item_first) first.swap(second);
      first.insert(first.end(), second.begin(), second.end());
      prompts.emplace_back(std::move(first));
    }
  }
  if (prompts.empty()) refuse("items is an empty list; it must hold at least one");
  check_samples(prompts.size(), 1);
  return prompts;
}

std::vector<int32_t> read_labels(const Fields& f, int vocab_size) {
  std::vector<int32_t> labels = read_ids(f.require("label_token_ids", "a list of token ids"), "label_token_ids");
  if (labels.empty()) refuse("label_token_ids is empty; it must hold at least one token id");
  for (int32_t id : labels) {
    if (id < 0 || id >= vocab_size) {
      refuse(fmt::format("label_token_ids holds the token id {}; ids are in [0, {})", id, vocab_size));
    }
  }
  return labels;
}

std::optional<float> read_softmax(const Fields& f) {
  const std::optional<float> temperature = f.number("temperature");
  if (temperature && !(*temperature > 0)) refuse(fmt::format("temperature must be > 0, got {:g}", *temperature));
  if (f.boolean("apply_softmax").value_or(false)) return temperature.value_or(1.0F);
  if (temperature && *temperature != 1.0F) refuse("temperature needs apply_softmax: it changes nothing without");
  return std::nullopt;
}

class RerankReply final : public Reply {
 public:
  struct Form {
    std::vector<std::string> documents;
    bool embeds = false;  ///< the first vector is the query's; else vectors are scores
    bool return_documents = true;
    size_t top_n = 0;
  };
  explicit RerankReply(Form form) : form_(std::move(form)), results_(form_.documents.size() + (form_.embeds ? 1 : 0)) {}

  void add(size_t request, Output&& piece) override { results_[request] = std::move(piece); }
  void take_events(std::string& /*out*/) override {}

  std::string body() override {
    const size_t first = form_.embeds ? 1 : 0;
    std::vector<std::pair<double, size_t>> order;
    for (size_t i = 0; i < form_.documents.size(); ++i) {
      const std::vector<float>& v = results_[first + i].embedding;
      order.emplace_back(form_.embeds ? cosine(results_[0].embedding, v) : double{v.at(0)}, i);
    }
    std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    order.resize(std::min(order.size(), form_.top_n));
    std::string out;
    JsonWriter w(out);
    w.begin_array();
    for (const auto& [score, i] : order) {
      w.begin_object().field("score", score);
      if (form_.return_documents) w.field("document", form_.documents[i]);
      w.field("index", i).key("meta_info").begin_object().field("id", results_[first + i].rid);
      w.field("prompt_tokens", results_[first + i].prompt_tokens).end_object().end_object();
    }
    w.end_array();
    return out;
  }

 private:
  static double cosine(const std::vector<float>& a, const std::vector<float>& b) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      ab += double{a[i]} * double{b[i]};
      aa += double{a[i]} * double{a[i]};
      bb += double{b[i]} * double{b[i]};
    }
    return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0.0;
  }

  const Form form_;
  std::vector<Output> results_;
};

std::vector<std::string> read_documents(const Fields& f) {
  const Json& list = f.require("documents", "a list of texts");
  if (!list.is_array()) throw ValidationError("documents must be a list of texts, got " + describe(list));
  if (list.empty()) refuse("documents is an empty list; it must hold at least one");
  check_samples(list.size() + 1, 1);
  return *f.strings("documents");
}

void check_can_rerank(const ModelInfo& info) {
  const std::string model = fmt::format("{} ({})", info.served_model_name, info.architecture);
  if (info.is_generation) {
    throw Error(ErrorKind::Unsupported,
                fmt::format("/v1/rerank needs a cross-encoder or an embedding model, but {} is served for generation; "
                            "/v1/score has the probabilities of its next tokens",
                            model));
  }
  if (info.is_cross_encoder && info.embedding_size != 1) {
    throw Error(ErrorKind::Unsupported,
                fmt::format("/v1/rerank needs a cross-encoder with one score, but {} has {} labels", model,
                            info.embedding_size));
  }
}

}  // namespace

Call parse_score(const Json& body, const EngineApi& engine) {
  const Fields f(body);
  std::vector<int32_t> labels = read_labels(f, engine.info().vocab_size);
  std::vector<Prompt> prompts = read_score_prompts(f);
  const std::optional<float> temperature = read_softmax(f);
  const std::string cache_namespace = read_cache_namespace(f), rid = f.short_string("rid").value_or("");
  const int priority = read_priority(f);

  Call call;
  call.dialect = Dialect::OpenAi;
  call.abort_fails = true;
  for (size_t i = 0; i < prompts.size(); ++i) {
    Request& r = call.requests.emplace_back();
    r.rid = engine_rid(rid.empty() || prompts.size() == 1 ? rid : fmt::format("{}_{}", rid, i));
    r.prompt = std::move(prompts[i]);
    r.sampling.max_new_tokens = 1;
    r.sampling.temperature = 0;  // log-probabilities as the model gives them
    r.return_logprob = true;
    r.token_ids_logprob = labels;
    r.cache_namespace = cache_namespace;
    r.priority = priority;
  }
  call.reply = std::make_unique<ScoreReply>(f.short_string("model").value_or(engine.info().served_model_name),
                                            std::move(labels), prompts.size(), temperature);
  return call;
}

Call parse_rerank(const Json& body, const EngineApi& engine) {
  const Fields f(body);
  check_can_rerank(engine.info());
  f.require("query", "a text");
  const std::string query = *f.string("query"), rid = f.short_string("rid").value_or("");
  check_not_blank(query, "query");
  RerankReply::Form form{.documents = read_documents(f), .embeds = !engine.info().is_cross_encoder};
  for (size_t i = 0; i < form.documents.size(); ++i)
    check_not_blank(form.documents[i], fmt::format("documents[{}]", i));
  refuse_field(f, "instruct", "an instruction is for rerankers that are language models, which are not supported");
  form.return_documents = f.boolean("return_documents").value_or(true);
  const std::optional<int> top_n = f.small_integer("top_n");
  if (top_n && *top_n < 1) refuse(fmt::format("top_n must be at least 1, got {}", *top_n));
  form.top_n = top_n ? static_cast<size_t>(*top_n) : form.documents.size();
  const std::string cache_namespace = read_cache_namespace(f);
  const int priority = read_priority(f);

  Call call;
  call.dialect = Dialect::OpenAi;
  call.abort_fails = true;
  const auto add = [&](const std::string& text) -> Request& {
    Request& r = call.requests.emplace_back();
    r.rid = engine_rid(rid.empty() ? "" : fmt::format("{}_{}", rid, call.requests.size() - 1));
    r.prompt = text;
    r.embedding.emplace();
    r.cache_namespace = cache_namespace;
    r.priority = priority;
    return r;
  };
  if (form.embeds) add(query);
  for (const std::string& document : form.documents) {
    if (form.embeds) {
      add(document);
    } else {
      add(query).embedding->second_text = document;
    }
  }
  call.reply = std::make_unique<RerankReply>(std::move(form));
  return call;
}

}  // namespace sgl
