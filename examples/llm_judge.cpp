// An essay is judged in several dimensions at the same time, then the judgements are put together: branches and typed
// choices.

#include <array>
#include <string>

#include "backend.h"

using namespace sgl;

namespace {

constexpr std::array<const char*, 3> kDimensions = {"clarity", "originality", "evidence"};
constexpr Key<int> kGrade{"grade"};

int judge(State& s, const std::string& essay) {
  s += sgl::system("You judge essays.");
  s += user("Here is an essay:\n" + essay);
  auto judges = s.fork(static_cast<int>(kDimensions.size()));
  judges += [](int i) {
    return user(cat("Judge its ", kDimensions[static_cast<size_t>(i)],
                    " in one sentence, then give a grade from 1 to 5.")) +
           assistant(gen("judgement", {.max_tokens = 40, .stop = "\n"}) +
                     "\nGrade: " + select(kGrade, {{"1", 1}, {"2", 2}, {"3", 3}, {"4", 4}, {"5", 5}}));
  };
  int sum = 0;
  for (size_t i = 0; i < kDimensions.size(); ++i) {
    std::cout << kDimensions[i] << " " << judges[i][kGrade] << ": " << judges[i]["judgement"] << "\n";
    sum += judges[i][kGrade];
  }
  return sum;
}

void example() {
  auto s = run(program(judge, {.gen = {.temperature = 0}}),
               "Tea is better than coffee. It calms the mind and has been drunk for thousands of years.");
  std::cout << "Together: " << s.value() << " of 15\n";
}

}  // namespace

int main(int argc, char** argv) { return run_example(argc, argv, example); }
