// The engine without a server: a batch, a stream, and a request that is given up.
//
//   offline_engine [MODEL]      a directory, a .gguf file or a hub id; without it the default model

#include <condition_variable>
#include <exception>
#include <iostream>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <sgl/engine.h>

namespace {

// Waits on this thread for something that happens on the engine's.
class Event {
 public:
  void set() {
    std::lock_guard lock(mutex_);
    happened_ = true;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return happened_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool happened_ = false;
};

bool ended(const sgl::Output& piece) { return piece.finish.type != sgl::FinishReason::Type::Running; }

sgl::Request ask(const std::string& prompt, int max_new_tokens) {
  sgl::Request request;
  request.prompt = prompt;
  request.sampling.temperature = 0;
  request.sampling.max_new_tokens = max_new_tokens;
  return request;
}

// Requests that are given together run together: each step computes a token of all of them.
void generate_batch(sgl::Engine& engine) {
  const std::vector<std::string> prompts = {"The capital of France is", "Water boils at", "The opposite of hot is"};
  std::vector<sgl::Request> requests;
  for (const std::string& prompt : prompts) requests.push_back(ask(prompt, 12));
  const std::vector<sgl::Output> outputs = engine.generate(std::move(requests));
  for (size_t i = 0; i < prompts.size(); ++i) std::cout << prompts[i] << " ..." << outputs[i].text << "\n\n";
}

// A conversation goes through the model's chat template. Pieces come as they are made, on the engine's thread.
void stream_chat(sgl::Engine& engine) {
  sgl::ChatMessage message;
  message.role = "user";
  message.parts = {{sgl::ContentPart::Type::Text, "Name three colours of the rainbow."}};
  sgl::Request request = ask("", 64);
  request.prompt = sgl::ChatPrompt{{message}};

  Event done;
  engine.submit(request, [&](sgl::Output&& piece) {
    std::cout << piece.text << std::flush;
    if (ended(piece)) done.set();
  });
  done.wait();
  std::cout << "\n\n";
}

// A request can be given up at any time; its last piece says so.
void abort_one(sgl::Engine& engine) {
  sgl::Request request = ask("Once upon a time", 100000);
  request.sampling.max_new_tokens.reset();  // up to the end of the context
  request.sampling.ignore_eos = true;

  Event begun, done;
  int tokens = 0;
  const std::string rid = engine.submit(request, [&](sgl::Output&& piece) {
    tokens = piece.completion_tokens;
    begun.set();
    if (ended(piece)) done.set();
  });
  begun.wait();
  engine.abort(rid);
  done.wait();
  std::cout << "A story was given up after " << tokens << " tokens.\n";
}

}  // namespace

int main(int argc, char** argv) {
  try {
    sgl::EngineOptions options;
    options.decode_log_interval = 0;  // no lines about load and speed between the answers
    if (argc > 1) options.model_path = argv[1];
    sgl::Engine engine(options);
    generate_batch(engine);
    if (engine.info().has_chat_template) stream_chat(engine);
    abort_one(engine);
  } catch (const std::exception& e) {
    std::cerr << "offline_engine: " << e.what() << "\n";
    return 1;
  }
}
