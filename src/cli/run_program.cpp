// sgl run FILE: a program on a language model, given as a small file.

#include <algorithm>
#include <fstream>
#include <iterator>
#include <mutex>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "cli/cli.h"
#include "cli/flags.h"
#include "cli/program_file.h"
#include "sgl/error.h"
#include "sgl/program.h"

namespace sgl::cli {
namespace {

using Json = nlohmann::ordered_json;
using Arguments = std::map<std::string, Value>;

struct RunFlags {
  EngineOptions engine;
  std::optional<std::string> file;
  std::vector<std::string> arguments;
  std::string url, openai, openai_chat, base_url, log_level;
  bool stream = false, json = false, explain = false;
};

bool parse(const std::vector<std::string>& arguments, World& world, RunFlags& r) {
  Flags f("run", "sgl run FILE [--arg NAME=VALUE]… [FLAGS]",
          "Runs a program of texts, generations, choices, branches and turns from a YAML or JSON file, on a model in "
          "this process, on a server, or over an API. docs/language.md describes the file.");
  f.group("Program");
  f.positional("FILE", r.file, "the program; -: the standard input");
  f.texts_to(
      "--arg,-a", [&r](const std::vector<std::string>& v) { r.arguments = v; }, "NAME=VALUE",
      "an argument of the program; may be given several times, the same name too: a list");
  f.toggle("--stream", r.stream, "print the whole text as it is made, instead of the file's output");
  f.toggle("--json", r.json, "print {\"text\", \"variables\", \"messages\"}");
  f.toggle("--explain", r.explain, "run without a model and list the calls that the program makes");
  f.group("Where it runs");
  f.text("--url", r.url, "URL", "an sgl or SGLang server (default: a model in this process)");
  f.text("--openai", r.openai, "MODEL", "OpenAI's completions API");
  f.text("--openai-chat", r.openai_chat, "MODEL", "OpenAI's chat API; the key is OPENAI_API_KEY");
  f.text("--base-url", r.base_url, "URL", "of another service with that API, up to /v1");
  add_model_flags(f, r.engine);
  add_compute_flags(f, r.engine);
  add_scheduler_flags(f, r.engine);
  f.group("Logging");
  add_log_level(f, r.log_level, "warn");
  if (!f.parse(arguments, world.out, world.columns)) return false;
  if (!r.file) throw UsageError("there is no FILE; docs/language.md and examples/*.yaml show what stands in one");
  if (!r.url.empty() + !r.openai.empty() + !r.openai_chat.empty() > 1) {
    throw UsageError("give one of --url, --openai and --openai-chat");
  }
  if (!r.base_url.empty() && r.openai.empty() && r.openai_chat.empty()) {
    throw UsageError(
        "--base-url is the address for --openai and --openai-chat; give one of them, or --url for a server");
  }
  if (r.stream + r.json + r.explain > 1) throw UsageError("give one of --stream, --json and --explain");
  return true;
}

std::string read_program(const std::string& path, World& world) {
  if (path == "-") return {std::istreambuf_iterator<char>(world.in), {}};
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(ErrorKind::NotFound, cannot_read(path));
  return {std::istreambuf_iterator<char>(in), {}};
}

Arguments read_arguments(const ProgramFile& program, const std::vector<std::string>& given) {
  std::map<std::string, std::vector<std::string>> values;
  for (const std::string& argument : given) {
    const size_t equals = argument.find('=');
    if (equals == std::string::npos) throw UsageError(fmt::format("--arg: expected NAME=VALUE, got '{}'", argument));
    values[argument.substr(0, equals)].push_back(argument.substr(equals + 1));
  }
  Arguments out = program.arguments;
  std::vector<std::string> known = program.required;
  for (const auto& [name, value] : program.arguments) known.push_back(name);
  for (auto& [name, list] : values) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw UsageError(
          fmt::format("--arg: {} has no argument '{}'; it has: {}", program.path, name, fmt::join(known, ", ")));
    }
    const auto it = program.arguments.find(name);
    const bool is_list = it != program.arguments.end() && std::holds_alternative<std::vector<std::string>>(it->second);
    if (list.size() > 1 || is_list)
      out[name] = std::move(list);
    else
      out[name] = std::move(list[0]);
  }
  for (const std::string& name : program.required) {
    if (!out.contains(name)) throw UsageError(fmt::format("{} needs --arg {}=…", program.path, name));
  }
  return out;
}

std::shared_ptr<Backend> make_backend(const RunFlags& r, World& world) {
  if (!r.url.empty()) return runtime(r.url);
  ApiOptions api{.model = r.openai.empty() ? r.openai_chat : r.openai, .base_url = r.base_url};
  if (!r.openai.empty()) return openai(std::move(api));
  if (!r.openai_chat.empty()) return openai_chat(std::move(api));
  return world.load_backend ? world.load_backend(r.engine) : engine(r.engine);
}

Json value_of(const Var& var) { return var.is_list() ? Json(var.list()) : Json(var.str()); }

void print_result(const ProgramFile& program, const Arguments& arguments, const State& s, bool as_json, World& world) {
  if (!as_json) {
    world.out << (program.output.parts.empty() ? s.text() : expand_output(program, arguments, s)) << '\n';
    return;
  }
  Json out{{"text", s.text()}, {"variables", Json::object()}, {"messages", Json::array()}};
  for (const auto& [name, var] : s.variables()) out["variables"][name] = value_of(var);
  for (const Message& m : s.messages()) out["messages"].push_back({{"role", m.role}, {"content", m.content}});
  world.out << out.dump(1, ' ', false, Json::error_handler_t::replace) << '\n';
}

}  // namespace

int run_program(const std::vector<std::string>& arguments, World& world) {
  RunFlags flags;
  if (!parse(arguments, world, flags)) return 0;
  log::init(flags.log_level);
  const ProgramFile program = parse_program(read_program(*flags.file, world), *flags.file);
  const Arguments values = read_arguments(program, flags.arguments);
  std::mutex mutex;  // of the output: branches print, too
  auto body = [&](State& s) {
    execute(program, values, s, [&](const std::string& text) {
      std::lock_guard lock(mutex);
      world.out << text << std::endl;
    });
  };
  if (flags.explain) {
    world.out << explain(trace_with({.gen = program.options}, body));
    return 0;
  }
  const RunOptions options{.backend = make_backend(flags, world), .gen = program.options};
  if (flags.stream) {
    auto live = stream_with(options, body);
    try {
      for (std::string_view piece : live.text_iter()) {
        std::lock_guard lock(mutex);  // a print step may come in between
        world.out << piece << std::flush;
      }
    } catch (const Error&) {
      live.sync();  // throws what the steps made of it, with their line
      throw;
    }
    live.sync();
    world.out << '\n';
    return 0;
  }
  auto done = run_with(options, body);
  print_result(program, values, done, flags.json, world);
  return 0;
}

}  // namespace sgl::cli
