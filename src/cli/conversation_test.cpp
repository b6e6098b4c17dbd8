#include "cli/conversation.h"

#include <chrono>
#include <csignal>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/eventually.h"
#include "cli/test_world.h"

namespace sgl::cli {
namespace {

using Line = LineReader::Line;
using Kind = Line::Kind;

/// Lines as if they were typed.
class Script final : public LineReader {
 public:
  explicit Script(std::deque<Line> lines) : lines_(std::move(lines)) {}
  Line read(const std::string& /*prompt*/) override {
    if (lines_.empty()) return {Kind::End, ""};
    Line line = lines_.front();
    lines_.pop_front();
    return line;
  }
  size_t left() const { return lines_.size(); }

 private:
  std::deque<Line> lines_;
};

Line say(const std::string& text) { return {Kind::Text, text}; }

/// "user: Hi | assistant: Hello" for what the engine was asked last.
std::string asked(const Request& r) {
  std::string out;
  for (const ChatMessage& m : std::get<ChatPrompt>(r.prompt).messages) {
    if (!out.empty()) out += " | ";
    out += m.role + ": " + (m.parts.empty() ? "" : m.parts[0].text);
  }
  return out;
}

struct Chat {
  explicit Chat(const std::string& system = "", bool is_terminal = false)
      : conversation(*w.engine, system, {{"max_new_tokens", nullptr}}, w.world, is_terminal) {}
  TestWorld w;
  Conversation conversation;
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Conversation, EachTurnKnowsTheOnesBefore) {
  Chat c("Be kind.");
  Script script({say("Hi"), say("  "), say("More")});
  c.conversation.run(script);
  EXPECT_EQ(asked(c.w.engine->last()), "system: Be kind. | user: Hi | assistant: Hello, wörld! | user: More");
  EXPECT_EQ(c.w.engine->submitted().size(), 2U);
  EXPECT_EQ(c.w.engine->last().sampling.max_new_tokens, std::nullopt);
  EXPECT_EQ(c.w.out.str(), "Hello, wörld!\nHello, wörld!\n");
}

TEST(Conversation, ResetForgetsAllButTheInstruction) {
  Chat c("Be kind.");
  Script script({say("Hi"), say("/reset"), say("Again")});
  c.conversation.run(script);
  EXPECT_EQ(asked(c.w.engine->last()), "system: Be kind. | user: Again");
}

TEST(Conversation, SystemSetsOrRemovesTheInstruction) {
  Chat c;
  Script script({say("Hi"), say("/system Answer in\nverse."), say("One"), say("/system"), say("Two")});
  c.conversation.run(script);
  auto requests = c.w.engine->submitted();
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_EQ(asked(requests[1]), "system: Answer in\nverse. | user: One");
  EXPECT_EQ(asked(requests[2]), "user: Two");
}

TEST(Conversation, HelpExitAndUnknownCommandsAskNothing) {
  Chat c;
  Script script({say("/help"), say("/nonsense"), say("/exit"), say("not read")});
  c.conversation.run(script);
  EXPECT_TRUE(c.w.engine->submitted().empty());
  for (const char* command : {"/reset", "/system", "/help", "/exit"}) EXPECT_TRUE(has(c.w.out.str(), command));
  EXPECT_TRUE(has(c.w.err.str(), "/nonsense"));
  EXPECT_EQ(script.left(), 1U);
}

TEST(Conversation, TwoInterruptsAtTheEmptyPromptEndIt) {
  Chat c;
  Script script({{Kind::Interrupt, ""}, say("Hi"), {Kind::Interrupt, ""}, {Kind::Interrupt, ""}, say("not read")});
  c.conversation.run(script);
  EXPECT_EQ(c.w.engine->submitted().size(), 1U);
  EXPECT_EQ(script.left(), 1U);
}

TEST(Conversation, AnInterruptStopsTheAnswerAndKeepsWhatCame) {
  Chat c("", /*is_terminal=*/true);
  c.w.engine->set_step_time(std::chrono::hours(1));  // one letter, and no other
  std::thread finger([&] {
    EXPECT_TRUE(eventually([&] { return c.w.engine->stats().steps == 1; }));
    std::raise(SIGINT);
  });
  Script script({say("Hi")});
  c.conversation.run(script);
  finger.join();
  EXPECT_EQ(c.w.engine->aborted(), 1U);
  EXPECT_TRUE(has(c.w.out.str(), "(stopped)")) << c.w.out.str();
  ASSERT_EQ(c.conversation.messages().size(), 2U);
  EXPECT_EQ(c.conversation.messages()[1].parts[0].text, "H");
  EXPECT_EQ(c.w.err.str(), "");
}

TEST(Conversation, ATurnThatFailsIsToldAndForgotten) {
  Chat c;
  Script script({say(std::string(5000, 'x')), say("Hi")});
  c.conversation.run(script);
  EXPECT_TRUE(has(c.w.err.str(), "sgl: The input is longer")) << c.w.err.str();
  EXPECT_EQ(asked(c.w.engine->last()), "user: Hi");

  Chat broken;
  broken.w.engine->fail_with(500, "the device is gone");
  Script again({say("Hi"), say("Hello")});
  broken.conversation.run(again);
  EXPECT_TRUE(has(broken.w.err.str(), "the device is gone")) << broken.w.err.str();
  EXPECT_EQ(asked(broken.w.engine->last()), "user: Hello");
}

TEST(StreamLineReader, ReadsLinesAndJoinsThoseThatEndInABackslash) {
  std::istringstream in("one\r\ntwo\\\nthree\n\nlast\\");
  StreamLineReader reader(in);
  for (const char* expected : {"one", "two\nthree", "", "last\n"}) {
    Line line = reader.read("> ");
    EXPECT_EQ(line.kind, Kind::Text);
    EXPECT_EQ(line.text, expected);
  }
  EXPECT_EQ(reader.read("> ").kind, Kind::End);
}

TEST(ChatCommand, NeedsAChatTemplate) {
  TestWorld w("Hi\n");
  EXPECT_EQ(w.run({"chat", "--model-path", "m"}), 1);
  EXPECT_TRUE(has(w.err.str(), "chat template")) << w.err.str();
  EXPECT_EQ(w.loaded->model_path, "m");
}

}  // namespace
}  // namespace sgl::cli
