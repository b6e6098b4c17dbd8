// sgl chat: a conversation in the terminal.

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/log.h"
#include "cli/batch.h"
#include "cli/cli.h"
#include "cli/conversation.h"
#include "cli/flags.h"
#include "cli/line_reader.h"
#include "sgl/error.h"

namespace sgl::cli {

int chat(const std::vector<std::string>& arguments, World& world) {
  EngineOptions options;
  nlohmann::ordered_json sampling = {{"max_new_tokens", nullptr}};  // up to the end of the context
  std::string system, log_level;
  Flags f(
      "chat", "sgl chat [--model-path MODEL] [FLAGS]",
      "A conversation in this terminal; answers appear as they are made. /help in the chat lists its commands; Ctrl-C "
      "stops an answer, Ctrl-D ends the chat. When the standard input is no terminal, each of its lines is a message.");
  f.group("Chat");
  f.text("--system", system, "TEXT", "an instruction that stands before the conversation");
  add_sampling_flags(f, sampling);
  add_model_flags(f, options);
  add_compute_flags(f, options);
  add_scheduler_flags(f, options);
  f.group("Logging");
  add_log_level(f, log_level, "warn");
  if (!f.parse(arguments, world.out, world.columns)) return 0;

  log::init(log_level);
  std::shared_ptr<EngineApi> engine = world.load(options);
  const ModelInfo& info = engine->info();
  if (!info.has_chat_template) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("{} has no chat template; give one by --chat-template FILE, or use sgl generate",
                            info.served_model_name));
  }
  const bool is_terminal = world.in_is_terminal && world.out_is_terminal;
  std::unique_ptr<LineReader> reader;
  if (is_terminal) {
    reader = std::make_unique<TerminalLineReader>(world.out);
    world.out << fmt::format("{} on {}. /help lists commands, Ctrl-D ends.\n\n", info.served_model_name, info.device)
              << std::flush;
  } else {
    reader = std::make_unique<StreamLineReader>(world.in);
  }
  Conversation(*engine, system, with_generation_defaults(sampling, info), world, is_terminal).run(*reader);
  return 0;
}

}  // namespace sgl::cli
