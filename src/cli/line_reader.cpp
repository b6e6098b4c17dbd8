#include "cli/line_reader.h"

#include <cstdio>
#include <istream>
#include <optional>
#include <ostream>

#include "base/terminal.h"

namespace sgl::cli {

LineReader::Line StreamLineReader::read(const std::string& /*prompt*/) {
  std::string text, line;
  while (std::getline(in_, line)) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || line.back() != '\\') return {Line::Kind::Text, text + line};
    line.back() = '\n';
    text += line;
  }
  if (!text.empty()) return {Line::Kind::Text, text};
  return {Line::Kind::End, ""};
}

LineReader::Line TerminalLineReader::read(const std::string& prompt) {
  RawTerminal raw;
  out_ << "\x1b[?2004h";  // pasted text comes marked, so that its line ends do not submit it
  auto draw = [&] { out_ << editor_.draw(prompt, terminal_columns(stdout)) << std::flush; };
  auto finish = [&](Line::Kind kind) {
    Line line{kind, editor_.text()};
    draw();  // what came in one go with the key that ends it was not yet seen
    out_ << "\x1b[?2004l\r\n" << std::flush;
    editor_.accept();
    return line;
  };
  while (true) {
    draw();
    std::optional<unsigned char> byte = RawTerminal::read_byte();
    if (!byte) return finish(Line::Kind::End);
    LineEditor::Event event = editor_.feed(*byte);
    // What comes in one go, as pasted text does, is drawn once.
    while (event == LineEditor::Event::None && (byte = RawTerminal::read_byte(0))) event = editor_.feed(*byte);
    switch (event) {
      case LineEditor::Event::None:
        break;
      case LineEditor::Event::Submit:
        return finish(Line::Kind::Text);
      case LineEditor::Event::End:
        return finish(Line::Kind::End);
      case LineEditor::Event::Interrupt:
        if (editor_.text().empty()) return finish(Line::Kind::Interrupt);
        editor_.clear();
        break;
    }
  }
}

}  // namespace sgl::cli
