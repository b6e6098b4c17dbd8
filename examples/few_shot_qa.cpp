// Few-shot question answering: many rows that begin alike. The common beginning is computed once.

#include <string>
#include <vector>

#include "backend.h"

using namespace sgl;

namespace {

void answer(State& s, const std::string& question) {
  s += "Answer in a word or two.\n";
  s += "Q: What is the capital of France?\nA: Paris\n";
  s += "Q: Which planet is the largest?\nA: Jupiter\n";
  s += "Q: " + question + "\nA:" + gen("answer", {.max_tokens = 12, .stop = "\n"});
}

void example() {
  const std::vector<std::string> questions = {"What is the capital of Italy?",
                                              "Which metal is liquid at room temperature?",
                                              "How many legs has a spider?", "What is the capital of Japan?"};
  auto runs = run_batch(answer, questions, {.run = {.gen = {.temperature = 0}}});
  for (size_t i = 0; i < questions.size(); ++i) std::cout << questions[i] << runs[i]["answer"] << "\n";
}

}  // namespace

int main(int argc, char** argv) { return run_example(argc, argv, example); }
