#pragma once
// Template text → tokens, with the whitespace rules of Jinja's trim_blocks and lstrip_blocks, which chat templates are
// written for: the newline after a block tag and the blanks before one on its line are dropped.

#include <string>
#include <string_view>
#include <vector>

namespace sgl::jinja {

enum class TokenType {
  Data,  ///< text outside of tags
  VariableBegin,
  VariableEnd,
  BlockBegin,
  BlockEnd,
  Name,
  String,
  Integer,
  Float,
  // operators
  Add,
  Sub,
  Mul,
  Div,
  FloorDiv,
  Mod,
  Pow,
  Tilde,
  LeftBracket,
  RightBracket,
  LeftParen,
  RightParen,
  LeftBrace,
  RightBrace,
  Eq,
  Ne,
  Gt,
  Ge,
  Lt,
  Le,
  Assign,
  Dot,
  Colon,
  Pipe,
  Comma,
  Semicolon,
  End
};

struct Token {
  TokenType type;
  int line;
  std::string text;  ///< Data, Name: as written; String: unescaped; Integer: decimal digits; Float: as strtod reads it
};

/// Throws CorruptFile with the line. The last token is End. Requires valid UTF-8.
std::vector<Token> tokenize(std::string_view source);

/// A syntax error: CorruptFile, "chat template, line 3: message".
[[noreturn]] void syntax_error(int line, std::string_view message);

/// How a token is called in an error message.
std::string describe(TokenType type);
std::string describe(const Token& token);

}  // namespace sgl::jinja
