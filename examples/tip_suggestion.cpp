// Tips that are worked out at the same time: each branch of the fork has the prompt so far and goes its own way.

#include <string>

#include "backend.h"

using namespace sgl;

namespace {

void tips(State& s, const std::string& topic) {
  s += "Two tips for " + topic + ": 1. Balanced diet. 2. Regular exercise.\n\n";
  auto branches = s.fork(2);
  branches += [](int i) {
    return cat("Now, expand tip ", i + 1, " into a short paragraph:\n") +
           gen("detail", {.max_tokens = 48, .stop = "\n\n"});
  };
  // Appending a branch's variable does not wait for it; the state does, when it gets there.
  s += "Tip 1: " + branches[0]["detail"] + "\n";
  s += "Tip 2: " + branches[1]["detail"] + "\n";
  s += "In summary," + gen("summary", {.max_tokens = 32});
}

void example() {
  auto s = run(program(tips, {.gen = {.temperature = 0}}), "staying healthy");
  std::cout << s.text() << "\n";
}

}  // namespace

int main(int argc, char** argv) { return run_example(argc, argv, example); }
