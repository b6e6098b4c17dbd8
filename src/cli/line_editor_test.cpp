#include "cli/line_editor.h"

#include <random>
#include <string>

#include <gtest/gtest.h>

namespace sgl::cli {
namespace {

using Event = LineEditor::Event;

/// Feeds all bytes; returns the last one's event.
Event type(LineEditor& e, const std::string& keys) {
  Event event = Event::None;
  for (char c : keys) event = e.feed(static_cast<unsigned char>(c));
  return event;
}

std::string after(const std::string& keys) {
  LineEditor e;
  type(e, keys);
  return e.text();
}

const std::string kLeft = "\x1b[D", kRight = "\x1b[C", kUp = "\x1b[A", kDown = "\x1b[B", kDelete = "\x1b[3~";

TEST(LineEditor, TypesMovesAndErasesWholeCharacters) {
  EXPECT_EQ(after("abc" + kLeft + "X"), "abXc");
  EXPECT_EQ(after("aü" + kLeft + "X"), "aXü");
  EXPECT_EQ(after("aü\x7f"), "a");
  EXPECT_EQ(after("日本" + kLeft + kLeft + kDelete), "本");
  EXPECT_EQ(after("\x7f" + kLeft + kRight + kDelete), "");
  EXPECT_EQ(after("bc\x01"
                  "a\x05"
                  "d"),
            "abcd");
  EXPECT_EQ(after("abc\x1b[H"
                  "x\x1b[F"
                  "y\x1bOH"
                  "z"),
            "zxabcy");
}

TEST(LineEditor, ErasesWordsAndEnds) {
  EXPECT_EQ(after("one two  \x17"), "one ");
  EXPECT_EQ(after("one two\x1b"
                  "b\x0b"),
            "one ");
  EXPECT_EQ(after("one two\x1b"
                  "b\x15"),
            "two");
  EXPECT_EQ(after("one two\x01\x1b"
                  "fX"),
            "oneX two");
  EXPECT_EQ(after("one two\x1b[1;5DX"), "one Xtwo");
}

TEST(LineEditor, EnterSubmitsAndOtherEntersBreakTheLine) {
  LineEditor e;
  EXPECT_EQ(type(e, "a\x1b\rb\nc\r"), Event::Submit);
  EXPECT_EQ(e.text(), "a\nb\nc");
}

TEST(LineEditor, PastedLineEndsDoNotSubmit) {
  LineEditor e;
  EXPECT_EQ(type(e, "\x1b[200~one\rtwo\x03\x1b[201~"), Event::None);
  EXPECT_EQ(e.text(), "one\ntwo\x03");
  EXPECT_EQ(type(e, "\r"), Event::Submit);
}

TEST(LineEditor, ControlKeysInterruptAndEnd) {
  LineEditor e;
  EXPECT_EQ(type(e, "\x04"), Event::End);
  EXPECT_EQ(type(e, "\x03"), Event::Interrupt);
  EXPECT_EQ(type(e, "ab\x01\x04"), Event::None);  // Ctrl-D erases when there is text
  EXPECT_EQ(e.text(), "b");
}

TEST(LineEditor, TheHistoryKeepsTheDraft) {
  LineEditor e;
  for (const char* line : {"one", "two", "two"}) {
    type(e, line);
    e.accept();
  }
  type(e, "draft" + kUp);
  EXPECT_EQ(e.text(), "two");
  type(e, kUp);
  EXPECT_EQ(e.text(), "one");  // a repeated line is kept once
  type(e, kUp);
  EXPECT_EQ(e.text(), "one");
  type(e, kDown + kDown);
  EXPECT_EQ(e.text(), "draft");
  type(e, kDown);
  EXPECT_EQ(e.text(), "draft");
}

TEST(LineEditor, DrawsPromptTextAndCursor) {
  LineEditor e;
  type(e, "ab" + kLeft);
  EXPECT_EQ(e.draw("> ", 80), "\r\x1b[K> ab\r\x1b[3C");
  type(e, "\n日");
  EXPECT_EQ(e.draw("> ", 80), "\r\x1b[K> a↵日b\r\x1b[6C");
}

TEST(LineEditor, ALongTextScrollsAroundTheCursor) {
  LineEditor e;
  type(e, std::string(200, 'a') + "END");
  std::string drawn = e.draw("> ", 40);
  EXPECT_NE(drawn.find("END\r"), std::string::npos) << drawn;
  type(e, "\x01");
  EXPECT_EQ(e.draw("> ", 40), "\r\x1b[K> " + std::string(37, 'a') + "\r\x1b[2C");
}

TEST(LineEditor, WidthsAreThoseOfATerminal) {
  EXPECT_EQ(display_width("abc"), 3);
  EXPECT_EQ(display_width("日本"), 4);
  EXPECT_EQ(display_width("e\u0301"), 1);
  EXPECT_EQ(display_width("\xff"), 1);
}

TEST(LineEditor, AnyBytesLeaveItInOrder) {
  unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const std::string keys[] = {kLeft,       kRight,      kUp, kDown, kDelete, "\x7f", "\x17",
                              "\x1b[200~", "\x1b[201~", "ü", "日",  "a b",   "\n"};
  LineEditor e;
  for (int i = 0; i < 20'000; ++i) {
    if (random() % 4 == 0) {
      e.feed(static_cast<unsigned char>(random()));
    } else {
      type(e, keys[random() % std::size(keys)]);
    }
    if (random() % 50 == 0) e.accept();
    e.draw("> ", static_cast<int>(random() % 60));
  }
  SUCCEED();
}

}  // namespace
}  // namespace sgl::cli
