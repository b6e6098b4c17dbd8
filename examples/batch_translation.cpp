// Many rows with a bar that shows how far they are, and a callback for each that is done: results need not be kept.

#include <string>
#include <tuple>
#include <vector>

#include "backend.h"

using namespace sgl;

namespace {

void translate(State& s, const std::string& language, const std::string& sentence) {
  s += "Translate from English.\nGerman: Guten Morgen! = English: Good morning!\n";
  s += "English: " + sentence + " = " + language + ":" + gen("translation", {.max_tokens = 16, .stop = "\n"});
}

void example() {
  std::vector<std::tuple<std::string, std::string>> rows;  // a tuple is spread over the program's parameters
  for (const char* language : {"German", "French", "Spanish"}) {
    for (const char* sentence : {"Good evening!", "Where is the station?", "Thank you very much."})
      rows.emplace_back(language, sentence);
  }
  run_batch(translate, rows, {.progress = true, .run = {.gen = {.temperature = 0}}}, [&](size_t i, auto&& r) {
    const auto& [language, sentence] = rows[i];
    if (const Error* error = r.error())
      std::cerr << sentence << ": " << error->what() << "\n";
    else
      std::cout << sentence << " = " << language << ":" << r["translation"] << "\n";
  });
}

}  // namespace

int main(int argc, char** argv) { return run_example(argc, argv, example); }
