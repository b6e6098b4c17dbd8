// A conversation of several turns. The model's own chat format goes around them; on a chat API they are messages.

#include <string>

#include "backend.h"

using namespace sgl;

namespace {

void interview(State& s, const std::string& first, const std::string& second) {
  s += sgl::system("You are a friendly expert who answers in one sentence.");
  s += user(first);
  s += assistant(gen("first", {.max_tokens = 48}));
  {
    auto turn = s.user();  // a turn may also be put together piece by piece
    s += second;
    s += " Keep it short.";
  }
  s += assistant(gen("second", {.max_tokens = 48}));
}

void example() {
  auto talk = program(interview, {.gen = {.temperature = 0}});
  auto s = talk("Why is the sky blue?", "And at sunset?");
  for (const Message& m : s.messages()) std::cout << m.role << ": " << m.content << "\n";
}

}  // namespace

int main(int argc, char** argv) { return run_example(argc, argv, example); }
