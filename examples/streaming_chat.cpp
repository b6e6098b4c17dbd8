// A chat whose answers appear as they are made; what is not wanted any more is cancelled by letting go of it.

#include <string>

#include "backend.h"

using namespace sgl;

namespace {

void talk(State& s, const std::string& question) {
  s += sgl::system("You answer in two sentences.") + user(question) + assistant(gen("answer", {.max_tokens = 64}));
}

void example() {
  auto live = stream(program(talk, {.gen = {.temperature = 0}}), "What is gravity?");
  for (std::string_view piece : live.text_iter("answer")) std::cout << piece << std::flush;
  std::cout << "\n(" << live["answer"].meta().completion_tokens << " tokens)\n";

  auto unwanted = stream(talk, "Tell me a long story.");
  for (std::string_view piece : unwanted.text_iter("answer")) {
    std::cout << piece << "...\n";
    break;  // the request is aborted at the backend when `unwanted` goes
  }
}

}  // namespace

int main(int argc, char** argv) { return run_example(argc, argv, example); }
