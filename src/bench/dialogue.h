#pragma once
// What a session has said and heard, as its next prompt.

#include <string>

namespace sgl::bench {

class Dialogue {
 public:
  /// `chat`: a list of messages; else one text that goes on. `prefix` stands before the first turn.
  Dialogue(bool chat, std::string prefix);

  void user(const std::string& text);
  void assistant(const std::string& text);

  /// The text so far. Requires: no chat.
  const std::string& text() const { return text_; }
  /// The field of a request's body: "prompt":"…" or "messages":[…].
  std::string field() const;

 private:
  void message(const char* role, const std::string& text);

  bool chat_;
  std::string text_;      ///< of a chat: the prefix, before its first message
  std::string messages_;  ///< JSON objects with commas between them
};

}  // namespace sgl::bench
