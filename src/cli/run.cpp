#include <algorithm>
#include <cerrno>
#include <exception>
#include <new>
#include <ostream>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include "cli/cli.h"
#include "cli/flags.h"
#include "sgl/error.h"

namespace sgl::cli {
namespace {

constexpr const char* kHelp = R"(usage: sgl COMMAND [FLAGS]

Serves large language models, or runs them right here.

Commands:
  serve      an HTTP server: OpenAI's API, and SGLang's own
  generate   a prompt, or a file of them, in; answers out
  chat       a conversation in this terminal
  run        a program of generations, choices and branches, from a file
  bench      how fast this machine, the engine or a server is
  grammar    what a JSON schema, a pattern or an EBNF grammar accepts, and how fast

  sgl COMMAND --help      the command's flags
  sgl --version           the program's version

Without --model-path each of them takes SmolLM2-135M-Instruct, which is downloaded once (100 MB). Try:

  sgl chat
  sgl generate "The capital of France is" --max-new-tokens 32
  sgl serve --model-path Qwen/Qwen2.5-0.5B-Instruct --port 30000
)";

struct Command {
  const char* name;
  int (*run)(const std::vector<std::string>&, World&);
};
constexpr Command kCommands[] = {{"serve", serve},     {"generate", generate}, {"chat", chat},
                                 {"run", run_program}, {"bench", bench},       {"grammar", grammar}};

int dispatch(const std::vector<std::string>& arguments, World& world) {
  if (arguments.empty()) {
    throw UsageError("a command is missing: serve, generate, chat, run, bench or grammar; sgl --help says more");
  }
  const std::string& first = arguments[0];
  if (first == "--version" || first == "version") {
    world.out << "sgl " SGL_VERSION "\n";
    return 0;
  }
  std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
  if (first == "--help" || first == "-h" || first == "help") {
    if (rest.empty() || first != "help") {
      world.out << kHelp;
      return 0;
    }
    return dispatch({rest[0], "--help"}, world);
  }
  std::vector<std::string> names;
  for (const Command& c : kCommands) {
    if (first == c.name) return c.run(rest, world);
    names.emplace_back(c.name);
  }
  std::string near = nearest(first, names);
  throw UsageError(fmt::format("unknown command '{}'{}; sgl --help lists the commands", first,
                               near.empty() ? "" : fmt::format(", did you mean {}?", near)));
}

/// An error is one line, whatever the message holds.
int fail(World& world, std::string message, int status) {
  std::replace(message.begin(), message.end(), '\n', ' ');
  world.out.flush();
  world.err << "sgl: " << message << std::endl;
  return status;
}

}  // namespace

std::string cannot_read(const std::string& path) {
  return fmt::format("cannot read {}: {}", path, std::generic_category().message(errno));
}

int run(const std::vector<std::string>& arguments, World& world) {
  try {
    int status = dispatch(arguments, world);
    world.out.flush();
    if (!world.out) return fail(world, "cannot write to the standard output", 1);
    return status;
  } catch (const UsageError& e) {
    return fail(world, e.what(), 2);
  } catch (const std::bad_alloc&) {
    return fail(world, "out of memory; try a smaller model, --max-total-tokens or --context-length", 1);
  } catch (const std::exception& e) {
    return fail(world, e.what(), 1);
  }
}

}  // namespace sgl::cli
