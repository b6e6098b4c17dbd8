#pragma once
// For tests: an engine without a model. Tokens are bytes; the answer to every prompt is one fixed text.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/eventually.h"
#include "server/engine_api.h"

namespace sgl {

/// Ids 0 … 255 are bytes, 256 is <s>, 257 is </s>.
class ByteTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kBos = 256, kEos = 257;

  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const override {
    std::vector<int32_t> out;
    if (add_special_tokens) out.push_back(kBos);
    for (char c : text) out.push_back(static_cast<unsigned char>(c));
    return out;
  }
  std::string decode(std::span<const int32_t> ids, bool /*skip_special_tokens*/) const override {
    std::string out;
    for (int32_t id : ids) out += token_bytes(id);
    return out;
  }
  int32_t vocab_size() const override { return 258; }
  std::string token_bytes(int32_t id) const override {
    return id >= 0 && id < 256 ? std::string(1, static_cast<char>(id)) : "";
  }
  std::string_view token(int32_t id) const override { return id == kBos ? "<s>" : id == kEos ? "</s>" : ""; }
  std::optional<int32_t> token_to_id(std::string_view /*token*/) const override { return std::nullopt; }
  bool is_special(int32_t id) const override { return id >= 256; }
  std::optional<int32_t> bos_id() const override { return kBos; }
  const std::vector<int32_t>& eos_ids() const override { return eos_; }
  const std::string& chat_template() const override { return template_; }
  void set_chat_template(const std::string& source) { template_ = source; }

 private:
  std::vector<int32_t> eos_{kEos};
  std::string template_;
};

/// Gives every running sample one byte of `reply` a step, on a thread of its own, and ends with </s> or the length.
/// Told to embed, it gives a text the vector of how many a, b, c, … are in it; of a pair, how long the second text is.
class FakeEngine final : public EngineApi {
 public:
  explicit FakeEngine(std::string reply = "Hello, wörld!") : reply_(std::move(reply)) {
    info_.model_path = "/models/fake";
    info_.served_model_name = "org/fake";
    info_.architecture = "FakeForCausalLM";
    info_.context_length = 4096;
    info_.vocab_size = 258;
    info_.temperature = 0.5F;
    info_.top_k = 20;
    thread_ = std::thread([this] { loop(); });
  }
  ~FakeEngine() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  // ── How it is to behave ──
  /// While held, no step is made: requests wait.
  void hold(bool held) {
    std::lock_guard lock(mutex_);
    held_ = held;
    wake_.notify_all();
  }
  /// Refuses so many requests from now on.
  void refuse_next(int requests) {
    std::lock_guard lock(mutex_);
    to_refuse_ = requests;
  }
  void set_full(bool full) { refuse_next(full ? std::numeric_limits<int>::max() : 0); }
  void set_step_time(std::chrono::microseconds t) {
    std::lock_guard lock(mutex_);
    step_time_ = t;
  }
  void set_tokenizer(bool present) { has_tokenizer_ = present; }
  /// The best tokens at each position from now on, instead of the token there and its successors.
  void set_best(std::vector<TokenLogprob> best) {
    std::lock_guard lock(mutex_);
    best_ = std::move(best);
  }
  /// Before the engine is given to a service: it embeds, in vectors of `size` numbers.
  void embed(int size, bool cross_encoder = false) {
    info_.is_generation = false;
    info_.is_cross_encoder = cross_encoder;
    info_.embedding_size = size;
  }
  /// Before the engine is given to a service. Nothing is rendered with it.
  void set_chat_template(const std::string& source) { tokenizer_.set_chat_template(source); }
  /// The next step ends all requests with this.
  void fail_with(int status, const std::string& message) {
    std::lock_guard lock(mutex_);
    failure_ = {.type = FinishReason::Type::Abort, .matched = {}, .message = message, .status = status};
    wake_.notify_all();
  }

  // ── What it has seen ──
  std::vector<Request> submitted() {
    std::lock_guard lock(mutex_);
    return submitted_;
  }
  Request last() {
    std::lock_guard lock(mutex_);
    return submitted_.back();
  }
  size_t running() {
    std::lock_guard lock(mutex_);
    return samples_.size();
  }
  size_t aborted() {
    std::lock_guard lock(mutex_);
    return aborted_;
  }
  std::optional<PauseMode> paused_by() {
    std::lock_guard lock(mutex_);
    return paused_by_;
  }
  bool drained() {
    std::lock_guard lock(mutex_);
    return draining_;
  }
  /// Waits until `predicate(running)` holds; false when patience is at its end.
  bool wait_running(const std::function<bool(size_t)>& predicate) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return predicate(samples_.size()); });
  }

  /// What it says of requests that come; only the server looks at it.
  void set_refusal(std::string why) {
    std::lock_guard lock(mutex_);
    stats_.refusal = std::move(why);
  }
  /// While on, a pause that begins does not come to its end.
  void hold_pausing(bool on) {
    std::lock_guard lock(mutex_);
    stats_.pausing = on;
    stats_.paused = !on && paused_by_.has_value();
  }
  void set_must_compile(bool must) { must_compile_ = must; }
  /// While on, submit() takes as long as a grammar that compiles for ever.
  void hold_compiling(bool on) {
    std::lock_guard lock(mutex_);
    compiling_held_ = on;
    wake_.notify_all();
  }

  // ── EngineApi ──
  bool must_compile(const SamplingParams&) const override { return must_compile_; }
  void submit(std::vector<Request> requests, const CallCallback& on_output) override {
    for (size_t i = 0; i < requests.size(); ++i) {
      submit(std::move(requests[i]), [on_output, i](Output&& piece) { on_output(i, std::move(piece)); });
    }
  }
  std::string submit(Request request, OutputCallback on_output) override {
    const SamplingParams& s = request.sampling;
    if (!(s.temperature >= 0)) throw Error(ErrorKind::InvalidArgument, "temperature must be a number ≥ 0");
    if (request.embedding.has_value() == info_.is_generation) {
      throw Error(ErrorKind::InvalidArgument,
                  info_.is_generation ? "served for generation; see --is-embedding" : "served for embeddings");
    }
    if (request.embedding && request.embedding->dimensions.value_or(1) > info_.embedding_size) {
      throw Error(ErrorKind::InvalidArgument, "dimensions are too many");
    }
    const std::vector<int32_t> prompt = tokenize(request);
    if (prompt.empty()) throw Error(ErrorKind::InvalidArgument, "the prompt is empty");
    if (static_cast<int>(prompt.size()) >= info_.context_length) {
      throw Error(ErrorKind::InvalidArgument, "The input is longer than the model's context length");
    }
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return !compiling_held_; });
    if (draining_) throw Error(ErrorKind::Unavailable, "the engine is shutting down and takes no requests");
    if (to_refuse_ > 0) {
      --to_refuse_;
      throw Error(ErrorKind::ResourceExhausted, "The request queue is full.");
    }
    const bool health = request.rid.starts_with("HEALTH_CHECK");
    for (int i = 0; i < s.n; ++i) samples_.push_back({request, i, prompt, on_output, 0, health});
    submitted_.push_back(std::move(request));
    ++stats_.requests;
    wake_.notify_all();
    changed_.notify_all();
    return submitted_.back().rid;
  }
  void abort(const std::string& rid_prefix) override {
    std::lock_guard lock(mutex_);
    if (!rid_prefix.empty()) aborts_.push_back(rid_prefix);
    wake_.notify_all();
  }
  void abort_all(const std::string& why, int status) override {
    if (running() > 0) fail_with(status, why);
  }
  void begin_pause(PauseMode mode) override {
    if (mode == PauseMode::Abort) abort_all("generation was paused", 499);
    hold(true);
    std::lock_guard lock(mutex_);
    stats_.paused = !stats_.pausing;
    paused_by_ = mode;
  }
  void resume() override {
    hold(false);
    std::lock_guard lock(mutex_);
    stats_.paused = false;
  }
  bool flush_cache(double /*timeout_s*/) override {
    std::lock_guard lock(mutex_);
    return samples_.empty();
  }
  bool drain(double timeout_s) override {
    std::unique_lock lock(mutex_);
    draining_ = true;
    changed_.notify_all();
    const auto idle = [this] { return samples_.empty(); };
    if (timeout_s < 0) {
      changed_.wait(lock, idle);
      return true;
    }
    return changed_.wait_for(lock, std::chrono::duration<double>(timeout_s), idle);
  }
  const ModelInfo& info() const override { return info_; }
  const EngineOptions& options() const override { return options_; }
  void fail(const std::string& why) {
    std::lock_guard lock(mutex_);
    stats_.failure = why;
  }
  /// What each step counts.
  static constexpr Work kStepWork{.weight_bytes = 1 << 20, .quantized_ops = 1 << 20, .bfloat16_ops = 0, .float_ops = 0};
  EngineStats stats() const override {
    std::lock_guard lock(mutex_);
    EngineStats s = stats_;
    s.page_size = 16;
    s.total_pages = s.free_pages = 100;
    return s;
  }
  const Tokenizer* tokenizer() const override { return has_tokenizer_ ? &tokenizer_ : nullptr; }
  std::vector<int32_t> tokenize(const Request& request) const override {
    if (const auto* ids = std::get_if<std::vector<int32_t>>(&request.prompt)) return *ids;
    if (const auto* text = std::get_if<std::string>(&request.prompt)) return tokenizer_.encode(*text, true);
    std::string text;
    for (const ChatMessage& m : std::get<ChatPrompt>(request.prompt).messages) {
      for (const ContentPart& part : m.parts) text += part.text;
    }
    return tokenizer_.encode(text, true);
  }

 private:
  std::atomic<bool> must_compile_{false};
  struct Sample {
    Request request;
    int index = 0;
    std::vector<int32_t> prompt;
    OutputCallback on_output;
    int generated = 0;
    bool health = false;
  };

  void loop() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      apply_aborts(lock);
      const bool work =
          std::any_of(samples_.begin(), samples_.end(), [this](const Sample& s) { return !held_ || s.health; });
      if (!work && !(failure_ && !samples_.empty())) {
        wake_.wait(lock, [this] {
          return stopping_ || !aborts_.empty() || (!samples_.empty() && (!held_ || failure_ || health_waits()));
        });
        continue;
      }
      step(lock);
      if (step_time_.count() > 0) wake_.wait_for(lock, step_time_, [this] { return stopping_ || !aborts_.empty(); });
    }
    failure_ = {
        .type = FinishReason::Type::Abort, .matched = {}, .message = "the engine is shutting down", .status = 503};
    if (!samples_.empty()) step(lock);
  }
  bool health_waits() const {
    return std::any_of(samples_.begin(), samples_.end(), [](const Sample& s) { return s.health; });
  }

  // Callbacks are called without the lock, as the real engine's are.
  void step(std::unique_lock<std::mutex>& lock) {
    ++stats_.steps;
    stats_.work += kStepWork;
    std::vector<std::pair<OutputCallback, Output>> out;
    for (Sample& s : samples_) {
      if (held_ && !s.health && !failure_) continue;
      out.emplace_back(s.on_output, failure_ ? ended(s, *failure_) : next(s));
      stats_.generation_tokens += static_cast<int64_t>(out.back().second.token_ids.size());
      if (out.back().second.finish.type != FinishReason::Type::Running) s.generated = -1;
    }
    failure_.reset();
    deliver(lock, out);
  }

  void apply_aborts(std::unique_lock<std::mutex>& lock) {
    std::vector<std::pair<OutputCallback, Output>> out;
    for (const std::string& prefix : aborts_) {
      for (Sample& s : samples_) {
        if (s.generated < 0 || !s.request.rid.starts_with(prefix)) continue;
        out.emplace_back(
            s.on_output,
            ended(s, {.type = FinishReason::Type::Abort, .matched = {}, .message = "aborted", .status = 499}));
        s.generated = -1;
        ++aborted_;
      }
    }
    aborts_.clear();
    if (!out.empty()) deliver(lock, out);
  }

  void deliver(std::unique_lock<std::mutex>& lock, std::vector<std::pair<OutputCallback, Output>>& out) {
    lock.unlock();
    for (auto& [callback, piece] : out) callback(std::move(piece));
    out.clear();
    lock.lock();
    std::erase_if(samples_, [](const Sample& s) { return s.generated < 0; });
    changed_.notify_all();
  }

  Output ended(const Sample& s, FinishReason finish) const {
    Output o;
    o.rid = s.request.rid;
    o.index = s.index;
    o.finish = std::move(finish);
    o.prompt_tokens = static_cast<int>(s.prompt.size());
    o.completion_tokens = std::max(s.generated, 0);
    o.cached_tokens = 3;
    return o;
  }

  Output next(Sample& s) {
    const Request& r = s.request;
    Output o = ended(s, {});
    if (r.embedding) {
      o.embedding = vector_of(s);
      o.finish.type = FinishReason::Type::Length;
      return o;
    }
    if (s.generated == 0 && r.return_logprob) {
      const bool all = r.logprob_start_len == -1 && r.sampling.max_new_tokens == 0;
      const int start = all ? 0 : r.logprob_start_len;
      for (size_t i = static_cast<size_t>(std::max(start, 0)); start >= 0 && i < s.prompt.size(); ++i) {
        o.prompt_logprobs.push_back(scored(r, s.prompt[i]));
        if (i == 0) o.prompt_logprobs.back() = {{std::nullopt, s.prompt[0]}, {}, {}};
      }
    }
    if (r.sampling.max_new_tokens == 0) {
      o.finish.type = FinishReason::Type::Length;
      return o;
    }
    const bool eos = !r.sampling.ignore_eos && s.generated >= static_cast<int>(reply_.size());
    const char byte = reply_[static_cast<size_t>(s.generated) % reply_.size()];
    const int32_t id = eos ? ByteTokenizer::kEos : static_cast<unsigned char>(byte);
    o.token_ids.push_back(id);
    if (r.return_logprob) o.logprobs.push_back(scored(r, id));
    // Whole characters only: a character's bytes come with its last one.
    if (!eos) {
      std::string& held = held_text_[{r.rid, s.index}];
      held += byte;
      const char following = reply_[static_cast<size_t>(s.generated + 1) % reply_.size()];
      if ((static_cast<unsigned char>(following) & 0xc0U) != 0x80U) o.text = std::exchange(held, {});
    }
    o.completion_tokens = ++s.generated;
    o.first_token_s = 1e-6;
    if (eos) {
      o.finish.type = FinishReason::Type::Stop;
      o.finish.matched = id;
    } else if (r.sampling.max_new_tokens && s.generated >= *r.sampling.max_new_tokens) {
      o.finish.type = FinishReason::Type::Length;
    }
    if (o.finish.type != FinishReason::Type::Running) held_text_.erase({r.rid, s.index});
    return o;
  }

  std::vector<float> vector_of(const Sample& s) const {
    const EmbeddingParams& e = *s.request.embedding;
    std::vector<float> vector(static_cast<size_t>(e.dimensions.value_or(info_.embedding_size)));
    for (size_t i = 0; i < vector.size(); ++i) {
      vector[i] = static_cast<float>(std::count(s.prompt.begin(), s.prompt.end(), 'a' + static_cast<int32_t>(i)));
    }
    if (e.second_text) vector[0] = static_cast<float>(e.second_text->size());
    return vector;
  }

  PositionLogprobs scored(const Request& r, int32_t id) const {
    PositionLogprobs p;
    p.token = {-0.25F, id};
    p.top = best_;
    for (int i = 0; best_.empty() && i < r.top_logprobs_num; ++i)
      p.top.push_back({-0.25F - static_cast<float>(i), id + i});
    for (int32_t asked : r.token_ids_logprob) p.asked.push_back({-2.0F, asked});
    return p;
  }

  const std::string reply_;
  ByteTokenizer tokenizer_;
  ModelInfo info_;
  EngineOptions options_{.tp_size = 2};
  bool has_tokenizer_ = true;
  std::vector<TokenLogprob> best_;
  mutable std::mutex mutex_;
  std::condition_variable wake_, changed_;
  std::deque<Sample> samples_;
  std::map<std::pair<std::string, int>, std::string> held_text_;
  std::vector<std::string> aborts_;
  std::vector<Request> submitted_;
  std::optional<FinishReason> failure_;
  EngineStats stats_;
  std::optional<PauseMode> paused_by_;
  size_t aborted_ = 0;
  bool stopping_ = false, held_ = false, draining_ = false, compiling_held_ = false;
  int to_refuse_ = 0;
  std::chrono::microseconds step_time_{0};
  std::thread thread_;
};

}  // namespace sgl
