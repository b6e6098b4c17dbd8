#pragma once
// A chat with one model: what was said, the commands, and the turns.

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/cli.h"
#include "cli/line_reader.h"
#include "server/engine_api.h"

namespace sgl::cli {

/// Reads lines until the end of the input or /exit, and answers them. Errors of one turn are told and the chat goes on:
/// what was asked is then not part of the conversation.
class Conversation {
 public:
  /// `sampling`: sampling_params of /generate.
  /// `is_terminal`: a person reads: prompts, hints and an empty line between turns are printed.
  Conversation(EngineApi& engine, std::string system, nlohmann::ordered_json sampling, World& world, bool is_terminal);

  void run(LineReader& reader);

  const std::vector<ChatMessage>& messages() const { return messages_; }

 private:
  /// False: the chat is over.
  bool command(const std::string& line);
  void turn(const std::string& text);
  std::string stream_answer(Request request);
  void reset();

  EngineApi& engine_;
  std::string system_;
  nlohmann::ordered_json sampling_;
  World& world_;
  bool is_terminal_;
  std::vector<ChatMessage> messages_;  ///< the system's first, if there is one
};

}  // namespace sgl::cli
