// sgl generate: prompts in, answers out, without a server.

#include <fstream>
#include <iostream>
#include <istream>
#include <iterator>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/log.h"
#include "base/progress.h"
#include "cli/answer.h"
#include "cli/batch.h"
#include "cli/cli.h"
#include "cli/flags.h"
#include "sgl/error.h"

namespace sgl::cli {
namespace {

using Json = nlohmann::ordered_json;

struct GenerateFlags {
  EngineOptions engine;
  Json sampling = Json::object();
  std::optional<std::string> prompt;
  std::string prompt_flag, input, output, log_level;
  std::string format = "auto";
  bool chat = false;
  int max_in_flight = 256;
};

bool parse(const std::vector<std::string>& arguments, World& world, GenerateFlags& g) {
  Flags f(
      "generate", "sgl generate [PROMPT] [FLAGS]\n       sgl generate --input FILE.jsonl [--output FILE.jsonl] [FLAGS]",
      "Answers one prompt (an argument, or what comes on the standard input), or every line of a file, without a "
      "server. A line of the file is a JSON object with one of prompt (or text), messages, input_ids, and if need be "
      "sampling_params and what else /generate takes; or a JSON string, the prompt. Answers are JSON objects as "
      "/generate gives them, a line each, in the order of the prompts. A line that fails gives "
      "{\"error\": {\"message\", \"line\"}}, and status 1 in the end.");
  f.group("Input and output");
  f.positional("PROMPT", g.prompt, "the prompt; without it and --input the standard input is");
  f.text("--prompt", g.prompt_flag, "TEXT", "the same as a flag");
  f.toggle("--chat", g.chat, "the prompt is a user's message: the chat template goes around it");
  f.text("--input,-i", g.input, "FILE", "JSONL with prompts; -: the standard input");
  f.text("--output,-o", g.output, "FILE", "where answers go (default: the standard output)");
  f.choice("--format", g.format, {"auto", "text", "jsonl"},
           "of one prompt's answer; auto: text if a person reads it, jsonl otherwise (default: auto)");
  f.integer("--max-in-flight", g.max_in_flight, 1, 1 << 20,
            "lines that are given to the engine at once (default: 256)");
  add_sampling_flags(f, g.sampling);
  f.integer_to(
      "--n", [&g](int64_t n) { g.sampling["n"] = n; }, 1, 1024, "answers for each prompt (default: 1)");
  add_model_flags(f, g.engine);
  add_compute_flags(f, g.engine);
  add_scheduler_flags(f, g.engine);
  f.group("Logging");
  add_log_level(f, g.log_level, "warn");
  if (!f.parse(arguments, world.out, world.columns)) return false;

  if (!g.prompt_flag.empty()) {
    if (g.prompt) throw UsageError("the prompt is given twice: as an argument and by --prompt");
    g.prompt = g.prompt_flag;
  }
  if (g.prompt && !g.input.empty()) throw UsageError("give a prompt or --input, not both");
  if (!g.prompt && g.input.empty() && world.in_is_terminal) {
    throw UsageError("there is no prompt: give it as an argument, by --input FILE.jsonl, or on the standard input");
  }
  if (!g.input.empty() && g.format == "text")
    throw UsageError("--format text is for one prompt; with --input it is jsonl");
  if (!g.input.empty() && g.chat)
    throw UsageError("--chat is for one prompt; in a file, write messages instead of prompt");
  return true;
}

/// Where answers go: a file, or the standard output.
class Sink {
 public:
  Sink(const std::string& path, World& world) : path_(path), out_(&world.out) {
    if (path.empty() || path == "-") return;
    file_ = std::make_unique<std::ofstream>(path, std::ios::binary);
    if (!*file_) throw Error(ErrorKind::NotFound, fmt::format("cannot write {}", path));
    out_ = file_.get();
  }
  /// Flushed at once, so that a broken run keeps what it had.
  void write(const std::string& text) {
    *out_ << text << std::flush;
    if (!*out_) throw Error(ErrorKind::ResourceExhausted, fmt::format("cannot write {}; is the disk full?", name()));
  }
  bool is_file() const { return file_ != nullptr; }

 private:
  std::string name() const { return file_ ? path_ : "the standard output"; }
  std::string path_;
  std::unique_ptr<std::ofstream> file_;
  std::ostream* out_;
};

std::string first_error(const Batch& batch) {
  return fmt::format("{} of {} lines failed, line {} first; their answers say why", batch.failed(), batch.written(),
                     *batch.first_failed_line());
}

int generate_file(const GenerateFlags& g, World& world) {
  std::ifstream file;
  int64_t lines = 0;
  if (g.input != "-") {
    file.open(g.input, std::ios::binary);
    if (!file || file.peek() == std::ifstream::traits_type::eof()) {
      // A folder opens, too, but cannot be read.
      if (!file.eof()) throw Error(ErrorKind::NotFound, cannot_read(g.input));
    }
    file.clear();
    file.seekg(0);
    for (std::string line; std::getline(file, line);) lines += line.empty() || line == "\r" ? 0 : 1;
    file.clear();
    file.seekg(0);
  }
  std::istream& in = g.input == "-" ? world.in : file;

  Sink sink(g.output, world);
  std::shared_ptr<EngineApi> engine = world.load(g.engine);
  std::optional<Progress> progress;
  // The bar would run into answers that go to the same terminal.
  if (sink.is_file() || !world.out_is_terminal) progress.emplace("generate", lines, Progress::Unit::Items);
  int64_t answers = 0;
  Batch batch(*engine, g.sampling, static_cast<size_t>(g.max_in_flight), [&](const std::string& answer) {
    sink.write(answer + "\n");
    if (progress) progress->update(++answers);
  });
  std::string line;
  for (size_t number = 1; std::getline(in, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty()) batch.add(line, number);
  }
  batch.finish();
  if (progress) progress->finish();
  if (batch.failed() > 0) throw Error(ErrorKind::Internal, first_error(batch));
  return 0;
}

/// The prompt as a line of a file would have it.
std::string as_line(const GenerateFlags& g, const std::string& prompt) {
  Json body;
  if (g.chat) {
    body["messages"] = Json::array({{{"role", "user"}, {"content", prompt}}});
  } else {
    body["text"] = prompt;
  }
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

int generate_one(const GenerateFlags& g, World& world) {
  std::string prompt;
  if (g.prompt) {
    prompt = *g.prompt;
  } else {
    prompt.assign(std::istreambuf_iterator<char>(world.in), {});
    if (prompt.ends_with('\n')) prompt.pop_back();  // a shell's, not the user's
  }
  if (prompt.empty()) throw UsageError("the prompt is empty");
  Sink sink(g.output, world);
  std::shared_ptr<EngineApi> engine = world.load(g.engine);
  Call call = parse_line(as_line(g, prompt), g.sampling, *engine);

  const bool is_text = g.format == "text" || (g.format == "auto" && world.out_is_terminal && !sink.is_file());
  if (is_text && call.requests[0].sampling.n == 1 && engine->tokenizer() != nullptr) {
    Answer answer(*engine, std::move(call.requests[0]));
    while (std::optional<std::string> text = answer.next()) sink.write(*text);
    sink.write("\n");
    answer.check();
    return 0;
  }
  Batch batch(*engine, g.sampling, 1, [&](const std::string& line) { sink.write(line + "\n"); });
  batch.add(as_line(g, prompt), 1);
  batch.finish();
  if (batch.failed() > 0) throw Error(ErrorKind::Internal, "the engine gave up on the prompt; its answer says why");
  return 0;
}

}  // namespace

int generate(const std::vector<std::string>& arguments, World& world) {
  GenerateFlags flags;
  if (!parse(arguments, world, flags)) return 0;
  log::init(flags.log_level);
  return flags.input.empty() ? generate_one(flags, world) : generate_file(flags, world);
}

}  // namespace sgl::cli
