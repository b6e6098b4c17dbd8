#pragma once
// Backends: who runs the generations and choices of a program.
//
//   engine()       in this process: no HTTP, token ids all the way
//   runtime()      an sgl or SGLang server
//   openai_chat(), openai()   OpenAI's APIs, and whoever speaks them
//   anthropic()    Anthropic's Messages API
//   ScriptedBackend           scripted answers, for tests of programs
//
// A program runs unchanged on each; what one lacks is an Unsupported error when the expression is appended.

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "sgl/engine.h"
#include "sgl/program_options.h"

namespace sgl {

/// What a backend can do.
struct Capabilities {
  bool completion = true;  ///< goes on from any text
  bool chat = false;       ///< takes messages: gen() has to come first in an assistant turn
  bool select = false;
  bool unconditional = false;                             ///< select() also scores choices without the prompt
  bool regex = false, json_schema = false, ebnf = false;  ///< constraints of gen()
  bool stop_regex = false, stop_token_ids = false;
  bool logprobs = false;
  bool images = false;
  bool videos = false;
  bool multiple = true;          ///< n > 1
  bool prefix_cache = false;     ///< a prefix that was sent once is cheap later
  bool api_speculation = false;  ///< calls are dear, so that one for several gens pays (RunOptions::api_spec_tokens)
};

/// How turns look in a text. `prefix` and `suffix` of a role surround its content.
struct ChatFormat {
  struct Role {
    std::string prefix = {}, suffix = {};
  };
  std::string name = "default";
  std::map<std::string, Role> roles = {};
  std::string default_system = {};     ///< put first when a conversation begins without a system turn
  std::vector<std::string> stop = {};  ///< added to every generation's stop strings
  std::string image_mark = "<image>";
  bool system_in_first_user = false;  ///< LLaMA-2: an opening system turn stands inside the first user turn

  /// A format by its name in the table ("chatml", "llama-3-instruct", …). Throws NotFound with the names there are.
  static ChatFormat named(const std::string& name);
  /// The format of a model by its path or hub id; "default" if the table does not know it.
  static ChatFormat for_model(const std::string& model_path);
  static std::vector<std::string> names();
  /// Read off a model's own template: conversations of marks are rendered and cut at the marks. `render` throws or
  /// returns nothing for what the template refuses. Nothing if the turns of the template have no fixed form.
  static std::optional<ChatFormat> derive(const std::function<std::optional<std::string>(const ChatPrompt&)>& render,
                                          const std::string& bos = "");
};

/// A turn as chat APIs have it.
struct Message {
  std::string role = {}, content = {};
  std::vector<std::string> images = {};  ///< base64
  bool operator==(const Message&) const = default;
};

/// Where a state stands when it asks.
struct Prompt {
  std::string text = {};
  std::vector<Message> messages = {};    ///< finished turns; filled for chat backends only
  std::vector<std::string> images = {};  ///< base64, in the order of their marks in `text`
};

struct GenerateCall {
  std::string variable = {};  ///< what the text becomes; empty: nothing
  int state = 0;              ///< which state of the run asks: 0 is the root, branches are counted
  Prompt prompt = {};
  GenOptions options = {};    ///< merged with the run's and the table's: the table's members all have values
  bool token_ends = false;    ///< wants Generated::token_ends
  std::stop_token stop = {};  ///< asks to give up: the backend then ends the call soon, with any outcome
};

struct Generated {
  std::vector<std::string> texts = {};  ///< n of them, without their stop strings
  std::vector<size_t> token_ends = {};  ///< where in texts[0] its tokens end, in bytes; empty: the backend cannot tell
  Meta meta = {};
};

struct ScoreCall {
  std::string variable = {};
  int state = 0;
  Prompt prompt = {};
  std::vector<std::string> choices = {};
  bool unconditional = false;  ///< fill ChoiceScores::unconditional
  std::stop_token stop = {};
};

/// How an asynchronous call ended.
template <class T>
struct Outcome {
  T value = {};
  std::optional<Error> error = {};
};

/// Takes a generation's result. `on_text`, if set, wants the pieces as they come (n = 1): on_done's text is all of
/// them. Called from any thread, also from within the call itself; on_done exactly once and last.
struct GenerateSink {
  std::function<void(std::string_view piece)> on_text = {};
  std::function<void(Outcome<Generated>&&)> on_done = {};
};
using ScoreSink = std::function<void(Outcome<ChoiceScores>&&)>;

// In a namespace of its own: the engine has a class of this name for its devices, and one program holds both.
namespace programs {

/// Thread: every function may be called from any thread, and returns without waiting for the model.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;  ///< for messages: "openai chat gpt-4o-mini"
  virtual Capabilities capabilities() const = 0;
  /// The reference lives as long as the backend.
  virtual const ChatFormat& chat_format() const = 0;

  virtual void generate(GenerateCall call, GenerateSink sink) = 0;
  /// Never called without Capabilities::select.
  virtual void score(ScoreCall call, ScoreSink sink);
  /// A hint: computes the prompt, so that what begins with it finds it cached. Calls `done` when the next call may
  /// come.
  // NOLINTNEXTLINE(performance-unnecessary-value-param): those that override it keep `done`
  virtual void commit_prefix(const Prompt& prompt, std::function<void()> done) {
    (void)prompt;
    done();
  }
  /// Waits. Empties the prefix cache, if there is one that is idle; returns whether it did.
  virtual bool flush_cache() { return false; }
  /// Waits. Facts of the server as JSON; "{}" if there are none.
  virtual std::string server_info() { return "{}"; }
};

}  // namespace programs
using programs::Backend;

/// The model in this process. Throws what Engine's constructor throws.
std::shared_ptr<Backend> engine(EngineOptions options);
/// An engine that is there already, and may serve others too.
std::shared_ptr<Backend> engine(std::shared_ptr<Engine> engine);

/// How to reach a remote API.
struct ApiOptions {
  std::string model = {};
  std::string base_url = {};  ///< "https://…/v1"; empty: the provider's own, or the environment's OPENAI_BASE_URL
  std::string api_key = {};   ///< empty: the environment's OPENAI_API_KEY or ANTHROPIC_API_KEY
  std::string chat_template = {};  ///< name of the ChatFormat; empty: by `model`
  int attempts = 5;                ///< of a call that fails in a way that may pass: no connection, 408, 429, 5xx
  std::chrono::milliseconds retry_delay{500};  ///< before the second; then doubled each time, and spread at random
  std::chrono::milliseconds max_retry_delay{30'000};
  std::chrono::seconds timeout{600};                ///< of one attempt
  int max_connections = 64;                         ///< calls at once; more wait
  double max_requests_per_second = 0;               ///< 0: no limit
  std::map<std::string, std::string> headers = {};  ///< added to every request
  std::string extra_body = {};                      ///< JSON object merged into every request's body
  bool reasoning_model = false;      ///< sends max_completion_tokens; also by the model's name (o1, o3, gpt-5 …)
  bool select_by_schema = false;     ///< chat: select() by a JSON Schema with an enum; nothing is scored
  bool ebnf = false, regex = false;  ///< completion: the server takes SGLang's constraints (sgl, SGLang)
};

/// An sgl or SGLang server: `url` is "http://host:port". Asks it for its model; throws Unavailable if it is not there.
std::shared_ptr<Backend> runtime(const std::string& url, ApiOptions options = {});
/// OpenAI chat completions.
std::shared_ptr<Backend> openai_chat(ApiOptions options);
/// OpenAI (legacy) completions.
std::shared_ptr<Backend> openai(ApiOptions options);
std::shared_ptr<Backend> anthropic(ApiOptions options);

/// A backend for tests of programs: answers from a function, keeps the calls.
class ScriptedBackend : public Backend {
 public:
  /// What is answered to a call; may throw Error, which fails the call. Called from any thread.
  using Answer = std::function<std::string(const GenerateCall& call)>;
  using Score = std::function<ChoiceScores(const ScoreCall& call)>;

  /// `answer` is cut at the call's stop strings, as a server would.
  explicit ScriptedBackend(Answer answer, Capabilities capabilities = all());
  /// The answers in the order of the calls; the last repeats.
  explicit ScriptedBackend(std::vector<std::string> answers, Capabilities capabilities = all());
  /// Waits for calls in flight.
  ~ScriptedBackend() override;

  static Capabilities all();   ///< a completion model that can do everything
  static Capabilities chat();  ///< a chat API

  void set_score(Score score);
  /// Calls take so long and end on other threads; 0: they end at once, within the call.
  void set_latency(std::chrono::microseconds latency);
  void set_format(ChatFormat format);
  /// Pieces of a streamed text have so many bytes.
  void set_piece_size(size_t bytes);

  std::vector<GenerateCall> calls() const;
  std::vector<ScoreCall> score_calls() const;
  std::vector<std::string> committed() const;  ///< texts of commit_prefix
  int cancelled() const;                       ///< calls that were given up

  std::string name() const override { return "scripted"; }
  Capabilities capabilities() const override { return capabilities_; }
  const ChatFormat& chat_format() const override;
  void generate(GenerateCall call, GenerateSink sink) override;
  void score(ScoreCall call, ScoreSink sink) override;
  void commit_prefix(const Prompt& prompt, std::function<void()> done) override;

 private:
  struct Impl;
  Capabilities capabilities_;
  std::shared_ptr<Impl> impl_;
};

/// The backend of runs that name none. Null: none.
void set_default_backend(std::shared_ptr<Backend> backend);
std::shared_ptr<Backend> default_backend();

}  // namespace sgl
