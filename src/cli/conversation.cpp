#include "cli/conversation.h"

#include <chrono>
#include <optional>
#include <ostream>
#include <utility>

#include <fmt/format.h>

#include "base/terminal.h"
#include "cli/answer.h"
#include "cli/batch.h"
#include "sgl/error.h"

namespace sgl::cli {
namespace {

constexpr const char* kPrompt = "> ";
constexpr const char* kHelp = R"(/reset         forget the conversation
/system TEXT   give the model this instruction and start anew; without TEXT: none
/help          this text
/exit          end (also Ctrl-D, or Ctrl-C twice)
Ctrl-C stops an answer. Alt-Enter or Ctrl-J makes a line break in a message.
)";

ChatMessage message(const std::string& role, const std::string& text) {
  ChatMessage m;
  m.role = role;
  m.parts = {ContentPart{.type = ContentPart::Type::Text, .text = text}};
  return m;
}

std::string trim(const std::string& s) {
  size_t begin = s.find_first_not_of(" \t\n");
  if (begin == std::string::npos) return "";
  return s.substr(begin, s.find_last_not_of(" \t\n") - begin + 1);
}

}  // namespace

Conversation::Conversation(EngineApi& engine, std::string system, nlohmann::ordered_json sampling, World& world,
                           bool is_terminal)
    : engine_(engine),
      system_(std::move(system)),
      sampling_(std::move(sampling)),
      world_(world),
      is_terminal_(is_terminal) {
  reset();
}

void Conversation::reset() {
  messages_.clear();
  if (!system_.empty()) messages_.push_back(message("system", system_));
}

void Conversation::run(LineReader& reader) {
  bool interrupted = false;
  while (true) {
    LineReader::Line line = reader.read(kPrompt);
    if (line.kind == LineReader::Line::Kind::End) return;
    if (line.kind == LineReader::Line::Kind::Interrupt) {
      if (std::exchange(interrupted, true)) return;
      world_.out << "(Ctrl-C again ends the chat)" << std::endl;
      continue;
    }
    interrupted = false;
    std::string text = trim(line.text);
    if (text.empty()) continue;
    if (text[0] == '/') {
      if (!command(text)) return;
    } else {
      turn(text);
    }
  }
}

bool Conversation::command(const std::string& line) {
  size_t space = line.find_first_of(" \n");
  std::string name = line.substr(0, space);
  std::string rest = space == std::string::npos ? "" : trim(line.substr(space));
  if (name == "/exit" || name == "/quit") return false;
  if (name == "/help") {
    world_.out << kHelp << std::flush;
  } else if (name == "/reset") {
    reset();
    if (is_terminal_) world_.out << "(forgotten)" << std::endl;
  } else if (name == "/system") {
    system_ = rest;
    reset();
    if (is_terminal_)
      world_.out << (rest.empty() ? "(no instruction" : "(instruction set") << ", a new conversation)\n";
  } else {
    world_.err << fmt::format("sgl: there is no command {}; /help lists them\n", name) << std::flush;
  }
  return true;
}

void Conversation::turn(const std::string& text) {
  messages_.push_back(message("user", text));
  try {
    // A request as a line of sgl generate makes it, whose prompt is this conversation.
    Call call = parse_line(R"({"input_ids": [0]})", sampling_, engine_);
    Request request = std::move(call.requests[0]);
    request.prompt = ChatPrompt{.messages = messages_};
    std::string answer = stream_answer(std::move(request));
    if (answer.empty()) {
      messages_.pop_back();
    } else {
      messages_.push_back(message("assistant", answer));
    }
  } catch (const Error& e) {
    messages_.pop_back();
    world_.out.flush();
    world_.err << "sgl: " << e.what() << (messages_.size() > 1 ? " (/reset starts a new conversation)" : "")
               << std::endl;
  }
}

/// Prints the answer as it comes and returns it; Ctrl-C ends it early.
std::string Conversation::stream_answer(Request request) {
  InterruptGuard interrupts;
  std::optional<RawTerminal> terminal;  // keys typed meanwhile wait for the next prompt instead of mixing with the text
  if (is_terminal_) terminal.emplace(RawTerminal::CtrlC::Signal);
  Answer answer(engine_, std::move(request));
  std::string whole;
  bool stopped = false;
  while (std::optional<std::string> text = answer.next(std::chrono::milliseconds(50))) {
    whole += *text;
    world_.out << *text << std::flush;
    if (!stopped && InterruptGuard::take()) {
      stopped = true;
      answer.stop();
    }
  }
  world_.out << (stopped && is_terminal_ ? " (stopped)" : "");
  if (answer.finish().type == FinishReason::Type::Length && is_terminal_)
    world_.out << " (cut: the length limit is reached)";
  world_.out << (is_terminal_ ? "\n\n" : "\n") << std::flush;
  answer.check();
  return whole;
}

}  // namespace sgl::cli
