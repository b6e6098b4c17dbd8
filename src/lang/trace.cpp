// Running a program without a model: what it would ask, in order.

#include <mutex>

#include <fmt/format.h>

#include "lang/options.h"
#include "sgl/program_run.h"

namespace sgl {
namespace lang {
namespace {

class Recorder final : public Backend {
 public:
  std::string name() const override { return "trace"; }
  Capabilities capabilities() const override {
    Capabilities all = ScriptedBackend::all();
    all.api_speculation = false;  // the calls of the program, not those that are saved
    return all;
  }
  const ChatFormat& chat_format() const override { return format_; }

  void generate(GenerateCall call, GenerateSink sink) override {
    std::string text = "{" + (call.variable.empty() ? std::string("gen") : call.variable) + "}";
    Outcome<Generated> out;
    out.value.texts.assign(static_cast<size_t>(call.options.n.value_or(1)), text);
    out.value.meta.finish_reason = "stop";
    add({.state = call.state,
         .name = std::move(call.variable),
         .prompt = std::move(call.prompt.text),
         .options = std::move(call.options)});
    if (sink.on_text) sink.on_text(text);
    sink.on_done(std::move(out));
  }

  void score(ScoreCall call, ScoreSink sink) override {
    Outcome<ChoiceScores> out;
    out.value.choices = call.choices;
    out.value.tokens.assign(call.choices.size(), {0.0});
    out.value.unconditional = out.value.tokens;
    add({.state = call.state,
         .name = std::move(call.variable),
         .prompt = std::move(call.prompt.text),
         .choices = std::move(call.choices)});
    sink(std::move(out));
  }

  std::vector<TracedCall> calls() const {
    std::lock_guard lock(mutex_);
    return calls_;
  }

 private:
  void add(TracedCall call) {
    std::lock_guard lock(mutex_);
    calls_.push_back(std::move(call));
  }

  const ChatFormat format_ = ChatFormat::named("default");
  mutable std::mutex mutex_;
  std::vector<TracedCall> calls_;
};

}  // namespace

std::shared_ptr<Backend> make_recorder() { return std::make_shared<Recorder>(); }
std::vector<TracedCall> recorded_calls(const Backend& recorder) {
  return dynamic_cast<const Recorder&>(recorder).calls();
}

}  // namespace lang

std::string explain(const std::vector<TracedCall>& calls) {
  std::string out;
  for (size_t i = 0; i < calls.size(); ++i) {
    const TracedCall& c = calls[i];
    const bool is_gen = c.choices.empty();
    // The end of the prompt is what tells calls apart.
    constexpr size_t kShown = 60;
    std::string_view prompt = c.prompt;
    const bool cut = prompt.size() > kShown;
    if (cut) {
      prompt.remove_prefix(prompt.size() - kShown);
      while (!prompt.empty() && (static_cast<unsigned char>(prompt[0]) & 0xC0) == 0x80) prompt.remove_prefix(1);
    }
    out += fmt::format("{}. state {}: {} after {} bytes, {}{}", i + 1, c.state,
                       lang::call_name(is_gen ? "gen" : "select", c.name), c.prompt.size(), cut ? "…" : "",
                       lang::json_quote(prompt));
    if (is_gen) {
      out += fmt::format(", max_tokens {}, temperature {}", c.options.max_tokens.value_or(0),
                         c.options.temperature.value_or(1));
      for (const std::string& stop : c.options.stop.items()) out += ", stop " + lang::json_quote(stop);
      if (!c.options.regex.empty()) out += ", regex " + c.options.regex;
      if (!c.options.json_schema.empty()) out += ", json_schema " + c.options.json_schema;
    }
    for (const std::string& choice : c.choices)
      out += (&choice == &c.choices[0] ? ", of " : " | ") + lang::json_quote(choice);
    out += "\n";
  }
  return out;
}

}  // namespace sgl
