// Questions about a long document, all at once: the fork computes the document one time, however many questions there
// are.

#include <string>
#include <vector>

#include "backend.h"

using namespace sgl;

namespace {

std::string make_document() {
  std::string out;
  for (int year = 1901; year <= 1930; ++year) {
    out += cat("In ", year, " the village of Larn had ", 400 + (year - 1900) * 7, " inhabitants, and the harvest was ",
               year % 3 == 0 ? "poor" : "good", ".\n");
  }
  return out;
}

void read(State& s, const std::string& document, const std::vector<std::string>& questions) {
  s += "Read this chronicle:\n" + document + "\n";
  auto readers = s.fork(static_cast<int>(questions.size()));
  readers += [&](int i) {
    return "Question: " + questions[static_cast<size_t>(i)] +
           "\nAnswer:" + gen("answer", {.max_tokens = 16, .stop = "\n"});
  };
  readers.join();
}

void example() {
  const std::vector<std::string> questions = {"Which village is it about?", "How many inhabitants were there in 1901?",
                                              "How was the harvest in 1910?"};
  auto s = program(read, {.gen = {.temperature = 0}})(make_document(), questions);
  for (size_t i = 0; i < questions.size(); ++i) std::cout << questions[i] << s["answer"][i] << "\n";
}

}  // namespace

int main(int argc, char** argv) { return run_example(argc, argv, example); }
